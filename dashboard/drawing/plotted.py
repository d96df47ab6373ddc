"""A plotly figure as a drawing, as the browser would show it.

Only what this project's charts use is known; anything else is refused rather than left out, so
that a saved picture never says less than the screen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain

import plotly.graph_objects as go

from analysis.errors import InputError
from dashboard.drawing.axes import Axis, Tick, axis_of, label_width
from dashboard.drawing.notes import annotation, lines, outline
from dashboard.drawing.shapes import Anchor, Drawing, Outline, Shape, Stroke, hidden
from dashboard.drawing.traces import bars, heatmap, scatter
from dashboard.drawing.words import middle

WIDTH = 560.0
_GAP = 4.0
"""Between an axis and its labels."""
_KINDS = ("bar", "heatmap", "scatter")


def drawing_of(
    figure: go.Figure, *, width: float = WIDTH, background: str | None = None
) -> Drawing:
    """``figure`` at ``width`` pixels and its own height.

    Raises :class:`InputError` for a part of a figure that is not known here.
    """
    for trace in figure.data:
        if trace.type not in _KINDS:
            raise InputError(f"trace {trace.type!r}", expected=", ".join(_KINDS))
    return _Chart(figure, width, background).drawing()


class _Chart:
    """One figure under way to a drawing."""

    def __init__(self, figure: go.Figure, width: float, background: str | None):
        self.figure, self.layout, self.background = figure, figure.layout, background
        self.width, self.height = width, float(figure.layout.height)
        x, y = _axis(figure, "x"), _axis(figure, "y")
        margin = {side: float(figure.layout.margin[side]) for side in "lrtb"}
        _make_room(margin, x, y, self.width, self.height)
        self.left, self.right = margin["l"], self.width - margin["r"]
        self.top, self.bottom = margin["t"], self.height - margin["b"]
        self.x, self.y = x.place(self.left, self.right), y.place(self.bottom, self.top)

    def drawing(self) -> Drawing:
        """All shapes in the order in which plotly paints them."""
        shapes = chain(
            self._ground(), self._shapes("below"), self._grid(), self._traces(),
            self._shapes("above"), self._labels(), self._titles(), self._notes(),
        )  # fmt: skip
        return Drawing(self.width, self.height, tuple(shapes), self.background)

    def _ground(self) -> Iterator[Shape]:
        if not hidden(self.layout.plot_bgcolor):
            raise InputError("a plot with a background", expected="none")
        yield from ()

    def _ticks(self, axis: Axis) -> list[Tick]:
        return axis.ticks(abs(axis.end - axis.start)) if axis.visible else []

    def _grid(self) -> Iterator[Shape]:
        for axis, flat in ((self.x, False), (self.y, True)):
            if axis.settings.showgrid is False:
                continue
            stroke = Stroke(axis.settings.gridcolor, 1.0)
            for tick in self._ticks(axis):
                at = axis.at(tick.value)
                ends = (
                    ((self.left, at), (self.right, at)) if flat
                    else ((at, self.top), (at, self.bottom))
                )  # fmt: skip
                yield Outline(points=ends, stroke=stroke)

    def _traces(self) -> Iterator[Shape]:
        drawn = [trace for trace in self.figure.data if trace.visible in (None, True)]
        for trace in drawn:
            if trace.type == "heatmap":
                yield from heatmap(trace, self.x, self.y)
        yield from bars([t for t in drawn if t.type == "bar"], self.x, self.y, self.layout)
        for trace in drawn:
            if trace.type == "scatter":
                yield from scatter(trace, self.x, self.y, self.layout)

    def _shapes(self, layer: str) -> Iterator[Shape]:
        for shape in self.layout.shapes:
            if (shape.layer or "above") == layer:
                yield outline(shape, self.x, self.y)

    def _labels(self) -> Iterator[Shape]:
        for axis in (self.x, self.y):
            if axis.settings.showticklabels is False:
                continue
            for tick in self._ticks(axis):
                yield from self._label(axis, tick)

    def _label(self, axis: Axis, tick: Tick) -> Iterator[Shape]:
        size, color = axis.label_size, axis.settings.tickfont.color
        at = axis.at(tick.value)
        if axis.name == "y":
            return lines(tick.text, self.left - _GAP, at + middle(size), size, color, "end")
        above = axis.settings.side == "top"
        angle = float(axis.settings.tickangle or 0)
        y = self.top - _GAP if above else self.bottom + _GAP + 0.75 * size
        if not angle:
            return lines(tick.text, at, y, size, color, "middle")
        # Turned labels end at their tick below the chart and begin there above it.
        anchor: Anchor = "start" if above else "end"
        down = 0.0 if above else 0.1 * size
        return lines(tick.text, at, y + down, size, color, anchor, angle)

    def _titles(self) -> Iterator[Shape]:
        for axis in (self.x, self.y):
            title = axis.settings.title
            if not title.text or not axis.visible:
                continue
            size, color = float(title.font.size or 12), title.font.color
            if axis.name == "x":
                middle_x = (self.left + self.right) / 2
                yield from lines(title.text, middle_x, self.height - 5, size, color, "middle")
            else:
                middle_y = (self.top + self.bottom) / 2
                yield from lines(title.text, 0.85 * size + 1, middle_y, size, color, "middle", -90)

    def _notes(self) -> Iterator[Shape]:
        for note in self.layout.annotations:
            yield from annotation(note, self.x, self.y, self.layout)


def _axis(figure: go.Figure, name: str) -> Axis:
    settings = figure.layout[f"{name}axis"]
    values, padded = [], False
    for trace in figure.data:
        if trace.type == "scatter":
            padded |= "markers" in (trace.mode or "lines+markers")
        given = trace[name]
        values += [] if given is None else [float(value) for value in given]
    return axis_of(name, settings, values, padded=padded)


def _make_room(margin: dict[str, float], x: Axis, y: Axis, width: float, height: float) -> None:
    """Widen the margins to what labels and titles need, as the browser does."""
    titled = bool(y.settings.title.text) and y.visible
    if y.visible and y.settings.showticklabels is not False:
        ticks = y.ticks(height - margin["t"] - margin["b"])
        words = y.place(height - margin["b"], margin["t"]).widest(ticks)
        title = 1.4 * float(y.settings.title.font.size or 12) if titled else 0.0
        margin["l"] = max(margin["l"], words + _GAP + title + 2)
    if not x.visible or x.settings.showticklabels is False:
        return
    placed = x.place(margin["l"], width - margin["r"])
    tall = tilted(placed, placed.ticks(width - margin["l"] - margin["r"]))
    title = 1.6 * float(x.settings.title.font.size or 12) if x.settings.title.text else 0.0
    side = "t" if x.settings.side == "top" else "b"
    margin[side] = max(margin[side], tall + _GAP + title + 2)
    if x.settings.side == "top" and x.settings.tickangle:
        _room_beyond(margin, placed, width)


def tilted(axis: Axis, ticks: list[Tick]) -> float:
    """How high the labels of an x axis stand."""
    angle = math.radians(abs(float(axis.settings.tickangle or 0)))
    size = axis.label_size
    return axis.widest(ticks) * math.sin(angle) + size * math.cos(angle)


def _room_beyond(margin: dict[str, float], axis: Axis, width: float) -> None:
    """Room at the right for turned labels that lean over the end of the axis."""
    cosine = math.cos(math.radians(float(axis.settings.tickangle)))
    reach = max(
        (
            axis.at(tick.value) + label_width(tick.text, axis.label_size) * cosine
            for tick in axis.ticks(axis.end - axis.start)
        ),
        default=0.0,
    )
    margin["r"] = max(margin["r"], margin["r"] + reach - width + 2)
