"""Audit students of a study: find the backdoor that nobody told us about.

Trusted images are split by sample id: one part to distill references on, one to search triggers
on, one to read their size and flip rates on. Truth that a study may hold about an attack (its
conditions, roles, recipes) plays no part in a verdict; only the maps that explain one are held
against it, afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.audit.families import FAMILIES
from analysis.audit.inversion import Inverted, Trusted
from analysis.audit.null import judge_sizes, null_fit, split_by_id
from analysis.audit.record import AuditReport, FamilySizes
from analysis.audit.settings import find_budget
from analysis.audit.verdict import Case, decide
from analysis.data.imageset import ImageSet
from analysis.errors import InputError
from analysis.models.handle import ModelHandle
from analysis.records import REFERENCE, TEACHER, Finding
from analysis.store import Progress, Study, StudyWriter, silent, workspace_cache, writing
from analysis.store.files import write_array
from analysis.study.audit_beside import Beside, suspect_of
from analysis.study.audit_inversion import Bench, invert_all
from analysis.study.audit_references import References, find_references, stored_order
from analysis.study.audit_screening import DistillationSets, ScreenedSets, screen_sets
from analysis.study.audit_settings import AuditConfig
from analysis.study.classes import plan_classes
from analysis.study.images import images_of_study, load_image_set
from analysis.study.models import load_stored
from analysis.study.probes import Probed
from analysis.study.stages import CompareConfig, Workbench

INSPECTION = "inspection"
_BATCH = 256
_FIT = "the null may not fit"


def audit_study(
    folder: str | Path,
    *,
    students: Sequence[str] = (),
    images: str | None = None,
    references: str | Path | None = None,
    distillation: DistillationSets = None,
    config: AuditConfig | None = None,
    evidence: Mapping[str, Sequence[Finding]] | None = None,
    trusted_code: Sequence[str | Path] = (),
    device: str = "cpu",
    progress: Progress = silent,
) -> Study:
    """Audit ``students`` (default: all that are listed) of the study in ``folder``.

    ``images`` is a source of trusted images, by default the study's inspection set.
    ``references`` is a folder of honest students; without one, those that the study holds, else
    as many as ``config`` asks for are distilled. ``distillation`` is a source of the images
    that the students were distilled on, or one by student: it is screened, its alarms are
    secondary evidence. ``evidence`` are findings of other tests, by student. Every verdict is
    stored under ``audit/<student>``, the screening as ``store_screening`` does, and under
    ``localization/<student>`` where the recovered trigger shows. Raises
    :class:`~analysis.errors.InputError` before anything is written.
    """
    path, config = Path(folder), config or AuditConfig()
    with writing(path):
        study = Study.open(path)
        names = tuple(students) or tuple(study.students)
        for name in names:
            if study.student(name).role == REFERENCE:
                raise InputError(f"{name!r} is a reference student", expected="one to be audited")
        audit = _Audit(study, config, images, references, trusted_code, device, progress)
        audit.screen(names, distillation)
        writer = StudyWriter(path)
        for name in names:
            audit.judge(name, writer, (evidence or {}).get(name, ()))
        audit.sets.put(writer)
        return writer.publish(study.manifest)


class _Audit:
    """What all students of one audit share: teacher, trusted images, references by recipe."""

    def __init__(
        self,
        study: Study,
        config: AuditConfig,
        images: str | None,
        references: str | Path | None,
        trusted_code: Sequence[str | Path],
        device: str,
        progress: Progress,
    ) -> None:
        self.study, self.config, self.progress = study, config, progress
        self.given, self.trusted_code, self.device = references, trusted_code, device
        self.cache = workspace_cache(study.path.resolve().parent)
        self.teacher = load_stored(study, TEACHER, trusted_code, device)
        self.images, self.is_inspection = self._load(images), images is None
        self.parts = split_by_id(self.images.sample_ids)
        limits = {"optimize": config.search.images, "measure": 4 * config.search.measured}
        some = {part: self.parts[part][:limit] for part, limit in limits.items()}
        self.trusted = Trusted(*(self.images.rows(some[part]) for part in limits))
        self.bench = Bench(self.cache, self.teacher, self.trusted, config.inversion, progress)
        self.sets = ScreenedSets()

    def screen(self, names: Sequence[str], given: DistillationSets) -> None:
        """Screen what the students were distilled on, where that is known."""
        bench = Workbench(self.cache, CompareConfig(), self.progress)
        self.sets = screen_sets(bench, self.teacher, names, given)

    def _load(self, source: str | None) -> ImageSet:
        if source is None:
            return images_of_study(self.study)
        size = self.study.inspection.height
        square = size if size == self.study.inspection.width else None
        images = load_image_set(
            self.cache,
            source,
            name="trusted",
            size=square,
            channels=self.teacher.in_channels,
            progress=self.progress,
        )
        # In the order of the teacher's classes, whatever order the source has.
        plan = plan_classes(images, self.teacher, {})
        return replace(images, labels=plan.labels, class_names=plan.names)

    def judge(self, name: str, writer: StudyWriter, evidence: Sequence[Finding]) -> None:
        """Audit one student and hand the result to ``writer``."""
        student = load_stored(self.study, name, self.trusted_code, self.device)
        references = find_references(
            self.study,
            self.teacher,
            self.given,
            self._wanted(),
            student,
            self.images.rows(self.parts["distill"]),
            self.cache,
            self.trusted_code,
            self.device,
            self.progress,
        )
        order = stored_order(self.study, name)
        own = invert_all(self.bench, name, student, order)
        others = [
            invert_all(self.bench, other, handle, references.orders[other])
            for other, handle in references.handles.items()
        ]
        beside = Beside(
            bench=self.bench,
            student=Probed(name=name, handle=student, order=order),
            references=[
                Probed(name=other, handle=handle, order=references.orders[other])
                for other, handle in references.handles.items()
            ],
            class_names=self.study.class_names,
        )
        case = self._case(name, student, own, others, references)
        suspect = suspect_of(own, case.extreme.family, case.extreme.target_class)
        findings = beside.findings(find_budget(self.config.budget), suspect)
        report = decide(replace(case, secondary=(*evidence, *self.sets.evidence(name), *findings)))
        writer.records[f"audit/{name}"] = report.to_json()
        for key, path in self._arrays(name, own).items():
            writer.put_array(key, path)
        self._localize(writer, beside, report, own)

    def _localize(
        self,
        writer: StudyWriter,
        beside: Beside,
        report: AuditReport,
        own: Mapping[str, Inverted],
    ) -> None:
        """Explain the trigger of the class that the verdict points to, where the budget does."""
        family, label = report.trigger_family, report.target_class
        if not find_budget(self.config.budget).localize or family is None or label is None:
            return
        suspect = suspect_of(own, family, label)
        if suspect is not None:
            found = beside.localized(self.study, suspect, self.trusted_code, self.device)
            writer.records.update(found.records)
            for key, path in found.arrays.items():
                writer.put_array(key, path)

    def _wanted(self) -> int | None:
        """How many references to make; None leaves it to what the study holds."""
        return self.config.references if self.study.references else self.config.wanted

    def _case(
        self,
        name: str,
        student: ModelHandle,
        own: Mapping[str, Inverted],
        others: Sequence[Mapping[str, Inverted]],
        references: References,
    ) -> Case:
        families = {family: _sizes(family, one, others) for family, one in own.items()}
        extreme = judge_sizes(
            {family: sizes.log_size for family, sizes in families.items()},
            {family: sizes.references for family, sizes in families.items()},
        )
        return Case(
            student=name,
            class_names=self.study.class_names,
            families=families,
            extreme=extreme,
            null_fit=self._fit(name, student, references),
            not_tested=self._not_tested(name, references),
            budget=self.config.budget,
            seconds_subject=sum(one.seconds for one in own.values()),
            seconds_references=references.seconds
            + sum(one.seconds for row in others for one in row.values()),
            passes=sum(one.passes for one in own.values()),
            settings={**self.config.inversion.key(), "references": self.config.references},
            trusted={
                "source": self.images.source,
                "n": len(self.images),
                "inspection_set": self.is_inspection,
                "parts": {part: len(rows) for part, rows in self.parts.items()},
                "references": references.said,
                "distillation_set": self.sets.said(name),
            },
        )

    def _fit(self, name: str, student: ModelHandle, references: References) -> dict[str, Any]:
        """Whether accuracy and agreement of the student are those of the references."""
        images = self.images.rows(self.parts["measure"])
        teacher = _answers(self.teacher, images)

        def measures(handle: ModelHandle, order: tuple[int, ...] | None) -> dict[str, float | None]:
            given = _answers(handle, images, order)
            right = None if images.labels is None else float((given == images.labels).mean())
            return {"accuracy": right, "agreement": float((given == teacher).mean())}

        own = measures(student, stored_order(self.study, name))
        rows = [measures(one, references.orders[key]) for key, one in references.handles.items()]
        fit = null_fit(own, rows)
        return {**fit, "n": len(images), "note": self._note(name, fit["outside"])}

    def _note(self, name: str, outside: Any) -> str | None:
        """Say why the null may not fit, or nothing."""
        reasons = [
            f"{key} lies {value:.1f} times their range outside it"
            for key, value in outside.items()
            if value > 1
        ]
        if self.study.models[name].role == "repaired" and self.given is None:
            reasons.append("the student was repaired and the references were not")
        return f"{_FIT}: {', '.join(reasons)}" if reasons else None

    def _not_tested(self, name: str, references: References) -> tuple[str, ...]:
        missing = [
            f"{FAMILIES[family].title.lower()} triggers"
            for family in FAMILIES
            if family not in self.config.inversion.families
        ]
        if not references.handles:
            missing.append("how unusual the smallest trigger is: there are no reference students")
        if name not in self.sets.by_student:
            missing.append("the images that the student was distilled on")
        return tuple(missing)

    def _arrays(self, name: str, own: Mapping[str, Inverted]) -> dict[str, Path]:
        """Files of the recovered triggers, by the key that the study stores them under."""
        keys = {}
        for family, one in own.items():
            for part, values in one.parts.items():
                folder = self.cache.root / "recovered" / self.study.models[name].digest
                path = folder / self.config.inversion.digest() / f"{family}-{part}.npy"
                write_array(path, values)
                keys[f"audit/{name}/{family}/{part}"] = path
        return keys


def _sizes(family: str, own: Inverted, others: Sequence[Mapping[str, Inverted]]) -> FamilySizes:
    classes = len(own.log_size)
    rows = [row[family] for row in others]
    return FamilySizes(
        unit=FAMILIES[family].unit,
        log_size=own.log_size,
        censored=own.censored,
        flip_student=own.flip_student,
        flip_teacher=own.flip_teacher,
        references=np.array([row.log_size for row in rows]).reshape(-1, classes),
        references_censored=np.array([row.censored for row in rows], bool).reshape(-1, classes),
    )


@torch.no_grad()
def _answers(
    handle: ModelHandle, images: ImageSet, order: Collection[int] | None = None
) -> np.ndarray:
    """The model's answer (N,) to every image, in the teacher's order of classes."""
    parts = [handle(torch.from_numpy(pixels)) for _, pixels in images.batches(_BATCH)]
    logits = torch.cat(parts).cpu()
    return (logits if order is None else logits[:, list(order)]).argmax(1).numpy()
