"""How alike two attribution maps are. Needs numpy and scipy, no torch.

:data:`AGREEMENTS` lists the measures; each compares N pairs of maps (N, H, W) at once. What
chance would give is in :mod:`~analysis.attribution.null`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.attribution.similarity import check_pair, structural_similarity
from analysis.attribution.transport import earth_movers_distance
from analysis.errors import InputError, nearest
from analysis.records import Direction

TOP_SHARE = 0.05
"""Share of pixels that count as the strongest."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A measure of two maps: ``function(first (N, H, W), second) -> (N,)`` in ``low`` to ``high``.

    NaN where it is not defined (a constant or empty map).
    """

    name: str
    title: str
    function: Callable[[np.ndarray, np.ndarray], np.ndarray]
    low: float
    high: float
    direction: Direction
    source: str


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each pair of maps (N, H, W) -> (N,) float64 in [-1, 1].

    1 means the same order of pixels. Ties share their mean rank; NaN where a map is constant,
    because a constant map ranks nothing. Raises :class:`InputError` for unequal shapes.
    Source: Spearman, American Journal of Psychology 15 (1904).
    """
    one, other = _flat_pair(first, second)
    ranks = [np.apply_along_axis(_mean_ranks, 1, maps) for maps in (one, other)]
    return _cosine(*(rank - rank.mean(axis=1, keepdims=True) for rank in ranks))


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of the angle between each pair of maps (N, H, W) -> (N,) float64 in [-1, 1].

    1 means the same map up to a positive factor; NaN where a map is zero everywhere. Raises
    :class:`InputError` for unequal shapes.
    """
    return _cosine(*_flat_pair(first, second))


def top_overlap(first: np.ndarray, second: np.ndarray, share: float = TOP_SHARE) -> np.ndarray:
    """Overlap of the strongest pixels of each pair of maps (N, H, W) -> (N,) in [0, 1].

    The strongest are the ``share`` (0 to 1] of pixels with the largest magnitude, at least one,
    ties broken by position; the overlap is intersection over union, 1 for the same pixels. NaN
    where all magnitudes of a map are equal, because no pixel of it is stronger than another.
    Raises :class:`InputError` for unequal shapes and for a share outside (0, 1].
    """
    flat = [np.abs(maps) for maps in _flat_pair(first, second)]
    one, other = (
        strongest(maps.reshape(first.shape), share).reshape(len(first), -1) for maps in flat
    )
    overlap = (one & other).sum(axis=1) / (one | other).sum(axis=1)
    ranked = np.logical_and(*(maps.min(axis=1) < maps.max(axis=1) for maps in flat))
    return np.where(ranked, overlap, np.nan)


def strongest(maps: np.ndarray, share: float = TOP_SHARE) -> np.ndarray:
    """Mark the ``share`` of pixels with the largest values in each map (N, H, W) -> bool.

    At least one pixel is marked; ties are broken by position. Raises :class:`InputError` for a
    share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise InputError(f"share {share:g} of the pixels", expected="above 0, at most 1")
    flat = np.asarray(maps).reshape(len(maps), -1)
    count = max(1, round(share * flat.shape[1]))
    mask = np.zeros(flat.shape, dtype=bool)
    np.put_along_axis(mask, np.argsort(-flat, axis=1, kind="stable")[:, :count], True, axis=1)
    return mask.reshape(maps.shape)


AGREEMENTS: Mapping[str, Agreement] = {
    entry.name: entry
    for entry in (
        Agreement(
            name="rank_correlation",
            title="rank correlation",
            function=rank_correlation,
            low=-1.0,
            high=1.0,
            direction="higher_is_closer",
            source="Spearman 1904",
        ),
        Agreement(
            name="top_overlap",
            title="overlap of the top 5 %",
            function=top_overlap,
            low=0.0,
            high=1.0,
            direction="higher_is_closer",
            source="Jaccard 1912",
        ),
        Agreement(
            name="structural_similarity",
            title="structural similarity",
            function=structural_similarity,
            low=-1.0,
            high=1.0,
            direction="higher_is_closer",
            source="Wang, Bovik, Sheikh, Simoncelli 2004",
        ),
        Agreement(
            name="cosine",
            title="cosine",
            function=cosine,
            low=-1.0,
            high=1.0,
            direction="higher_is_closer",
            source="",
        ),
        Agreement(
            name="earth_movers_distance",
            title="earth mover's distance",
            function=earth_movers_distance,
            low=0.0,
            high=1.0,
            direction="higher_is_farther",
            source="Rubner, Tomasi, Guibas 2000; Ling, Okada 2007",
        ),
    )
}


def find_agreement(name: str) -> Agreement:
    """Return the measure called ``name``; raises :class:`InputError` naming the nearest."""
    if name not in AGREEMENTS:
        raise InputError(f"unknown agreement of maps {name!r}", remedy=nearest(name, AGREEMENTS))
    return AGREEMENTS[name]


def _cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    norms = [np.sqrt((maps**2).sum(axis=1)) for maps in (one, other)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip((one * other).sum(axis=1) / (norms[0] * norms[1]), -1, 1)


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray(ends - (counts - 1) / 2.0)[inverse]


def _flat_pair(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    check_pair(first, second)
    rows = len(first)
    return (
        np.asarray(first, dtype=np.float64).reshape(rows, -1),
        np.asarray(second, dtype=np.float64).reshape(rows, -1),
    )
