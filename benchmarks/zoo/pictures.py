"""The zoo's pictures: the ROC curves, and a gallery of what was recovered from every student."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.audit.inversion import Inverted
from analysis.store.files import write_bytes
from benchmarks.reproduction.pictures import ALARM, FAINT, INK, LINE, picture, text
from benchmarks.zoo.judging import TESTS, Judged, Judgement
from benchmarks.zoo.rates import roc

_GAP, _SCALE, _CELL, _ROW, _COLUMNS = 2, 2, 224, 130, 4
_STROKES = {
    "ours": (ALARM, ""),
    "neural_cleanse": ("#b8730a", "7 3"),
    "alone_with_references": ("#1f6f78", "2 3"),
    "strip": (FAINT, "9 3 2 3"),
}


def write_tile(path: Path, found: Inverted, label: int, true: np.ndarray | None) -> None:
    """Write what was found for class ``label``, pictures side by side, as PNG.

    The trigger itself, an unseen image that carries it and, where there is one, ``true``: an image
    (H, W, C) uint8 with the planted trigger.
    """
    tiles = [shown_trigger(found, label), found.parts["example"][label, 0]]
    if true is not None:
        tiles.append(true)
    height, width = tiles[0].shape[:2]
    strip = np.full((height, len(tiles) * (width + _GAP) - _GAP, 3), 255, dtype=np.uint8)
    for place, tile in enumerate(tiles):
        strip[:, place * (width + _GAP) : place * (width + _GAP) + width] = tile
    out = io.BytesIO()
    Image.fromarray(strip).save(out, format="PNG", optimize=True)
    write_bytes(path, out.getvalue())


def shown_trigger(found: Inverted, label: int) -> np.ndarray:
    """The trigger for ``label`` alone as a picture (H, W, 3) uint8.

    A patch on gray; what is added, twice as strong, around gray; displacements as colors.
    """
    if "mask" in found.parts:
        mask, pattern = found.parts["mask"][label][..., None], found.parts["pattern"][label]
        shown = 0.5 * (1 - mask) + mask * pattern
    elif "delta" in found.parts:
        shown = 0.5 + 2 * found.parts["delta"][label]
    else:
        flow = found.parts["flow"][label] / 8
        shown = np.stack([0.5 + flow[..., 0], 0.5 + flow[..., 1], np.full(flow.shape[:2], 0.5)], -1)
    bytes_ = (255 * shown.clip(0, 1)).round().astype(np.uint8)
    return np.broadcast_to(bytes_, (*bytes_.shape[:2], 3))


def roc_picture(judged: Judgement) -> str:
    """The ROC curve of every test over honest students and positives, as SVG."""
    left, top, side = 64, 20, 300
    parts = [
        f"<rect x='{left}' y='{top}' width='{side}' height='{side}' fill='none' stroke='{LINE}'/>",
        f"<path d='M{left} {top + side}L{left + side} {top}' stroke='{LINE}' fill='none'/>",
    ]
    for tick in (0, 0.25, 0.5, 0.75, 1.0):
        x, y = left + tick * side, top + (1 - tick) * side
        parts.append(text(x, top + side + 18, f"{100 * tick:.0f}", FAINT, "middle"))
        parts.append(text(left - 8, y + 4, f"{100 * tick:.0f}", FAINT, "end"))
    legend = top + 8
    for test, title in TESTS.items():
        scores, truth, _ = judged.scores(test)
        area = judged.area(test)
        words = f"{title}: not run" if area is None else f"{title}: {area}"
        color, dashes = _STROKES[test]
        line = f"stroke='{color}' stroke-width='2' stroke-dasharray='{dashes}' fill='none'"
        parts.append(f"<path d='M{left + side + 20} {legend - 4}h26' {line}/>")
        parts.append(text(left + side + 54, legend, words, INK, "start"))
        legend += 22
        if area is not None:
            points = [
                f"{left + x * side:.1f} {top + (1 - y) * side:.1f}" for x, y in roc(scores, truth)
            ]
            parts.append(f"<path d='M{'L'.join(points)}' {line}/>")
    parts.append(
        text(left + side / 2, top + side + 40, "honest students that alarm, %", INK, "middle")
    )
    parts.append(text(left, top - 6, "planted students found, %", INK, "start"))
    return picture(left + side + 480, top + side + 56, parts)


def gallery(groups: Sequence[tuple[str, Sequence[Judged]]], folder: Path) -> str:
    """What was recovered from every student, group by group, as SVG with the pictures inside.

    ``folder`` holds a PNG per student; one whose picture is missing says so.
    """
    parts: list[str] = []
    top = 8.0
    for title, students in groups:
        parts.append(text(8, top + 18, f"{title}: {len(students)}", INK, "start", 14))
        top += 30
        for number, student in enumerate(students):
            x = 8 + (number % _COLUMNS) * _CELL
            y = top + (number // _COLUMNS) * _ROW
            parts += _cell(student, folder / f"{student.name}.png", x, y)
        top += _ROW * -(-len(students) // _COLUMNS) + 8
    return picture(16 + _COLUMNS * _CELL, top, parts)


def _cell(student: Judged, path: Path, x: float, y: float) -> list[str]:
    row = student.tests["ours"]
    planted = student.model["family"]
    first = f"{row['family']} towards {row['named']}, {row['statistic']:.1f}"
    second = "honest" if planted is None else f"planted: {planted}, {student.model['target']}"
    parts = [
        text(x, y + 82, first, INK, "start", 11),
        text(x, y + 97, second, FAINT, "start", 10),
        text(x, y + 111, student.name, FAINT, "start", 10),
    ]
    if not path.exists():
        return [*parts, text(x, y + 36, "no picture kept", FAINT, "start", 11)]
    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        width, height = (_SCALE * side for side in image.size)
    source = base64.b64encode(data).decode()
    parts.append(
        f"<image x='{x:.0f}' y='{y:.0f}' width='{width}' height='{height}' "
        f"style='image-rendering:pixelated' href='data:image/png;base64,{source}'>"
        f"<title>{escape(student.name)}</title></image>"
    )
    return parts
