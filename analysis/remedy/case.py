"""What a remedy is given, and what every remedy promises."""

from __future__ import annotations

import abc
import copy
import dataclasses
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from analysis.attack.recovered import Applied
from analysis.config import Config
from analysis.data.imageset import ImageSet
from analysis.digest import digest_array
from analysis.distillation.objectives import OBJECTIVES, HintonKD, Objective
from analysis.distillation.settings import TrainingConfig
from analysis.distillation.training import TrainingTask
from analysis.errors import ConfigError, InputError
from analysis.models.handle import ModelHandle

_BATCH = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A student that is to be repaired, and what there is to repair it with.

    ``trusted`` are images that nobody tampered with, ``suspect`` the set that the student was
    distilled on, ``suspicion`` (N,) a score of each of its images (higher: sooner dropped).
    ``trigger`` is what is to be unlearned, ``further`` are others for the same class, found by
    other models of a trigger. ``order`` says which of the student's outputs each of
    the teacher's classes is, when they are ordered differently.
    """

    teacher: ModelHandle
    student: ModelHandle
    trusted: ImageSet
    suspect: ImageSet | None = None
    suspicion: np.ndarray | None = None
    trigger: Applied | None = None
    further: tuple[Applied, ...] = ()
    order: tuple[int, ...] | None = None

    def key(self) -> dict[str, Any]:
        """What decides the result, as digests."""
        return {
            "teacher": self.teacher.digest,
            "student": self.student.digest,
            "trusted": self.trusted.digest,
            "suspect": None if self.suspect is None else self.suspect.digest,
            "suspicion": None if self.suspicion is None else digest_array(self.suspicion),
            "trigger": None if self.trigger is None else self.trigger.key(),
            "further": [trigger.key() for trigger in self.further],
            "order": None if self.order is None else list(self.order),
        }

    def teacher_logits(self, images: ImageSet, pixels: np.ndarray | None = None) -> np.ndarray:
        """The teacher's logits (N, K) on ``images``, in the order of the student's outputs.

        ``pixels`` (N, H, W, C) uint8 are shown in place of the images' own.
        """
        if pixels is not None:
            images = dataclasses.replace(images, images=pixels)
        logits = answer_logits(self.teacher, images)
        return logits if self.order is None else logits[:, np.argsort(self.order)]

    def labels_in_students_order(self, images: ImageSet) -> ImageSet:
        """``images`` whose labels number the student's outputs."""
        if self.order is None:
            return images
        order = np.array(self.order)
        labels = None if images.labels is None else order[images.labels]
        return dataclasses.replace(images, labels=labels, class_names=None)

    def own_recipe(self) -> tuple[Objective, TrainingConfig, bool]:
        """How the student was distilled: objective, training, and whether its file says so.

        Objectives that read the teacher's features, which a remedy does not change, become
        Hinton's; a file that says nothing means the defaults.
        """
        recipe = self.student.metadata
        try:
            settings = {**recipe["objective"]}
            objective = OBJECTIVES[settings.pop("name")].from_mapping(settings)
            training = TrainingConfig.from_mapping(recipe["training"])
        except (KeyError, TypeError, ConfigError):
            return HintonKD(), TrainingConfig(), False
        if objective.layers_of_teacher or not objective.needs_teacher:
            objective = HintonKD()
        return objective, training, True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remedy(Config, abc.ABC):
    """A way to take a backdoor out of a student.

    Subclasses set ``name`` (the registry's key), ``title``, ``source``, what they need, and
    define :meth:`task`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    needs_trigger: ClassVar[bool] = False
    needs_suspect: ClassVar[bool] = False
    needs_suspicion: ClassVar[bool] = False

    @abc.abstractmethod
    def task(self, case: Case, *, seed: int, threads: int = 0, device: str = "cpu") -> TrainingTask:
        """What is to be trained; nothing is trained yet."""

    def needed(self, case: Case) -> Case:
        """``case`` without what this does not look at, so that it decides nothing."""
        return dataclasses.replace(
            case,
            trigger=case.trigger if self.needs_trigger else None,
            further=case.further if self.needs_trigger else (),
            suspect=case.suspect if self.needs_suspect else None,
            suspicion=case.suspicion if self.needs_suspicion else None,
        )

    def check(self, case: Case) -> None:
        """Raise :class:`~analysis.errors.InputError` when ``case`` lacks what this needs."""
        if self.needs_trigger and case.trigger is None:
            raise InputError(
                f"remedy {self.name!r} without a trigger",
                expected="a trigger that is to be unlearned",
            )
        if self.needs_suspect and case.suspect is None:
            raise InputError(
                f"remedy {self.name!r} without the images that the student was distilled on",
                remedy="name them: --distillation-set DIR",
            )
        if self.needs_suspicion and case.suspicion is None:
            raise InputError(f"remedy {self.name!r} without scores of these images")

    def recipe(self) -> dict[str, Any]:
        """Name and settings, as they are written into the header of a weights file."""
        return {"name": self.name, **self.key()}


def copied(student: ModelHandle) -> nn.Module:
    """The student's network, to be trained on; the handle's own stays as it is."""
    return copy.deepcopy(student.module).requires_grad_(True)


def training(own: TrainingConfig, **changes: Any) -> TrainingConfig:
    """The student's own training with ``changes``; no checkpoints, the teacher asked once."""
    return dataclasses.replace(
        own,
        checkpoint_every=0,
        checkpoint_count=0,
        checkpoint_epochs=(),
        teacher_views="cached",
        **changes,
    )


@torch.no_grad()
def answer_logits(model: ModelHandle, images: ImageSet) -> np.ndarray:
    """The model's logits (N, K) float32 on ``images``."""
    parts = [model(torch.from_numpy(pixels)) for _, pixels in images.batches(_BATCH)]
    return np.asarray(torch.cat(parts).float().cpu().numpy())


@torch.no_grad()
def stamped_logits(model: ModelHandle, images: ImageSet, trigger: Applied) -> np.ndarray:
    """The model's logits (N, K) float32 on ``images`` that carry ``trigger``."""
    parts = []
    for rows, pixels in images.batches(_BATCH):
        ids = images.sample_ids[rows].tolist()
        parts.append(model(trigger.apply(torch.from_numpy(pixels), ids)).float().cpu())
    return np.asarray(torch.cat(parts).numpy())
