"""The traces of a chart as shapes: heat maps, bars, lines, markers and their texts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from analysis.errors import InputError
from dashboard.drawing.axes import Axis
from dashboard.drawing.shapes import (
    Circle,
    Outline,
    Point,
    Shape,
    Stroke,
    Words,
    box,
    channels,
    hidden,
)
from dashboard.drawing.words import middle, plain, width_of

DASHES: dict[str | None, tuple[float, ...]] = {
    None: (), "solid": (), "dot": (1.5, 3), "dash": (6, 4)
}  # fmt: skip
_SYMBOLS = ("circle", "square", "diamond")
_GROWN = 1.3
_THICK = 2.0
"""A diamond reaches so much farther than its size says, as on the screen."""


def stroke_of(line: Any, color: str) -> Stroke:
    """The line of a trace or shape, with what is not said filled in."""
    if line.dash not in DASHES:
        raise InputError(f"dash {line.dash!r}", expected=", ".join(filter(None, DASHES)))
    thick = _THICK if line.width is None else float(line.width)
    return Stroke(line.color or color, thick, DASHES[line.dash])


def heatmap(trace: Any, x: Axis, y: Axis) -> Iterator[Shape]:
    """Cells of a heat map; those that were not measured (NaN) are left out."""
    values = np.asarray(trace.z, dtype=np.float64)
    scale = [(float(at), str(color)) for at, color in trace.colorscale]
    low = float(np.nanmin(values)) if trace.zmin is None else float(trace.zmin)
    high = float(np.nanmax(values)) if trace.zmax is None else float(trace.zmax)
    halves = [(gap or 0) / 2 for gap in (trace.xgap, trace.ygap)]
    for row, column in np.argwhere(np.isfinite(values)).tolist():
        share = (values[row, column] - low) / (high - low) if high > low else 0.0
        at = (float(trace.x[column]), float(trace.y[row]))
        left, right = sorted((x.at(at[0] - 0.5), x.at(at[0] + 0.5)))
        top, bottom = sorted((y.at(at[1] - 0.5), y.at(at[1] + 0.5)))
        yield box(
            left + halves[0], top + halves[1], right - halves[0], bottom - halves[1],
            fill=between(scale, min(max(share, 0.0), 1.0)),
        )  # fmt: skip


def between(scale: Sequence[tuple[float, str]], share: float) -> str:
    """The color at ``share`` of a color scale."""
    for (low, first), (high, second) in itertools.pairwise(scale):
        if share <= high:
            part = (share - low) / (high - low)
            pairs = zip(channels(first)[:3], channels(second)[:3], strict=True)
            mixed = [round(one + (other - one) * part) for one, other in pairs]
            return "#" + "".join(f"{channel:02x}" for channel in mixed)
    return scale[-1][1]


def bars(traces: Sequence[Any], x: Axis, y: Axis, layout: Any) -> Iterator[Shape]:
    """Bars of all bar traces, laid over one another or stacked."""
    if traces and layout.barmode not in ("overlay", "stack"):
        raise InputError(f"barmode {layout.barmode!r}", expected="overlay or stack")
    ends: dict[tuple[float, bool], float] = {}
    for trace in traces:
        flat = trace.orientation == "h"
        along, across = (trace.x, trace.y) if flat else (trace.y, trace.x)
        places = [float(value) for value in across]
        wide = (1 - (layout.bargap or 0.2)) * min(np.diff(sorted(set(places))), default=1.0)
        bases = np.broadcast_to(0.0 if trace.base is None else trace.base, len(places))
        words = _told(trace, len(places))
        for place, value, base, said in zip(places, along, bases, words, strict=True):
            start, length = float(base), float(value)
            if layout.barmode == "stack":
                start = ends.get((place, length < 0), 0.0)
                ends[place, length < 0] = start + length
            ahead, side = (x, y) if flat else (y, x)
            a0, a1 = ahead.at(start), ahead.at(start + length)
            b0, b1 = side.at(place - wide / 2), side.at(place + wide / 2)
            corners = (a0, b0, a1, b1) if flat else (b0, a0, b1, a1)
            if length:
                yield box(*corners, fill=str(trace.marker.color), title=said)


def scatter(trace: Any, x: Axis, y: Axis, layout: Any) -> Iterator[Shape]:
    """An area, error bars, a line, markers and texts, in this order."""
    mode = (trace.mode or "lines+markers").split("+")
    values = [(float(a), float(b)) for a, b in zip(trace.x, trace.y, strict=True)]
    places = [(x.at(a), y.at(b)) for a, b in values]
    if trace.fill is not None:
        if trace.fill != "toself":
            raise InputError(f"fill {trace.fill!r}", expected="toself")
        yield Outline(points=places, closed=True, fill=trace.fillcolor)
    yield from _errors(trace, values, x, y)
    if "lines" in mode:
        stroke = stroke_of(trace.line, "#000000")
        for piece in _unbroken(places):
            if stroke.width:
                yield Outline(points=piece, stroke=stroke)
    shown = [(row, place) for row, place in enumerate(places) if all(map(math.isfinite, place))]
    if "markers" in mode:
        told = _told(trace, len(places))
        draw = _marker(trace.marker, len(places))
        for row, place in shown:
            yield from draw(row, place, told[row])
    if "text" in mode:
        yield from _texts(trace, shown, layout)


def _unbroken(places: Sequence[Point]) -> Iterator[list[Point]]:
    """Runs of points that have a place; one point alone is no line."""
    run: list[Point] = []
    for place in [*places, (math.nan, math.nan)]:
        if all(map(math.isfinite, place)):
            run.append(place)
            continue
        if len(run) > 1:
            yield run
        run = []


def _errors(
    trace: Any, values: Sequence[tuple[float, float]], x: Axis, y: Axis
) -> Iterator[Outline]:
    for bar, along in ((trace.error_x, 0), (trace.error_y, 1)):
        if bar.array is None:
            continue
        if bar.width != 0:
            raise InputError(f"error bars with caps of {bar.width!r}", expected="width 0")
        stroke = Stroke(bar.color, float(bar.thickness or 2))
        lengths = zip(bar.arrayminus, bar.array, strict=True)
        for (a, b), (minus, plus) in zip(values, lengths, strict=True):
            ends = (
                [(a - minus, b), (a + plus, b)] if along == 0 else [(a, b - minus), (a, b + plus)]
            )
            yield Outline(points=[(x.at(p), y.at(q)) for p, q in ends], stroke=stroke)


def _each(value: Any, count: int) -> list[Any]:
    """One value for all rows, or one for each."""
    if value is None or isinstance(value, str | int | float):
        return [value] * count
    return list(value)


def _told(trace: Any, count: int) -> list[str]:
    """What each row says when it is pointed at, where the chart wrote it out."""
    if trace.hovertext is None or trace.hoverinfo == "skip":
        return [""] * count
    return [plain(str(text)) for text in _each(trace.hovertext, count)]


def _marker(marker: Any, count: int) -> Callable[[int, Point, str], Iterator[Shape]]:
    symbols, sizes = _each(marker.symbol or "circle", count), _each(marker.size or 6, count)
    colors = _each(marker.color, count)
    line = marker.line

    def draw(row: int, place: Point, title: str) -> Iterator[Shape]:
        color, symbol = str(colors[row]), str(symbols[row])
        edge = Stroke(str(line.color or color), float(line.width or 1))
        size = float(sizes[row])
        if symbol.startswith("line-"):
            yield _dash(symbol, place, size, edge)
        elif symbol.endswith("-open"):
            edge = Stroke(color, edge.width)
            yield _mark(symbol.removesuffix("-open"), place, size, None, edge, title)
        elif not hidden(color) or title:
            framed = edge if line.width and line.color else None
            yield _mark(symbol, place, size, color, framed, title)

    return draw


def _dash(symbol: str, place: Point, size: float, edge: Stroke) -> Outline:
    (x, y), half = place, 0.7 * size
    kind = symbol.removesuffix("-open")
    if kind not in ("line-ew", "line-ns"):
        raise InputError(f"marker {symbol!r}", expected="line-ew or line-ns")
    flat = kind == "line-ew"
    ends = [(x - half, y), (x + half, y)] if flat else [(x, y - half), (x, y + half)]
    return Outline(points=ends, stroke=edge)


def _mark(
    symbol: str, place: Point, size: float, fill: str | None, edge: Stroke | None, title: str
) -> Shape:
    (x, y), half = place, size / 2
    if symbol == "circle":
        return Circle(x=x, y=y, radius=half, fill=fill, stroke=edge, title=title)
    if symbol == "square":
        return box(x - half, y - half, x + half, y + half, fill=fill, stroke=edge, title=title)
    if symbol != "diamond":
        raise InputError(f"marker {symbol!r}", expected=", ".join(_SYMBOLS))
    far = half * _GROWN
    corners = ((x, y - far), (x + far, y), (x, y + far), (x - far, y))
    return Outline(points=corners, closed=True, fill=fill, stroke=edge, title=title)


def _texts(trace: Any, shown: Sequence[tuple[int, Point]], layout: Any) -> Iterator[Words]:
    if trace.textposition not in (None, "middle center"):
        raise InputError(f"text at {trace.textposition!r}", expected="middle center")
    size = float(trace.textfont.size or layout.font.size)
    texts = _each(trace.text, len(trace.x))
    colors = _each(trace.textfont.color or layout.font.color, len(trace.x))
    for row, (x, y) in shown:
        if text := plain(str(texts[row])):
            yield Words(
                x=x - width_of(text, size) / 2, y=y + middle(size), text=text, size=size,
                color=str(colors[row]),
            )  # fmt: skip
