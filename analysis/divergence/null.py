"""The null of a headline number: what one more honest student of the same teacher would show.

The bootstrap interval of a number covers the choice of images; reference students cover the
choice of seed. Both are small samples of different things and neither contains the other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy.special import stdtr, stdtrit

LEVEL = 0.95
FEWEST_FOR_INTERVAL = 2
FEWEST_TO_JUDGE = 3

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Null:
    """One number held against ``n`` reference students, whose numbers are ``references``.

    ``low`` and ``high`` bound 95 % of new honest students (None below 2 references), ``rank``
    says in words where the number stands among them. ``p`` is two-sided; ``p_holm`` is corrected
    for all numbers that are judged together, and ``outside`` is ``p_holm`` below 0.05. Both are
    None for a number that is not judged, and below 3 references.
    """

    references: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None
    rank: str
    p: float | None
    p_holm: float | None = None
    outside: bool | None = None

    @property
    def n(self) -> int:
        """How many references there are."""
        return len(self.references)


def null_of(
    value: float,
    references: Sequence[float],
    *,
    resolution: float = 0.0,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Null:
    """Hold ``value`` against the same number of at least one reference student.

    ``resolution`` is the step in which the number can change at all (1 / N for a share of N
    images): no spread below half of it is believed, else references that happen to agree would
    make the next image an alarm. ``bounds`` cut the interval where the number itself ends.
    """
    interval = prediction_interval(references, resolution=resolution)
    low, high = (None, None) if interval is None else np.clip(interval, *bounds).tolist()
    return Null(
        references=tuple(float(other) for other in references),
        mean=float(np.mean(references)),
        low=low,
        high=high,
        rank=rank_words(value, references),
        p=prediction_p(value, references, resolution=resolution),
    )


def prediction_interval(
    references: Sequence[float], *, level: float = LEVEL, resolution: float = 0.0
) -> tuple[float, float] | None:
    """Return the interval that holds one new draw with probability ``level``.

    mean -/+ t s sqrt(1 + 1 / n), with t of n - 1 degrees of freedom (Geisser, Predictive
    Inference, 1993, section 2.2): exact for normal draws. None for fewer than two.
    """
    if len(references) < FEWEST_FOR_INTERVAL:
        return None
    t = float(stdtrit(len(references) - 1, 0.5 + level / 2))
    reach = t * _standard_error(references, resolution)
    mean = float(np.mean(references))
    return mean - reach, mean + reach


def prediction_p(
    value: float, references: Sequence[float], *, resolution: float = 0.0
) -> float | None:
    """Return the two-sided p-value of ``value`` as one new draw; None for fewer than two.

    Of references without spread nothing can be said: 1 for their own value, None for another.
    """
    if len(references) < FEWEST_FOR_INTERVAL:
        return None
    distance = abs(value - float(np.mean(references)))
    error = _standard_error(references, resolution)
    if error == 0:
        return 1.0 if distance == 0 else None
    return float(2 * stdtr(len(references) - 1, -distance / error))


def _standard_error(references: Sequence[float], resolution: float) -> float:
    """The standard error of a new draw's distance from the mean of ``references``."""
    n = len(references)
    # Equal numbers have no spread, whatever rounding leaves of their mean.
    spread = 0.0 if min(references) == max(references) else float(np.std(references, ddof=1))
    return max(spread, resolution / 2) * math.sqrt(1 + 1 / n)


def rank_words(value: float, references: Sequence[float]) -> str:
    """Say where ``value`` stands among ``references``: never a percentile, for any number."""
    n = len(references)
    below = sum(other < value for other in references)
    above = sum(other > value for other in references)
    everyone = {1: "the only one", 2: "both"}.get(n, f"all {n}")
    if above == n:
        return f"lower than {everyone}"
    if below == n:
        return f"higher than {everyone}"
    if below == above == 0:
        return f"equal to {everyone}"
    if below == 0:
        return f"equal to the lowest of {n}"
    return f"equal to the highest of {n}" if above == 0 else f"higher than {below} of {n}"


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for having looked at all of them (Holm, Scand. J. Stat. 1979).

    The i-th smallest of m is multiplied by m - i + 1, and none falls below a smaller one.
    """
    adjusted, running = [0.0] * len(p_values), 0.0
    for place, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        running = max(running, (len(p_values) - place) * p_values[index])
        adjusted[index] = min(running, 1.0)
    return adjusted


def judge(
    nulls: Mapping[Key, Null], family: Collection[Key], *, alpha: float = 1 - LEVEL
) -> dict[Key, Null]:
    """Judge the numbers of ``family`` together, by Holm's correction; others stay unjudged.

    Numbers with fewer than three references, or without a p-value, are neither judged nor counted.
    """
    p_values = {
        key: null.p
        for key, null in nulls.items()
        if key in family and null.n >= FEWEST_TO_JUDGE and null.p is not None
    }
    verdicts = {
        key: replace(nulls[key], p_holm=p, outside=p < alpha)
        for key, p in zip(p_values, holm(list(p_values.values())), strict=True)
    }
    return {key: verdicts.get(key, null) for key, null in nulls.items()}
