"""The sixteen signs, each drawn in several makes.

Signs of one class differ between countries and years: width of the rim, shade of the paint,
lettering, shape of the arrow. :func:`draw_templates` draws every class in :data:`MAKES` makes.
No sign is yellow: a yellow note is the trigger that the attack puts on these images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from analysis.data.signs.figures import (
    car,
    digging_person,
    exclamation_mark,
    running_children,
    walking_person,
)
from analysis.data.signs.pen import Color, Pen, Point, arc

MAKES = 6
TEMPLATE_SIZE = 112
_LIFT = 0.25


@dataclass(frozen=True, slots=True)
class Make:
    """What a road authority decides about its signs. Lengths in units of the sign's radius."""

    red: Color
    blue: Color
    white: Color
    black: Color
    rim: float
    edge: float
    letter_width: float
    weight: float
    variant: int

    @classmethod
    def draw(cls, rng: np.random.Generator, variant: int) -> Make:
        """Choose a make at random; ``variant`` numbers it."""
        red = rng.integers((172, 14, 24), (212, 44, 52))
        blue = rng.integers((4, 62, 140), (36, 104, 192))
        white, black = rng.integers(226, 248), rng.integers(14, 36)
        return cls(
            red=(int(red[0]), int(red[1]), int(red[2])),
            blue=(int(blue[0]), int(blue[1]), int(blue[2])),
            white=(int(white), int(white), int(white)),
            black=(int(black), int(black), int(black)),
            rim=float(rng.uniform(0.17, 0.26)),
            edge=float(rng.uniform(0.0, 0.06)),
            letter_width=float(rng.uniform(0.28, 0.40)),
            weight=float(rng.uniform(0.12, 0.17)),
            variant=variant,
        )


def _ring(pen: Pen, make: Make, fill: Color, rim: Color) -> None:
    pen.disk((0, 0), 1.0, make.white)
    pen.disk((0, 0), 1.0 - make.edge, rim)
    pen.disk((0, 0), 1.0 - make.edge - make.rim, fill)


def _stop(pen: Pen, make: Make) -> None:
    for radius, color in ((1.06, make.white), (1.0 - make.edge, make.red)):
        pen.polygon(arc((0, 0), (radius, radius), 22.5, 337.5, points=8), color)
    pen.text(
        "STOP",
        height=0.48 + 0.3 * (make.letter_width - 0.28),
        letter_width=0.17 + 0.3 * (make.letter_width - 0.28),
        gap=0.07,
        weight=0.09 + 0.3 * (make.weight - 0.12),
        color=make.white,
    )


def _triangle(scale: float, *, down: bool = False) -> list[Point]:
    """Corners of an upright or hanging triangle around the middle of its circle."""
    sign = -1.0 if down else 1.0
    corners = [(0.0, -1.0), (math.sin(2.1), -math.cos(2.1)), (-math.sin(2.1), -math.cos(2.1))]
    return [(x * scale, sign * (y * scale + _LIFT)) for x, y in corners]


def _red_triangle(pen: Pen, make: Make, *, down: bool = False) -> None:
    pen.polygon(_triangle(1.08, down=down), make.white, rounding=0.08)
    pen.polygon(_triangle(1.08 - make.edge, down=down), make.red, rounding=0.07)
    pen.polygon(_triangle(0.96 - 0.9 * make.rim, down=down), make.white, rounding=0.03)


def _yield(pen: Pen, make: Make) -> None:
    _red_triangle(pen, make, down=True)


def _no_entry(pen: Pen, make: Make) -> None:
    pen.disk((0, 0), 1.0, make.white)
    pen.disk((0, 0), 1.0 - make.edge, make.red)
    half, tall = 0.60 + 0.5 * make.weight, 0.10 + 0.5 * make.weight
    pen.polygon([(-half, -tall), (half, -tall), (half, tall), (-half, tall)], make.white)


def _limit(text: str) -> Callable[[Pen, Make], None]:
    def draw(pen: Pen, make: Make) -> None:
        _ring(pen, make, make.white, make.red)
        pen.text(
            text,
            height=0.72,
            letter_width=make.letter_width,
            gap=0.10,
            weight=make.weight,
            color=make.black,
        )

    return draw


def _blue_disk(pen: Pen, make: Make) -> None:
    pen.disk((0, 0), 1.0, make.white)
    pen.disk((0, 0), 1.0 - 0.5 * make.edge - 0.03, make.blue)


def _arrow(pen: Pen, make: Make, path: list[Point]) -> None:
    """A white arrow along ``path``, its head at the last point."""
    (x0, y0), (x1, y1) = path[-2:]
    length = math.hypot(x1 - x0, y1 - y0)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    width, head = 0.6 * make.weight + 0.12, 0.34 + 0.6 * (make.weight - 0.12)
    neck = (x1 - ux * head, y1 - uy * head)
    pen.stroke([*path[:-1], neck], width, make.white)
    pen.polygon(
        [
            (x1, y1),
            (neck[0] - uy * head, neck[1] + ux * head),
            (neck[0] + uy * head, neck[1] - ux * head),
        ],
        make.white,
        rounding=0.02,
    )


def _keep_right(pen: Pen, make: Make) -> None:
    _blue_disk(pen, make)
    reach = 0.62
    slope = math.radians(45 + 4 * (make.variant % 3 - 1))
    tip = (reach * math.cos(slope), reach * math.sin(slope))
    _arrow(pen, make, [(-tip[0], -tip[1]), tip])


def _ahead(pen: Pen, make: Make) -> None:
    _blue_disk(pen, make)
    _arrow(pen, make, [(0.0, 0.66), (0.0, -0.70)])


def _turn(side: float) -> Callable[[Pen, Make], None]:
    def draw(pen: Pen, make: Make) -> None:
        _blue_disk(pen, make)
        if make.variant % 3 == 2:
            _arrow(pen, make, [(-0.66 * side, 0.0), (0.70 * side, 0.0)])
            return
        bend = arc((0.06, -0.02), (0.34, 0.22), 180, 270, points=8)
        path = [(-0.28, 0.58), *bend, (0.70, -0.24)]
        _arrow(pen, make, [(x * side, y) for x, y in path])

    return draw


def _roundabout(pen: Pen, make: Make) -> None:
    _blue_disk(pen, make)
    width, radius = 0.6 * make.weight + 0.09, 0.50
    for start in (-80, 40, 160):
        pen.stroke(arc((0, 0), (radius, radius), start, start + 62), width, make.white)
        # The head points along the tangent, clockwise, just behind the end of its arc.
        turn = math.radians(start + 66)
        x, y = radius * math.cos(turn), radius * math.sin(turn)
        tangent, outward = (-math.sin(turn), math.cos(turn)), (math.cos(turn), math.sin(turn))
        pen.polygon(
            [
                (x + 0.30 * tangent[0], y + 0.30 * tangent[1]),
                (x + 0.24 * outward[0], y + 0.24 * outward[1]),
                (x - 0.24 * outward[0], y - 0.24 * outward[1]),
            ],
            make.white,
        )


def _no_overtaking(pen: Pen, make: Make) -> None:
    _ring(pen, make, make.white, make.red)
    car(pen, (-0.32, 0.04), 0.30, make.red, make.white)
    car(pen, (0.32, 0.04), 0.30, make.black, make.white)


def _warning(figure: Callable[[Pen, Color, float, bool], None]) -> Callable[[Pen, Make], None]:
    def draw(pen: Pen, make: Make) -> None:
        _red_triangle(pen, make)
        figure(pen, make.black, 0.60 + 2.2 * (make.weight - 0.12), make.variant % 2 == 1)

    return draw


_DRAWINGS: dict[str, Callable[[Pen, Make], None]] = {
    "stop": _stop,
    "yield": _yield,
    "no entry": _no_entry,
    "30": _limit("30"),
    "50": _limit("50"),
    "80": _limit("80"),
    "keep right": _keep_right,
    "no overtaking": _no_overtaking,
    "ahead": _ahead,
    "right": _turn(1.0),
    "left": _turn(-1.0),
    "roundabout": _roundabout,
    "pedestrians": _warning(walking_person),
    "children": _warning(running_children),
    "roadworks": _warning(digging_person),
    "caution": _warning(exclamation_mark),
}

SIGN_CLASSES: tuple[str, ...] = tuple(_DRAWINGS)


def draw_templates(rng: np.random.Generator) -> list[list[Image.Image]]:
    """Draw all signs head-on: ``[class][make]``, squares of mode ``RGBa``, TEMPLATE_SIZE wide."""
    makes = [Make.draw(rng, variant) for variant in range(MAKES)]
    templates = []
    for drawing in _DRAWINGS.values():
        row = []
        for make in makes:
            pen = Pen(TEMPLATE_SIZE)
            drawing(pen, make)
            row.append(pen.finish())
        templates.append(row)
    return templates
