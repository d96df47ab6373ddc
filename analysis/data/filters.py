"""Filters that leave an image what it shows, and break what was fitted to its exact pixels.

An adversarial perturbation is fitted to exact pixels; what an image shows survives. A filter
whose grid or kernel the images went through before (JPEG on the grid of a JPEG) would detect the
history of the file instead, so the JPEG here is always on a shifted grid.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from analysis.data.imageset import ImageSet
from analysis.errors import ConfigError, nearest

_GRID_SHIFT = 4
_QUALITY = 75
# Paeth, "Median finding on a 3 x 3 grid", Graphics Gems (1990): after these exchanges of the
# smaller and the larger, the fifth of nine values is their median.
_EXCHANGES = (
    (1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3),
    (5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A filter: ``apply`` maps images (N, H, W, C) uint8 to images of the same shape.

    ``keeps_meaning`` is False where some classes do change (a mirrored "left" is "right").
    """

    name: str
    title: str
    apply: Callable[[np.ndarray], np.ndarray]
    keeps_meaning: bool = True


def median3(images: np.ndarray) -> np.ndarray:
    """Median of each pixel's 3 x 3 neighborhood in each channel; the border is repeated.

    Maps images (N, H, W, C) uint8 to images of the same shape.
    """
    height, width = images.shape[1:3]
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    near = [framed[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    for low, high in _EXCHANGES:
        near[low], near[high] = (
            np.minimum(near[low], near[high]),
            np.maximum(near[low], near[high]),
        )
    return near[4]


def jpeg(images: np.ndarray, *, quality: int = _QUALITY, shift: int = _GRID_SHIFT) -> np.ndarray:
    """Through JPEG, with the grid of its blocks moved by ``shift`` pixels along both axes.

    Maps images (N, H, W, C) uint8 of 1 or 3 channels to images of the same shape. Chroma is halved
    along both axes, as encoders do by default.
    """
    moved = np.pad(images, ((0, 0), (shift, 0), (shift, 0), (0, 0)), mode="edge")
    return np.stack([_through_jpeg(image, quality) for image in moved])[:, shift:, shift:]


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    gray = image.shape[2] == 1
    Image.fromarray(image[:, :, 0] if gray else image).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as decoded:
        return np.asarray(decoded)[:, :, None] if gray else np.asarray(decoded)


def mirror(images: np.ndarray) -> np.ndarray:
    """Images (N, H, W, C) with left and right exchanged."""
    return np.ascontiguousarray(images[:, :, ::-1])


FILTERS: Mapping[str, Filter] = {
    entry.name: entry
    for entry in (
        Filter(name="median", title="median 3 x 3", apply=median3),
        Filter(name="jpeg", title=f"JPEG {_QUALITY}, shifted grid", apply=jpeg),
        Filter(name="flip", title="mirror", apply=mirror, keeps_meaning=False),
    )
}


def find_filter(name: str) -> Filter:
    """Return the filter called ``name``; raises :class:`ConfigError` naming the nearest."""
    if name not in FILTERS:
        raise ConfigError(f"unknown filter {name!r}", remedy=nearest(name, FILTERS))
    return FILTERS[name]


def filtered(images: ImageSet, names: Iterable[str], rows: np.ndarray) -> dict[str, np.ndarray]:
    """The images of ``rows`` (M,) through each filter: {name: (M, H, W, C) uint8}.

    Raises :class:`ConfigError` for an unknown name, naming the nearest.
    """
    chosen = np.asarray(images.images[rows])
    return {name: find_filter(name).apply(chosen) for name in names}
