"""Centered kernel alignment of layers from minibatches, unbiased, with its null and its outliers.

The Hilbert-Schmidt independence criterion of two layers is estimated without bias from the Gram
matrices of every minibatch (Song et al., JMLR 2012, eq. 5), and CKA is the ratio of their means
(Nguyen, Raghu and Kornblith, ICLR 2021, arXiv 2010.15327, eq. 2 and 3), so that no activation
has to be kept. U-centered matrices (Szekely and Rizzo, Annals of Statistics 2014) turn the
estimate into a plain product: HSIC = sum(A * B) / (n (n - 3)).
"""

from __future__ import annotations

import numpy as np

from analysis.errors import InputError

FEWEST = 8
"""A minibatch needs so many samples, that one or a few can be left out of it."""
OUTLIER_SHARE = 0.01


def u_center(gram: np.ndarray) -> np.ndarray:
    """U-center Gram matrices (..., n, n): rows and columns sum to 0, the diagonal is 0; float64.

    What is added to a whole row or column changes nothing. Raises :class:`InputError` for n < 4.
    """
    n = gram.shape[-1]
    if n < 4:
        raise InputError(f"{n} samples in a minibatch", expected="at least 4 for an unbiased HSIC")
    centered = np.array(gram, dtype=np.float64)
    diagonal = np.arange(n)
    centered[..., diagonal, diagonal] = 0.0
    rows = centered.sum(axis=-1)
    total = rows.sum(axis=-1)[..., None, None]
    rows /= n - 2
    centered -= rows[..., :, None]
    centered -= rows[..., None, :]
    centered += total / ((n - 1) * (n - 2))
    centered[..., diagonal, diagonal] = 0.0
    return centered


def hsic(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased HSIC of two U-centered Gram matrices (n, n); 0 on average for independent ones."""
    n = len(first)
    return float(np.vdot(first, second)) / (n * (n - 3))


def hsic_without(first: np.ndarray, second: np.ndarray, rows: np.ndarray) -> float:
    """Unbiased HSIC of two U-centered matrices (n, n) when the samples ``rows`` are left out.

    The rest is centered anew: the sums of its rows are what the left-out columns take away.
    """
    n, m = len(first), len(first) - len(rows)
    if len(rows) == 0:
        return hsic(first, second)
    kept = np.delete(np.arange(n), rows)
    a, b = first[rows], second[rows]
    total = np.vdot(first, second) - 2 * np.vdot(a, b) + np.vdot(a[:, rows], b[:, rows])
    r, q = -a[:, kept].sum(axis=0), -b[:, kept].sum(axis=0)
    total += r.sum() * q.sum() / ((m - 1) * (m - 2)) - 2 * np.dot(r, q) / (m - 2)
    return float(total) / (m * (m - 3))


class LayerCKA:
    """CKA of all pairs of two models' layers, fed with Gram matrices minibatch by minibatch.

    ``permutations`` null draws pair each teacher sample with another sample of its minibatch.
    The first ``checked`` samples are kept as Gram matrices, for :meth:`without_outliers`.
    """

    def __init__(self, *, permutations: int = 0, seed: int = 0, checked: int = 0):
        self._rng = np.random.default_rng(seed)
        self._permutations, self._checked = permutations, checked
        self._sums: list[np.ndarray] = []
        self._null: np.ndarray | None = None
        self._kept: list[tuple[np.ndarray, np.ndarray]] = []
        self._kept_samples = 0

    def add(self, teacher: np.ndarray, student: np.ndarray) -> None:
        """Add a minibatch: Gram matrices (T, n, n) and (S, n, n) of the same n samples."""
        n = teacher.shape[-1]
        if n < FEWEST or student.shape[-1] != n:
            raise InputError(
                f"minibatches of {n} and {student.shape[-1]} samples",
                expected=f"the same samples, at least {FEWEST}",
            )
        own, other = u_center(teacher), u_center(student)
        sums = [_products(own, other), _squares(own), _squares(other)]
        scaled = [part / (n * (n - 3)) for part in sums]
        before = self._sums or [np.zeros_like(part) for part in scaled]
        self._sums = [a + b for a, b in zip(before, scaled, strict=True)]
        if self._permutations:
            null = self._draw(own, other) / (n * (n - 3))
            self._null = null if self._null is None else self._null + null
        if self._kept_samples + n <= self._checked:
            self._kept.append((own.astype(np.float32), other.astype(np.float32)))
            self._kept_samples += n

    def _draw(self, own: np.ndarray, other: np.ndarray) -> np.ndarray:
        n = own.shape[-1]
        draws = []
        for _ in range(self._permutations):
            order = self._rng.permutation(n)
            draws.append(_products(own, other[:, order[:, None], order]))
        return np.array(draws)

    @property
    def values(self) -> np.ndarray:
        """CKA (T, S), at most 1, higher is more alike; NaN where a layer is constant.

        Around 0 for unrelated layers, of which an unbiased estimate may fall below 0.
        """
        return _ratio(*self._sums)

    @property
    def null(self) -> np.ndarray:
        """CKA (P, T, S) of the layers with the samples' correspondence permuted."""
        assert self._null is not None, "asked for no permutations"
        return _ratio(self._null, self._sums[1], self._sums[2])

    def without_outliers(self, share: float = OUTLIER_SHARE) -> tuple[np.ndarray, np.ndarray]:
        """CKA (T, S) of the checked samples, all and without the most influential ones.

        For every pair the ``share`` of samples, at least one, is left out whose removal alone
        would change its value most. CKA is moved by few samples far from the rest (Davari et
        al., ICLR 2023, arXiv 2210.16156).
        """
        sizes = [len(own[0]) for own, _ in self._kept]
        count = max(1, round(share * sum(sizes)))
        teacher, student = (len(self._kept[0][side]) for side in (0, 1))
        whole, trimmed = (np.full((teacher, student), np.nan) for _ in range(2))
        for t in range(teacher):
            for s in range(student):
                pairs = [(own[t], other[s]) for own, other in self._kept]
                whole[t, s], trimmed[t, s] = _trimmed(pairs, count)
        return whole, trimmed


def _trimmed(pairs: list[tuple[np.ndarray, np.ndarray]], count: int) -> tuple[float, float]:
    """CKA of one pair of layers over minibatches, and without its ``count`` strongest samples."""
    sums = np.array([[hsic(a, b), hsic(a, a), hsic(b, b)] for a, b in pairs])
    value = float(_ratio(*sums.sum(axis=0)))
    if not np.isfinite(value):
        return value, value
    alone = np.concatenate([_influence(a, b, sums, at) for at, (a, b) in enumerate(pairs)])
    worst = np.sort(np.argsort(-np.abs(alone - value), kind="stable")[:count])
    rest, start = [], 0
    for row, (a, b) in zip(sums, pairs, strict=True):
        inside = worst[(worst >= start) & (worst < start + len(a))] - start
        # A minibatch keeps what an estimate needs.
        inside = inside[: len(a) - 4]
        start += len(a)
        left = [hsic_without(*two, inside) for two in ((a, b), (a, a), (b, b))]
        rest.append(left if len(inside) else row)
    return value, float(_ratio(*np.sum(rest, axis=0)))


def _influence(a: np.ndarray, b: np.ndarray, sums: np.ndarray, at: int) -> np.ndarray:
    """CKA (n,) when one sample of minibatch ``at`` is left out, for each of its samples.

    With U-centered matrices the sums of the remaining rows are the left-out column, which
    makes the formula of :func:`hsic_without` depend on nothing but h = sum_j A_ij B_ij.
    """
    n, others = len(a), sums.sum(axis=0) - sums[at]
    parts = []
    for index, (one, two) in enumerate(((a, b), (a, a), (b, b))):
        h = np.einsum("ij,ij->i", one, two, dtype=np.float64)
        total = sums[at, index] * n * (n - 3)
        left = (total - 2 * h - 2 * h / (n - 3)) / ((n - 1) * (n - 4))
        parts.append(others[index] + left)
    return _ratio(*parts)


def _products(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray(first.reshape(len(first), -1) @ second.reshape(len(second), -1).T)


def _squares(stack: np.ndarray) -> np.ndarray:
    flat = stack.reshape(len(stack), -1)
    return np.asarray(np.einsum("ij,ij->i", flat, flat))


def _ratio(cross: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)); NaN where a layer does not vary."""
    if np.ndim(cross) >= 2:
        first, second = first[:, None], second[None, :]
    scale = np.sqrt(np.maximum(first, 0.0) * np.maximum(second, 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(scale > 0, cross / scale, np.nan))
