"""What is explained: one number per image, of one model or of teacher and student as one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch

from analysis.attribution.copies import InferenceCopy
from analysis.attribution.scalars import ModelScalar, PairScalar

Number = Callable[..., torch.Tensor]
"""(logits of each model (N, K), .., explained class (N,)) -> the explained number (N,)."""


@dataclass(frozen=True)
class Subject:
    """A number of one model, or of several that see the same pixels."""

    models: tuple[InferenceCopy, ...]
    number: Number

    def __call__(self, pixels: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Answer pixels (N, C, H, W) and explained classes (N,) with (N,)."""
        return self.number(*(model(pixels) for model in self.models), classes)

    @property
    def device(self) -> torch.device:
        """Where pixels are wanted: on the device that all models share."""
        return self.models[-1].device

    @property
    def dtype(self) -> torch.dtype:
        """The type in which pixels are wanted."""
        return self.models[-1].dtype

    def as_built(self) -> tuple[InferenceCopy, ...]:
        """The models as their authors built them, for methods that attach to their modules.

        A network that appears twice is copied: its modules can be watched in one role only.
        """
        built: list[InferenceCopy] = []
        for model in self.models:
            network = model.handle.module
            if any(network is other.network for other in built):
                network = copy.deepcopy(network)
            built.append(InferenceCopy(model.handle, network, class_order=model.class_order))
        return tuple(built)


def subject_of(scalar: ModelScalar | PairScalar, *models: InferenceCopy) -> Subject:
    """Return ``scalar`` of one model, or of (teacher, student), as a subject."""
    return Subject(models, scalar.function)
