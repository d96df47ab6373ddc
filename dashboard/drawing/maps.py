"""Both linked maps as one drawing: what the WebGL component shows, for files and for paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dashboard.components.pair_map.points import RAMP_STEPS, PairPoints, PointColors
from dashboard.drawing.shapes import Circle, Drawing, Outline, Shape, Stroke, Words, box
from dashboard.drawing.traces import between
from dashboard.drawing.words import middle, width_of
from dashboard.figures.chart import scale_of
from dashboard.theme import Palette, faded

_GAP, _HEAD, _FOOT, _INSIDE = 16.0, 34.0, 26.0, 12.0
_MOST_LABELS = 20


def pair_drawing(
    points: PairPoints,
    color: PointColors,
    titles: Sequence[str],
    colors: Palette,
    *,
    width: float = 1080.0,
    height: float = 470.0,
    frame: tuple[float, float, float, float] | None = None,
    highlight: np.ndarray | None = None,
) -> Drawing:
    """``points`` as two maps in one frame, the left model's and the right one's.

    ``frame`` (left, right, bottom, top) is what is in view, by default all points; ``highlight``
    (N,) bool what a filter leaves, the rest is pale.
    """
    view = frame or _bounds(points)
    panel = ((width - _GAP) / 2, height - _FOOT)
    shapes: list[Shape] = []
    fills = code_colors(color.legend, colors)
    own = [fills[code] for code in color.codes]
    if highlight is not None:
        pale = faded(colors.reference, 0.22)
        own = [fill if kept else pale for fill, kept in zip(own, highlight, strict=True)]
    for side, title in enumerate(titles):
        left = side * (panel[0] + _GAP)
        place = _Place(view, left, panel)
        layout = points.layout("teacher" if side == 0 else "student")
        xy = np.column_stack([place.x(layout[:, 0]), place.y(layout[:, 1])])
        shapes += _panel(title, side, left, panel, colors)
        shapes += _dots(points, side, xy, own, colors, place)
        shapes += _names(points, side, xy, colors)
    shapes += _legend(color.legend, fills, height, colors)
    return Drawing(width, height, tuple(shapes), colors.background)


class _Place:
    """From one layout's coordinates to the pixels of its panel; the scale is the same on both."""

    def __init__(
        self, view: tuple[float, float, float, float], left: float, panel: tuple[float, float]
    ):
        low, high, bottom, top = view
        room = (panel[0] - 2 * _INSIDE, panel[1] - _HEAD - 2 * _INSIDE)
        self.scale = min(room[0] / (high - low), room[1] / (top - bottom))
        self.center = ((low + high) / 2, (bottom + top) / 2)
        self.middle = (left + panel[0] / 2, _HEAD + (panel[1] - _HEAD) / 2)
        self.area = (left, left + panel[0], _HEAD, panel[1])

    def x(self, values: np.ndarray) -> np.ndarray:
        """Pixels of horizontal coordinates."""
        return self.middle[0] + (values - self.center[0]) * self.scale

    def y(self, values: np.ndarray) -> np.ndarray:
        """Pixels of vertical coordinates, which grow upwards."""
        return self.middle[1] - (values - self.center[1]) * self.scale

    def inside(self, x: float, y: float) -> bool:
        """Whether a pixel lies in the panel."""
        left, right, top, bottom = self.area
        return left <= x <= right and top <= y <= bottom


def _bounds(points: PairPoints) -> tuple[float, float, float, float]:
    every = np.concatenate([points.layout("teacher"), points.layout("student")])
    (left, bottom), (right, top) = every.min(axis=0).tolist(), every.max(axis=0).tolist()
    return left, max(right, left + 1e-6), bottom, max(top, bottom + 1e-6)


def code_colors(legend: dict[str, Any], colors: Palette) -> list[str]:
    """The color of every code of a coloring, the last one for what was not measured."""
    if legend["kind"] == "categories":
        return [*(_slot(slot, colors) for slot in legend["slots"]), colors.edge]
    scale = scale_of(getattr(colors, legend["ramp"]))
    return [*(between(scale, step / (RAMP_STEPS - 1)) for step in range(RAMP_STEPS)), colors.edge]


def _slot(slot: int | str, colors: Palette) -> str:
    return str(getattr(colors, slot)) if isinstance(slot, str) else colors.class_color(slot)


def _panel(
    title: str, side: int, left: float, panel: tuple[float, float], colors: Palette
) -> Iterator[Shape]:
    edge = Stroke(colors.edge)
    yield box(left + 0.5, 0.5, left + panel[0] - 0.5, panel[1] - 0.5, stroke=edge)
    x, y = left + 16, _HEAD / 2
    if side == 0:
        yield Circle(x=x, y=y, radius=4.5, fill=colors.teacher)
    else:
        yield box(x - 4.5, y - 4.5, x + 4.5, y + 4.5, fill=colors.student)
    yield Words(
        x=x + 11, y=y + middle(13.5), text=title, size=13.5, color=colors.text, weight=600
    )  # fmt: skip


def _dots(
    points: PairPoints,
    side: int,
    xy: np.ndarray,
    fills: Sequence[str],
    colors: Palette,
    place: _Place,
) -> Iterator[Shape]:
    count = len(points)
    none = np.zeros(count, dtype=bool)
    turned = none if points.has_trigger is None else np.asarray(points.has_trigger, bool)
    under = none if points.backdrop is None else np.asarray(points.backdrop, bool)
    far = none if points.far is None else np.asarray(points.far, bool)[:, side]
    radius = 2.6 if count <= 4000 else 1.9
    pale = faded(colors.reference, 0.3)
    # What lies beneath is painted first, as on the screen.
    for row in np.argsort(~under, kind="stable").tolist():
        x, y = xy[row].tolist()
        if not place.inside(x, y):
            continue
        fill = pale if under[row] else fills[row]
        stroke = Stroke(fill, 1.1) if far[row] else None
        inner = None if far[row] else fill
        if turned[row]:
            reach = 1.3 * radius
            corners = ((x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y))
            yield Outline(points=corners, closed=True, fill=inner, stroke=stroke)
        else:
            yield Circle(x=x, y=y, radius=radius, fill=inner, stroke=stroke)


def _names(points: PairPoints, side: int, xy: np.ndarray, colors: Palette) -> Iterator[Words]:
    """Class names where their images lie, the larger classes first; none over another one."""
    answers = points.teacher_answers if side == 0 else points.student_answers
    groups = np.asarray(answers if points.labels is None else points.labels)
    under = groups >= 0 if points.backdrop is None else np.asarray(points.backdrop, bool)
    sizes = np.bincount(groups[under], minlength=len(points.class_names))
    taken: list[tuple[float, float, float]] = []
    for index in np.argsort(-sizes, kind="stable")[:_MOST_LABELS].tolist():
        if sizes[index] == 0:
            continue
        x, y = np.median(xy[under & (groups == index)], axis=0).tolist()
        name, size = points.class_names[index], 11.5
        half = width_of(name, size, 500) / 2
        if any(abs(x - u) < half + w + 3 and abs(y - v) < 13 for u, v, w in taken):
            continue
        taken.append((x, y, half))
        yield Words(
            x=x - half, y=y + middle(size), text=name, size=size, color=colors.text, weight=500,
            halo=colors.background,
        )  # fmt: skip


def _legend(
    legend: dict[str, Any], fills: Sequence[str], height: float, colors: Palette
) -> Iterator[Shape]:
    x, y, size = 2.0, height - 8.0, 12.0

    def words(text: str, at: float) -> Words:
        return Words(x=at, y=y, text=text, size=size, color=colors.secondary)

    if legend["kind"] == "categories" and len(legend["names"]) <= 6:
        for name, fill in zip(legend["names"], fills, strict=False):
            yield Circle(x=x + 4, y=y - 4, radius=4, fill=fill)
            yield words(name, x + 13)
            x += 31 + width_of(name, size)
        return
    title = f"Color: {legend['title']}"
    yield words(title, x)
    x += 14 + width_of(title, size)
    if legend["kind"] == "categories":
        return
    yield words(legend["low"], x)
    x += 8 + width_of(legend["low"], size)
    for step in range(0, RAMP_STEPS, 5):
        yield box(x, y - 9, x + 2.6, y - 1, fill=fills[step])
        x += 2.4
    yield words(legend["high"], x + 8)
