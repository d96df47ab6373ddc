"""What a drawing is made of: filled and stroked outlines, circles, words and pictures.

Coordinates are pixels from the upper left corner. Colors are ``#RRGGBB`` or ``rgba(r,g,b,a)``.
``title`` is what a shape says when it is pointed at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.errors import InputError

Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]

_HEX = re.compile(r"#[0-9A-Fa-f]{6}")
_RGBA = re.compile(r"rgba\((\d+), ?(\d+), ?(\d+), ?([0-9.]+)\)")


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line's color, width and dashes (lengths of line and gap)."""

    color: str
    width: float = 1.0
    dash: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A polyline, or with ``closed`` a polygon."""

    points: Sequence[Point]
    closed: bool = False
    fill: str | None = None
    stroke: Stroke | None = None
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    """A circle around (``x``, ``y``)."""

    x: float
    y: float
    radius: float
    fill: str | None = None
    stroke: Stroke | None = None
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Text whose baseline starts, is centered or ends at (``x``, ``y``), turned by ``angle``.

    ``halo`` is the color of a seam around the letters, which keeps them readable on points.
    """

    x: float
    y: float
    text: str
    size: float
    color: str
    weight: int = 400
    anchor: Anchor = "start"
    angle: float = 0.0
    halo: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An encoded picture (PNG or WebP), stretched over a rectangle without smoothing."""

    x: float
    y: float
    width: float
    height: float
    data: bytes
    title: str = ""


Shape = Outline | Circle | Words | Picture


@dataclass(frozen=True, slots=True)
class Drawing:
    """Shapes in the order in which they are painted, on a ``background`` or on nothing."""

    width: float
    height: float
    shapes: tuple[Shape, ...]
    background: str | None = None


def box(
    x0: float,
    y0: float,
    x1: float,
    y1: float,
    *,
    fill: str | None = None,
    stroke: Stroke | None = None,
    title: str = "",
) -> Outline:
    """A rectangle with two opposite corners."""
    corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    return Outline(points=corners, closed=True, fill=fill, stroke=stroke, title=title)


def channels(color: str) -> tuple[int, int, int, float]:
    """Red, green, blue (0 to 255) and opacity (0 to 1); :class:`InputError` for other colors."""
    if _HEX.fullmatch(color):
        return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16), 1.0
    if match := _RGBA.fullmatch(color):
        return int(match[1]), int(match[2]), int(match[3]), float(match[4])
    raise InputError(f"color {color!r}", expected="#RRGGBB or rgba(r,g,b,a)")


def hidden(color: str | None) -> bool:
    """Whether nothing is seen of ``color``."""
    return color is None or channels(color)[3] == 0
