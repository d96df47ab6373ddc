"""How much of a map lies inside a region: drawn by hand, or where two pictures differ."""

from __future__ import annotations

import numpy as np

from analysis.attribution.null import DRAWS
from analysis.errors import InputError


def mass_inside(maps: np.ndarray, regions: np.ndarray, *, signed: bool = False) -> np.ndarray:
    """Share of each map's mass inside its region -> (N,) float64.

    ``maps`` (N, H, W); ``regions`` bool (N, H, W), or (H, W) for all. Mass is magnitude, the share
    in [0, 1], and a map that is the same everywhere gives the region's share of the area. With
    ``signed`` what speaks against counts negatively, and the share is in [-1, 1]. NaN where a map
    is zero everywhere. Raises :class:`InputError` for regions of another shape or type.
    """
    masks = _regions(maps, regions)
    values = np.asarray(maps, dtype=np.float64)
    inside = (values if signed else np.abs(values)) * masks
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(inside.sum(axis=(1, 2)) / np.abs(values).sum(axis=(1, 2)))


def area_inside(maps: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Share of the pixels inside each region (N,): what mass a map that knows nothing has there."""
    return np.asarray(_regions(maps, regions).mean(axis=(1, 2)))


def mass_of_shifted(
    maps: np.ndarray, regions: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
    """Mass inside the same region elsewhere: (draws, N), the null of :func:`mass_inside`.

    Regions are moved around the edges to uniformly drawn other places. Raises
    :class:`InputError` as :func:`mass_inside` does.
    """
    masks = _regions(maps, regions)
    count, height, width = masks.shape
    generator = np.random.default_rng(seed)
    found = np.empty((draws, count))
    for row in found:
        steps = generator.integers(1, max(height * width, 2), size=count)
        moved = [
            np.roll(mask, divmod(int(step), width), axis=(0, 1))
            for mask, step in zip(masks, steps, strict=True)
        ]
        row[:] = mass_inside(maps, np.stack(moved))
    return found


def changed_pixels(images: np.ndarray, presented: np.ndarray) -> np.ndarray:
    """Mark the pixels in which two pictures (N, H, W, C) differ -> bool (N, H, W).

    Of the clean images and those of a condition it is the trigger's support. Raises
    :class:`InputError` for unequal shapes.
    """
    if images.shape != presented.shape or images.ndim != 4:
        raise InputError(
            f"pictures of shapes {images.shape} and {presented.shape}",
            expected="two equal shapes (N, H, W, C)",
        )
    return np.asarray((images != presented).any(axis=3))


def _regions(maps: np.ndarray, regions: np.ndarray) -> np.ndarray:
    fits = regions.shape in (maps.shape, maps.shape[1:])
    if maps.ndim != 3 or not fits or regions.dtype != bool:
        raise InputError(
            f"regions of type {regions.dtype} and shape {regions.shape}",
            expected=f"bool of shape {maps.shape} or {maps.shape[1:]}",
        )
    return np.broadcast_to(regions, maps.shape)
