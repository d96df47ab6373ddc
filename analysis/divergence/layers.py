"""Similarity of two layers: how alike they arrange the same samples. Numpy only, ranks by scipy.

Every measure compares features (N, D) and (N, E) of the same N samples, whatever their widths,
and does not change when either is rotated or scaled as a whole. Menus, pages and tests iterate
over :data:`SIMILARITIES`, so a new entry is shown and tested without another edit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from analysis.divergence.hsic import u_center
from analysis.errors import InputError

CKA, KNN, PROCRUSTES, RSA = "cka", "knn", "procrustes", "rsa"
NEIGHBORS = 10
# Below this share of their size, what varies in float32 features is rounding.
_RESOLUTION = 1e-6

Basis = Literal["activations", "pooled features"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSimilarity:
    """One measure of how alike two layers are; 1 is the same, higher is more alike.

    ``low`` is the least possible value. ``basis`` says what a study computes it on: flattened
    activations, streamed, or globally pooled features of a subset. ``prepare`` makes of features
    (N, D) what ``scores`` compares; None, for features that do not vary, stays None.
    ``permute`` is the same for the samples in another order; ``scores`` compares several layers
    with one.
    """

    name: str
    title: str
    about: str
    source: str
    low: float
    basis: Basis
    prepare: Callable[[np.ndarray | None], Any]
    permute: Callable[[Any, np.ndarray], Any]
    scores: Callable[[Sequence[Any], Any], list[float]]

    def value(self, first: np.ndarray, second: np.ndarray) -> float:
        """Similarity of features (N, D) and (N, E); NaN where either does not vary."""
        values, _ = self.grid([first], [second])
        return float(values[0, 0])

    def grid(
        self,
        teacher: Sequence[np.ndarray],
        student: Sequence[np.ndarray],
        *,
        permutations: int = 0,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compare all pairs of layers: values (T, S) and their null (P, T, S).

        A null draw pairs every sample of the teacher with a random one of the student. Raises
        :class:`InputError` when the layers are not of the same samples or there are too few.
        """
        count = _same_samples([*teacher, *student])
        rng = np.random.default_rng(seed)
        orders = [rng.permutation(count) for _ in range(permutations)]
        rows = [self.prepare(_varying(features)) for features in teacher]
        known = [index for index, row in enumerate(rows) if row is not None]
        values = np.full((1 + permutations, len(teacher), len(student)), np.nan)
        for s, features in enumerate(student):
            own = self.prepare(_varying(features))
            if own is not None and known:
                for draw, order in enumerate([None, *orders]):
                    other = own if order is None else self.permute(own, order)
                    values[draw, known, s] = self.scores([rows[index] for index in known], other)
            if progress is not None:
                progress(s + 1, len(student))
        return values[0], values[1:]


def _same_samples(layers: Sequence[np.ndarray]) -> int:
    counts = {len(features) for features in layers}
    if len(counts) != 1:
        raise InputError(f"layers of {sorted(counts)} samples", expected="the same samples")
    (count,) = counts
    if count < 4:
        raise InputError(f"{count} samples", expected="at least 4 to compare layers on")
    return count


def _varying(features: np.ndarray) -> np.ndarray | None:
    """Features as float64, centered nowhere; None where they vary by no more than rounding."""
    values = np.asarray(features, np.float64)
    spread = np.abs(values - values.mean(axis=0)).max(initial=0.0)
    return values if spread > _RESOLUTION * np.abs(values).max(initial=0.0) else None


def _gram(values: np.ndarray | None) -> np.ndarray | None:
    if values is None:
        return None
    centered = values - values.mean(axis=0)
    gram = u_center(centered @ centered.T)
    length = np.linalg.norm(gram)
    return None if length == 0 else gram / length


def _reordered(matrix: np.ndarray, order: np.ndarray) -> np.ndarray:
    return matrix[order[:, None], order]


def _products(rows: Sequence[np.ndarray], other: np.ndarray) -> list[float]:
    return [float(np.vdot(row, other)) for row in rows]


def _neighbors(values: np.ndarray | None) -> np.ndarray | None:
    """The nearest ``NEIGHBORS`` other samples (N, k), Euclidean on rows of length 1."""
    if values is None:
        return None
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit = values / np.where(lengths > 0, lengths, 1.0)
    squares = (unit**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * unit @ unit.T
    np.fill_diagonal(distances, np.inf)
    k = min(NEIGHBORS, len(values) - 1)
    return np.argpartition(distances, k - 1, axis=1)[:, :k]


def _renamed(neighbors: np.ndarray, order: np.ndarray) -> np.ndarray:
    return np.argsort(order)[neighbors[order]]


def _shared(rows: Sequence[np.ndarray], other: np.ndarray) -> list[float]:
    count = len(other)
    samples = np.arange(count)[:, None]
    member = np.zeros((count, count), dtype=bool)
    member[samples, other] = True
    return [float(member[samples, row].mean()) for row in rows]


def _normalized(values: np.ndarray | None) -> np.ndarray | None:
    if values is None:
        return None
    centered = values - values.mean(axis=0)
    return np.asarray(centered / np.linalg.norm(centered))


def _nuclear(rows: Sequence[np.ndarray], other: np.ndarray) -> list[float]:
    return [float(np.linalg.svd(row.T @ other, compute_uv=False).sum()) for row in rows]


def _ranks(values: np.ndarray | None) -> np.ndarray | None:
    """Centered ranks, of length 1, of all pairs' Euclidean distances; (N(N-1)/2,) float32."""
    from scipy.stats import rankdata  # pages that only name the measures need no scipy

    if values is None:
        return None
    centered = values - values.mean(axis=0)
    squares = (centered**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * centered @ centered.T
    # Rounded, so that what is equal but for rounding is a tie.
    pairs = np.round(distances[np.triu_indices(len(values), 1)] / squares.mean(), 12)
    ranks = rankdata(pairs)
    ranks -= ranks.mean()
    length = np.linalg.norm(ranks)
    return None if length == 0 else (ranks / length).astype(np.float32)


def _reordered_pairs(ranks: np.ndarray, order: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import squareform

    return np.asarray(squareform(_reordered(squareform(ranks, checks=False), order), checks=False))


_ALL = (
    LayerSimilarity(
        name=CKA,
        title="CKA",
        about="linear centered kernel alignment: whether both put the same pairs of images close",
        source="Kornblith et al. 2019, arXiv 1905.00414; unbiased: Nguyen et al. 2021, "
        "arXiv 2010.15327",
        low=-1.0,
        basis="activations",
        prepare=_gram,
        permute=_reordered,
        scores=_products,
    ),
    LayerSimilarity(
        name=KNN,
        title="Mutual k-NN",
        about=f"share of the {NEIGHBORS} nearest other images that both layers have in common",
        source="Huh et al. 2024, arXiv 2405.07987",
        low=0.0,
        basis="pooled features",
        prepare=_neighbors,
        permute=_renamed,
        scores=_shared,
    ),
    LayerSimilarity(
        name=PROCRUSTES,
        title="Procrustes",
        about="how well the best rotation lays one layer onto the other: 1 - d / 2 of the "
        "orthogonal Procrustes distance d",
        source="Ding et al. 2021, arXiv 2108.01661",
        low=0.0,
        basis="pooled features",
        prepare=_normalized,
        permute=lambda values, order: values[order],
        scores=_nuclear,
    ),
    LayerSimilarity(
        name=RSA,
        title="RSA",
        about="rank correlation of the Euclidean distances of all pairs of images",
        # 1 - Pearson's r, the paper's other dissimilarity, changes when a layer is rotated.
        source="Kriegeskorte et al. 2008, doi 10.3389/neuro.06.004.2008",
        low=-1.0,
        basis="pooled features",
        prepare=_ranks,
        permute=_reordered_pairs,
        scores=_products,
    ),
)

SIMILARITIES: Mapping[str, LayerSimilarity] = {item.name: item for item in _ALL}
