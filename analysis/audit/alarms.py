"""From scores of images to an alarm for a class: does one class stand out from the others?"""

from __future__ import annotations

import numpy as np
from scipy import stats

from analysis.errors import InputError

FEWEST_CLASSES = 4
# All class statistics here are logarithms: less than a tenth is what counting alone does.
_LEAST_SPREAD = 0.1


def enrichment(score: np.ndarray, answer: np.ndarray, classes: int, top: float) -> np.ndarray:
    """How over-represented each class is among the highest scores, (K,) natural logarithm.

    ``score`` (N,), higher is stranger; ``answer`` (N,) the class of each image; the highest
    round(``top`` N) count. 0 means the class's share in the set; half an image is added to both
    counts, so that none is infinite.
    """
    count = max(1, round(top * len(score)))
    chosen = np.argsort(-score, kind="stable")[:count]
    seen = np.bincount(answer[chosen], minlength=classes)
    expected = count * np.bincount(answer, minlength=classes) / len(answer)
    return np.log((seen + 0.5) / (expected + 0.5))


def flip_rates(answer: np.ndarray, filtered: np.ndarray, classes: int) -> np.ndarray:
    """Share of the images of each answer (K,) that a filter changes; NaN where there are none."""
    total = np.bincount(answer, minlength=classes)
    changed = np.bincount(answer[filtered != answer], minlength=classes)
    with np.errstate(invalid="ignore"):
        return changed / total


def log_odds(share: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Logarithm of the odds of shares (K,) of ``total`` (K,) images, half an image added."""
    hits = np.nan_to_num(share) * total
    return np.log((hits + 0.5) / (total - hits + 0.5))


def outlier_p_values(values: np.ndarray) -> np.ndarray:
    """p-value (K,) of each class being as high as it is, if it were like the others.

    Each value is compared with mean and spread of the other K - 1: Student's t with K - 2
    degrees of freedom of (x - mean) / (s sqrt(1 + 1/(K - 1))), one-sided, with s at least 0.1:
    ``values`` are logarithms. All 1 with fewer than 4 classes. Raises :class:`InputError` for NaN.
    Source: the prediction interval of a further observation, as in Hahn and Meeker 1991.
    """
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError("a class statistic that is not finite")
    count = len(values)
    if count < FEWEST_CLASSES:
        return np.ones(count)
    p_values = np.ones(count)
    for place, value in enumerate(values):
        others = np.delete(values, place)
        spread = max(float(others.std(ddof=1)), _LEAST_SPREAD)
        t = (value - others.mean()) / (spread * np.sqrt(1 + 1 / (count - 1)))
        p_values[place] = max(float(stats.t.sf(t, count - 2)), np.finfo(float).tiny)
    return p_values


def most_extreme(p_values: np.ndarray) -> tuple[int, float | None]:
    """The class with the smallest p-value, and that value for the search over all classes.

    Bonferroni: K times the smallest, at most 1; None where there are too few classes to tell.
    """
    place = int(np.argmin(p_values))
    if len(p_values) < FEWEST_CLASSES:
        return place, None
    return place, float(min(1.0, len(p_values) * p_values[place]))
