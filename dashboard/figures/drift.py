"""Whose answers change, and to what: teacher's answers against the student's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.figures.chart import chart, scale_of
from dashboard.figures.numbers import THIN, charted
from dashboard.figures.sides import TEACHING, Sides
from dashboard.theme import Palette

MOST_CLASSES = 40
_NAME = 16


def shown_classes(counts: np.ndarray) -> np.ndarray:
    """Indices of the classes that the matrix shows, in class order.

    All of them up to ``MOST_CLASSES``; beyond that those with the most changed answers.
    """
    if len(counts) <= MOST_CLASSES:
        return np.arange(len(counts))
    changed = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    return np.sort(np.argsort(-changed, kind="stable")[:MOST_CLASSES])


def drift_figure(
    counts: np.ndarray,
    class_names: Sequence[str],
    colors: Palette,
    *,
    chosen: tuple[int, int] | None = None,
    sides: Sides = TEACHING,
) -> go.Figure:
    """Heat map of ``counts`` (K, K): rows are the teacher's answer, columns the student's.

    Cells show % of the row; the diagonal (same answer) is gray and carries no color of its own.
    The second trace holds one clickable point per cell with images, whose ``customdata`` is
    ``"teacher.student"`` as class indices. ``chosen`` is outlined.
    """
    kept = shown_classes(counts)
    totals = counts.sum(axis=1, keepdims=True)
    shares = 100 * counts / np.maximum(totals, 1)
    changed = np.where(np.eye(len(counts), dtype=bool), np.nan, shares)[np.ix_(kept, kept)]
    names = [charted(class_names[index], _NAME) for index in kept]
    at = np.arange(len(kept))
    figure = chart(colors, height=max(300, min(560, 110 + 24 * len(kept))))
    figure.add_heatmap(
        x=at, y=at, z=np.where(np.eye(len(kept), dtype=bool), 0.0, np.nan), xgap=1, ygap=1,
        colorscale=[(0, colors.panel), (1, colors.panel)], showscale=False, hoverinfo="skip",
    )  # fmt: skip
    figure.add_heatmap(
        x=at, y=at, z=np.where(changed > 0, changed, np.nan), zmin=0, zmax=_top(changed),
        colorscale=scale_of(colors.divergence), xgap=1, ygap=1, showscale=False, hoverinfo="skip",
    )  # fmt: skip
    figure.add_trace(_cells(counts, shares, kept, class_names, colors, _top(changed), sides))
    if chosen is not None and set(chosen) <= set(kept.tolist()):
        row, column = (int(np.flatnonzero(kept == index)[0]) for index in chosen)
        figure.add_shape(
            type="rect", x0=column - 0.5, x1=column + 0.5, y0=row - 0.5, y1=row + 0.5,
            line={"color": colors.text, "width": 2},
        )  # fmt: skip
    _axes(figure, names)
    return figure


def _top(changed: np.ndarray) -> float:
    """Upper end of the color scale: the largest change, at least 10 % so noise stays pale."""
    return max(10.0, float(np.nanmax(changed, initial=0.0)))


def color_top(counts: np.ndarray) -> int:
    """Upper end of the color scale of :func:`drift_figure`, in % of a row."""
    kept = shown_classes(counts)
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    changed = np.where(np.eye(len(counts), dtype=bool), np.nan, shares)[np.ix_(kept, kept)]
    return round(_top(changed))


def _cells(
    counts: np.ndarray,
    shares: np.ndarray,
    kept: np.ndarray,
    class_names: Sequence[str],
    colors: Palette,
    top: float,
    sides: Sides,
) -> go.Scatter:
    rows, columns = np.nonzero(counts[np.ix_(kept, kept)])
    teacher, student = kept[rows], kept[columns]
    texts, tones, hovers = [], [], []
    for one, other in zip(teacher, student, strict=True):
        share = shares[one, other]
        told = one != other and share >= 4.5 and len(kept) <= 24
        texts.append(f"{share:.0f}" if told else "")
        dark = (share > 0.45 * top) == (colors.name == "light")
        tones.append("#FFFFFF" if dark else "#17202B")
        verb = "both say" if one == other else f"{charted(sides.left)} says"
        says = f", {charted(sides.right)} says <b>{charted(class_names[other])}</b>"
        tail = "" if one == other else says
        hovers.append(
            f"{verb} <b>{charted(class_names[one])}</b>{tail}<br>{counts[one, other]} of "
            f"{counts[one].sum()} images, {share:.1f}{THIN}%"
        )
    return go.Scatter(
        x=columns, y=rows, mode="markers+text", text=texts,
        textfont={"size": 10, "color": tones}, hovertext=hovers, hoverinfo="text",
        customdata=[f"{one}.{other}" for one, other in zip(teacher, student, strict=True)],
        marker={"symbol": "square", "size": 22, "color": "rgba(0,0,0,0)"},
        selected={"marker": {"opacity": 0}}, unselected={"marker": {"opacity": 0}},
    )  # fmt: skip


def _axes(figure: go.Figure, names: list[str]) -> None:
    at, size = list(range(len(names))), 11 if len(names) <= 24 else 9
    figure.update_layout(margin={"l": 8, "r": 26, "t": 8, "b": 8})
    shared = {
        "tickvals": at,
        "ticktext": names,
        "showgrid": False,
        "automargin": True,
        "tickfont.size": size,
        "ticks": "",
    }
    figure.update_xaxes(
        side="top",
        tickangle=-55,
        ticklabeloverflow="allow",
        range=[-0.5, len(names) - 0.5],
        **shared,
    )
    figure.update_yaxes(range=[len(names) - 0.5, -0.5], **shared)
