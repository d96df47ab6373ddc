"""A pen that draws strokes and polygons, the only way in which signs get their symbols.

No font is used, so the same signs come out on every machine that has Pillow. Coordinates span
[-1, 1] in both directions, x to the right and y down; lengths are in the same units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

Point = tuple[float, float]
Color = tuple[int, int, int]

_MARGIN = 1.06
_OVERSAMPLING = 4


class Pen:
    """Draws on a transparent square and hands it out smoothed.

    ``size`` is the side of the finished picture in pixels; drawing happens at four times that.
    """

    def __init__(self, size: int):
        self._size = size
        side = size * _OVERSAMPLING
        self._unit = side / 2 / _MARGIN
        self._middle = side / 2
        self._image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self._image)

    def _place(self, point: Point) -> Point:
        return self._middle + point[0] * self._unit, self._middle + point[1] * self._unit

    def disk(self, center: Point, radius: float, color: Color) -> None:
        """Fill a disk."""
        x, y = self._place(center)
        r = radius * self._unit
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=color)

    def polygon(self, points: Sequence[Point], color: Color, *, rounding: float = 0.0) -> None:
        """Fill a polygon whose corners are rounded outwards by ``rounding``."""
        self._draw.polygon([self._place(point) for point in points], fill=color)
        if rounding:
            self.stroke([*points, points[0]], 2 * rounding, color)

    def stroke(self, points: Sequence[Point], width: float, color: Color) -> None:
        """Draw a line through ``points`` with round ends and joints."""
        pixels = max(1, round(width * self._unit))
        placed = [self._place(point) for point in points]
        self._draw.line(placed, fill=color, width=pixels)
        for x, y in placed:
            r = pixels / 2
            self._draw.ellipse((x - r, y - r, x + r, y + r), fill=color)

    def text(
        self,
        text: str,
        *,
        height: float,
        letter_width: float,
        gap: float,
        weight: float,
        color: Color,
        center: Point = (0.0, 0.0),
    ) -> None:
        """Write ``text`` (of the characters 0 3 5 8 S T O P) as strokes around ``center``.

        ``height`` and ``letter_width`` are measured between the middles of the strokes,
        ``weight`` is the width of a stroke.
        """
        step = letter_width + weight + gap
        left = center[0] - (len(text) - 1) * step / 2
        for position, letter in enumerate(text):
            x0 = left + position * step - letter_width / 2
            y0 = center[1] - height / 2
            for line in LETTERS[letter]:
                self.stroke(
                    [(x0 + x * letter_width, y0 + y * height) for x, y in line], weight, color
                )

    def finish(self) -> Image.Image:
        """Return the drawing at ``size`` pixels with premultiplied alpha (mode ``RGBa``)."""
        return self._image.convert("RGBa").reduce(_OVERSAMPLING)


def arc(center: Point, radii: Point, start: float, end: float, points: int = 18) -> list[Point]:
    """Points of an elliptic arc; angles in degrees, 0 to the right and 90 down."""
    turns = [math.radians(start + (end - start) * i / (points - 1)) for i in range(points)]
    return [(center[0] + radii[0] * math.cos(t), center[1] + radii[1] * math.sin(t)) for t in turns]


def _superellipse(center: Point, radii: Point, power: float = 0.8) -> list[Point]:
    """A closed oval with flatter sides than an ellipse, as traffic lettering has them."""
    points = []
    for x, y in arc((0.0, 0.0), (1.0, 1.0), 0, 360, points=28):
        across = math.copysign(abs(x) ** power, x)
        down = math.copysign(abs(y) ** power, y)
        points.append((center[0] + radii[0] * across, center[1] + radii[1] * down))
    return points


# Every letter is a list of strokes in a unit box, (0, 0) at the upper left.
LETTERS: dict[str, list[list[Point]]] = {
    "0": [_superellipse((0.5, 0.5), (0.5, 0.5))],
    "3": [
        [*arc((0.46, 0.25), (0.44, 0.25), -155, 90), (0.36, 0.5)],
        arc((0.46, 0.74), (0.52, 0.26), -90, 155),
    ],
    "5": [[(0.92, 0.0), (0.14, 0.0), (0.08, 0.44), *arc((0.44, 0.68), (0.54, 0.32), -125, 148)]],
    "8": [
        _superellipse((0.5, 0.25), (0.43, 0.25), 0.9),
        _superellipse((0.5, 0.74), (0.52, 0.26), 0.9),
    ],
    "S": [arc((0.5, 0.25), (0.46, 0.25), -25, -270) + arc((0.5, 0.75), (0.48, 0.25), -90, 155)],
    "T": [[(-0.05, 0.0), (1.05, 0.0)], [(0.5, 0.0), (0.5, 1.0)]],
    "O": [_superellipse((0.5, 0.5), (0.5, 0.5))],
    "P": [
        [
            (0.05, 1.0),
            (0.05, 0.0),
            *arc((0.5, 0.28), (0.47, 0.28), -90, 90),
            (0.05, 0.56),
        ]
    ],
}
