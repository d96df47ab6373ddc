"""What is measured beside the verdict: screening of the sets, and repair of what was planted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.attack.recovered import RecoveredTrigger
from analysis.attack.triggers import Trigger, with_trigger
from analysis.audit.detection import auroc, detection_rate
from analysis.audit.inversion import Inverted
from analysis.data.imageset import ImageSet
from analysis.models.handle import ModelHandle
from analysis.models.loading import load_model
from analysis.remedy.case import stamped_logits
from analysis.remedy.methods import Case, make_remedy
from analysis.study.recovered import WORKS
from analysis.study.remedies import WEIGHTS, apply_remedy
from analysis.study.screening import Screened
from analysis.study.stages import Workbench
from benchmarks.zoo.auditing import alarm_of
from benchmarks.zoo.making import answers
from benchmarks.zoo.results import Row

REMEDIES = ("unlearn", "finetune")
"""What is tried: the remedy that the audit's trigger is for, and the control."""


def screening_row(
    name: str, screened: Screened, truth: np.ndarray | None, class_names: Sequence[str]
) -> Row:
    """How well the screen finds poison (``truth`` (N,)), and its alarm; a clean set has only that.

    The alarm is the one with the smallest p-value after correction; it counts from 0.05 on.
    """
    alarm = alarm_of(screened.screening.alarms)
    score = screened.screening.score
    row: Row = {
        "set": name,
        "n": len(score),
        "poisoned": 0,
        "auroc": None,
        "found_at_1_percent": None,
    }
    if truth is not None and truth.any():
        row["poisoned"] = int(truth.sum())
        row["auroc"] = auroc(score, truth)
        row["found_at_1_percent"] = detection_rate(score, truth)
    label = None if alarm is None else alarm.target_class
    return {
        **row,
        "alarm": None if alarm is None else alarm.test,
        "p_value": None if alarm is None else alarm.corrected_p_value,
        "named": None if label is None else class_names[label],
    }


def recovered_triggers(
    own: Mapping[str, Inverted], family: str, label: int
) -> tuple[RecoveredTrigger, ...]:
    """The triggers that the searches found for one class: of ``family``, then all that work."""
    further = (one for one in own if one != family and own[one].flip_student[label] >= WORKS)
    return tuple(
        RecoveredTrigger(
            family=one, parts={name: values[label] for name, values in own[one].parts.items()}
        )
        for one in (family, *further)
    )


def repair_rows(
    bench: Workbench,
    name: str,
    teacher: ModelHandle,
    student: ModelHandle,
    honest: Sequence[ModelHandle],
    *,
    trusted: ImageSet,
    measured: ImageSet,
    recovered: Sequence[RecoveredTrigger],
    named: int,
    trigger: Trigger,
    target: int,
    seed: int,
    device: str = "cpu",
) -> list[Row]:
    """Unlearn the recovered triggers, and fine-tune for contrast; measure both by the true one.

    The first of them is the one that the audit points to: ``asr_recovered`` is its success.
    ``honest_low`` and ``honest_high`` are what honest students answer under the true trigger;
    ``within`` says that the repaired one is at most the highest of them. ``cost`` is accuracy lost.
    """
    assert measured.labels is not None
    others = np.flatnonzero(measured.labels != target)
    marked, case = (
        with_trigger(measured, trigger, others),
        Case(
            teacher=teacher,
            student=student,
            trusted=trusted,
            trigger=recovered[0],
            further=tuple(recovered[1:]),
        ),
    )
    rates = [_share(answers(one, marked), target) for one in honest]

    def known(handle: ModelHandle) -> dict[str, Any]:
        right = answers(handle, measured) == measured.labels
        rows = measured.rows(np.flatnonzero(measured.labels != named))
        under = stamped_logits(handle, rows, recovered[0]).argmax(axis=1)
        return {
            "accuracy": float(right.mean()),
            "asr_true": _share(answers(handle, marked), target),
            "asr_recovered": _share(under, named),
        }

    before = known(student)
    rows = []
    for method in REMEDIES:
        made = apply_remedy(
            bench, make_remedy(method), case, name=name, seed=seed, threads=1, device=device
        )
        after = known(load_model(str(made.file(WEIGHTS)), device=device))
        rows.append(
            {
                "student": name,
                "remedy": method,
                **{f"{key}_before": value for key, value in before.items()},
                **{f"{key}_after": value for key, value in after.items()},
                "honest_low": min(rates),
                "honest_high": max(rates),
                "within": int(after["asr_true"] <= max(rates)),
                "cost": before["accuracy"] - after["accuracy"],
                "passes": made.record["passes"],
                "seconds": round(made.seconds, 1),
            }
        )
    return rows


def _share(given: np.ndarray, target: int) -> float:
    return float((given == target).mean())
