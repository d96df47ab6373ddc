"""What a repair works with: models, trusted images, and the images that it is measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.imageset import ImageSet, subset_rows
from analysis.errors import ImageSetError
from analysis.models.handle import ModelHandle
from analysis.models.loading import load_model
from analysis.models.weights import fill, read_weights
from analysis.records import REFERENCE, TEACHER, TRIGGER
from analysis.remedy.case import Case, Remedy, answer_logits, copied, stamped_logits
from analysis.remedy.outcome import Answers, Ground, judge, outcome, success_rates
from analysis.store import Study
from analysis.study.classes import plan_classes
from analysis.study.images import images_of_study, load_image_set
from analysis.study.models import load_stored
from analysis.study.recovered import Suspect, told_target
from analysis.study.screening import suspicion
from analysis.study.stages import Workbench


@dataclass(frozen=True, kw_only=True)
class Bed:
    """A student under repair: the case, and the measure of everything before and after.

    ``measured`` are images that no remedy learns from, ``shown`` (N, H, W, C) uint8 the same
    ones under the study's own trigger, or None. ``split`` says whether trusted and measured
    images are two halves of the study's.
    """

    student: str
    case: Case
    suspect: Suspect | None
    measured: ImageSet
    shown: np.ndarray | None
    ground: Ground
    before: Answers
    references: Mapping[str, Mapping[str, Any]]
    split: bool
    seed: int
    draws: int

    def answers(self, handle: ModelHandle) -> Answers:
        """What ``handle`` answers, which has its outputs ordered as the student does."""
        return answers_of(handle, self.measured, self.suspect, self.shown, self.case.order)

    def judged(self, after: Answers) -> dict[str, Any]:
        """Before, after, difference, and what honest models do under the same triggers."""
        result = outcome(self.ground, self.before, after, seed=self.seed, draws=self.draws)
        rates = {TEACHER: success_rates(self.ground, self.ground.teacher), **self.references}
        return {**result, **judge(result, self.references), "honest": rates}

    def described(self) -> dict[str, Any]:
        """What the repair was made with and measured on."""
        trusted, suspect = self.case.trusted, self.suspect
        return {
            "trigger": None if suspect is None else suspect.trigger.shown,
            "further_triggers": [trigger.shown for trigger in self.case.further],
            "trigger_recovered": None if suspect is None else suspect.recovered,
            "target_class": None if suspect is None else suspect.target,
            "trusted": {"source": trusted.source, "n": len(trusted), "digest": trusted.digest},
            "measured": len(self.measured),
            "split": self.split,
            "own_recipe": self.case.own_recipe()[2],
        }

    def repaired(self, weights: Path) -> ModelHandle:
        """Load repaired ``weights``: the student's network with other numbers in it."""
        student = self.case.student
        if student.user_code is None:
            return load_model(str(weights)).to(student.device)
        state = read_weights(weights).state
        module = copied(student)
        fill(module, state, what=weights.name, into=student.spec_text)
        return replace(student, module=module)

    def spec(self, weights: Path, trusted_code: Sequence[str | Path]) -> str:
        """How the study is told of the repaired student."""
        student = self.case.student
        if student.user_code is None:
            return str(weights)
        file, _, factory = student.architecture.rpartition(":")
        path = next(Path(code) for code in trusted_code if Path(code).name == file)
        return f"{path}:{factory}@{weights}"


def prepare(
    bench: Workbench,
    study: Study,
    student: str,
    remedy: Remedy,
    suspect: Suspect | None,
    *,
    images: str | None,
    distillation_set: str | None,
    seed: int,
    trusted_code: Sequence[str | Path],
    device: str,
) -> Bed:
    """Load what a repair needs, and measure the student as it is."""
    teacher = load_stored(study, TEACHER, trusted_code, device)
    handle = load_stored(study, student, trusted_code, device)
    inspection = images_of_study(study)
    trusted, rows = _trusted(bench, inspection, teacher, images, seed)
    poisoned = None
    if remedy.needs_suspect and distillation_set is not None:
        poisoned = load_for(bench, distillation_set, "distillation", teacher)
    case = Case(
        teacher=teacher,
        student=handle,
        trusted=trusted,
        suspect=poisoned,
        suspicion=(
            suspicion(bench, teacher, poisoned)
            if remedy.needs_suspicion and poisoned is not None
            else None
        ),
        trigger=None if suspect is None else suspect.trigger,
        further=() if suspect is None else suspect.further,
        order=study.class_order(student),
    )
    remedy.check(case)
    measured = inspection.rows(rows)
    shown = _shown(study, rows)
    ground = Ground(
        labels=measured.labels,
        teacher=answers_of(teacher, measured, suspect, shown, None),
        target_recovered=None if suspect is None else suspect.target,
        target_true=None if shown is None else told_target(study),
    )
    return Bed(
        student=student,
        case=case,
        suspect=suspect,
        measured=measured,
        shown=shown,
        ground=ground,
        before=answers_of(handle, measured, suspect, shown, case.order),
        references=_references(study, measured, suspect, shown, ground, trusted_code, device),
        split=images is None,
        seed=bench.config.seed,
        draws=bench.config.draws,
    )


def answers_of(
    handle: ModelHandle,
    images: ImageSet,
    suspect: Suspect | None,
    shown: np.ndarray | None,
    order: tuple[int, ...] | None,
) -> Answers:
    """What ``handle`` answers to ``images``: as they are, with the suspect trigger, as shown."""

    def classes(logits: np.ndarray) -> np.ndarray:
        return (logits if order is None else logits[:, list(order)]).argmax(axis=1)

    return Answers(
        clean=classes(answer_logits(handle, images)),
        recovered=(
            None if suspect is None else classes(stamped_logits(handle, images, suspect.trigger))
        ),
        true=(
            None if shown is None else classes(answer_logits(handle, replace(images, images=shown)))
        ),
    )


def _trusted(
    bench: Workbench, inspection: ImageSet, teacher: ModelHandle, images: str | None, seed: int
) -> tuple[ImageSet, np.ndarray]:
    """The trusted images, and the rows of the inspection set that are measured."""
    total = len(inspection)
    if images is None:
        if total < 2:
            raise ImageSetError("one image cannot be split into two halves", remedy="give --images")
        chosen = subset_rows(total, total // 2, seed)
        return inspection.rows(chosen), np.setdiff1d(np.arange(total), chosen)
    trusted = load_for(bench, images, "trusted", teacher)
    learned = {picture.tobytes() for picture in trusted.images}
    rows = np.array(
        [row for row, picture in enumerate(inspection.images) if picture.tobytes() not in learned],
        dtype=np.int64,
    )
    if len(rows) == 0:
        raise ImageSetError(
            "every image of the study is among the trusted images",
            expected="some that a repaired student can be measured on",
            remedy="leave --images out: the study's are then split in two halves",
        )
    return trusted, rows


def load_for(bench: Workbench, source: str, name: str, teacher: ModelHandle) -> ImageSet:
    """Load images of the teacher's size, labels in the order of its classes."""
    images = load_image_set(
        bench.cache,
        source,
        name=name,
        size=teacher.side,
        channels=teacher.in_channels,
        progress=bench.progress,
    )
    teacher.check_images(images.image_shape)
    plan = plan_classes(images, teacher, {})
    return replace(images, labels=plan.labels, class_names=plan.names)


def _shown(study: Study, rows: np.ndarray) -> np.ndarray | None:
    """The measured images under the study's own trigger, or None where it shows none."""
    condition = study.conditions.get(TRIGGER)
    if condition is None or not condition.covers_all:
        return None
    return np.asarray(study.condition_images(TRIGGER)[rows])


def _references(
    study: Study,
    measured: ImageSet,
    suspect: Suspect | None,
    shown: np.ndarray | None,
    ground: Ground,
    trusted_code: Sequence[str | Path],
    device: str,
) -> dict[str, dict[str, Any]]:
    """How often the study's reference students answer the target under the same triggers."""
    rates = {}
    for name, model in study.models.items():
        if model.role == REFERENCE:
            handle = load_stored(study, name, trusted_code, device)
            answers = answers_of(handle, measured, suspect, shown, study.class_order(name))
            rates[name] = dict(success_rates(ground, answers))
    return rates
