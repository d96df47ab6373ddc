"""Both linked maps of a report: the component of the dashboard with its data inside the file."""

from __future__ import annotations

import base64
import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.records import CLEAN, TRIGGER, TRIGGER_PERTURBATION
from dashboard.comparison import Comparison
from dashboard.components.pair_map.points import PointColors
from dashboard.components.pair_map.serving import SCRIPT
from dashboard.drawing import pair_drawing, png
from dashboard.figures.numbers import count_of, escaped, thousands, visible
from dashboard.figures.points import MapPoints, map_points, point_colors
from dashboard.loading import Pair, load_pair, projection_of
from dashboard.report.images import Carried
from dashboard.report.pieces import missing, section
from dashboard.report.settings import ReportConfig
from dashboard.selection import COLORINGS
from dashboard.theme import DARK, LIGHT, Palette

_NAMES = {"overlap": "neighborhood"}
_HEIGHT = 460
_URL = "data:application/octet-stream;base64,"


@dataclass(frozen=True, slots=True)
class DrawnMaps:
    """The rows ``pair`` that are on the maps, in the order of ``points``; ``of`` all rows."""

    pair: Pair
    points: MapPoints
    of: int


def drawn_maps(c: Comparison, order: np.ndarray, config: ReportConfig) -> DrawnMaps | None:
    """Points of the first rows of ``order`` that have a place, or None without layouts."""
    if c.projection is None or len(c.pair) == 0:
        return None
    kept = np.sort(order[: config.points])
    pair = c.pair.rows(kept)
    beneath = None
    if c.condition != CLEAN:
        clean = projection_of(c.study, c.student, CLEAN, left=c.left)
        if clean is not None:
            under = load_pair(c.study, c.student, left=c.left)
            rows = np.random.default_rng(config.seed).permutation(len(under))[: config.points]
            beneath = (under.rows(np.sort(rows)), clean)
    found = map_points(
        pair, c.projection, c.class_names, None, beneath=beneath,
        triggered=c.condition in (TRIGGER, TRIGGER_PERTURBATION),
    )  # fmt: skip
    if len(found.rows) == 0:
        return None
    # Pictures are looked up by the row on the map.
    numbered = dataclasses.replace(found.points, thumbnail_index=np.arange(len(found.points)))
    return DrawnMaps(pair.rows(found.rows), dataclasses.replace(found, points=numbered), len(order))


def colorings(c: Comparison, maps: DrawnMaps) -> dict[str, PointColors]:
    """The colorings that the dashboard offers, by name."""
    return {
        name: maps.points.colors(point_colors(maps.pair, name, c.class_names, sides=c.sides))
        for name in COLORINGS
        if name != "label" or maps.pair.labels is not None
    }


def map_data(c: Comparison, maps: DrawnMaps, carried: Carried) -> dict[str, Any]:
    """What the script needs: the component's data, the colorings, the pictures by row."""
    points = maps.points.points
    return {
        "map": {
            "key": "report",
            "digest": points.digest,
            "count": len(points),
            "points": _encoded(points.encoded),
            "names": list(points.class_names),
            "titles": _titles(c),
            "shapes": list(points.shape_names),
            "quality": _quality(c),
            "height": _HEIGHT,
            "frame": None,
            "thumbnail": None,
            "palettes": {
                "light": dataclasses.asdict(LIGHT),
                "dark": dataclasses.asdict(DARK),
            },
            "selection": None,
        },
        "colorings": {
            name: {"colors": _encoded(color.encode()), "legend": color.legend}
            for name, color in colorings(c, maps).items()
        },
        "pictures": {str(row): text for row, text in carried.pictures.items()},
        "rows": len(maps.points.rows),
        "sides": [c.sides.left, c.sides.right],
    }


def _encoded(data: bytes) -> str:
    return _URL + base64.b64encode(data).decode()


def _titles(c: Comparison) -> dict[str, str]:
    left = "Teacher" if c.sides.against_teacher else visible(c.left, 40)
    return {"teacher": left, "student": visible(c.student, 40)}


def _quality(c: Comparison) -> str:
    assert c.projection is not None
    left, right = c.projection.teacher_quality, c.projection.student_quality
    return (
        f"Trustworthiness {left.trustworthiness:.3f} {c.sides.left}, "
        f"{right.trustworthiness:.3f} {c.sides.right}; continuity {left.continuity:.3f}, "
        f"{right.continuity:.3f}. One frame for both."
    )


def still_picture(c: Comparison, maps: DrawnMaps, colors: Palette = LIGHT) -> str:
    """What stands for the maps on paper and without a script: a PNG as a data URI."""
    first = next(iter(colorings(c, maps).values()))
    drawn = pair_drawing(maps.points.points, first, list(_titles(c).values()), colors)
    return "data:image/png;base64," + base64.b64encode(png(drawn, scale=1.5)).decode()


def map_section(c: Comparison, maps: DrawnMaps | None, still: str, below: str) -> str:
    """The place of the maps and the picture ``still``; ``below`` says what is on them."""
    title = "Where in the representation?"
    if maps is None:
        return section(
            "maps", title, "", missing("This study holds no layouts for this condition.")
        )
    known = colorings(c, maps)
    names = "".join(f'<option value="{n}">{_NAMES.get(n, n)}</option>' for n in known)
    body = (
        f'<div id="live"><label class="ds-label">Color by <select id="coloring">{names}</select>'
        '</label><div id="linked"></div><div id="chosen" class="ds-sub" role="status"></div>'
        '<div id="gallery" class="ds-gallery"></div></div>'
        f'<img id="still" src="{still}" alt="Both maps, colored by {escaped(next(iter(known)))}">'
    )
    how = "Draw around images on one map to see them on both."
    said = f'{below} <span class="on-screen">{how}</span>'
    return section("maps", title, said, body)


def coverage(maps: DrawnMaps, carried: Carried, seed: int) -> str:
    """Which images are on the maps and which come with their picture, in words."""
    shown = len(maps.points.rows)
    on = (
        f"All {count_of(shown, 'image')} are on the maps"
        if shown == maps.of
        else f"{thousands(shown)} of {count_of(maps.of, 'image')} are on the maps: those that part "
        f"most, the others drawn with seed {seed}"
    )
    pictures = len(carried.pictures)
    if pictures == shown:
        return f"{on}, each with its picture."
    if pictures == 0:
        return f"{on}, without pictures."
    return (
        f"{on}; {thousands(pictures)} come with their picture: those that part most, the others "
        f"drawn with seed {seed}."
    )


def script() -> str:
    """The component's built script as an expression that gives its entry point.

    The build ends in the export of one name; inside a file there is no module to import from.
    """
    text = SCRIPT.read_text(encoding="utf-8").rstrip()
    head, mark, tail = text.rpartition("export{")
    name, rest = tail.split(" as default}", 1)
    if not mark or rest not in ("", ";"):
        raise ValueError(f"{SCRIPT.name} does not end in its default export")
    return f"(()=>{{{head}return {name}}})()"
