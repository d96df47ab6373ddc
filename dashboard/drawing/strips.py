"""Pictures beside one another with a title above each: attribution maps, triggers, examples."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from analysis.errors import InputError
from dashboard.drawing.shapes import Drawing, Picture, Shape, Words
from dashboard.theme import Palette

_SIDE, _GAP, _HEAD, _SIZE, _LINE = 180.0, 14.0, 24.0, 13.0, 18.0
_PER_ROW = 6

Note = tuple[str, str]
"""A line below a picture: its text and its color."""


def strip_drawing(
    pictures: Sequence[tuple[str, str]],
    colors: Palette,
    *,
    notes: Sequence[Sequence[Note]] = (),
) -> Drawing:
    """``pictures`` (title, data URI) as squares, at most six in a row.

    ``notes`` are the lines that stand below each of them, as many for every one.
    """
    shapes: list[Shape] = []
    below = _LINE * max(map(len, notes), default=0)
    tall = _HEAD + _SIDE + below + _GAP
    for place, (title, uri) in enumerate(pictures):
        row, column = divmod(place, _PER_ROW)
        x, y = _GAP + column * (_SIDE + _GAP), row * tall + _GAP
        shapes.append(
            Words(x=x, y=y + _SIZE, text=title, size=_SIZE, color=colors.text, weight=500)
        )
        data = picture_bytes(uri)
        shapes.append(Picture(x=x, y=y + _HEAD, width=_SIDE, height=_SIDE, data=data, title=title))
        for line, (text, color) in enumerate(notes[place] if notes else (), start=1):
            at = y + _HEAD + _SIDE + line * _LINE - 4
            shapes.append(Words(x=x, y=at, text=text, size=12.0, color=color))
    columns, rows = min(len(pictures), _PER_ROW), -(-len(pictures) // _PER_ROW)
    width, height = _GAP + columns * (_SIDE + _GAP), rows * tall + _GAP
    return Drawing(width, height, tuple(shapes), colors.background)


def picture_bytes(uri: str) -> bytes:
    """The bytes of a picture in a data URI."""
    head, _, data = uri.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise InputError(f"picture {uri[:40]!r}", expected="a data URI")
    return base64.b64decode(data)
