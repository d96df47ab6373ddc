"""Percentile bootstrap over samples: how far a mean would move with another draw of images.

All statistics of one call share their draws, so that differences between them keep their
pairing. Source: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics
7 (1979).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.errors import InputError
from analysis.records import Interval

DRAWS = 1000
_PERCENTILES = (2.5, 97.5)
# 2 million float64 counts are 16 MiB: large enough for a fast product, small beside the logits.
_BLOCK_CELLS = 1 << 21


def bootstrap_counts(n: int, draws: int = DRAWS, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield blocks (rows, n) of how often each of ``n`` samples was drawn.

    Every row is one resample with replacement and sums to ``n``; the rows of all blocks together
    are ``draws``. float64, ready for a matrix product. Equal arguments give equal counts. Raises
    :class:`InputError` when there is nothing to draw from.
    """
    if n < 1 or draws < 1:
        raise InputError(f"bootstrap of {n} samples with {draws} draws", expected="at least 1 each")
    generator = np.random.default_rng(seed)
    rows_per_block = max(1, _BLOCK_CELLS // n)
    for start in range(0, draws, rows_per_block):
        rows = min(rows_per_block, draws - start)
        drawn = generator.integers(0, n, size=(rows, n))
        drawn += np.arange(rows)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=rows * n)
        yield counts.reshape(rows, n).astype(np.float64)


def bootstrap_sums(columns: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Resampled column sums (draws, M) of ``columns`` (N, M), one set of draws for all columns."""
    values = np.ascontiguousarray(columns, dtype=np.float64)
    blocks = [counts @ values for counts in bootstrap_counts(len(values), draws, seed)]
    return np.concatenate(blocks)


def bootstrap_means(
    columns: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> tuple[Interval, ...]:
    """Mean and 95 % interval of every column of ``columns`` (N, M), with shared draws.

    A column that never varies, and thus any single sample, has the interval (value, value).
    """
    columns = np.asarray(columns, dtype=np.float64)
    means = bootstrap_sums(columns, draws=draws, seed=seed) / len(columns)
    return tuple(
        mean_interval(column, resampled)
        for column, resampled in zip(columns.T, means.T, strict=True)
    )


def bootstrap_mean(values: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Mean and 95 % interval of ``values`` (N,)."""
    return bootstrap_means(np.asarray(values)[:, None], draws=draws, seed=seed)[0]


def mean_interval(values: np.ndarray, resampled: np.ndarray) -> Interval:
    """Interval of the mean of ``values`` (N,) whose resampled means are ``resampled`` (draws,)."""
    if np.ptp(values) == 0:
        # Rounding of the products would otherwise leave an interval of one unit in the last place.
        constant = float(values[0])
        return Interval(constant, constant, constant)
    return percentile_interval(float(values.mean()), resampled)


def percentile_interval(value: float, resampled: np.ndarray) -> Interval:
    """Interval of ``value`` from the 2.5th and 97.5th percentile of ``resampled`` (draws,)."""
    low, high = np.percentile(resampled, _PERCENTILES)
    return Interval(value, float(low), float(high))
