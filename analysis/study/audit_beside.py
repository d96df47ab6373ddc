"""What an audit runs beside its primary test, as the budget says; what it leaves out is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from analysis.attack.recovered import RecoveredTrigger
from analysis.audit.inversion import Inverted
from analysis.audit.settings import BASELINES, Budget, budgets_with
from analysis.records import Finding
from analysis.store import Study
from analysis.study.audit_contrast import neural_cleanse
from analysis.study.audit_inversion import Bench
from analysis.study.localization import localize
from analysis.study.probes import Probed, sticker_finding, strip_of_trigger
from analysis.study.recovered import Suspect
from analysis.study.stages import CompareConfig, Products, Workbench

_NO_TRIGGER = "Not run: no trigger was found that moves any unseen image."


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A student under audit with its references, and the classes by name."""

    bench: Bench
    student: Probed
    references: Sequence[Probed]
    class_names: Sequence[str]

    @property
    def workbench(self) -> Workbench:
        """Where the stages of other tests run."""
        return Workbench(self.bench.cache, CompareConfig(), self.bench.progress)

    def findings(self, budget: Budget, suspect: Suspect | None) -> tuple[Finding, ...]:
        """One finding for each of ``BASELINES``; without statistic for one that was not run.

        ``suspect`` is the trigger that the primary test points to, where it works at all.
        """
        run: Mapping[str, Callable[[], Finding]] = {
            "sticker_bank": self._stickers,
            "strip": lambda: self._strip(suspect),
            "neural_cleanse": self._cleanse,
        }
        return tuple(
            run[test]() if test in budget.baselines else _left_out(test) for test in BASELINES
        )

    def localized(
        self,
        study: Study,
        suspect: Suspect,
        trusted_code: Sequence[str | Path] = (),
        device: str = "cpu",
    ) -> Products:
        """Maps of the pair on images with the recovered trigger, one reference beside.

        Comes after the verdict and explains it: where the study shows a trigger of its own, the
        record says how the two overlap.
        """
        return localize(
            self.workbench,
            study,
            self.student.name,
            suspect,
            beside=next(iter(self.references), None),
            trusted_code=trusted_code,
            device=device,
        )

    def _stickers(self) -> Finding:
        images = self.bench.trusted.measure
        return sticker_finding(
            self.workbench,
            self.bench.teacher,
            self.student,
            self.references,
            images,
            self.class_names,
        )

    def _strip(self, suspect: Suspect | None) -> Finding:
        if suspect is None:
            return Finding(test="strip", title=BASELINES["strip"], sentence=_NO_TRIGGER)
        images = self.bench.trusted.measure
        found = strip_of_trigger(self.workbench, self.student, images, suspect.trigger)
        return replace(found, target_class=suspect.target)

    def _cleanse(self) -> Finding:
        student = self.student
        return neural_cleanse(
            self.bench, student.name, student.handle, self.class_names, student.order
        )


def suspect_of(own: Mapping[str, Inverted], family: str, label: int) -> Suspect | None:
    """The trigger of ``family`` for class ``label``, or None where it moves no unseen image."""
    found = own[family]
    if not np.nan_to_num(found.flip_student[label]) > 0:
        return None
    parts = {name: values[label] for name, values in found.parts.items()}
    trigger = RecoveredTrigger(family=family, parts=parts)
    return Suspect(trigger=trigger, target=label, recovered=True)


def _left_out(test: str) -> Finding:
    names = " and ".join(budgets_with(test))
    return Finding(
        test=test, title=BASELINES[test], sentence=f"Not run: part of the budget {names} only."
    )
