"""DeepLift: differences to the baseline, handed down layer by layer by the rescale rule.

captum hands the difference down through a network. It has no rule for what follows the logits
here (a softmax, a maximum, a divergence of two models), and its rule for softmax mixes the images
of a batch; so the step from logits to the explained number is taken exactly instead: by the
number's mean gradient on the straight path between both ends' logits. For a function of one
variable that is the rescale rule itself; for several it keeps the sum complete (Aumann and
Shapley 1974).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from captum.attr import DeepLift
from torch import nn

from analysis.attribution.method import Task
from analysis.attribution.subject import Number

NODES = 128
"""Points on the way from the baseline's logits to the image's; no model is asked at them."""


def deeplift(task: Task) -> torch.Tensor:
    """(x - x') times DeepLift's multipliers, rescale rule."""
    models = task.subject.as_built()
    with torch.no_grad():
        ends = [model(task.pixels).double() for model in models]
        starts = [model(task.baselines).double() for model in models]
    shares = mean_gradients(task.subject.number, starts, ends, task.classes)
    with warnings.catch_warnings():
        # captum announces at each call that it will set hooks.
        warnings.filterwarnings("ignore", message="Setting forward, backward hooks")
        return DeepLift(_Weighted(models)).attribute(
            task.pixels.detach().requires_grad_(),
            task.baselines,
            additional_forward_args=tuple(share.to(task.pixels.dtype) for share in shares),
        )


def mean_gradients(
    number: Number,
    starts: Sequence[torch.Tensor],
    ends: Sequence[torch.Tensor],
    classes: torch.Tensor,
) -> list[torch.Tensor]:
    """Mean gradient of ``number`` by each model's logits (N, K), from ``starts`` to ``ends``."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(NODES))
    steps = ((nodes + 1) / 2).to(ends[0])[:, None, None]
    paths = [
        (start + steps * (end - start)).flatten(0, 1).requires_grad_()
        for start, end in zip(starts, ends, strict=True)
    ]
    with torch.enable_grad():
        total = number(*paths, classes.repeat(NODES)).sum()
    grads = torch.autograd.grad(total, paths)
    share = (weights / 2).to(ends[0])[:, None, None]
    return [
        (grad.reshape(NODES, *end.shape) * share).sum(dim=0)
        for grad, end in zip(grads, ends, strict=True)
    ]


class _Weighted(nn.Module):
    """All models' logits, weighted and summed: what DeepLift hands down."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, pixels: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        parts = [
            (model(pixels) * weight).sum(dim=1)
            for model, weight in zip(self.models, weights, strict=True)
        ]
        return torch.stack(parts).sum(dim=0)
