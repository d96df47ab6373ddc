"""What an objective sees of a batch, and what every objective promises.

The training loop knows only :class:`Objective`: it asks what is needed, provides it, and calls
:meth:`Objective.loss`. No method has a branch in the loop.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from analysis.config import Config

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Answers:
    """What one model says about a batch.

    ``logits`` (N, K) float; ``features`` {layer: (N, C, H, W), (N, T, D) or (N, D)} as the layer
    gives them, only for the layers that the objective asked for.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective(Config, abc.ABC):
    """A loss and what it needs: teacher, labels, layers, trainable adapters.

    Subclasses set ``name`` (the registry's key) and ``title``, and define :meth:`loss`.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    @property
    def needs_teacher(self) -> bool:
        """Whether the loss reads the teacher's answers."""
        return True

    @property
    def needs_labels(self) -> bool:
        """Whether the loss reads the labels."""
        return False

    @property
    def layers_of_student(self) -> tuple[str, ...]:
        """The student's layers whose features the loss reads."""
        return ()

    @property
    def layers_of_teacher(self) -> tuple[str, ...]:
        """The teacher's layers whose features the loss reads; such answers cannot be cached."""
        return ()

    def adapters(self, student: Mapping[str, Shape], teacher: Mapping[str, Shape]) -> nn.Module:
        """Build what is trained beside the student and thrown away afterwards.

        ``student`` and ``teacher`` are the shapes of one batch of features, by layer.
        """
        return nn.Identity()

    @abc.abstractmethod
    def loss(
        self, student: Answers, teacher: Answers | None, labels: Tensor | None, adapters: nn.Module
    ) -> Tensor:
        """Return the scalar loss of a batch, lower is better."""

    def recipe(self) -> dict[str, Any]:
        """Return name and settings, as they are written into the header of a weights file."""
        return {"name": self.name, **self.key()}


def answers_of(answers: Answers | None) -> Answers:
    """Return answers that an objective said it needs; the loop never leaves them out."""
    if answers is None:
        raise TypeError("this objective needs the teacher's answers")
    return answers


def labels_of(labels: Tensor | None) -> Tensor:
    """Return labels that an objective said it needs; the loop never leaves them out."""
    if labels is None:
        raise TypeError("this objective needs labels")
    return labels


def softened(logits: Tensor, temperature: float) -> Tensor:
    """Log-probabilities of ``logits / temperature`` (N, K), computed in float32 or wider."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return torch.log_softmax(wide / temperature, dim=1)


def kl_divergence(target_log_p: Tensor, log_p: Tensor) -> Tensor:
    """Mean over the batch of KL(target || other) in nats; both (N, K) log-probabilities."""
    return (target_log_p.exp() * (target_log_p - log_p)).sum(dim=1).mean()
