"""How well a score finds what it should, once the truth is known."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from analysis.errors import InputError

FALSE_ALARMS = 0.01


def auroc(score: np.ndarray, truth: np.ndarray) -> float:
    """Chance that a true case scores above a false one, ties counted half; 0.5 is guessing.

    ``score`` (N,), ``truth`` (N,) bool. Raises :class:`InputError` unless there are both kinds.
    Source: Mann and Whitney 1947.
    """
    hits, rest = _counts(score, truth)
    ranks = rankdata(score)[truth].sum()
    return float((ranks - hits * (hits + 1) / 2) / (hits * rest))


def detection_rate(
    score: np.ndarray, truth: np.ndarray, false_alarms: float = FALSE_ALARMS
) -> float:
    """Share of the true cases above the score that ``false_alarms`` of the false ones exceed."""
    _counts(score, truth)
    clean = np.sort(score[~truth])
    allowed = int(false_alarms * len(clean))
    threshold = clean[len(clean) - 1 - allowed]
    return float((score[truth] > threshold).mean())


def _counts(score: np.ndarray, truth: np.ndarray) -> tuple[int, int]:
    if score.shape != truth.shape or truth.dtype != bool:
        raise InputError(f"scores {score.shape} and truth {truth.shape} of type {truth.dtype}")
    hits = int(truth.sum())
    if hits in (0, len(truth)):
        raise InputError(
            f"{hits} of {len(truth)} images are poisoned", expected="some that are and some not"
        )
    return hits, len(truth) - hits
