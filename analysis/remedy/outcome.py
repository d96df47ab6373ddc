"""What a remedy changed: before and after on the same images, with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.divergence.bootstrap import DRAWS, bootstrap_means

RECOVERED, TRUE = "asr_recovered", "asr_true"
LARGEST_LOSS = 0.015


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What one model answers, as classes of the teacher.

    ``clean`` (N,); ``recovered`` and ``true`` (N,) the same images with that trigger on, or None
    where there is none.
    """

    clean: np.ndarray
    recovered: np.ndarray | None = None
    true: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What answers are judged by.

    ``labels`` (N,) or None, the ``teacher``'s answers, the target class of each trigger or None.
    """

    labels: np.ndarray | None
    teacher: Answers
    target_recovered: int | None = None
    target_true: int | None = None

    @property
    def classes(self) -> np.ndarray:
        """The class of each image: its label, else the teacher's answer."""
        return self.teacher.clean if self.labels is None else self.labels


def outcome(
    ground: Ground, before: Answers, after: Answers, *, seed: int = 0, draws: int = DRAWS
) -> dict[str, Any]:
    """Return ``before``, ``after`` and their ``difference`` (after - before), each by measure.

    ``accuracy`` (null without labels), ``agreement`` with the teacher, ``asr_recovered`` and
    ``asr_true``: share of images not of the target class that are answered with the target when
    they carry the trigger, null where there is no such trigger. Each has its mean and a 95 %
    bootstrap interval; the difference is paired by image.
    """
    columns = {
        "accuracy": _accuracy(ground, before, after),
        "agreement": _pair(before.clean, after.clean, ground.teacher.clean),
        RECOVERED: _rates(ground, before.recovered, after.recovered, ground.target_recovered),
        TRUE: _rates(ground, before.true, after.true, ground.target_true),
    }
    result: dict[str, Any] = {"before": {}, "after": {}, "difference": {}, "n": {}}
    for name, pair in columns.items():
        result["n"][name] = None if pair is None else len(pair)
        for part in ("before", "after", "difference"):
            result[part][name] = None
        if pair is not None and len(pair):
            three = np.column_stack([pair, pair[:, 1] - pair[:, 0]])
            found = bootstrap_means(three, seed=seed, draws=draws)
            for part, interval in zip(("before", "after", "difference"), found, strict=True):
                result[part][name] = interval.to_json()
    return result


def success_rates(ground: Ground, answers: Answers) -> dict[str, float | None]:
    """How often one model answers the target under each trigger, without intervals."""
    found = {}
    for name, given, target in (
        (RECOVERED, answers.recovered, ground.target_recovered),
        (TRUE, answers.true, ground.target_true),
    ):
        pair = _rates(ground, given, given, target)
        found[name] = None if pair is None or not len(pair) else float(pair[:, 0].mean())
    return found


def judge(result: Mapping[str, Any], references: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Whether a remedy did what it should, by two questions that can each be unanswered (None).

    ``within_references``: the success rate after it (of the true trigger, where it is known,
    else of the recovered one) is at most that of an honest reference student under the same
    trigger. ``accuracy_kept``: at most 1.5 points of accuracy were lost (of agreement, without
    labels).
    """
    measure = TRUE if result["after"][TRUE] is not None else RECOVERED
    rate = result["after"][measure]
    known = [rates[measure] for rates in references.values() if rates.get(measure) is not None]
    lost = result["difference"]["accuracy"] or result["difference"]["agreement"]
    return {
        "judged_by": measure if rate is not None else None,
        "within_references": rate["value"] <= max(known) if rate is not None and known else None,
        "accuracy_kept": None if lost is None else lost["value"] >= -LARGEST_LOSS,
    }


def _accuracy(ground: Ground, before: Answers, after: Answers) -> np.ndarray | None:
    if ground.labels is None:
        return None
    return _pair(before.clean, after.clean, ground.labels)


def _pair(before: np.ndarray, after: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.column_stack([before == wanted, after == wanted]).astype(np.float64)


def _rates(
    ground: Ground, before: np.ndarray | None, after: np.ndarray | None, target: int | None
) -> np.ndarray | None:
    if before is None or after is None or target is None:
        return None
    others = ground.classes != target
    return np.column_stack([before == target, after == target])[others].astype(np.float64)
