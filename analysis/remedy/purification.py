"""Distilling anew, on the suspect images: with purified answers, or without the suspicious ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from analysis.config import field
from analysis.data.filters import find_filter
from analysis.data.imageset import ImageSet
from analysis.distillation.batches import epoch_seed
from analysis.distillation.training import TrainingTask
from analysis.divergence.answers import log_softmax
from analysis.errors import InputError
from analysis.models.architectures import ARCHITECTURES, build
from analysis.models.handle import ModelHandle
from analysis.remedy.case import Case, Remedy, training


@dataclass(frozen=True, kw_only=True)
class Redistillation(Remedy):
    """Make the student anew by its own recipe; subclasses say on which images and answers."""

    needs_suspect: ClassVar[bool] = True

    epochs: int | None = field(
        None, "passes over the images (default: the student's own)", low=1, high=100_000
    )

    def images(self, case: Case) -> ImageSet:
        """The images that the new student learns from."""
        assert case.suspect is not None
        return case.suspect

    def logits(self, case: Case, images: ImageSet, temperature: float) -> np.ndarray:
        """The teacher's answers (N, K) that it learns."""
        return case.teacher_logits(images)

    def task(self, case: Case, *, seed: int, threads: int = 0, device: str = "cpu") -> TrainingTask:
        """Train a fresh network of the student's architecture by the student's recipe."""
        self.check(case)
        objective, own, _ = case.own_recipe()
        config = training(
            own, epochs=self.epochs or own.epochs, seed=seed, threads=threads, device=device
        )
        images = case.labels_in_students_order(self.images(case))
        temperature = float(getattr(objective, "temperature", 1.0))
        return TrainingTask(
            module=fresh_network(case.student, images, seed),
            images=images,
            objective=objective,
            config=config,
            normalization=case.student.normalization,
            teacher=None,
            teacher_logits=self.logits(case, self.images(case), temperature),
        )


@dataclass(frozen=True, kw_only=True)
class Purification(Redistillation):
    """Let the teacher answer filtered copies; the new student learns the mean of the answers.

    What an adversarial perturbation does to the teacher does not survive a filter, what the
    image shows does. The mean is that of the probabilities at the objective's temperature.
    """

    name: ClassVar[str] = "purify"
    title: ClassVar[str] = "Distilling anew on purified answers"
    source: ClassVar[str] = "Xu, Evans, Qi 2018, arXiv 1704.01155 (feature squeezing), as a teacher"

    filters: str = field("median+jpeg", "the copies that the teacher sees, joined by +")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.filters.split("+"):
            find_filter(name)

    def logits(self, case: Case, images: ImageSet, temperature: float) -> np.ndarray:
        """Logits whose softmax at ``temperature`` is the mean over the copies, (N, K)."""
        copies = [find_filter(name).apply(images.images) for name in self.filters.split("+")]
        return mean_answer([case.teacher_logits(images, copy) for copy in copies], temperature)


@dataclass(frozen=True, kw_only=True)
class Dropping(Redistillation):
    """Leave out the images that look most suspicious, and distill anew on the others."""

    name: ClassVar[str] = "drop"
    title: ClassVar[str] = "Distilling anew without the most suspicious images"
    source: ClassVar[str] = "Tran, Li, Madry 2018, arXiv 1811.00636, algorithm 1"
    needs_suspicion: ClassVar[bool] = True

    share: float = field(0.15, "share of the images that is left out", low=0.0, high=0.99)

    def images(self, case: Case) -> ImageSet:
        """The suspect images without the most suspicious share, in their own order."""
        assert case.suspect is not None
        assert case.suspicion is not None
        if case.suspicion.shape != (len(case.suspect),):
            raise InputError(
                f"{len(case.suspicion)} scores for {len(case.suspect)} images",
                expected="one for each image",
            )
        return case.suspect.rows(kept_rows(case.suspicion, self.share))


def kept_rows(suspicion: np.ndarray, share: float) -> np.ndarray:
    """Rows that stay, ascending, when round(share N) with the highest ``suspicion`` (N,) go."""
    order = np.argsort(-suspicion, kind="stable")
    return np.sort(order[round(share * len(suspicion)) :])


def mean_answer(logits: list[np.ndarray], temperature: float) -> np.ndarray:
    """Logits (N, K) whose softmax at ``temperature`` is the mean of those of ``logits``."""
    total = np.logaddexp.reduce([log_softmax(each / temperature) for each in logits], axis=0)
    return np.asarray(temperature * (total - np.log(len(logits))), dtype=np.float32)


def fresh_network(student: ModelHandle, images: ImageSet, seed: int) -> nn.Module:
    """A network like ``student`` with weights that ``seed`` decides.

    Raises :class:`~analysis.errors.InputError` when the student is user code.
    """
    if student.architecture not in ARCHITECTURES:
        raise InputError(
            f"{student.spec_text} is made by user code and cannot be distilled anew",
            expected="a student of a built-in architecture",
            remedy="use unlearn or finetune, which go on with its weights",
        )
    height, width, channels = images.image_shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(epoch_seed(seed, 0, "weights"))
        return build(
            student.architecture,
            num_classes=student.num_classes,
            width=student.width,
            in_channels=channels,
            image_size=(height, width),
        )
