"""Does a model's confidence mean what it says?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.errors import InputError

BINS = 15
_Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Confidence against accuracy, in equal-width bins of the confidence.

    ``edges`` (B+1,); ``count``, ``confidence`` (mean), ``accuracy``, ``low`` and ``high`` (95 %
    Wilson interval of the accuracy) are (B,), NaN where a bin is empty. ``ece`` in [0, 1].
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray
    ece: float


def ece(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: mean |accuracy - confidence| over the bins, weighted by count.

    ``confidence`` (N,) in [0, 1] is the probability of the answer, ``correct`` (N,) bool. In
    [0, 1], lower is better calibrated. Bins are equally wide and closed on the right; the first
    one holds 0 too. Raises :class:`InputError` on other values, unequal lengths or no samples.
    Source: Guo et al., "On calibration of modern neural networks", 2017, arXiv 1706.04599, eq. 3.
    """
    gaps = calibration_gaps(confidence, correct, bins)
    return float(np.abs(gaps.sum(axis=0)).sum() / len(gaps))


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Count, mean confidence and accuracy of every bin; arguments and errors as of :func:`ece`.

    Source of the interval: Wilson, Journal of the American Statistical Association 22 (1927).
    """
    index = _bin_index(confidence, correct, bins)
    count = np.bincount(index, minlength=bins)
    right = np.bincount(index, weights=correct, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(index, weights=confidence, minlength=bins) / count
        accuracy = right / count
    low, high = wilson_interval(right, count)
    return Reliability(
        edges=np.linspace(0.0, 1.0, bins + 1),
        count=count,
        confidence=mean_confidence,
        accuracy=accuracy,
        low=low,
        high=high,
        ece=ece(confidence, correct, bins),
    )


def calibration_gaps(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Spread ``correct - confidence`` over one column per non-empty bin, (N, B') float64.

    The calibration error is the sum of the absolute column sums over N; a bootstrap of it needs
    nothing but resampled column sums.
    """
    index = _bin_index(confidence, correct, bins)
    used, column = np.unique(index, return_inverse=True)
    gaps = np.zeros((len(index), len(used)))
    gaps[np.arange(len(index)), column] = np.asarray(correct, np.float64) - confidence
    return gaps


def wilson_interval(successes: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % Wilson score interval of ``successes`` out of ``count``; NaN where count is 0."""
    successes, n = np.asarray(successes, np.float64), np.asarray(count, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = successes / n
        center = (share + _Z_95**2 / (2 * n)) / (1 + _Z_95**2 / n)
        spread = np.sqrt(share * (1 - share) / n + _Z_95**2 / (4 * n**2))
        half = _Z_95 * spread / (1 + _Z_95**2 / n)
    return np.clip(center - half, 0.0, 1.0), np.clip(center + half, 0.0, 1.0)


def _bin_index(confidence: np.ndarray, correct: np.ndarray, bins: int) -> np.ndarray:
    confidence, correct = np.asarray(confidence), np.asarray(correct)
    if bins < 1:
        raise InputError(f"{bins} calibration bins", expected="at least 1")
    if confidence.ndim != 1 or confidence.shape != correct.shape or confidence.size == 0:
        raise InputError(
            f"confidence of shape {confidence.shape} and correctness of shape {correct.shape}",
            expected="two equally long lists of at least one sample",
        )
    outside = ~((confidence >= 0) & (confidence <= 1))
    if outside.any():
        raise InputError(
            f"confidence {confidence[outside][0]}", expected="a probability from 0 to 1"
        )
    return np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], confidence, side="left")
