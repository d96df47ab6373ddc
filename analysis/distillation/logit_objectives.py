"""Objectives on the models' answers alone; the teacher's can be computed once and kept."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from analysis.config import field
from analysis.distillation.signals import (
    Answers,
    Objective,
    answers_of,
    kl_divergence,
    labels_of,
    softened,
)

_SMALL = 1e-12


def _temperature(default: float) -> float:
    return field(default, "divides the logits of both models", low=0.01, high=1000.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Supervised(Objective):
    """Cross-entropy with the labels; how teachers are made.

    With ``label_smoothing`` e the target is (1 - e) one-hot + e / K (Szegedy et al. 2016, arXiv
    1512.00567, section 7).
    """

    name: ClassVar[str] = "supervised"
    title: ClassVar[str] = "Cross-entropy with labels"

    label_smoothing: float = field(0.0, "share of the target spread evenly", low=0.0, high=0.99)

    @property
    def needs_teacher(self) -> bool:
        """Never."""
        return False

    @property
    def needs_labels(self) -> bool:
        """Always."""
        return True

    def loss(
        self, student: Answers, teacher: Answers | None, labels: Tensor | None, adapters: nn.Module
    ) -> Tensor:
        """Return the mean cross-entropy in nats."""
        return F.cross_entropy(
            student.logits, labels_of(labels), label_smoothing=self.label_smoothing
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class HintonKD(Objective):
    """(1 - w) T^2 KL(softmax(t / T) || softmax(s / T)) + w CE(s, y).

    Source: Hinton, Vinyals, Dean 2015, arXiv 1503.02531, section 2. T^2 keeps the size of the
    soft gradients the same at every temperature.
    """

    name: ClassVar[str] = "hinton"
    title: ClassVar[str] = "Hinton distillation"

    temperature: float = _temperature(4.0)
    hard_label_weight: float = field(
        0.0, "weight w of the cross-entropy with the labels", low=0.0, high=1.0
    )

    @property
    def needs_labels(self) -> bool:
        """Only with a hard-label weight."""
        return self.hard_label_weight > 0

    def loss(
        self, student: Answers, teacher: Answers | None, labels: Tensor | None, adapters: nn.Module
    ) -> Tensor:
        """Return the mixed loss in nats (the soft part times T^2)."""
        target = softened(answers_of(teacher).logits, self.temperature)
        soft = kl_divergence(target, softened(student.logits, self.temperature))
        soft = self.temperature**2 * soft
        if not self.needs_labels:
            return soft
        hard = F.cross_entropy(student.logits, labels_of(labels))
        return (1 - self.hard_label_weight) * soft + self.hard_label_weight * hard


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoupledKD(Objective):
    """w CE + T^2 (alpha TCKD + beta NCKD): target and non-target knowledge apart.

    TCKD is the KL of (p_y, 1 - p_y), NCKD the KL of the distributions over the other classes.
    Source: Zhao et al. 2022, arXiv 2203.08679, equations 6 and 7.
    """

    name: ClassVar[str] = "dkd"
    title: ClassVar[str] = "Decoupled distillation (DKD)"

    temperature: float = _temperature(4.0)
    alpha: float = field(1.0, "weight of the target-class part", low=0.0, high=1000.0)
    beta: float = field(8.0, "weight of the part among the other classes", low=0.0, high=1000.0)
    hard_label_weight: float = field(
        1.0, "weight w of the cross-entropy with the labels", low=0.0, high=1000.0
    )

    @property
    def needs_labels(self) -> bool:
        """Always: the label says which class is the target."""
        return True

    def loss(
        self, student: Answers, teacher: Answers | None, labels: Tensor | None, adapters: nn.Module
    ) -> Tensor:
        """Return the decoupled loss in nats (the soft parts times T^2)."""
        y = labels_of(labels)
        target = softened(answers_of(teacher).logits, self.temperature)
        mine = softened(student.logits, self.temperature)
        at_y = F.one_hot(y, mine.shape[1]).bool()
        binary = kl_divergence(_target_or_not(target, at_y), _target_or_not(mine, at_y))
        others = kl_divergence(_among_others(target, at_y), _among_others(mine, at_y))
        soft = self.temperature**2 * (self.alpha * binary + self.beta * others)
        return soft + self.hard_label_weight * F.cross_entropy(student.logits, y)


def _target_or_not(log_p: Tensor, at_y: Tensor) -> Tensor:
    """Log of (p_y, 1 - p_y), (N, 2); 1 - p_y is summed, because subtracting loses it."""
    rest = log_p.masked_fill(at_y, -torch.inf).logsumexp(dim=1)
    return torch.stack([log_p[at_y], rest], dim=1)


def _among_others(log_p: Tensor, at_y: Tensor) -> Tensor:
    """Log-probabilities (N, K - 1) given that the class is not y."""
    others = log_p[~at_y].view(len(log_p), -1)
    return torch.log_softmax(others, dim=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DIST(Objective):
    """w CE + T^2 (beta inter + gamma intra): keep the correlations, not the numbers.

    ``inter`` is 1 - Pearson correlation of the two answers, averaged over images; ``intra`` the
    same over the batch, averaged over classes.
    Source: Huang et al. 2022, arXiv 2205.10536, equations 8 to 10.
    """

    name: ClassVar[str] = "dist"
    title: ClassVar[str] = "Relations of answers (DIST)"

    temperature: float = _temperature(4.0)
    beta: float = field(2.0, "weight of the relations between classes", low=0.0, high=1000.0)
    gamma: float = field(2.0, "weight of the relations between images", low=0.0, high=1000.0)
    hard_label_weight: float = field(
        1.0, "weight w of the cross-entropy with the labels", low=0.0, high=1000.0
    )

    @property
    def needs_labels(self) -> bool:
        """Only with a hard-label weight."""
        return self.hard_label_weight > 0

    def loss(
        self, student: Answers, teacher: Answers | None, labels: Tensor | None, adapters: nn.Module
    ) -> Tensor:
        """Return the mixed loss; the relations lie in [0, 2] before T^2."""
        target = softened(answers_of(teacher).logits, self.temperature).exp()
        mine = softened(student.logits, self.temperature).exp()
        inter = 1 - _row_correlation(target, mine).mean()
        intra = 1 - _row_correlation(target.T, mine.T).mean()
        soft = self.temperature**2 * (self.beta * inter + self.gamma * intra)
        if not self.needs_labels:
            return soft
        return soft + self.hard_label_weight * F.cross_entropy(student.logits, labels_of(labels))


def _row_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation of matching rows, (N,); 0 where a row is constant."""
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    return F.cosine_similarity(a, b, dim=1, eps=_SMALL)
