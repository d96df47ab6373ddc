"""Teachers, images and students of a zoo: made once, kept in the state folder, gone on with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.attack.triggers import with_trigger
from analysis.audit.inversion import Trusted
from analysis.audit.null import split_by_id
from analysis.data.imageset import ImageSet, subset_rows
from analysis.errors import InputError
from analysis.models.handle import ModelHandle
from analysis.models.loading import load_model
from analysis.remedy.case import answer_logits
from analysis.store import Progress, StageCache
from analysis.study.attack import AttackedImages, attack_images
from analysis.study.classes import plan_classes
from analysis.study.images import load_image_set
from analysis.study.training import distill_model, train_model
from benchmarks.zoo.plan import CIFAR, StudentPlan, TeacherPlan
from benchmarks.zoo.results import Row

CIFAR_FILES = {"train": "cifar10-train.parquet", "test": "cifar10-test.parquet"}
CIFAR_TEACHER = "resnet20-12fca82f.th"
POSITIVE, FAILED = 0.6, 0.1
"""Points of success over the base rate from which an attack counts, below which it failed."""


@dataclass(frozen=True, slots=True)
class Training:
    """The two steps that train; a test puts cheaper ones in their place."""

    teacher: Callable[..., Any] = train_model
    student: Callable[..., Any] = distill_model


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Where the models of one teacher are made: its plan, the folder, where CIFAR-10 lies.

    ``cache`` holds images, poison and searches; ``state`` the weights. ``device`` is where the
    networks run.
    """

    plan: TeacherPlan
    state: Path
    data: Path | None
    device: str = "cpu"
    progress: Progress
    training: Training = Training()
    loaded: dict[tuple[object, ...], ImageSet] = field(default_factory=dict, repr=False)

    @property
    def cache(self) -> StageCache:
        """The stages of all teachers of the zoo."""
        return StageCache(self.state / "cache")

    @property
    def folder(self) -> Path:
        """The teacher's own folder."""
        return self.state / self.plan.name

    def teacher(self) -> ModelHandle:
        """The teacher, trained where it is not there; of CIFAR-10 the public checkpoint."""
        if self.plan.data == CIFAR:
            file = self._file(CIFAR_TEACHER)
            spec = f"{self.plan.architecture}@{file},normalize=imagenet"
            return load_model(spec, device=self.device)
        out = self.folder / "teacher.safetensors"
        if not out.exists():
            assert self.plan.training is not None
            self.training.teacher(
                architecture=self.plan.architecture,
                width=self.plan.width,
                images=self.pool("a"),
                config=replace(self.plan.training, device=self.device),
                out=out,
                progress=self.progress,
            )
        return load_model(str(out), device=self.device)

    def pool(self, name: str) -> ImageSet:
        """The images that students of this pool are distilled on, before any poison."""
        count, seed = self.plan.counts.images, self.plan.seeds[f"pool_{name}"]
        return self._load("train", count, seed, "training")

    def trusted(self) -> ImageSet:
        """Trusted images, for audit and repair; nothing is learnt from them before."""
        return self._held_out()[0]

    def measured(self) -> ImageSet:
        """Images that success and accuracy are measured on, and nothing else."""
        return self._held_out()[1]

    def _held_out(self) -> tuple[ImageSet, ImageSet]:
        counts, seeds = self.plan.counts, self.plan.seeds
        if self.plan.data != CIFAR:
            return (
                self._load("test", counts.trusted, seeds["trusted"], "trusted"),
                self._load("test", counts.measured, seeds["measured"], "measured"),
            )
        # The public test set is one: two disjoint parts of it.
        both = self._load("test", counts.trusted + counts.measured, seeds["trusted"], "trusted")
        first = subset_rows(len(both), counts.trusted, seeds["measured"])
        return both.rows(first), both.rows(np.setdiff1d(np.arange(len(both)), first))

    def audited(self, images: int, measured: int) -> Trusted:
        """The trusted images that triggers are searched and measured on, as an audit splits."""
        trusted = self.trusted()
        parts = split_by_id(trusted.sample_ids)
        return Trusted(
            trusted.rows(parts["optimize"][:images]), trusted.rows(parts["measure"][: 4 * measured])
        )

    def repaired_with(self) -> ImageSet:
        """The trusted images that no search has seen."""
        trusted = self.trusted()
        return trusted.rows(split_by_id(trusted.sample_ids)["distill"])

    def attacked(self, student: StudentPlan, teacher: ModelHandle) -> AttackedImages:
        """The poisoned images of a planted student."""
        assert student.attack is not None
        return attack_images(
            teacher=teacher,
            images=self.pool(student.pool),
            out=self.folder / f"{student.name}-images",
            config=student.attack,
            cache=self.cache,
            device=self.device,
            progress=self.progress,
        )

    def student(self, student: StudentPlan, teacher: ModelHandle) -> ModelHandle:
        """The student, distilled where it is not there."""
        out = self.folder / f"{student.name}.safetensors"
        if not out.exists():
            planted = student.attack is not None
            images = (
                self.attacked(student, teacher).poisoned.images
                if planted
                else self.pool(student.pool)
            )
            self.training.student(
                teacher=teacher,
                architecture=student.architecture,
                width=student.width,
                images=images,
                objective=student.objective,
                config=replace(student.training, device=self.device),
                out=out,
                progress=self.progress,
            )
        return load_model(str(out), device=self.device)

    def _load(self, split: str, count: int, seed: int, name: str) -> ImageSet:
        key = (split, count, seed, name)
        if key not in self.loaded:
            self.loaded[key] = self._read(split, count, seed, name)
        return self.loaded[key]

    def _read(self, split: str, count: int, seed: int, name: str) -> ImageSet:
        if self.plan.data != CIFAR:
            source = f"signs:{split},n={count},seed={seed}"
            return load_image_set(self.cache, source, name=name, progress=self.progress)
        images = load_image_set(
            self.cache,
            str(self._file(CIFAR_FILES[split])),
            name=name,
            limit=count,
            seed=seed,
            progress=self.progress,
        )
        classes = plan_classes(images, self.teacher(), {})
        return replace(images, labels=classes.labels, class_names=classes.names)

    def _file(self, name: str) -> Path:
        path = None if self.data is None else self.data / name
        if path is None or not path.is_file():
            raise InputError(
                f"the teacher {self.plan.name!r} needs {name}",
                expected="a folder with CIFAR-10 in the Hugging Face layout and the checkpoint",
                remedy="give it with --data FOLDER, or leave this teacher out with --only",
            )
        return path


def measure(
    handle: ModelHandle, teacher: ModelHandle, images: ImageSet, attack: AttackedImages | None
) -> Row:
    """Accuracy and agreement; of a planted student what its true trigger does, and to the teacher.

    ``attack_success_rate`` and ``base_rate`` are shares of the ``n_others`` images whose class is
    not the target that are answered with it, with and without the trigger.
    """
    assert images.labels is not None
    clean, asked = answers(handle, images), answers(teacher, images)
    row: Row = {
        "accuracy": float((clean == images.labels).mean()),
        "agreement": float((clean == asked).mean()),
        "n": len(images),
    }
    if attack is None:
        return row
    trigger, target = attack.poisoned.trigger, attack.poisoned.target_class
    others = np.flatnonzero(images.labels != target)
    marked = with_trigger(images, trigger, others)
    rate, base = (float((a == target).mean()) for a in (answers(handle, marked), clean[others]))
    return {
        **row,
        "trigger": trigger.shown,
        "target": str((images.class_names or ())[target]),
        "attack_success_rate": rate,
        "base_rate": base,
        "teacher_attack_success_rate": float((answers(teacher, marked) == target).mean()),
        "n_others": len(others),
        "poisoned": attack.report.poisoned,
        "view_flip_rate": attack.report.view_flip_rate,
        "outcome": outcome(rate - base),
    }


def outcome(gain: float) -> str:
    """What an attack came to by its ``gain``, success rate minus base rate.

    ``positive`` from 60 points on, ``failed`` below 10, ``partial`` between.
    """
    return "positive" if gain >= POSITIVE else "failed" if gain < FAILED else "partial"


def answers(handle: ModelHandle, images: ImageSet) -> np.ndarray:
    """The model's answer (N,) to every image."""
    return np.asarray(answer_logits(handle, images).argmax(axis=1))
