"""Are some of many groups of samples worse than the rest, or does it only look so?

The max-statistic permutation test: the outcome is dealt out to the samples anew many times, and the
largest statistic over all groups is compared with what each group really shows. The p-values are
thereby corrected for having looked at all groups, however they overlap. Source: Westfall and Young,
"Resampling-Based Multiple Testing", Wiley 1993 (single-step maxT).
"""

from __future__ import annotations

import numpy as np

# 4 million float32 are 16 MiB of dealt outcomes at a time.
_BLOCK_CELLS = 1 << 22


def excess(members: np.ndarray, hits: np.ndarray, n: int, total: float) -> np.ndarray:
    """How many standard deviations more ``hits`` groups have than a random draw would have.

    Groups of ``members`` samples out of ``n``, of which ``total`` have the outcome; the draw is
    hypergeometric. 0 where nothing can vary. Higher is worse.
    """
    members, hits = np.asarray(members, np.float64), np.asarray(hits, np.float64)
    share = total / n
    variance = members * share * (1 - share) * (n - members) / max(n - 1, 1)
    return np.where(
        variance > 0, (hits - members * share) / np.sqrt(np.where(variance > 0, variance, 1)), 0.0
    )


def max_statistic_p_values(
    masks: np.ndarray, outcome: np.ndarray, *, draws: int = 999, seed: int = 0
) -> np.ndarray:
    """Corrected p-value (C,) of every group in ``masks`` (C, N) bool; ``outcome`` (N,) bool.

    (1 + deals in which the worst group is at least as bad) / (1 + ``draws``), so the smallest is
    1 / (1 + ``draws``). The chance that any group comes below alpha when the outcome has nothing to
    do with the groups is at most alpha.
    """
    masks, outcome = np.asarray(masks, np.float32), np.asarray(outcome, np.float32)
    count, n = masks.shape
    if count == 0:
        return np.ones(0)
    members, total = masks.sum(axis=1), float(outcome.sum())
    observed = excess(members, masks @ outcome, n, total)
    generator = np.random.default_rng(seed)
    reached = np.zeros(count, dtype=np.int64)
    block = max(1, _BLOCK_CELLS // n)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        dealt = generator.permuted(np.tile(outcome, (rows, 1)), axis=1)
        largest = excess(members[:, None], masks @ dealt.T, n, total).max(axis=0)
        # Sums of ones are exact in float32 up to 16 million, so equal counts compare equal.
        reached += (largest[None, :] >= observed[:, None] - 1e-9).sum(axis=1)
    return (1 + reached) / (1 + draws)
