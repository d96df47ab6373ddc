"""A drawing as PNG, painted with Pillow at several times its size."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw

from dashboard.drawing.shapes import (
    Circle,
    Drawing,
    Outline,
    Picture,
    Point,
    Shape,
    Stroke,
    Words,
    channels,
    hidden,
)
from dashboard.drawing.words import font

_FINER = 2
"""Shapes are painted so many times finer than asked for: Pillow's edges are not smooth."""


def png(drawing: Drawing, *, scale: float = 2.0) -> bytes:
    """``drawing`` as the bytes of a PNG with ``scale`` pixels for every pixel of the drawing.

    Without a background of its own it stands on white.
    """
    size = (max(1, round(drawing.width * scale)), max(1, round(drawing.height * scale)))
    ground = _rgba(drawing.background or "#FFFFFF")[:3]
    sheet = Image.new("RGB", (size[0] * _FINER, size[1] * _FINER), ground)
    painter = _Painter(sheet, scale * _FINER)
    for shape in drawing.shapes:
        painter.paint(shape)
    image = painter.sheet.resize(size, Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _rgba(color: str) -> tuple[int, int, int, int]:
    red, green, blue, opacity = channels(color)
    return (red, green, blue, round(255 * opacity))


class _Painter:
    """Paints shapes on a sheet whose pixels are ``scale`` times finer than the drawing's."""

    def __init__(self, sheet: Image.Image, scale: float):
        self.sheet, self.scale = sheet, scale
        # In this mode colors that let through are blended with what is beneath.
        self.draw = ImageDraw.Draw(sheet, "RGBA")

    def paint(self, shape: Shape) -> None:
        match shape:
            case Outline():
                self._outline(shape)
            case Circle():
                self._circle(shape)
            case Words():
                self._words(shape)
            case Picture():
                self._picture(shape)

    def _outline(self, shape: Outline) -> None:
        points = [(x * self.scale, y * self.scale) for x, y in shape.points]
        if shape.fill is not None and not hidden(shape.fill) and len(points) > 2:
            self.draw.polygon(points, fill=_rgba(shape.fill))
        if shape.stroke is not None and shape.stroke.width and not hidden(shape.stroke.color):
            path = [*points, points[0]] if shape.closed else points
            self._line(path, shape.stroke)

    def _circle(self, shape: Circle) -> None:
        x, y, radius = (value * self.scale for value in (shape.x, shape.y, shape.radius))
        if shape.fill is not None and not hidden(shape.fill):
            self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), _rgba(shape.fill))
        if shape.stroke is not None and shape.stroke.width and not hidden(shape.stroke.color):
            width = shape.stroke.width * self.scale
            outer = radius + width / 2
            self.draw.ellipse(
                (x - outer, y - outer, x + outer, y + outer),
                outline=_rgba(shape.stroke.color), width=max(1, round(width)),
            )  # fmt: skip

    def _line(self, points: Sequence[Point], stroke: Stroke) -> None:
        width = max(1, round(stroke.width * self.scale))
        dash = [length * self.scale for length in stroke.dash]
        for piece in _dashed(points, dash) if dash else [points]:
            self.draw.line(list(piece), fill=_rgba(stroke.color), width=width, joint="curve")

    def _words(self, shape: Words) -> None:
        face = font(shape.size * self.scale, shape.weight)
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
        x, y = shape.x * self.scale, shape.y * self.scale
        if not shape.angle:
            seam = 0 if shape.halo is None else round(1.5 * self.scale)
            self.draw.text(
                (x, y), shape.text, font=face, fill=_rgba(shape.color), anchor=anchor,
                stroke_width=seam, stroke_fill=None if shape.halo is None else _rgba(shape.halo),
            )  # fmt: skip
            return
        # Turned on a sheet of its own that has the anchor in its middle.
        half = math.ceil(face.getlength(shape.text) + face.size)
        layer = Image.new("RGBA", (2 * half, 2 * half), (*_rgba(shape.color)[:3], 0))
        ImageDraw.Draw(layer).text(
            (half, half), shape.text, font=face, fill=_rgba(shape.color), anchor=anchor
        )
        turned = layer.rotate(-shape.angle, Image.Resampling.BICUBIC)
        left, top = round(x) - half, round(y) - half
        self.sheet.paste(turned, (left, top), turned)

    def _picture(self, shape: Picture) -> None:
        size = (round(shape.width * self.scale), round(shape.height * self.scale))
        image = Image.open(io.BytesIO(shape.data)).convert("RGBA")
        image = image.resize(size, Image.Resampling.NEAREST)
        self.sheet.paste(image, (round(shape.x * self.scale), round(shape.y * self.scale)), image)


def _dashed(points: Sequence[Point], dash: Sequence[float]) -> Iterator[list[Point]]:
    """The pieces of a polyline that dashes leave; the pattern runs on around corners."""
    turn, left = 0, dash[0]
    piece: list[Point] = [points[0]]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        length, at = math.hypot(x1 - x0, y1 - y0), 0.0
        while length - at > left:
            at += left
            here = (x0 + (x1 - x0) * at / length, y0 + (y1 - y0) * at / length)
            if turn % 2 == 0:
                yield [*piece, here]
            piece, turn = [here], turn + 1
            left = dash[turn % len(dash)]
        left -= length - at
        piece.append((x1, y1))
    if turn % 2 == 0 and len(piece) > 1:
        yield piece
