"""How alike two attribution maps are. Needs numpy alone."""

from __future__ import annotations

import numpy as np

from analysis.errors import InputError


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each pair of maps (N, H, W) -> (N,) float64 in [-1, 1].

    1 means the same order of pixels. Ties share their mean rank; NaN where a map is constant,
    because a constant map ranks nothing. Raises :class:`InputError` for unequal shapes.
    Source: Spearman, American Journal of Psychology 15 (1904).
    """
    one, other = _flat_pair(first, second)
    ranks = [np.apply_along_axis(_mean_ranks, 1, maps) for maps in (one, other)]
    centered = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    spread = [np.sqrt((rank**2).sum(axis=1)) for rank in centered]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (centered[0] * centered[1]).sum(axis=1) / (spread[0] * spread[1])


def top_overlap(first: np.ndarray, second: np.ndarray, share: float = 0.05) -> np.ndarray:
    """Overlap of the strongest pixels of each pair of maps (N, H, W) -> (N,) in [0, 1].

    The strongest are the ``share`` (0 to 1] of pixels with the largest magnitude, at least one,
    ties broken by position; the overlap is intersection over union, 1 for the same pixels.
    Raises :class:`InputError` for unequal shapes and for a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise InputError(f"share {share:g} of the pixels", expected="above 0, at most 1")
    one, other = _flat_pair(first, second)
    count = max(1, round(share * one.shape[1]))
    chosen = []
    for maps in (one, other):
        mask = np.zeros(maps.shape, dtype=bool)
        strongest = np.argsort(-np.abs(maps), axis=1, kind="stable")[:, :count]
        np.put_along_axis(mask, strongest, True, axis=1)
        chosen.append(mask)
    both = (chosen[0] & chosen[1]).sum(axis=1)
    return np.asarray(both / (chosen[0] | chosen[1]).sum(axis=1), dtype=np.float64)


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray(ends - (counts - 1) / 2.0)[inverse]


def _flat_pair(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if first.shape != second.shape or first.ndim != 3 or 0 in first.shape:
        raise InputError(
            f"maps of shapes {first.shape} and {second.shape}",
            expected="two equal shapes (N, H, W) with at least one pixel",
        )
    rows = len(first)
    return (
        np.asarray(first, dtype=np.float64).reshape(rows, -1),
        np.asarray(second, dtype=np.float64).reshape(rows, -1),
    )
