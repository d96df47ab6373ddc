"""Objectives on the models' features; the teacher looks at every augmented view."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from analysis.config import field
from analysis.distillation.logit_objectives import HintonKD
from analysis.distillation.signals import Answers, Shape, answers_of
from analysis.errors import ConfigError
from analysis.models.layers import pool_features
from analysis.records import PENULTIMATE

_SMALL = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True)
class _FeatureObjective(HintonKD):
    """Hinton's loss plus a term on pairs of layers."""

    student_layers: tuple[str, ...] = field(("layer2",), "the student's layers, in order")
    teacher_layers: tuple[str, ...] = field(("layer2",), "the teacher's layers, in the same order")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.student_layers or len(self.student_layers) != len(self.teacher_layers):
            raise ConfigError(
                f"student_layers = {self.student_layers!r}, teacher_layers = "
                f"{self.teacher_layers!r}",
                expected="the same number of layers, at least one",
            )

    @property
    def layers_of_student(self) -> tuple[str, ...]:
        """The configured layers."""
        return self.student_layers

    @property
    def layers_of_teacher(self) -> tuple[str, ...]:
        """The configured layers."""
        return self.teacher_layers

    def pairs(self, student: Answers, teacher: Answers) -> list[tuple[Tensor, Tensor]]:
        """Return the features of matching layers, (student, teacher), in float32 or wider."""
        names = zip(self.student_layers, self.teacher_layers, strict=True)
        return [(_wide(student.features[s]), _wide(teacher.features[t])) for s, t in names]


def _wide(features: Tensor) -> Tensor:
    return features if features.dtype == torch.float64 else features.float()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitNets(_FeatureObjective):
    """Hinton's loss + hint_weight / 2 mean (t - r(s))^2 with a trained regressor r.

    r is a 1x1 convolution (maps) or a linear layer (tokens, vectors); maps of different sizes
    are average-pooled to the smaller. The paper trains the hint first and the answers after;
    here both are trained together. The mean over elements replaces the paper's sum, so that
    the weight means the same at every layer.
    Source: Romero et al. 2015, arXiv 1412.6550, equation 3.
    """

    name: ClassVar[str] = "fitnets"
    title: ClassVar[str] = "Hints (FitNets)"

    hint_weight: float = field(1.0, "weight of the hint", low=0.0, high=1e6)

    def adapters(self, student: Mapping[str, Shape], teacher: Mapping[str, Shape]) -> nn.Module:
        """Build one regressor for each pair of layers."""
        names = zip(self.student_layers, self.teacher_layers, strict=True)
        return nn.ModuleList([_regressor(s, student[s], t, teacher[t]) for s, t in names])

    def loss(
        self, student: Answers, teacher: Answers | None, labels: Tensor | None, adapters: nn.Module
    ) -> Tensor:
        """Return Hinton's loss plus the hints of all pairs."""
        total = super().loss(student, teacher, labels, adapters)
        pairs = self.pairs(student, answers_of(teacher))
        for regressor, (mine, target) in zip(adapters.children(), pairs, strict=True):
            mine, target = _same_size(regressor(mine), target)
            total = total + self.hint_weight / 2 * F.mse_loss(mine, target)
        return total


def _regressor(student_layer: str, mine: Shape, teacher_layer: str, theirs: Shape) -> nn.Module:
    if len(mine) != len(theirs):
        raise ConfigError(
            f"student layer {student_layer!r} gives {len(mine)}-dimensional features, "
            f"teacher layer {teacher_layer!r} {len(theirs)}-dimensional ones",
            expected="two layers of the same kind",
            remedy="choose another pair of layers",
        )
    if len(mine) == 3 and mine[1] != theirs[1]:
        raise ConfigError(
            f"student layer {student_layer!r} gives {mine[1]} tokens, "
            f"teacher layer {teacher_layer!r} {theirs[1]}",
            expected="the same number of tokens",
            remedy="choose another pair of layers",
        )
    if len(mine) == 4:
        return nn.Conv2d(mine[1], theirs[1], 1)
    return nn.Linear(mine[-1], theirs[-1])


def _same_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool two stacks of maps (N, C, H, W) to the smaller of both sizes."""
    if a.ndim != 4 or a.shape[2:] == b.shape[2:]:
        return a, b
    size = (min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3]))
    return F.adaptive_avg_pool2d(a, size), F.adaptive_avg_pool2d(b, size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionTransfer(_FeatureObjective):
    """Hinton's loss + beta / 2 sum over pairs of || Q_s/||Q_s|| - Q_t/||Q_t|| ||.

    Q is the map of squared activations summed over channels, flattened; norms are Euclidean,
    the mean is over images. Maps of different sizes are average-pooled to the smaller.
    Source: Zagoruyko and Komodakis 2017, arXiv 1612.03928, equation 2.
    """

    name: ClassVar[str] = "attention"
    title: ClassVar[str] = "Attention transfer"

    student_layers: tuple[str, ...] = field(("layer1", "layer2", "layer3"), "the student's layers")
    teacher_layers: tuple[str, ...] = field(("layer1", "layer2", "layer3"), "the teacher's layers")
    beta: float = field(10.0, "weight of the attention maps", low=0.0, high=1e6)

    def adapters(self, student: Mapping[str, Shape], teacher: Mapping[str, Shape]) -> nn.Module:
        """Build nothing; refuse layers without maps."""
        asked = [(name, student[name]) for name in self.student_layers]
        asked += [(name, teacher[name]) for name in self.teacher_layers]
        for name, shape in asked:
            if len(shape) != 4:
                raise ConfigError(
                    f"layer {name!r} gives {len(shape)}-dimensional features",
                    expected="maps (N, C, H, W)",
                    remedy="choose convolutional layers",
                )
        return nn.Identity()

    def loss(
        self, student: Answers, teacher: Answers | None, labels: Tensor | None, adapters: nn.Module
    ) -> Tensor:
        """Return Hinton's loss plus the distances of the attention maps of all pairs."""
        total = super().loss(student, teacher, labels, adapters)
        for mine, target in self.pairs(student, answers_of(teacher)):
            mine, target = _same_size(_attention(mine), _attention(target))
            apart = F.normalize(mine.flatten(1)) - F.normalize(target.flatten(1))
            distance = torch.linalg.vector_norm(apart, dim=1).mean()
            total = total + self.beta / 2 * distance
        return total


def _attention(maps: Tensor) -> Tensor:
    return maps.square().sum(dim=1, keepdim=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RelationalKD(_FeatureObjective):
    """Hinton's loss + distance_weight RKD-D + angle_weight RKD-A on pooled features.

    RKD-D compares distances between images, each model's divided by their mean; RKD-A compares
    the cosines of the angles that triplets form. Both use the Huber loss with delta 1, averaged
    over ordered pairs of two different images and ordered triplets of three.
    Source: Park et al. 2019, arXiv 1904.05068, equations 4 to 9.
    """

    name: ClassVar[str] = "rkd"
    title: ClassVar[str] = "Relations of features (RKD)"

    student_layers: tuple[str, ...] = field((PENULTIMATE,), "the student's layers, in order")
    teacher_layers: tuple[str, ...] = field((PENULTIMATE,), "the teacher's layers, in order")
    distance_weight: float = field(25.0, "weight of the distances", low=0.0, high=1e6)
    angle_weight: float = field(50.0, "weight of the angles", low=0.0, high=1e6)

    def loss(
        self, student: Answers, teacher: Answers | None, labels: Tensor | None, adapters: nn.Module
    ) -> Tensor:
        """Return Hinton's loss plus both relations of all pairs of layers."""
        total = super().loss(student, teacher, labels, adapters)
        for mine, target in self.pairs(student, answers_of(teacher)):
            a, b = pool_features(mine), pool_features(target)
            total = total + self.distance_weight * _distance_loss(a, b)
            total = total + self.angle_weight * _angle_loss(a, b)
        return total


def _differences(points: Tensor) -> tuple[Tensor, Tensor]:
    """Differences (N, N, D) of all points, and their lengths (N, N) with a safe gradient at 0."""
    apart = points.unsqueeze(0) - points.unsqueeze(1)
    return apart, apart.square().sum(dim=2).clamp_min(_SMALL).sqrt()


def _distance_loss(mine: Tensor, target: Tensor) -> Tensor:
    different = ~torch.eye(len(mine), dtype=torch.bool, device=mine.device)
    if not different.any():
        return mine.sum() * 0
    a, b = (_differences(points)[1][different] for points in (mine, target))
    return F.smooth_l1_loss(a / a.mean(), b / b.mean())


def _angle_loss(mine: Tensor, target: Tensor) -> Tensor:
    """Huber loss of the cosines at j of all triplets (i, j, k) of three different images."""
    different = ~torch.eye(len(mine), dtype=torch.bool, device=mine.device)
    distinct = different[:, :, None] & different[:, None, :] & different[None, :, :]
    if not distinct.any():
        return mine.sum() * 0
    a, b = (_cosines(points)[distinct] for points in (mine, target))
    return F.smooth_l1_loss(a, b)


def _cosines(points: Tensor) -> Tensor:
    """Cosine (j, i, k) of the angle at j between the directions to i and k, (N, N, N)."""
    apart, length = _differences(points)
    directions = apart / length.unsqueeze(2)
    return directions @ directions.transpose(1, 2)
