"""The black figures on signs: people, cars, an exclamation mark.

All take the pen, a color, a stroke weight (1 is bold) and whether to face left.
"""

from __future__ import annotations

from collections.abc import Sequence

from analysis.data.signs.pen import Color, Pen, Point

_Limb = tuple[float, Sequence[Point]]


class _Placed:
    """Draws in a figure's own coordinates: shifted, scaled and mirrored."""

    def __init__(self, pen: Pen, center: Point, scale: float, color: Color, mirrored: bool):
        self._pen = pen
        self._center = center
        self._scale = scale
        self._color = color
        self._side = -1.0 if mirrored else 1.0

    def _at(self, point: Point) -> Point:
        x, y = point
        return (
            self._center[0] + self._side * x * self._scale,
            self._center[1] + y * self._scale,
        )

    def disk(self, center: Point, radius: float) -> None:
        self._pen.disk(self._at(center), radius * self._scale, self._color)

    def limbs(self, limbs: Sequence[_Limb], weight: float) -> None:
        for width, points in limbs:
            placed = [self._at(point) for point in points]
            self._pen.stroke(placed, width * weight * self._scale, self._color)

    def polygon(self, points: Sequence[Point]) -> None:
        self._pen.polygon([self._at(point) for point in points], self._color)


def walking_person(pen: Pen, color: Color, weight: float, mirrored: bool) -> None:
    """One upright person taking a step."""
    figure = _Placed(pen, (0.0, 0.20), 0.50, color, mirrored)
    figure.disk((0.02, -0.98), 0.19)
    figure.limbs(
        [
            (0.46, [(0.0, -0.58), (0.0, -0.02)]),
            (0.30, [(0.0, 0.0), (0.30, 0.42), (0.30, 0.95), (0.44, 0.95)]),
            (0.30, [(0.0, 0.0), (-0.14, 0.45), (-0.52, 0.88)]),
            (0.22, [(0.05, -0.62), (0.34, -0.28), (0.58, -0.14)]),
            (0.22, [(-0.05, -0.62), (-0.34, -0.30), (-0.44, 0.02)]),
        ],
        weight,
    )


def running_children(pen: Pen, color: Color, weight: float, mirrored: bool) -> None:
    """A big and a small child, running hand in hand."""
    side = -1.0 if mirrored else 1.0
    for center, scale in (((-0.24 * side, 0.22), 0.42), ((0.28 * side, 0.34), 0.31)):
        child = _Placed(pen, center, scale, color, mirrored)
        child.disk((0.16, -0.98), 0.22)
        child.limbs(
            [
                (0.46, [(0.10, -0.58), (-0.06, -0.05)]),
                (0.30, [(-0.04, -0.02), (0.42, 0.24), (0.26, 0.78)]),
                (0.30, [(-0.08, 0.0), (-0.26, 0.44), (-0.78, 0.52)]),
                (0.22, [(0.10, -0.62), (0.52, -0.30), (0.80, -0.46)]),
                (0.22, [(0.02, -0.62), (-0.44, -0.48), (-0.56, -0.14)]),
            ],
            weight,
        )


def digging_person(pen: Pen, color: Color, weight: float, mirrored: bool) -> None:
    """A person bent over a shovel, before a heap."""
    figure = _Placed(pen, (0.0, 0.24), 0.51, color, mirrored)
    figure.disk((0.06, -0.88), 0.19)
    figure.limbs(
        [
            (0.42, [(-0.04, -0.52), (-0.30, -0.04)]),
            (0.30, [(-0.30, 0.0), (-0.10, 0.40), (-0.20, 0.88)]),
            (0.30, [(-0.34, 0.0), (-0.52, 0.42), (-0.72, 0.88)]),
            (0.22, [(0.02, -0.50), (0.28, -0.16), (0.30, 0.10)]),
            (0.13, [(-0.10, -0.14), (0.74, 0.52)]),
        ],
        weight,
    )
    figure.polygon([(0.30, 0.98), (0.66, 0.44), (0.84, 0.50), (1.10, 0.98)])


def exclamation_mark(pen: Pen, color: Color, weight: float, mirrored: bool) -> None:
    """The mark of a danger that has no sign of its own; the same from both sides."""
    mark = _Placed(pen, (0.0, 0.17), 0.55, color, mirrored)
    mark.limbs([(0.30, [(0.0, -0.70), (0.0, 0.18)])], weight + 0.2)
    mark.disk((0.0, 0.66), 0.12 + 0.1 * weight)


def car(pen: Pen, center: Point, size: float, color: Color, window: Color) -> None:
    """A car seen from behind, ``2 * size`` wide."""
    body = _Placed(pen, center, size, color, mirrored=False)
    body.polygon([(-0.66, -0.80), (0.66, -0.80), (0.90, -0.10), (-0.90, -0.10)])
    body.polygon([(-0.95, -0.14), (0.95, -0.14), (0.95, 0.50), (-0.95, 0.50)])
    body.polygon([(-0.90, 0.50), (-0.50, 0.50), (-0.50, 0.82), (-0.90, 0.82)])
    body.polygon([(0.50, 0.50), (0.90, 0.50), (0.90, 0.82), (0.50, 0.82)])
    glass = _Placed(pen, center, size, window, mirrored=False)
    glass.polygon([(-0.50, -0.62), (0.50, -0.62), (0.64, -0.18), (-0.64, -0.18)])
