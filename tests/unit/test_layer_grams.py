from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from analysis.errors import ModelError
from analysis.models.architectures import ARCHITECTURES, build
from analysis.models.grams import layer_grams
from analysis.models.handle import ModelHandle, Normalization
from analysis.models.layers import block_names, pool_features
from analysis.models.loading import wrap_module


def handle(name: str = "resnet8") -> ModelHandle:
    torch.manual_seed(0)
    width = ARCHITECTURES[name].widths[0]
    return wrap_module(
        build(name, num_classes=4, width=width), architecture=name, width=width, num_classes=4,
        normalization=Normalization(),
    )  # fmt: skip


def pixels(count: int = 6) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def outputs(model: ModelHandle, layer: str, images: torch.Tensor) -> torch.Tensor:
    found = []
    hook = model.module.get_submodule(layer).register_forward_hook(
        lambda _, __, output: found.append(output.detach().clone())
    )
    with torch.no_grad():
        model(images)
    hook.remove()
    return found[0]


# The deepest are the same code as their smaller relatives.
@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - {"resnet44", "resnet56", "resnet110"}))
def test_grams_and_pooled_features_are_those_of_the_blocks(name: str) -> None:
    model, images = handle(name), pixels()
    layers = block_names(model.module, model.layer_names)
    assert len(layers) > 1
    batch = layer_grams(model, images, layers)
    assert batch.grams.shape == (len(layers), 6, 6)
    assert batch.grams.dtype == np.float32
    for index in {0, len(layers) - 1}:
        raw = outputs(model, layers[index], images)
        flat = raw.flatten(1).double()
        flat = flat - flat.mean(dim=0)
        np.testing.assert_allclose(
            batch.grams[index], flat @ flat.T, rtol=1e-3, atol=1e-4 * float(flat.square().sum())
        )
        expected = pool_features(raw, model.token_pooling)
        np.testing.assert_allclose(batch.pooled[index], expected, rtol=1e-4, atol=1e-5)


def test_blocks_of_a_resnet_are_its_residual_blocks() -> None:
    model = handle("resnet20")
    assert block_names(model.module, model.layer_names) == tuple(
        f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3)
    )
    flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 2))
    assert block_names(flat, ("0", "1", "2")) == ("0", "1", "2")


def test_the_penultimate_layer_may_be_asked_for_and_pooling_left_out() -> None:
    model = handle()
    batch = layer_grams(model, pixels(), ["penultimate"], pooled=False)
    assert batch.pooled == []
    _, features = model.traced(pixels())
    rows = features["penultimate"] - features["penultimate"].mean(dim=0)
    np.testing.assert_allclose(batch.grams[0], rows @ rows.T, rtol=1e-3, atol=1e-6)


def test_no_hook_stays_behind() -> None:
    model = handle()
    layer_grams(model, pixels(), model.layer_names)
    assert sum(len(part._forward_hooks) for part in model.module.modules()) == 0


class Odd(nn.Module):
    """Layers that misbehave: constant, and as large as asked for."""

    layer_names = ("constant", "large")

    def __init__(self, size: float) -> None:
        super().__init__()
        self.constant, self.large, self.linear = nn.ReLU(), nn.ReLU(), nn.Linear(3, 4)
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.constant(torch.full_like(x, 0.1))
        return self.linear(self.large(x * self.size).mean(dim=(2, 3)) / self.size)


def odd(size: float) -> ModelHandle:
    torch.manual_seed(0)
    return wrap_module(
        Odd(size), architecture="odd", num_classes=4, normalization=Normalization(), width=None
    )


def test_a_constant_layer_has_a_gram_of_zeros() -> None:
    batch = layer_grams(odd(1.0), pixels(), ["constant", "large"])
    assert (batch.grams[0] == 0).all()
    assert batch.grams[1].any()


def test_activations_too_large_for_float32_are_refused() -> None:
    with pytest.raises(
        ModelError, match=r"layer 'large' of .* puts out NaN, infinity or too large"
    ):
        layer_grams(odd(1e30), pixels(), ["constant", "large"])


def test_an_unknown_layer_names_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"no layer 'layer2.O'. Did you mean 'layer2.0'"):
        layer_grams(handle(), pixels(), ["layer2.O"])
