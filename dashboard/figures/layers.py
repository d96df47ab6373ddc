"""Layer x layer similarity: heat maps, and each student layer's best match with the null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from analysis.divergence.depth import Profile
from analysis.divergence.layers import KNN, SIMILARITIES
from dashboard.figures.chart import chart, scale_of
from dashboard.figures.numbers import NOT_MEASURED, THIN, charted, nats, percent
from dashboard.loading_layers import LayerGrid
from dashboard.theme import Palette, faded

_NAME = 18
_TEXTS = 12


def ramp(colors: Palette) -> tuple[str, ...]:
    """Unlike to alike. Gray: magenta would say that layers of different depth have parted."""
    return (colors.panel, colors.null_band, colors.reference, colors.text)


def shown(measure: str, value: float) -> str:
    """A similarity as it is written: shares of neighbors in %, all others with two decimals."""
    if not np.isfinite(value):
        return NOT_MEASURED
    return f"{percent(value)}{THIN}%" if measure == KNN else nats(value)


def null_range(measure: str, draws: np.ndarray) -> str:
    """The least and the greatest of the null ``draws`` (P,), ``−0.01 to 0.02``."""
    low, high = (shown(measure, float(value)) for value in (draws.min(), draws.max()))
    return f"{low.removesuffix(f'{THIN}%')} to {high}"


def layer_matrix(
    measure: str,
    grid: LayerGrid,
    teacher_layers: Sequence[str],
    student_layers: Sequence[str],
    colors: Palette,
    *,
    chosen: tuple[int, int] | None = None,
) -> go.Figure:
    """Heat map (T, S): rows are the teacher's layers from the first, columns the student's.

    The last trace holds one clickable point per cell, whose ``customdata`` is
    ``"teacher.student"`` as layer indices; a line leads through every student layer's best match.
    ``chosen`` is outlined.
    """
    values, (rows, columns) = grid.values, grid.values.shape
    few = max(rows, columns) <= _TEXTS
    figure = chart(colors, height=int(np.clip(64 + (38 if few else 20) * rows, 240, 640)))
    figure.add_heatmap(
        x=np.arange(columns), y=np.arange(rows), z=values,
        zmin=0, zmax=1, colorscale=scale_of(ramp(colors)), showscale=False, xgap=1, ygap=1,
        hoverinfo="skip",
    )  # fmt: skip
    best = grid.profile.best
    known = np.flatnonzero(best >= 0)
    figure.add_scatter(
        x=known, y=best[known], mode="lines+markers", hoverinfo="skip",
        line={"color": faded(colors.student, 0.45), "width": 1.5},
        marker={"symbol": "square-open", "size": 30 if few else 12, "color": colors.student,
                "line": {"width": 2}},
    )  # fmt: skip
    figure.add_trace(_cells(measure, grid, teacher_layers, student_layers, colors))
    if chosen is not None and chosen[0] < rows and chosen[1] < columns:
        figure.add_shape(
            type="rect", x0=chosen[1] - 0.5, x1=chosen[1] + 0.5, y0=chosen[0] - 0.5,
            y1=chosen[0] + 0.5, line={"color": colors.text, "width": 2},
        )  # fmt: skip
    _axes(figure, teacher_layers, student_layers)
    return figure


def _cells(
    measure: str,
    grid: LayerGrid,
    teacher_layers: Sequence[str],
    student_layers: Sequence[str],
    colors: Palette,
) -> go.Scatter:
    values, null = grid.values, grid.null
    pairs = list(np.ndindex(values.shape))
    texts, tones, hovers = [], [], []
    few = max(values.shape) <= _TEXTS
    for t, s in pairs:
        value = float(values[t, s])
        # The unit stands at the color scale.
        texts.append(shown(measure, value).split(THIN)[0] if few else "")
        # The middle of the ramp is gray in both themes: dark text below, light text above.
        bright = (value < 0.74) == (colors.name == "light")
        tones.append("#17202B" if bright else "#FFFFFF")
        hovers.append(
            f"teacher’s <b>{charted(teacher_layers[t])}</b>, student’s "
            f"<b>{charted(student_layers[s])}</b><br>{SIMILARITIES[measure].title} "
            f"<b>{shown(measure, value)}</b>, by chance {null_range(measure, null[:, t, s])}"
        )
    return go.Scatter(
        x=[s for _, s in pairs], y=[t for t, _ in pairs], mode="markers+text", text=texts,
        textfont={"size": 10, "color": tones}, hovertext=hovers, hoverinfo="text",
        customdata=[f"{t}.{s}" for t, s in pairs],
        marker={"symbol": "square", "size": 22, "color": "rgba(0,0,0,0)"},
        selected={"marker": {"opacity": 0}}, unselected={"marker": {"opacity": 0}},
    )  # fmt: skip


def _axes(figure: go.Figure, teacher: Sequence[str], student: Sequence[str]) -> None:
    figure.update_layout(margin={"l": 8, "r": 12, "t": 8, "b": 8})
    for update, names, more in (
        (
            figure.update_xaxes,
            student,
            {"side": "top", "tickangle": -40 if len(student) > 4 else 0},
        ),
        (figure.update_yaxes, teacher, {}),
    ):
        count = len(names)
        low, high = -0.5, count - 0.5
        update(
            tickvals=list(range(count)), ticktext=[charted(name, _NAME) for name in names],
            showgrid=False, automargin=True, ticks="",
            range=[low, high] if names is student else [high, low],
            tickfont={"size": 11 if count <= 16 else 9}, **more,
        )  # fmt: skip


def profile_figure(
    measure: str,
    profile: Profile,
    layers: Sequence[str],
    colors: Palette,
    *,
    others: Mapping[str, Profile] | None = None,
    references: Sequence[Profile] = (),
) -> go.Figure:
    """Each student layer's best match: value, band of the null, ticks of the references.

    ``others`` are the same layers on other conditions, quieter and named at the right.
    """
    x = np.arange(len(layers))
    figure = chart(colors, height=210)
    low, high = profile.null.min(axis=0), profile.null.max(axis=0)
    figure.add_scatter(
        x=np.concatenate([x, x[::-1]]), y=np.concatenate([high, low[::-1]]), fill="toself",
        fillcolor=colors.null_band, line={"width": 0}, mode="lines", hoverinfo="skip",
    )  # fmt: skip
    if references:
        values = np.concatenate([item.values for item in references])
        figure.add_scatter(
            x=np.tile(x, len(references)), y=values, mode="markers", hoverinfo="skip",
            marker={"symbol": "line-ew-open", "size": 14, "color": colors.reference,
                    "line": {"width": 1.5, "color": colors.reference}},
        )  # fmt: skip
    for other in (others or {}).values():
        figure.add_scatter(
            x=x, y=other.values, mode="lines", hoverinfo="skip",
            line={"color": colors.faint, "width": 1.5, "dash": "dot"},
        )  # fmt: skip
    figure.add_scatter(
        x=x, y=profile.values, mode="lines+markers", line={"color": colors.student, "width": 2},
        marker={"symbol": "square", "size": 7, "color": colors.student}, hoverinfo="text",
        hovertext=[
            f"{charted(name)}: {shown(measure, value)}, by chance up to {shown(measure, top)}"
            for name, value, top in zip(
                layers, profile.values.tolist(), high.tolist(), strict=True
            )
        ],
    )  # fmt: skip
    _names(figure, profile, others or {}, colors)
    figure.update_layout(margin={"l": 34, "r": 74 if others else 12, "t": 8, "b": 8})
    ticks = ["0", "50%", "100%"] if measure == KNN else ["0", "0.5", "1"]
    figure.update_yaxes(range=[-0.06, 1.04], tickvals=[0, 0.5, 1], ticktext=ticks)
    figure.update_xaxes(
        tickvals=x, ticktext=[charted(name, _NAME) for name in layers], showgrid=False,
        automargin=True, range=[-0.35, len(layers) - 0.65],
        tickfont={"size": 11 if len(layers) <= 10 else 9},
    )  # fmt: skip
    return figure


def _names(
    figure: go.Figure, profile: Profile, others: Mapping[str, Profile], colors: Palette
) -> None:
    """Names of the other conditions at the right end of their lines, moved off the main one."""
    own = profile.values[-1]
    for name, other in others.items():
        end = other.values[-1]
        if np.isfinite(end):
            figure.add_annotation(
                x=1, xref="paper", xshift=6, y=end, text=charted(name, 14), showarrow=False,
                xanchor="left", font={"size": 11, "color": colors.faint},
                yshift=(7 if end >= own else -7) if abs(end - own) < 0.05 else 0,
            )  # fmt: skip


def grid_columns(
    grids: Mapping[str, LayerGrid], teacher: Sequence[str], student: Sequence[str]
) -> dict[str, list[Any]]:
    """One row per pair of layers: every measure with the range of its null."""
    table: dict[str, list[Any]] = {
        "teacher_layer": [name for name in teacher for _ in student],
        "student_layer": [name for _ in teacher for name in student],
    }
    for name, grid in grids.items():
        table[name] = grid.values.ravel().tolist()
        for part, null in (("low", grid.null.min(axis=0)), ("high", grid.null.max(axis=0))):
            table[f"{name}_null_{part}"] = null.ravel().tolist()
    return table
