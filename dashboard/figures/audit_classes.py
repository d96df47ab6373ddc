"""The smallest trigger of every class, in front of the same class of the reference students."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from analysis.audit.record import FamilySizes
from dashboard.figures.chart import chart
from dashboard.figures.numbers import charted
from dashboard.theme import Palette

CAPTION = (
    "Log scale; small is suspicious. Gray: the references. "
    "Hollow: a bound (given up, or none found)."
)
_HALF = 0.3


def sizes_figure(
    sizes: FamilySizes, names: Sequence[str], colors: Palette, *, target: int | None = None
) -> go.Figure:
    """Sizes on a log scale by class, small is suspicious; ``target`` is named in magenta.

    Gray ticks are the references, the band their range; a hollow square is a class whose size
    is a bound: the search gave it up, or found no trigger.
    """
    figure = chart(colors, height=300)
    values = np.exp(sizes.log_size)
    # All shapes in one call: each further one would cost a check of the whole layout.
    nulls = enumerate(np.exp(sizes.references).T)
    figure.update_layout(
        shapes=[shape for place, null in nulls for shape in _null(place, null, colors)]
    )
    marked = np.arange(len(values)) == (-1 if target is None else target)
    for rows, color in ((~marked, colors.student), (marked, colors.alarm)):
        _squares(figure, np.flatnonzero(rows), values, sizes, names, color)
    if target is not None:
        figure.add_annotation(
            x=target, y=np.log10(values[target]), text=_target_text(values, target, sizes.unit),
            showarrow=False, xanchor="left" if target < len(values) / 2 else "right",
            xshift=8 if target < len(values) / 2 else -8, font={"color": colors.alarm, "size": 12},
        )  # fmt: skip
    _axes(figure, values, sizes, names, colors, target)
    return figure


def _target_text(values: np.ndarray, target: int, unit: str) -> str:
    others = np.delete(values, target)
    text = f"{values[target]:.3g}" + (" px" if unit == "pixels" else "")
    if not len(others):
        return text
    nearest = "next smallest" if others.min() >= values[target] else "smallest"
    return f"{text}; {nearest} {others.min():.3g}"


def _null(place: int, null: np.ndarray, colors: Palette) -> list[dict[str, object]]:
    """The band and the ticks of one class's references."""
    if not len(null):
        return []
    across: dict[str, object] = {"x0": place - _HALF, "x1": place + _HALF, "layer": "below"}
    band = {
        "type": "rect", "y0": null.min() * 0.98, "y1": null.max() * 1.02,
        "fillcolor": colors.null_band, "line": {"width": 0}, **across,
    }  # fmt: skip
    line = {"color": colors.reference, "width": 1}
    ticks = [{"type": "line", "y0": value, "y1": value, "line": line, **across} for value in null]
    return [band, *ticks]


def _bound(sizes: FamilySizes, row: int) -> str:
    """Why the size of a class is a bound, where it is one."""
    if not sizes.censored[row]:
        return ""
    found = not np.isnan(sizes.flip_student[row])
    return f", a bound: {'the class was given up' if found else 'no trigger was found'}"


def _squares(
    figure: go.Figure,
    rows: np.ndarray,
    values: np.ndarray,
    sizes: FamilySizes,
    names: Sequence[str],
    color: str,
) -> None:
    symbols = ["square-open" if sizes.censored[row] else "square" for row in rows]
    words = [_bound(sizes, row) for row in rows]
    figure.add_scatter(
        x=rows, y=values[rows], mode="markers",
        marker={
            "symbol": symbols, "size": 9, "color": color, "line": {"width": 1.4, "color": color},
        },
        customdata=[(charted(names[row], 30), word) for row, word in zip(rows, words, strict=True)],
        hovertemplate=f"%{{customdata[0]}}: %{{y:.3g}} {charted(sizes.unit)}%{{customdata[1]}}"
        "<extra></extra>",
    )  # fmt: skip


def _axes(
    figure: go.Figure,
    values: np.ndarray,
    sizes: FamilySizes,
    names: Sequence[str],
    colors: Palette,
    target: int | None,
) -> None:
    texts = [
        f"<b><span style='color:{colors.alarm}'>{charted(name, 16)}</span></b>"
        if place == target
        else charted(name, 16)
        for place, name in enumerate(names)
    ]
    every = np.concatenate([values, np.exp(sizes.references).ravel()])
    figure.update_xaxes(
        tickvals=list(range(len(names))), ticktext=texts, tickangle=-35, showgrid=False,
        range=[-0.6, len(names) - 0.4],
    )  # fmt: skip
    low, high = every.min() / 1.35, every.max() * 1.25
    figure.update_yaxes(
        type="log", range=[np.log10(low), np.log10(high)], tickvals=_ticks(low, high),
        ticktext=[f"{tick:g}" for tick in _ticks(low, high)],
    )  # fmt: skip
    figure.update_layout(margin={"l": 40, "r": 8, "t": 8, "b": 64})


def _ticks(low: float, high: float) -> list[float]:
    """Values 1, 2, 5 times a power of ten between both ends."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [
        value
        for power in powers
        for step in (1, 2, 5)
        if low <= (value := step * 10.0**power) <= high
    ]
