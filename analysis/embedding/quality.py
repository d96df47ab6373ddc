"""How far a two-dimensional layout may be believed."""

from __future__ import annotations

import numpy as np

from analysis.embedding.neighbors import NEIGHBORS, normalize_rows
from analysis.errors import InputError
from analysis.records import LayoutQuality

SUBSET = 1000
# 2 million float64 are 16 MiB.
_BLOCK_CELLS = 1 << 21


def layout_quality(
    features: np.ndarray,
    layout: np.ndarray,
    *,
    k: int = NEIGHBORS,
    subset: int = SUBSET,
    seed: int = 0,
) -> LayoutQuality:
    """Trustworthiness and continuity of ``layout`` (N, 2) for ``features`` (N, D).

    Trustworthiness falls when the layout shows neighbors that are none in feature space (L2
    normalized, Euclidean), continuity when it tears true neighbors apart. Both in [0, 1], 1 is
    best. At most ``subset`` rows, chosen by ``seed``, are scored, each against all N rows. k is
    lowered to stay below N / 2, as the normalization demands.

    Raises :class:`InputError` for fewer than three rows or rows that do not match. Source: Venna
    and Kaski, "Local multidimensional scaling", Neural Networks 19 (2006), eq. 1 and 2.
    """
    points, places = normalize_rows(features).astype(np.float64), _check_layout(layout)
    n = len(points)
    if len(places) != n or n < 3:
        raise InputError(
            f"{n} rows of features and {len(places)} of layout", expected="at least 3 rows each"
        )
    k = min(k, (n - 1) // 2)
    rows = np.arange(n)
    if n > subset:
        rows = np.sort(np.random.default_rng(seed).choice(n, subset, replace=False))
    intruders = leavers = 0.0
    step = max(1, _BLOCK_CELLS // n)
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        in_features, in_layout = _squared(points, block), _squared(places, block)
        intruders += _excess_rank(in_features, in_layout, k)
        leavers += _excess_rank(in_layout, in_features, k)
    scale = 2.0 / (len(rows) * k * (2 * n - 3 * k - 1))
    return LayoutQuality(
        trustworthiness=1.0 - scale * intruders,
        continuity=1.0 - scale * leavers,
        k=k,
        n=len(rows),
    )


def _check_layout(layout: np.ndarray) -> np.ndarray:
    places = np.asarray(layout, dtype=np.float64)
    if places.ndim != 2 or places.shape[1] != 2 or not np.isfinite(places).all():
        raise InputError(f"layout of shape {places.shape}", expected="(samples, 2), all finite")
    return places


def _squared(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Squared distances (R, N) of ``rows`` to all points, infinite to themselves."""
    lengths = (points**2).sum(axis=1)
    squared = lengths + lengths[rows, None] - 2 * points[rows] @ points.T
    np.maximum(squared, 0.0, out=squared)
    squared[np.arange(len(rows)), rows] = np.inf
    return squared


def _excess_rank(ranked: np.ndarray, chosen: np.ndarray, k: int) -> float:
    """Sum of max(0, rank - k) in ``ranked`` over the k nearest in ``chosen``, both (R, N).

    Equal distances are ranked by row.
    """
    total = 0
    columns = np.arange(ranked.shape[1])
    for neighbor in _nearest(chosen, k).T:
        distance = np.take_along_axis(ranked, neighbor[:, None], axis=1)
        rank = (ranked < distance).sum(axis=1) + 1
        tied = ranked == distance
        if tied.sum() > len(ranked):
            rank += (tied & (columns < neighbor[:, None])).sum(axis=1)
        total += int(np.maximum(rank - k, 0).sum())
    return float(total)


def _nearest(distances: np.ndarray, k: int) -> np.ndarray:
    """Columns (R, k) of the k smallest entries in each row, the lower column among equals."""
    threshold = np.partition(distances, k - 1, axis=1)[:, k - 1, None]
    below, tied = distances < threshold, distances == threshold
    room = k - below.sum(axis=1, keepdims=True)
    chosen = below | (tied & (np.cumsum(tied, axis=1) <= room))
    return np.nonzero(chosen)[1].reshape(-1, k)
