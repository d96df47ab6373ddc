"""How far one number repairs a model's confidence: temperature scaling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.divergence.answers import check_labels, log_softmax, read_answers, row_chunks
from analysis.divergence.bootstrap import DRAWS, bootstrap_sums, percentile_interval
from analysis.divergence.calibration import calibration_gaps
from analysis.errors import InputError
from analysis.records import Interval

FEWEST = 20
_MOST_FITTED = 20_000
_LARGEST = 100.0
_STEPS = 60
_SMALLEST_STEP = 1e-10
_AT_BOUND = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class TemperatureScaling:
    """A model's calibration before and after its logits are divided by ``temperature``.

    The temperature is fitted on ``n_fitted`` samples; all else is of the other ``n_tested``.
    Above 1 the model was too sure, below 1 not sure enough. ``ece_before`` and ``ece_after`` are in
    [0, 1] (15 bins, 95 % bootstrap), ``nll_before`` and ``nll_after`` the mean negative log
    probability of the label, in nats; lower is better calibrated.
    """

    temperature: float
    ece_before: Interval
    ece_after: Interval
    nll_before: float
    nll_after: float
    n_fitted: int
    n_tested: int


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """The temperature in (0.01, 100) with the least mean negative log probability of the label.

    None where there is none: answers that are all right want no end of confidence, and logits
    that say nothing none at all.

    ``logits`` (N, K), ``labels`` (N,). The loss is convex in the inverse temperature, whose best
    value Newton's method finds, bracketed by bisection. Raises :class:`InputError` for no samples.
    Source: Guo et al., "On calibration of modern neural networks", 2017, arXiv 1706.04599,
    section 4.2.
    """
    if len(logits) == 0:
        raise InputError("a temperature fitted to no samples", expected="at least one")
    values = np.asarray(logits, dtype=np.float64)
    own = values[np.arange(len(values)), labels].mean()
    low, high = 1 / _LARGEST, _LARGEST
    inverse = 1.0
    for _ in range(_STEPS):
        p = np.exp(log_softmax(inverse * values))
        mean = (p * values).sum(axis=1)
        slope = mean.mean() - own
        curvature = float(((p * values**2).sum(axis=1) - mean**2).mean())
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / curvature if curvature > 0 else np.inf
        following = step if low < step < high else (low + high) / 2
        if abs(following - inverse) <= _SMALLEST_STEP * inverse:
            break
        inverse = following
    # Where no temperature is best, or all are, the search ends at a bound.
    inside = abs(np.log(inverse)) < np.log(_LARGEST) - _AT_BOUND
    return float(1 / inverse) if inside else None


def scale_temperature(
    logits: np.ndarray, labels: np.ndarray | None, *, seed: int = 0, draws: int = DRAWS
) -> TemperatureScaling | None:
    """Fit the temperature of ``logits`` (N, K) on one seeded half, measure it on the other.

    None without labels, for fewer than 20 samples, and where no temperature is best. At most
    20 000 samples are fitted to. Raises what
    :func:`~analysis.divergence.outputs.compare_outputs` raises.
    """
    known = check_labels(labels, *logits.shape)
    if known is None or len(logits) < FEWEST:
        return None
    order = np.random.default_rng(seed).permutation(len(logits))
    fitted, tested = order[: len(order) // 2], np.sort(order[len(order) // 2 :])
    fitted = np.sort(fitted[:_MOST_FITTED])
    temperature = fit_temperature(np.asarray(logits[fitted]), known[fitted])
    if temperature is None:
        return None
    before, after = (_tested(logits, known, tested, divisor) for divisor in (1.0, temperature))
    errors = _errors((before.gaps, after.gaps), seed, draws)
    return TemperatureScaling(
        temperature=temperature,
        ece_before=errors[0],
        ece_after=errors[1],
        nll_before=before.nll,
        nll_after=after.nll,
        n_fitted=len(fitted),
        n_tested=len(tested),
    )


@dataclass(frozen=True, slots=True)
class _Tested:
    """Calibration gaps (N, bins) of every tested sample, and the mean loss of all."""

    gaps: np.ndarray
    nll: float


def _tested(
    logits: np.ndarray, labels: np.ndarray, rows: np.ndarray, temperature: float
) -> _Tested:
    """Measure ``rows`` of ``logits`` / ``temperature``, a bounded number at a time."""
    confidence, right, losses = np.empty(len(rows)), np.empty(len(rows), bool), np.empty(len(rows))
    for part in row_chunks(len(rows), logits.shape[1]):
        values = np.asarray(logits[rows[part]], dtype=np.float64) / temperature
        answers, own = read_answers(values), labels[rows[part]]
        confidence[part] = np.clip(answers.confidence, 0, 1)
        right[part] = answers.answer == own
        losses[part] = -log_softmax(values)[np.arange(len(own)), own]
    return _Tested(calibration_gaps(confidence, right), float(losses.mean()))


def _errors(gaps: tuple[np.ndarray, ...], seed: int, draws: int) -> list[Interval]:
    """Calibration error of each of ``gaps`` with its interval, all from the same draws."""
    n, ends = len(gaps[0]), np.cumsum([columns.shape[1] for columns in gaps])
    means = bootstrap_sums(np.concatenate(gaps, axis=1), draws=draws, seed=seed) / n
    return [
        percentile_interval(
            float(np.abs(columns.sum(axis=0)).sum() / n), np.abs(resampled).sum(axis=1)
        )
        for columns, resampled in zip(gaps, np.split(means, ends[:-1], axis=1), strict=True)
    ]
