"""Screening a distillation set without its truth: how brittle are the teacher's answers?

An image that was perturbed against the teacher loses its effect under a mild filter; an ordinary
image keeps its answer. Numpy only: the passes are made by whoever calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.audit.alarms import enrichment, flip_rates, log_odds, most_extreme, outlier_p_values
from analysis.config import Config, field
from analysis.data.filters import find_filter
from analysis.divergence.answers import log_softmax
from analysis.errors import ConfigError, InputError
from analysis.records import Finding

LABELS = "labels"
_SPREAD_QUANTILE = 0.9
_SMALLEST = 1e-3


@dataclass(frozen=True, kw_only=True)
class ScreeningConfig(Config):
    """How a distillation set is screened."""

    filters: str = field(
        "median+jpeg", "filters whose scores are combined, joined by + (median, jpeg, flip, ...)"
    )
    top: float = field(
        0.1, "share of the images that count as the most brittle", low=0.001, high=0.5
    )
    gallery: int = field(64, "most brittle images that are kept as pictures", low=0, high=1000)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.names:
            find_filter(name)
        if len(set(self.names)) != len(self.names):
            raise ConfigError(f"filters = {self.filters!r}", expected="each filter once")

    @property
    def names(self) -> tuple[str, ...]:
        """The filters by name."""
        return tuple(self.filters.split("+"))


@dataclass(frozen=True, kw_only=True)
class Screening:
    """Every image's scores, higher is stranger, and the alarms for a class.

    ``answer`` (N,) is the teacher's class of each image, ``score`` (N,) the combined score,
    ``parts`` {name: (N,)} what it is combined of and, where there are labels, ``labels``: -log of
    the teacher's probability of the label. ``weights`` are the filters' in the combination.
    """

    answer: np.ndarray
    score: np.ndarray
    parts: Mapping[str, np.ndarray]
    weights: Mapping[str, float]
    alarms: tuple[Finding, ...]

    def most_brittle(self, count: int) -> np.ndarray:
        """Rows of the ``count`` highest scores, the highest first."""
        return np.argsort(-self.score, kind="stable")[:count]

    def to_json(self) -> dict[str, Any]:
        """What is not one number per image."""
        alarms = [alarm.to_json() for alarm in self.alarms]
        return {"weights": dict(self.weights), "evidence": alarms}


def screen_answers(
    logits: np.ndarray,
    filtered: Mapping[str, np.ndarray],
    labels: np.ndarray | None,
    config: ScreeningConfig,
    names: Sequence[str],
) -> Screening:
    """Score images by the teacher's ``logits`` (N, K) on them and on their ``filtered`` copies.

    ``labels`` (N,) where there are some, ``names`` (K,) those of the classes. Raises
    :class:`InputError` when shapes differ.
    """
    answer = logits.argmax(axis=1)
    parts = {name: brittleness(logits, filtered[name]) for name in config.names}
    weights = combination_weights(parts)
    score = np.sum([weights[name] * part for name, part in parts.items()], axis=0)
    alarms = [_mix_alarm(score, answer, names, config.top)]
    alarms += [
        _flip_alarm(name, answer, filtered[name].argmax(axis=1), names)
        for name in config.names
        if find_filter(name).keeps_meaning
    ]
    if labels is not None:
        parts[LABELS] = -log_softmax(logits)[np.arange(len(labels)), labels]
        alarms.append(_label_alarm(answer, labels, names))
    return Screening(answer=answer, score=score, parts=parts, weights=weights, alarms=tuple(alarms))


def brittleness(logits: np.ndarray, filtered: np.ndarray) -> np.ndarray:
    """KL(T(x) || T(f(x))) of every image (N,) in nats, at least 0; higher is more brittle.

    ``logits`` and ``filtered`` (N, K) are the teacher's on the image and on the filtered image.
    Raises :class:`InputError` when shapes differ.
    """
    if logits.shape != filtered.shape:
        raise InputError(
            f"logits of shapes {logits.shape} and {filtered.shape}", expected="equal shapes"
        )
    log_p, log_q = log_softmax(logits), log_softmax(filtered)
    return np.maximum((np.exp(log_p) * (log_p - log_q)).sum(axis=1), 0.0)


def combination_weights(parts: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Weight of each filter's scores (N,): 1 / their 90th percentile, the weights summing to 1.

    A filter that changes many ordinary images has a high percentile and counts little, so one
    that has no meaning for these classes (a mirror, for arrows) does little harm. No percentile
    is taken as lower than a thousandth of a nat.
    """
    raw = {
        name: 1 / max(float(np.quantile(part, _SPREAD_QUANTILE)), _SMALLEST)
        for name, part in parts.items()
    }
    return {name: weight / sum(raw.values()) for name, weight in raw.items()}


def _mix_alarm(score: np.ndarray, answer: np.ndarray, names: Sequence[str], top: float) -> Finding:
    values = enrichment(score, answer, len(names), top)
    place, p_value = most_extreme(outlier_p_values(values))
    count = max(1, round(top * len(score)))
    seen = np.bincount(answer[np.argsort(-score, kind="stable")[:count]], minlength=len(names))
    return Finding(
        test="brittle_mix",
        title="classes of the most brittle images",
        **_extreme(values, place, p_value),
        sentence=(
            f"Of the {count} images whose answer breaks most easily the teacher calls "
            f"{100 * seen[place] / count:.1f} % {names[place]!r}; of all images it is "
            f"{100 * (answer == place).mean():.1f} %."
        ),
    )


def _flip_alarm(
    name: str, answer: np.ndarray, filtered: np.ndarray, names: Sequence[str]
) -> Finding:
    total = np.bincount(answer, minlength=len(names))
    share = flip_rates(answer, filtered, len(names))
    values = log_odds(share, total)
    place, p_value = most_extreme(outlier_p_values(values))
    title = find_filter(name).title
    return Finding(
        test=f"flip_rate_{name}",
        title=f"answers that {title} changes, by class",
        **_extreme(values, place, p_value),
        sentence=(
            f"{title} changes {_percent(share[place])} of the answers {names[place]!r}; over all "
            f"images it is {_percent((answer != filtered).mean())}."
        ),
    )


def _label_alarm(answer: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Finding:
    total = np.bincount(answer, minlength=len(names))
    share = flip_rates(answer, labels, len(names))
    values = log_odds(share, total)
    place, p_value = most_extreme(outlier_p_values(values))
    return Finding(
        test="label_disagreement",
        title="answers that contradict the set's own labels, by class",
        **_extreme(values, place, p_value),
        sentence=(
            f"{_percent(share[place])} of the images that the teacher calls {names[place]!r} have "
            f"another label; over all images it is {_percent((answer != labels).mean())}."
        ),
    )


def _extreme(values: np.ndarray, place: int, p_value: float | None) -> dict[str, Any]:
    """What every alarm says of the class that stands out."""
    return {
        "target_class": place,
        "statistic": float(values[place]),
        "p_value": p_value,
        "p_kind": None if p_value is None else "model",
        "scores": tuple(values.tolist()),
    }


def _percent(share: float) -> str:
    return "none" if np.isnan(share) else f"{100 * share:.1f} %"
