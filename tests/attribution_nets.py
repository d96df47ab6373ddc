"""Tiny networks for the tests of attribution: 8x8 images, a few hundred weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from analysis.models.handle import ModelHandle
from analysis.models.layers import discover
from analysis.models.normalization import Normalization

SIDE = 8
CLASSES = 4


def handle_of(
    module: nn.Module,
    *,
    channels: int = 3,
    classes: int = CLASSES,
    normalization: Normalization | None = None,
) -> ModelHandle:
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    layout = discover(module.eval(), torch.zeros(1, channels, SIDE, SIDE, dtype=dtype))
    return ModelHandle(
        module=module,
        architecture="tiny",
        normalization=normalization or Normalization(),
        num_classes=classes,
        in_channels=channels,
        layer_names=layout.layer_names,
        penultimate="",
        spec_text="tiny",
    )


def pixels(count: int, *, channels: int = 3, side: int = SIDE, seed: int = 0) -> np.ndarray:
    shape = (count, channels, side, side)
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def linear_net(seed: int = 0, *, channels: int = 3, classes: int = CLASSES) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * SIDE * SIDE, classes))


def smooth_net(seed: int, *, channels: int = 3, classes: int = CLASSES) -> nn.Module:
    """Without kinks, so that quadrature converges at once; in float64."""
    torch.manual_seed(seed)
    convolution = nn.Conv2d(channels, 4, 3, stride=2, padding=1)
    readout = nn.Linear(4 * (SIDE // 2) ** 2, classes)
    return nn.Sequential(convolution, nn.Tanh(), nn.Flatten(), readout).double()


class Residual(nn.Module):
    """Two blocks with a projection and an identity shortcut, batch normalization everywhere."""

    def __init__(self, seed: int = 0, *, width: int = 8, classes: int = CLASSES) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.bn2, self.relu = nn.BatchNorm2d(2 * width), nn.ReLU()
        self.project = nn.Conv2d(width, 2 * width, 1, stride=2)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2)
        self.bn3 = nn.BatchNorm2d(2 * width)
        self.linear = nn.Linear(2 * width, classes)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.uniform_(part.running_mean, -0.5, 0.5)
                nn.init.uniform_(part.running_var, 0.5, 2)
                nn.init.uniform_(part.weight, 0.5, 2)
                nn.init.uniform_(part.bias, -0.5, 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)) + self.project(x))
        x = self.relu(x + self.bn3(self.conv3(x)))
        return self.linear(x[:, :, ::2, ::2].mean(dim=(2, 3)))


class Undrawable(nn.Module):
    """Its control flow depends on the values, so it is no graph."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) if x.sum() > 0 else -self.inner(x)
