"""Small nets and image sets for the tests of the attack."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from analysis.data.imageset import ImageSet
from analysis.models.handle import ModelHandle
from analysis.models.normalization import Normalization


def handle_of(module: nn.Module, classes: int, channels: int = 3, names=None) -> ModelHandle:
    return ModelHandle(
        module=module,
        architecture="test",
        normalization=Normalization((0.0,) * channels, (1.0,) * channels),
        num_classes=classes,
        in_channels=channels,
        layer_names=(),
        penultimate="",
        spec_text="test",
        class_names=names,
    )


def linear(classes=2, side=8, channels=3, seed=0, scale=1.0, names=None) -> ModelHandle:
    """Logits W x, in float64."""
    torch.manual_seed(seed)
    layer = nn.Linear(channels * side * side, classes, bias=False).double()
    nn.init.normal_(layer.weight, std=scale)
    return handle_of(nn.Sequential(nn.Flatten(), layer), classes, channels, names)


def curved(classes=4, side=8, seed=0, names=None) -> ModelHandle:
    """Two smooth layers, so that gradients change along the way, in float64."""
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(3 * side * side, 24), nn.Tanh(), nn.Linear(24, classes)
    ).double()
    for part in module.parameters():
        nn.init.normal_(part, std=0.3)
    return handle_of(module, classes, names=names)


def noise(count=6, side=8, channels=3, seed=0, low=0, high=256, classes=None, names=None):
    rng = np.random.default_rng(seed)
    return ImageSet(
        name="set",
        images=rng.integers(low, high, (count, side, side, channels), dtype=np.uint8),
        labels=None if classes is None else rng.permutation(np.arange(count) % classes),
        sample_ids=np.array([f"set/{row}" for row in range(count)]),
        class_names=names,
        source="noise",
    )


def logits_of(handle: ModelHandle, images: np.ndarray) -> np.ndarray:
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        return handle(pixels).double().numpy()
