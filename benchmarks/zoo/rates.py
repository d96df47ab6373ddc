"""Rates with exact intervals, and areas under the ROC curve with the teachers drawn anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from analysis.audit.detection import auroc
from analysis.errors import InputError

LEVEL, DRAWS = 0.95, 2000


@dataclass(frozen=True, slots=True)
class Rate:
    """``hits`` of ``n`` with the exact interval [``low``, ``high``] of their chance."""

    hits: int
    n: int
    low: float
    high: float

    def __str__(self) -> str:
        if self.n == 0:
            return "none of 0"
        share = f"{100 * self.hits / self.n:.1f} %"
        return f"{self.hits} of {self.n} ({share} [{100 * self.low:.1f}, {100 * self.high:.1f}])"


@dataclass(frozen=True, slots=True)
class Area:
    """An area under the ROC curve; the interval is None with fewer than two teachers."""

    value: float
    low: float | None
    high: float | None
    positives: int
    honest: int

    def __str__(self) -> str:
        text = f"{self.value:.3f}"
        return text if self.low is None else f"{text} [{self.low:.3f}, {self.high:.3f}]"


def rate(hits: int, n: int) -> Rate:
    """The exact 95 % interval of a chance of which ``hits`` of ``n`` were seen.

    [B(a/2; h, n - h + 1), B(1 - a/2; h + 1, n - h)] with quantiles B of the beta distribution, 0
    and 1 at the ends; everything, when nothing was tried. Source: Clopper and Pearson 1934.
    """
    if not 0 <= hits <= n:
        raise InputError(f"{hits} of {n}", expected="at most as many hits as trials")
    tail = (1 - LEVEL) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(1 - tail, hits + 1, n - hits))
    return Rate(hits, n, low, high)


def area(
    scores: Sequence[float], truth: Sequence[bool], teachers: Sequence[str], *, seed: int = 0
) -> Area | None:
    """AUROC over students, with the percentile interval of a bootstrap over ``teachers``.

    All (N,). Students of one teacher are not independent, so whole teachers are drawn, with
    replacement; draws without both kinds of student are left out. None without both kinds.
    """
    given, planted = np.asarray(scores, np.float64), np.asarray(truth, bool)
    if planted.all() or not planted.any():
        return None
    names, owner = np.unique(np.asarray(teachers), return_inverse=True)
    counts = (int(planted.sum()), int((~planted).sum()))
    value = auroc(given, planted)
    if len(names) < 2:
        return Area(value, None, None, *counts)
    drawn = areas_of(given, planted, owner, _draws(len(names), seed))
    if not len(drawn):
        return Area(value, None, None, *counts)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Area(value, float(low), float(high), *counts)


def areas_of(
    scores: np.ndarray, truth: np.ndarray, owner: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """AUROC of each draw, in which teacher t with all its students occurs ``counts`` (D, T) times.

    Pairs of a positive and an honest student are counted per pair of teachers, once. Draws
    without both kinds are left out.
    """
    higher = scores[truth][:, None] - scores[~truth][None, :]
    right = (higher > 0) + 0.5 * (higher == 0)
    member = owner[:, None] == np.arange(counts.shape[1])
    positives, honest = (member[rows].astype(np.float64) for rows in (truth, ~truth))
    wins = positives.T @ right @ honest
    pairs = (counts @ positives.sum(axis=0)) * (counts @ honest.sum(axis=0))
    won = np.einsum("di,ij,dj->d", counts, wins, counts)
    return np.asarray(won[pairs > 0] / pairs[pairs > 0])


def _draws(teachers: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.multinomial(teachers, np.full(teachers, 1 / teachers), size=DRAWS)


def roc(scores: Sequence[float], truth: Sequence[bool]) -> list[tuple[float, float]]:
    """Corners (false alarms, hits) of the ROC curve from (0, 0) to (1, 1), ties taken at once."""
    given, planted = np.asarray(scores, np.float64), np.asarray(truth, bool)
    corners = [(0.0, 0.0)]
    for threshold in np.unique(given)[::-1]:
        above = given >= threshold
        corners.append((float(above[~planted].mean()), float(above[planted].mean())))
    return corners
