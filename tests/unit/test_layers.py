from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from analysis.errors import ModelError
from analysis.models.layers import Tap, discover, pool_features, recording, token_pooling


class Nested(nn.Module):
    """A net as users write them: containers, a reused module, a head in a container."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.shared = nn.ReLU()
        self.blocks = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)])
        self.head = nn.Sequential(nn.Flatten(), nn.LazyLinear(6), nn.ReLU(), nn.Linear(6, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = self.shared(block(x))
        return self.head(x.mean(dim=(2, 3), keepdim=True))


def probe(channels: int = 3) -> torch.Tensor:
    return torch.rand(2, channels, 8, 8, generator=torch.Generator().manual_seed(0))


def hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) for part in module.modules())


def test_maps_are_averaged_over_positions() -> None:
    maps = torch.rand(2, 3, 4, 5)
    expected = np.zeros((2, 3))
    for n in range(2):
        for d in range(3):
            expected[n, d] = sum(maps[n, d, i, j].item() for i in range(4) for j in range(5)) / 20
    np.testing.assert_allclose(pool_features(maps).numpy(), expected, rtol=1e-5)


def test_tokens_are_pooled_as_named() -> None:
    tokens = torch.rand(2, 7, 3)
    assert torch.equal(pool_features(tokens, "class token"), tokens[:, 0])
    torch.testing.assert_close(pool_features(tokens, "mean"), sum(tokens.unbind(1)) / 7)


def test_rows_stay_as_they_are_and_less_is_refused() -> None:
    rows = torch.rand(2, 9)
    assert pool_features(rows) is rows
    with pytest.raises(ModelError, match=r"features of shape \(2,\); expected one row per image"):
        pool_features(torch.rand(2))


def test_layers_of_user_code_are_found_in_order() -> None:
    layout = discover(Nested(), probe())
    # "stem" returns what "stem.1" returned; "shared" is called twice; "head.3" classifies.
    assert layout.layer_names == (
        "stem.0", "stem.1", "blocks.0", "blocks.1", "head.0", "head.1", "head.2",
    )  # fmt: skip
    assert layout.classifier == "head.3"
    assert layout.token_pooling == "mean"


def test_discovery_leaves_no_hook_even_after_an_error() -> None:
    module = Nested()
    discover(module, probe())
    assert hooks(module) == 0
    with pytest.raises(RuntimeError):
        discover(module, probe(channels=2))
    assert hooks(module) == 0


def test_a_convolution_can_be_the_classifier() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    assert discover(module, probe()).classifier == "2"


def test_an_inner_linear_layer_is_not_taken_for_the_classifier() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classify = nn.Linear(192, 5)
            self.gate = nn.Linear(192, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.flatten(1)
            return self.classify(x) * self.gate(x)

    assert discover(Gated(), probe()).classifier == "classify"


def test_a_module_of_another_kind_with_weights_classifies_where_nothing_else_can() -> None:
    class Cosine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(5, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight.T

    module = nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten(), Cosine())
    assert discover(module, probe()).classifier == "2"


def test_without_modules_there_is_no_classifier() -> None:
    class Bare(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(dim=(2, 3))

    layout = discover(Bare(), probe())
    assert (layout.classifier, layout.layer_names) == ("", ())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cls_token", "class token"), ("class_embedding", "class token"), ("classifier", "mean")],
)
def test_a_class_token_is_known_by_its_name(name: str, expected: str) -> None:
    module = nn.Module()
    module.register_parameter(name, nn.Parameter(torch.zeros(1)))
    assert token_pooling(module) == expected


def test_recording_sees_inputs_and_outputs_and_leaves_no_hook() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    x, taps = probe(), {"in": Tap("1", "input"), "out": Tap("1"), "whole": Tap("")}
    with recording(module, taps, pool_features) as found:
        logits = module(x)
    assert torch.equal(found["in"], x.flatten(1))
    assert torch.equal(found["out"], logits)
    assert torch.equal(found["whole"], logits)
    assert hooks(module) == 0
    with pytest.raises(RuntimeError), recording(module, taps, pool_features):
        module(torch.rand(2, 5))
    assert hooks(module) == 0


def test_recorded_rows_survive_an_operation_in_place() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.ReLU(inplace=True))
    with torch.no_grad(), recording(module, {"linear": Tap("1")}, pool_features) as found:
        module(probe())
    assert (found["linear"] < 0).any()


def test_a_layer_that_is_no_tensor_is_named() -> None:
    module = nn.Sequential(nn.LSTM(8, 4))
    with (
        pytest.raises(ModelError, match="layer 'lstm' puts out a tuple; expected one tensor"),
        recording(module, {"lstm": Tap("0")}, pool_features),
    ):
        module(torch.rand(2, 3, 8))
