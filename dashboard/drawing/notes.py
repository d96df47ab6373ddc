"""What lies on a chart besides its traces: lines and boxes, annotations, words in several runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from analysis.errors import InputError
from dashboard.drawing.axes import Axis, label_width
from dashboard.drawing.shapes import Anchor, Outline, Words, box
from dashboard.drawing.traces import stroke_of
from dashboard.drawing.words import Run, lines_of, middle, width_of

_LEADING = 1.3
_PAD = 2.0
"""How far the ground of words reaches beyond them."""
_ANCHORS: dict[str, Anchor] = {"left": "start", "center": "middle", "right": "end"}


def outline(shape: Any, x: Axis, y: Axis) -> Outline:
    """A line or a rectangle of the layout."""
    x0, x1 = (_at(value, shape.xref, x) for value in (shape.x0, shape.x1))
    y0, y1 = (_at(value, shape.yref, y) for value in (shape.y0, shape.y1))
    stroke = stroke_of(shape.line, "#444444")
    drawn = stroke if stroke.width else None
    if shape.type == "line":
        return Outline(points=((x0, y0), (x1, y1)), stroke=drawn)
    if shape.type != "rect":
        raise InputError(f"shape {shape.type!r}", expected="line or rect")
    return box(x0, y0, x1, y1, fill=shape.fillcolor, stroke=drawn)


def _at(value: Any, reference: str | None, axis: Axis) -> float:
    if reference in (None, axis.name):
        return axis.at(float(value))
    if reference in ("paper", f"{axis.name} domain"):
        return axis.share(float(value))
    raise InputError(f"a place on {reference!r}", expected=f"{axis.name} or paper")


def annotation(note: Any, x: Axis, y: Axis, layout: Any) -> Iterator[Outline | Words]:
    """Words at a place of the chart, on a ground; arrows and borders are not known."""
    if note.showarrow is not False or note.bordercolor or note.textangle:
        raise InputError(
            f"annotation {note.text!r}", expected="words without arrow, border or angle"
        )
    size = float(note.font.size or layout.font.size)
    color = note.font.color or layout.font.color
    # On a log axis an annotation names the power, everything else the value.
    value = 10 ** float(note.y) if y.log and note.yref in (None, "y") else note.y
    at = _at(note.x, note.xref, x) + float(note.xshift or 0)
    height = _at(value, note.yref, y) - float(note.yshift or 0)
    written = lines_of(note.text)
    rows = len(written)
    top = {"top": 0.0, "middle": 0.5, "bottom": 1.0}[note.yanchor or "middle"]
    if note.yanchor in (None, "auto") and note.yref == "paper":
        raise InputError(f"annotation {note.text!r} on the paper", expected="a yanchor")
    half = _LEADING * size / 2
    first = height + half - top * 2 * half * rows + middle(size)
    anchor = _ANCHORS[note.xanchor or "center"]
    if note.bgcolor:
        wide = max(_width(runs, size) for runs in written)
        start = at - {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * wide
        above = height - top * 2 * half * rows
        yield box(start - _PAD, above, start + wide + _PAD, above + 2 * half * rows,
                  fill=note.bgcolor)  # fmt: skip
    yield from lines(note.text, at, first, size, color, anchor)


def lines(
    text: str, x: float, y: float, size: float, color: str, anchor: Anchor, angle: float = 0.0
) -> Iterator[Words]:
    """Words with tags: each line below the last, each run beside the one before it."""
    turn = math.radians(angle)
    for row, runs in enumerate(lines_of(text)):
        whole = _width(runs, size)
        along = {"start": 0.0, "middle": -whole / 2, "end": -whole}[anchor]
        down = row * _LEADING * size
        for run in runs:
            weight = 600 if run.bold else 400
            yield Words(
                x=x + along * math.cos(turn) - down * math.sin(turn),
                y=y + along * math.sin(turn) + down * math.cos(turn),
                text=run.text, size=size, color=run.color or color, weight=weight, angle=angle,
            )  # fmt: skip
            along += width_of(run.text, size, weight)


def _width(runs: Sequence[Run], size: float) -> float:
    return sum(width_of(run.text, size, 600 if run.bold else 400) for run in runs)


__all__ = ["annotation", "label_width", "lines", "outline"]
