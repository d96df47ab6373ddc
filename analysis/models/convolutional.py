"""Convolutional classifiers: CIFAR-style residual networks and plain small ones.

Every activation is a module of its own, called once: rule-based attribution attaches to modules.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class ParameterFreeShortcut(nn.Module):
    """Subsample by the stride and pad missing channels with zeros (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        missing = outputs - inputs
        self.padding = (missing // 2, missing - missing // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, inputs, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride))."""
        subsampled = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(subsampled, (0, 0, 0, 0, *self.padding))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else ParameterFreeShortcut(inputs, outputs, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, inputs, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride))."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu2(y + self.shortcut(x))


class CifarResNet(nn.Module):
    """Residual network for small images: a 3x3 stem and three stages of ``blocks`` blocks.

    ``widths`` are the channels of the stages; the second and third halve the resolution.
    Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition" (2015),
    arXiv 1512.03385, section 4.2, with shortcuts of option A. Parameter names are those of the
    public checkpoints (``layer2.0.conv1.weight``).
    """

    def __init__(
        self, blocks: int, widths: Sequence[int], *, num_classes: int, in_channels: int
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.conv1 = _conv3x3(in_channels, first)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU()
        self.layer1 = _residual_stage(first, first, blocks, stride=1)
        self.layer2 = _residual_stage(first, second, blocks, stride=2)
        self.layer3 = _residual_stage(second, third, blocks, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(third, num_classes)
        _initialize(self)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The stem and every block, in order."""
        stages = {"layer1": self.layer1, "layer2": self.layer2, "layer3": self.layer3}
        blocks = [f"{name}.{i}" for name, stage in stages.items() for i in range(len(stage))]
        return ("relu", *blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map normalized images (N, C, H, W) to logits (N, K)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(self.flatten(self.pool(x)))


class ConvNet(nn.Module):
    """Plain network: a 3x3 stem and three stages of two 3x3 convolutions, no shortcuts.

    The stages have ``width``, ``2 width`` and ``4 width`` channels; the second and third halve
    the resolution. The design is VGG's at small scale, with batch normalization
    (Simonyan, Zisserman 2014, arXiv 1409.1556).
    """

    layer_names = ("relu", "layer1", "layer2", "layer3")

    def __init__(self, width: int, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.layer1 = _plain_stage(width, width, stride=1)
        self.layer2 = _plain_stage(width, 2 * width, stride=2)
        self.layer3 = _plain_stage(2 * width, 4 * width, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(4 * width, num_classes)
        _initialize(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map normalized images (N, C, H, W) to logits (N, K)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(self.flatten(self.pool(x)))


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def _residual_stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    following = [BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *following)


def _plain_stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for source, step in ((inputs, stride), (outputs, 1)):
        layers += [_conv3x3(source, outputs, step), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def _initialize(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight)
