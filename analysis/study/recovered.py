"""Which trigger a student's remedy or localization is about: recovered by an audit, or given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.attack.recovered import Applied, RecoveredTrigger
from analysis.attack.triggers import parse_trigger
from analysis.audit.record import read_audit, recovered
from analysis.errors import InputError
from analysis.records import TRIGGER
from analysis.store import Study
from analysis.study.attack import find_target

RECOVERED = "recovered"
WORKS = 0.5
"""Share of unseen images that a trigger must move to be one of the further ones."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A trigger with the class that it is to mean; ``recovered`` by an audit, or told.

    ``further`` are what other models of a trigger found for that class.
    """

    trigger: Applied
    target: int
    recovered: bool
    further: tuple[RecoveredTrigger, ...] = ()


def find_suspect(
    study: Study, student: str, text: str = RECOVERED, target: str | None = None
) -> Suspect:
    """Return the trigger that ``text`` names: ``recovered``, or one as ``attack`` reads it.

    A told trigger needs a ``target`` unless the study shows its images with a trigger already.
    Raises :class:`~analysis.errors.InputError` when there is none.
    """
    if text == RECOVERED:
        found = recovered_suspect(study, student)
        if found is None:
            raise InputError(
                f"no trigger was recovered from {student!r}",
                remedy="run audit on the study first, or give --trigger and --target",
            )
        return found
    if target is None:
        condition = study.conditions.get(TRIGGER)
        if condition is None:
            raise InputError(f"--trigger {text!r} without --target", expected="a class")
        target = str(condition.parameters["target"])
    return Suspect(
        trigger=parse_trigger(text),
        target=find_target(target, study.class_names),
        recovered=False,
    )


def recovered_suspect(study: Study, student: str) -> Suspect | None:
    """The trigger that the audit of ``student`` recovered for the class it points to, or None.

    None, too, where no search found one for that class: other evidence alone spoke for it.
    """
    report = read_audit(study, student)
    target = None if report is None else report.target_class
    if report is None or target is None or not 0 <= target < len(study.class_names):
        return None
    family = report.trigger_family
    trigger = None if family is None else _found(study, student, family, target)
    if trigger is None:
        return None
    further = (
        _found(study, student, other, target)
        for other, sizes in report.classes.items()
        if other != family and sizes.flip_student[target] >= WORKS
    )
    return Suspect(
        trigger=trigger,
        target=target,
        recovered=True,
        further=tuple(one for one in further if one is not None),
    )


def _found(study: Study, student: str, family: str, target: int) -> RecoveredTrigger | None:
    """The trigger of one class that the search of one family found, or None."""
    found = recovered(study, student, family)
    if not found:
        return None
    parts = {name: np.asarray(array[target]) for name, array in found.items()}
    return RecoveredTrigger(family=family, parts=parts)


def told_target(study: Study) -> int | None:
    """The target class of the trigger that the study's condition shows, or None."""
    condition = study.conditions.get(TRIGGER)
    if condition is None:
        return None
    return study.class_names.index(condition.parameters["target"])
