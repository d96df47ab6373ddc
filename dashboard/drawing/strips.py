"""Pictures beside one another with a title above each: attribution maps, recovered triggers."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from analysis.errors import InputError
from dashboard.drawing.shapes import Drawing, Picture, Shape, Words
from dashboard.theme import Palette

_GAP, _HEAD, _SIZE = 14.0, 24.0, 13.0
_PER_ROW = 6


def strip_drawing(
    pictures: Sequence[tuple[str, str]], colors: Palette, *, side: float = 180.0
) -> Drawing:
    """``pictures`` (title, PNG data URI) as squares of ``side`` pixels, at most six in a row."""
    shapes: list[Shape] = []
    for place, (title, uri) in enumerate(pictures):
        row, column = divmod(place, _PER_ROW)
        x, y = _GAP + column * (side + _GAP), row * (side + _HEAD + _GAP) + _GAP
        shapes.append(
            Words(x=x, y=y + _SIZE, text=title, size=_SIZE, color=colors.text, weight=500)
        )
        data = picture_bytes(uri)
        shapes.append(Picture(x=x, y=y + _HEAD, width=side, height=side, data=data, title=title))
    columns = min(len(pictures), _PER_ROW)
    rows = -(-len(pictures) // _PER_ROW)
    width, height = _GAP + columns * (side + _GAP), rows * (side + _HEAD + _GAP) + _GAP
    return Drawing(width, height, tuple(shapes), colors.background)


def picture_bytes(uri: str) -> bytes:
    """The bytes of a picture in a data URI."""
    head, _, data = uri.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise InputError(f"picture {uri[:40]!r}", expected="a data URI")
    return base64.b64decode(data)
