"""Exact nearest neighbors in feature space, and how far two models share them.

Distances are Euclidean on L2-normalized features, so they lie in [0, 2] and ignore the scale of a
model's features. A row of zeros has no direction; it stays at the origin, at distance 1 from
every other row and 0 from other rows of zeros.
"""

from __future__ import annotations

import numpy as np

from analysis.errors import InputError, ModelError
from analysis.records import Neighbors

NEIGHBORS = 15

# 4 million float32 are 16 MiB.
_BLOCK_CELLS = 1 << 22
# The index rounds squared distances of unit vectors by about 1e-6. Rows that it may have put in
# the wrong order are looked at again.
_ROUNDING = 1e-5
_SPARE = 8


def nearest_neighbors(
    features: np.ndarray, k: int = NEIGHBORS, queries: np.ndarray | None = None
) -> Neighbors:
    """The ``k`` rows of ``features`` (N, D) that are nearest to each of its rows.

    A row is not its own neighbor, also when it has duplicates. With fewer than k other rows, k is
    N - 1. With ``queries`` (Q, D) the neighbors of those are searched instead, none is excluded,
    and k is at most N. Equal distances are resolved in favor of the lower row, so that the result
    is exact and does not depend on threads or on the index's order.

    Raises :class:`InputError` for shapes that do not fit or fewer than two rows, and
    :class:`ModelError` for features that are not finite.
    """
    points = normalize_rows(features)
    if k < 1 or len(points) < 2:
        raise InputError(
            f"{k} nearest neighbors among {len(points)} samples",
            expected="at least 1 neighbor and 2 samples",
        )
    asked = points if queries is None else normalize_rows(queries)
    if asked.shape[1] != points.shape[1]:
        raise InputError(
            f"queries of width {asked.shape[1]} among features of width {points.shape[1]}",
            expected="features of one layer",
        )
    k = min(k, len(points) - (queries is None))
    own = np.arange(len(points)) if queries is None else np.full(len(asked), -1)
    return _search(points, asked, own, k)


def neighborhood_overlap(first: Neighbors, second: Neighbors) -> np.ndarray:
    """Share (N,) of each sample's neighbors, (N, k) in both, that both models have in common.

    In [0, 1], higher is closer; two unrelated models have k / (N - 1) on average. Rows are the
    same samples in both. Raises :class:`InputError` when the two differ in rows or in neighbors.
    """
    if first.indices.shape != second.indices.shape:
        raise InputError(
            f"neighbors of shape {first.indices.shape} and {second.indices.shape}",
            expected="the same samples with the same number of neighbors",
        )
    a, b = np.sort(first.indices), np.sort(second.indices)
    both = np.sort(np.concatenate([a, b], axis=1), axis=1)
    return (both[:, 1:] == both[:, :-1]).sum(axis=1) / a.shape[1]


def normalize_rows(features: np.ndarray) -> np.ndarray:
    """``features`` (N, D) with rows of length 1, float32; rows of zeros stay.

    Raises :class:`InputError` for another shape and :class:`ModelError` for values that are not
    finite.
    """
    values = np.asarray(features)
    if values.ndim != 2 or values.shape[1] < 1:
        raise InputError(f"features of shape {values.shape}", expected="(samples, width)")
    largest = np.abs(values).max(axis=1, keepdims=True).astype(np.float64)
    if not np.isfinite(largest).all():
        row = int(np.argmin(np.isfinite(largest[:, 0])))
        raise ModelError(
            f"features of sample {row} are not finite",
            expected="finite features",
            remedy="check the weights and the normalization",
        )
    # Dividing by the largest entry first keeps the squares of huge and tiny features in range.
    scaled = values / np.where(largest > 0, largest, 1.0)
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    return (scaled / np.where(length > 0, length, 1.0)).astype(np.float32)


def _search(points: np.ndarray, asked: np.ndarray, own: np.ndarray, k: int) -> Neighbors:
    import faiss  # a heavy import that most commands do not need

    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points)
    wanted = min(k + 1 + _SPARE, len(points))
    indices = np.empty((len(asked), k), np.int32)
    distances = np.empty((len(asked), k), np.float32)
    doubtful = np.zeros(len(asked), bool)
    step = max(1, _BLOCK_CELLS // (wanted * points.shape[1]))
    for start in range(0, len(asked), step):
        rows = slice(start, start + step)
        candidates = index.search(asked[rows], wanted)[1]
        exact = _distances(points[candidates], asked[rows, None])
        exact[candidates == own[rows, None]] = np.inf
        order = np.lexsort((candidates, exact))
        ranked = np.take_along_axis(exact, order, axis=1)
        indices[rows] = np.take_along_axis(candidates, order, axis=1)[:, :k]
        distances[rows] = ranked[:, :k]
        last = np.where(np.isinf(ranked[:, -1]), ranked[:, -2], ranked[:, -1])
        doubtful[rows] = last**2 - ranked[:, k - 1] ** 2 <= _ROUNDING
    if wanted < len(points):
        _search_again(points, asked, own, np.flatnonzero(doubtful), indices, distances)
    return Neighbors(indices=indices, distances=distances)


def _search_again(
    points: np.ndarray,
    asked: np.ndarray,
    own: np.ndarray,
    rows: np.ndarray,
    indices: np.ndarray,
    distances: np.ndarray,
) -> None:
    """Overwrite ``rows`` of the result, comparing each with every point; duplicates only once."""
    if len(rows) == 0:
        return
    k = indices.shape[1]
    vectors, group = np.unique(asked[rows], axis=0, return_inverse=True)
    lengths = (points**2).sum(axis=1)
    found = np.empty((len(vectors), k + 1), np.int64)
    gaps = np.empty((len(vectors), k + 1), np.float32)
    step = max(1, _BLOCK_CELLS // len(points))
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step]
        rough = lengths + (block**2).sum(axis=1)[:, None] - 2 * block @ points.T
        limits = np.partition(rough, k, axis=1)[:, k] + _ROUNDING
        for offset, limit in enumerate(limits):
            near = np.flatnonzero(rough[offset] <= limit)
            exact = _distances(points[near], block[offset])
            first = np.lexsort((near, exact))[: k + 1]
            found[start + offset], gaps[start + offset] = near[first], exact[first]
    kept = _without_own(found[group], own[rows])
    indices[rows] = found[group][kept].reshape(-1, k)
    distances[rows] = gaps[group][kept].reshape(-1, k)


def _without_own(found: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Mask (R, k+1) that leaves k entries: all but the own row, or but the last one."""
    kept = found != own[:, None]
    kept[kept.all(axis=1), -1] = False
    return kept


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    # From differences: the expanded square would lose all digits between near duplicates.
    difference = first - second
    return np.sqrt(np.einsum("...d,...d->...", difference, difference))
