"""Do the maps of the pair point at the trigger? Mass, pointing game and overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.errors import InputError

HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointing:
    """How maps (N, H, W) lie on a region, each in [0, 1], higher is more on it.

    ``mass`` mean share of the positive mass inside, ``pointing`` share of images whose strongest
    pixel lies inside, ``overlap`` mean intersection over union with the equally many strongest
    pixels. ``area`` is the region's share of the image: what a map that points nowhere gives for
    the first two.
    """

    mass: float
    pointing: float
    overlap: float
    area: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
        return {name: getattr(self, name) for name in self.__slots__}


def region_of(weights: np.ndarray, share: float = HALF) -> np.ndarray:
    """The pixels (H, W) bool on which a trigger is at least ``share`` as strong as at its peak.

    ``weights`` (H, W) >= 0: a mask, or how much a trigger changes. At least the peak itself.
    """
    peak = float(weights.max())
    return np.asarray(weights >= share * peak) if peak > 0 else np.asarray(weights >= peak)


def pointing(maps: np.ndarray, regions: np.ndarray) -> Pointing:
    """Measure how ``maps`` (N, H, W) point at ``regions`` bool, (H, W) for all or (N, H, W).

    A map without positive mass has a share of 0. Of several strongest pixels each counts as much:
    a map without any variation points at the region as often as its area says.
    Raises :class:`InputError` for an empty region and for other shapes.
    Source of the pointing game: Zhang, Lin, Brandt, Shen, Sclaroff 2016, arXiv 1608.00507.
    """
    fits = regions.shape in (maps.shape, maps.shape[1:])
    if maps.ndim != 3 or not len(maps) or not fits or regions.dtype != bool:
        raise InputError(f"maps {maps.shape} and regions {regions.shape} of {regions.dtype}")
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    inside = np.broadcast_to(regions, maps.shape).reshape(flat.shape)
    count = inside.sum(axis=1)
    if not count.all():
        raise InputError("an empty region", expected="at least one pixel of every image")
    positive = np.maximum(flat, 0)
    total = positive.sum(axis=1)
    share = np.divide(
        (positive * inside).sum(axis=1), total, out=np.zeros(len(maps)), where=total > 0
    )
    ranks = np.argsort(np.argsort(-flat, axis=1, kind="stable"), axis=1)
    common = ((ranks < count[:, None]) & inside).sum(axis=1)
    strongest = flat == flat.max(axis=1, keepdims=True)
    hit = (strongest & inside).sum(axis=1) / strongest.sum(axis=1)
    return Pointing(
        mass=float(share.mean()),
        pointing=float(hit.mean()),
        overlap=float((common / (2 * count - common)).mean()),
        area=float(inside.mean()),
        n=len(maps),
    )


def region_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two regions (H, W) bool, in [0, 1]; 0 when both are empty."""
    union = int((first | second).sum())
    return float((first & second).sum() / union) if union else 0.0
