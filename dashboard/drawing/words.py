"""Text in drawings: how wide it is, and the few tags that the charts' texts carry."""

from __future__ import annotations

import functools
import html
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageFont

FAMILY = "IBM Plex Sans"
FONTS = Path(__file__).parent.parent / "static"
_FILES = {400: "Regular", 500: "Medium", 600: "SemiBold"}
_TAG = re.compile(r"<(/?)(b|span|br)\b([^<>]*)>")
_COLOR = re.compile(r"color:\s*(#[0-9A-Fa-f]{6})")
_CAP = 0.698
"""Height of a capital letter of the font, as a share of its size."""


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of a line in one weight and color; ``color`` None is that of the text around."""

    text: str
    bold: bool = False
    color: str | None = None


def font_file(weight: int) -> Path:
    """The font's file for a weight of 400, 500 or 600."""
    return FONTS / f"IBMPlexSans-{_FILES[weight]}.woff2"


@functools.lru_cache(maxsize=64)
def font(size: float, weight: int = 400) -> ImageFont.FreeTypeFont:
    """The interface's font, ready to measure and draw with.

    A Pillow that was built without WOFF2 draws with the font that it brings itself.
    """
    try:
        return ImageFont.truetype(font_file(weight), size)
    except OSError:
        found = ImageFont.load_default(size)
        assert isinstance(found, ImageFont.FreeTypeFont)
        return found


def width_of(text: str, size: float, weight: int = 400) -> float:
    """Width of ``text`` in pixels."""
    return float(font(20.0, weight).getlength(text)) * size / 20


def middle(size: float) -> float:
    """How far below its middle line the baseline of capitals and digits lies."""
    return _CAP * size / 2


def lines_of(text: str) -> list[list[Run]]:
    """``text`` with plotly's tags as lines of runs; other tags stay what they are, text."""
    lines: list[list[Run]] = [[]]
    bold, colors, at = 0, [None], 0  # type: int, list[str | None], int
    for match in [*_TAG.finditer(text), None]:
        piece = html.unescape(text[at : match.start() if match else None])
        if piece:
            lines[-1].append(Run(piece, bold > 0, colors[-1]))
        if match is None:
            break
        at = match.end()
        closing, tag = bool(match[1]), match[2]
        if tag == "br":
            lines.append([])
        elif tag == "b":
            bold += -1 if closing else 1
        elif closing:
            colors = colors[:-1] or [None]
        else:
            found = _COLOR.search(match[3])
            colors.append(found[1] if found else colors[-1])
    return lines


def plain(text: str) -> str:
    """``text`` without tags, lines joined by a line break: for titles."""
    return "\n".join("".join(run.text for run in line) for line in lines_of(text))
