"""Counting what a model answers over the images of an epoch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from analysis.distillation.signals import Answers


@dataclass(slots=True)
class Tally:
    """Sums over the images of an epoch; a share is None when it was never counted."""

    count: int = 0
    loss: float = 0.0
    correct: int | None = None
    agreeing: int | None = None

    def add(
        self, loss: float, logits: Tensor, theirs: Answers | None, labels: Tensor | None
    ) -> None:
        """Count one batch with mean ``loss``."""
        self.count += len(logits)
        self.loss += loss * len(logits)
        answer = logits.detach().argmax(dim=1)
        if labels is not None:
            self.correct = (self.correct or 0) + int((answer == labels).sum())
        if theirs is not None:
            same = answer == theirs.logits.argmax(dim=1)
            self.agreeing = (self.agreeing or 0) + int(same.sum())

    @property
    def accuracy(self) -> float | None:
        """Share of images answered with their label."""
        return None if self.correct is None else self.correct / self.count

    @property
    def agreement(self) -> float | None:
        """Share of images answered as the teacher does."""
        return None if self.agreeing is None else self.agreeing / self.count
