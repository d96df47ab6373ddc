"""A sweep: one measure over two keys as a heat map, over one as lines with error bars.

What is clicked is a marker with a cell's place in ``customdata``; no chart is interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from analysis.study.sweep_table import SweepCell, SweepTable
from dashboard.figures.chart import chart, scale_of
from dashboard.figures.numbers import charted, percent, percent_text
from dashboard.theme import Palette

_NAME = 22
UNSET = "not set"


def level_text(level: str) -> str:
    """A level as it is shown; an empty field of the table is no value."""
    return charted(level, _NAME) if level else UNSET


def sweep_map(
    table: SweepTable, axes: tuple[str, str], cells: Sequence[SweepCell], colors: Palette
) -> go.Figure:
    """Heat map of ``cells`` over two keys, in %, from 0 to 100; the first key runs to the right.

    A cell shows its mean; combinations that were not run stay empty.
    """
    across, down = (table.levels[key] for key in axes)
    rows = [[None for _ in across] for _ in down]
    figure = chart(colors, height=min(620, 120 + 46 * len(down)))
    z: list[list[float | None]] = [list(row) for row in rows]
    for cell in cells:
        z[down.index(cell.levels[1])][across.index(cell.levels[0])] = 100 * cell.mean
    figure.add_heatmap(
        x=list(range(len(across))), y=list(range(len(down))), z=z, zmin=0, zmax=100, xgap=2, ygap=2,
        colorscale=scale_of(colors.divergence), showscale=False, hoverinfo="skip",
    )  # fmt: skip
    figure.add_trace(_markers(cells, [across, down], axes, colors))
    for update, key, levels in (
        (figure.update_xaxes, axes[0], across),
        (figure.update_yaxes, axes[1], down),
    ):
        update(
            title_text=charted(key), tickvals=list(range(len(levels))),
            ticktext=[level_text(level) for level in levels], showgrid=False,
            range=[-0.5, len(levels) - 0.5], automargin=True, ticks="",
        )  # fmt: skip
    figure.update_layout(margin={"l": 60, "r": 8, "t": 8, "b": 46}, clickmode="event+select")
    return figure


def _markers(
    cells: Sequence[SweepCell],
    levels: Sequence[Sequence[str]],
    axes: Sequence[str],
    colors: Palette,
) -> go.Scatter:
    light = colors.name == "light"
    # Where white is easier to read: on the dark end, which is the upper one in the light theme.
    tones = [
        "#FFFFFF" if (cell.mean > 0.45 if light else cell.mean < 0.6) else "#17202B"
        for cell in cells
    ]
    return go.Scatter(
        x=[levels[0].index(cell.levels[0]) for cell in cells],
        y=[levels[1].index(cell.levels[1]) for cell in cells],
        mode="markers+text",
        text=[percent(cell.mean) for cell in cells],
        textfont={"size": 12, "color": tones},
        hovertext=[_hover(axes, cell) for cell in cells],
        hoverinfo="text",
        customdata=list(range(len(cells))),
        marker={"symbol": "square", "size": 34, "color": "rgba(0,0,0,0)"},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
    )


def sweep_lines(
    table: SweepTable,
    axis: str,
    by_student: Mapping[str, Sequence[SweepCell]],
    subject: str,
    colors: Palette,
) -> go.Figure:
    """One line per student over one key, in %; the ``subject``'s is amber, all others are gray.

    Bars span the repeats' lowest to highest value, points are their mean. Lines carry their names.
    """
    levels = table.levels[axis]
    figure = chart(colors, height=380)
    order = sorted(by_student, key=lambda name: name == subject)
    for name in order:
        cells = by_student[name]
        if cells:
            color = colors.student if name == subject else colors.reference
            figure.add_trace(_line(name, cells, levels, axis, color, on_top=name == subject))
            _name(figure, name, cells[-1], levels, color if name == subject else colors.secondary)
    figure.update_xaxes(
        title_text=charted(axis), tickvals=list(range(len(levels))),
        ticktext=[level_text(level) for level in levels], range=[-0.3, len(levels) - 0.7],
        showgrid=False,
    )  # fmt: skip
    figure.update_yaxes(title_text="%", range=[-3, 103], tickvals=[0, 25, 50, 75, 100])
    figure.update_layout(margin={"l": 46, "r": 132, "t": 8, "b": 46}, clickmode="event+select")
    return figure


def _line(
    name: str,
    cells: Sequence[SweepCell],
    levels: Sequence[str],
    axis: str,
    color: str,
    *,
    on_top: bool,
) -> go.Scatter:
    return go.Scatter(
        x=[levels.index(cell.levels[0]) for cell in cells],
        y=[100 * cell.mean for cell in cells],
        error_y={
            "type": "data", "symmetric": False, "color": color, "thickness": 1.5, "width": 5,
            "array": [100 * (cell.high - cell.mean) for cell in cells],
            "arrayminus": [100 * (cell.mean - cell.low) for cell in cells],
        },
        mode="lines+markers",
        name=charted(name),
        line={"color": color, "width": 2.5 if on_top else 1.5},
        marker={"symbol": "square", "size": 9 if on_top else 6, "color": color},
        hovertext=[f"<b>{charted(name)}</b><br>{_hover((axis,), cell)}" for cell in cells],
        hoverinfo="text",
        customdata=[f"{name}\n{place}" for place in range(len(cells))],
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )  # fmt: skip


def _name(figure: go.Figure, name: str, last: SweepCell, levels: Sequence[str], color: str) -> None:
    figure.add_annotation(
        x=levels.index(last.levels[0]), y=100 * last.mean, text=charted(name, _NAME),
        xanchor="left", xshift=9, showarrow=False, font={"size": 12, "color": color},
    )  # fmt: skip


def _hover(axes: Sequence[str], cell: SweepCell) -> str:
    where = ", ".join(
        f"{charted(key)} {level_text(level)}" for key, level in zip(axes, cell.levels, strict=True)
    )
    value = f"<b>{percent_text(cell.mean)}</b>"
    if len(cell.values) > 1:
        value += f" from {percent(cell.low)} to {percent(cell.high)}, n = {len(cell.values)} runs"
    return f"{where}<br>{value}"


def repeats_text(cells: Sequence[SweepCell]) -> str:
    """How many repeats the cells are of: ``1 run each``, ``1 to 3 runs each``."""
    counts = sorted(len(cell.values) for cell in cells)
    if not counts:
        return "no runs"
    low, high = counts[0], counts[-1]
    if low == high:
        return f"{low} run{'s' if low > 1 else ''} each"
    return f"{low} to {high} runs each"
