from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from analysis.errors import ModelError
from analysis.models.architectures import build
from analysis.models.cost import count_macs, count_parameters, measure_latency, model_cost
from analysis.models.handle import ModelHandle, Normalization
from analysis.models.loading import wrap_module


def handle(name: str, width: int, classes: int = 10, side: int = 32) -> ModelHandle:
    module = build(name, num_classes=classes, width=width, image_size=side)
    return wrap_module(module, architecture=name, width=width, num_classes=classes)


def resnet_macs(blocks: int, widths: tuple[int, ...], side: int, classes: int) -> int:
    """Convolutions and classifier, counted by hand: outputs x 9 x inputs for each of them."""
    macs, inputs = side * side * widths[0] * 9 * 3, widths[0]
    for stage, outputs in enumerate(widths):
        side = side if stage == 0 else (side + 1) // 2
        for _ in range(blocks):
            macs += side * side * outputs * 9 * (inputs + outputs)
            inputs = outputs
    return macs + inputs * classes


@pytest.mark.parametrize(
    ("name", "blocks", "widths"),
    [("resnet20", 3, (16, 32, 64)), ("resnet8", 1, (8, 16, 32)), ("smallresnet", 1, (16, 24, 32))],
)
@pytest.mark.parametrize("side", [32, 9])
def test_macs_of_residual_networks(name: str, blocks: int, widths: tuple, side: int) -> None:
    found = count_macs(handle(name, widths[0]), (side, side, 3))
    assert found == resnet_macs(blocks, widths, side, 10)


def test_resnet20_needs_the_known_number_of_macs() -> None:
    assert count_macs(handle("resnet20", 16), (32, 32, 3)) == 40_551_040


def test_the_products_of_attention_are_counted() -> None:
    width, tokens, depth, classes = 32, 17, 4, 10
    patches = 16 * width * 4 * 4 * 3
    projections = tokens * width * (3 * width + width + 2 * width + 2 * width)
    attention = 2 * tokens * tokens * width
    expected = patches + depth * (projections + attention) + width * classes
    assert count_macs(handle("vit_tiny", width, side=16), (16, 16, 3)) == expected


def test_the_fused_layers_of_torch_are_counted_too() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
            self.head = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.encoder(x.flatten(2).transpose(1, 2))[:, 0])

    model = ModelHandle(
        module=Tokens(),
        architecture="tokens",
        normalization=Normalization(),
        num_classes=3,
        in_channels=8,
        layer_names=(),
        penultimate="head",
        spec_text="tokens",
    )
    tokens, width = 6, 8
    expected = tokens * width * (3 * width + width + 16 + 16) + 2 * tokens**2 * width + 8 * 3
    assert count_macs(model, (2, 3, 8)) == expected
    assert torch.backends.mha.get_fastpath_enabled()


def test_parameters_are_counted_once_and_without_buffers() -> None:
    shared = nn.Linear(3, 3)
    module = nn.Sequential(shared, nn.BatchNorm1d(3), shared)
    assert count_parameters(module) == 9 + 3 + 3 + 3


def test_the_cost_of_a_model() -> None:
    model = dataclasses.replace(handle("smallresnet", 4), file_bytes=123)
    cost = model_cost(model, (8, 8, 3))
    assert cost.parameters == count_parameters(model.module)
    assert cost.macs == count_macs(model, (8, 8, 3))
    assert cost.file_bytes == 123
    assert cost.latency_ms_batch_1 > 0
    assert cost.latency_ms_batch_64 > 0


def test_latencies_are_left_out_on_request() -> None:
    cost = model_cost(handle("smallresnet", 4), (8, 8, 3), latency=False)
    assert (cost.latency_ms_batch_1, cost.latency_ms_batch_64) == (None, None)


def test_latency_is_the_median_of_the_timed_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 5.0, 10.0, 10.001, 20.0, 20.002])
    monkeypatch.setattr("analysis.models.cost.time.perf_counter", lambda: next(ticks))
    assert measure_latency(handle("smallresnet", 4), (8, 8, 3), repeats=3) == pytest.approx(2.0)


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match="takes 3 channels, the images have 1"):
        model_cost(handle("smallresnet", 4), (8, 8, 1))
