"""What is to be trained: model, images, objective, teacher and settings together."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from analysis.data.imageset import ImageSet
from analysis.digest import canonical_json, digest_array
from analysis.distillation.alteration import Alteration
from analysis.distillation.settings import TrainingConfig
from analysis.distillation.signals import Objective
from analysis.models.handle import ModelHandle, weights_digest
from analysis.models.normalization import Normalization

VERSION = 1


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """A training that has not begun; ``module`` is called on normalized images.

    ``teacher_logits`` (N, K) stand in for the teacher's answers to the training images;
    ``alteration`` is what happens to an image between teacher and student.
    """

    module: nn.Module
    images: ImageSet
    objective: Objective
    config: TrainingConfig
    normalization: Normalization
    teacher: ModelHandle | None
    validation: ImageSet | None = None
    teacher_logits: np.ndarray | None = None
    alteration: Alteration | None = None

    def on(self, device: torch.device) -> TrainingTask:
        """Return the task with both models on ``device``."""
        self.module.to(device)
        return self if self.teacher is None else replace(self, teacher=self.teacher.to(device))

    def recipe(self) -> dict[str, Any]:
        """Everything that decides the result; its digest is the run's identity."""
        recipe = {
            "version": VERSION,
            "objective": self.objective.recipe(),
            "training": self.config.result_key(),
            "images": self.images.digest,
            "validation": None if self.validation is None else self.validation.digest,
            "teacher": None if self.teacher is None else self.teacher.digest,
            "normalization": self.normalization.text,
            "initial_weights": weights_digest(self.module),
        }
        # Left out where they are not used, so that earlier runs keep their identity.
        if self.teacher_logits is not None:
            recipe["teacher_logits"] = digest_array(self.teacher_logits)
        if self.alteration is not None:
            recipe["alteration"] = self.alteration.recipe()
        # What a file holds, so that a recipe equals itself after it was stored.
        return dict(json.loads(canonical_json(recipe)))
