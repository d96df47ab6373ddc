"""What a recovered trigger looks like, alone and on images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from dashboard.figures.attributions import map_picture, picture_uri
from dashboard.figures.numbers import sentence_case
from dashboard.theme import Palette, rgb

_TITLES = {
    "mask": "Smallest patch",
    "coarse": "Smallest picture",
    "spatial": "Weakest smooth pattern",
    "frequency": "Weakest waves",
    "warp": "Smallest warp",
}


def family_title(family: str) -> str:
    """What the search for a trigger of this family looks for."""
    return _TITLES.get(family, family)


def family_kind(family: str) -> str:
    """The kind of trigger in a word or two, for narrow places."""
    return sentence_case(_TITLES[family].partition(" ")[2]) if family in _TITLES else family


def in_order(families: Iterable[str]) -> list[str]:
    """``families`` from small things to whole images; those that are not known come last."""
    places = {name: place for place, name in enumerate(_TITLES)}
    return sorted(families, key=lambda name: places.get(name, len(places)))


def trigger_picture(parts: Mapping[str, np.ndarray], colors: Palette) -> str | None:
    """The trigger of one class as a PNG data URI, or None for parts that are not known.

    ``parts`` are those of :func:`analysis.audit.record.recovered`, one row each. A patch stands
    on the panel's gray; an additive pattern is amplified until its strongest pixel is at the end
    of the scale, around middle gray; a warp is the length of its displacements.
    """
    if "mask" in parts:
        mask = np.asarray(parts["mask"], dtype=np.float64)[..., None]
        ground = np.array(rgb(colors.panel)) / 255
        pattern = np.asarray(parts["pattern"], dtype=np.float64)
        return picture_uri(_bytes(ground * (1 - mask) + pattern * mask))
    if "delta" in parts:
        delta = np.asarray(parts["delta"], dtype=np.float64)
        return picture_uri(_bytes(0.5 + delta / (2 * max(np.abs(delta).max(), 1e-9))))
    if "flow" in parts:
        length = np.linalg.norm(np.asarray(parts["flow"], dtype=np.float64), axis=-1)
        return map_picture(length, float(length.max()), colors, signed=False)
    return None


def trigger_text(parts: Mapping[str, np.ndarray]) -> str:
    """Its extent in words, bound to its numbers."""
    if "mask" in parts:
        mask = np.asarray(parts["mask"])
        return f"{mask.sum():.3g} px of {mask.size}"
    if "delta" in parts:
        return f"at most {255 * np.abs(parts['delta']).max():.0f}/255 a pixel, amplified here"
    if "flow" in parts:
        return f"moves pixels by up to {np.linalg.norm(parts['flow'], axis=-1).max():.1f} px"
    return ""


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(255 * values, 0, 255).round().astype(np.uint8)
