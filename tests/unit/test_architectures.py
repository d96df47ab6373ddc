from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional

from analysis.errors import ModelError, SpecError
from analysis.models.architectures import ARCHITECTURES, Dimensions, build, recognize
from analysis.models.convolutional import ParameterFreeShortcut

NAMES = sorted(ARCHITECTURES)
DEEP = ("resnet32", "resnet44", "resnet56", "resnet110")


def small(name: str, *, in_channels: int = 3, image_size: int = 8) -> nn.Module:
    torch.manual_seed(0)
    width = ARCHITECTURES[name].widths[0]
    module = build(name, num_classes=5, width=width, in_channels=in_channels, image_size=image_size)
    return module.eval()


@pytest.mark.parametrize(
    ("name", "channels", "side"),
    # The deep ones are more of the same blocks.
    [(name, 1, 8) for name in NAMES]
    + [(name, 3, side) for name in NAMES if name not in DEEP for side in (12, 32)],
)
def test_every_architecture_answers_every_image_shape(name: str, channels: int, side: int) -> None:
    module = small(name, in_channels=channels, image_size=side)
    with torch.no_grad():
        logits = module(torch.rand(2, channels, side, side))
    assert logits.shape == (2, 5)
    assert torch.isfinite(logits).all()
    assert (logits[0] != logits[1]).any()


@pytest.mark.parametrize("name", NAMES)
def test_every_activation_is_a_module_called_once(name: str) -> None:
    module, calls = small(name), Counter[str]()
    for part_name, part in module.named_modules():
        if isinstance(part, nn.ReLU | nn.GELU):
            part.register_forward_hook(lambda *_, key=part_name: calls.update([key]))
            assert not getattr(part, "inplace", False)
    module(torch.rand(1, 3, 8, 8))
    assert calls
    assert set(calls.values()) == {1}


@pytest.mark.parametrize("name", NAMES)
def test_listed_layers_and_classifier_exist(name: str) -> None:
    module = small(name)
    for layer in module.layer_names:
        assert isinstance(module.get_submodule(layer), nn.Module)
    assert len(set(module.layer_names)) == len(module.layer_names) > 2
    assert isinstance(module.linear, nn.Linear)


@pytest.mark.parametrize("name", NAMES)
def test_dimensions_are_recognized_from_the_shapes_of_the_weights(name: str) -> None:
    entry = ARCHITECTURES[name]
    dims = Dimensions(
        num_classes=7,
        width=entry.widths[1],
        in_channels=1,
        image_size=(16, 16) if entry.fixed_size else (32, 32),
    )
    shapes = {key: tuple(value.shape) for key, value in entry.create(dims).state_dict().items()}
    assert recognize(name, shapes) == dims


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_something_else_are_not_recognized(name: str) -> None:
    assert recognize(name, {"conv1.weight": (16, 3, 3, 3), "fc.weight": (10, 64)}) is None


def test_a_transformer_needs_positions_to_be_recognized() -> None:
    shapes = {"conv1.weight": (64, 3, 4, 4), "linear.weight": (10, 64)}
    assert recognize("vit_tiny", shapes) is None
    assert recognize("resnet20", shapes) is not None


@pytest.mark.parametrize("depth", [8, 14, 20])
def test_a_resnet_has_as_many_weighted_layers_as_its_name_says(depth: int) -> None:
    layers = [
        part
        for part in build(f"resnet{depth}", num_classes=10).modules()
        if isinstance(part, nn.Conv2d | nn.Linear)
    ]
    assert len(layers) == depth


# Table 6 of arXiv 1512.03385 gives 0.27 M, 0.46 M, 0.66 M, 0.85 M, 1.7 M.
@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.73)]
)
def test_resnets_have_the_sizes_of_the_paper(depth: int, millions: float) -> None:
    module = build(f"resnet{depth}", num_classes=10)
    assert sum(p.numel() for p in module.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


def test_resnet20_has_the_names_of_public_checkpoints() -> None:
    expected = {"conv1.weight", "linear.weight", "linear.bias"}
    norms = ["bn1"]
    for stage in (1, 2, 3):
        for block in (0, 1, 2):
            prefix = f"layer{stage}.{block}"
            expected |= {f"{prefix}.conv1.weight", f"{prefix}.conv2.weight"}
            norms += [f"{prefix}.bn1", f"{prefix}.bn2"]
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected |= {f"{norm}.{kind}" for norm in norms for kind in kinds}
    assert set(build("resnet20", num_classes=10).state_dict()) == expected


def resnet_oracle(state: dict[str, torch.Tensor], blocks: int, x: torch.Tensor) -> torch.Tensor:
    """ResNet of arXiv 1512.03385, section 4.2, written on plain tensors."""

    def norm(y: torch.Tensor, name: str) -> torch.Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        shaped = [value.view(1, -1, 1, 1) for value in (mean, var, weight, bias)]
        return (y - shaped[0]) / (shaped[1] + 1e-5).sqrt() * shaped[2] + shaped[3]

    x = norm(functional.conv2d(x, state["conv1.weight"], padding=1), "bn1").clamp(min=0)
    for stage in (1, 2, 3):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = functional.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = norm(y, f"{name}.bn1").clamp(min=0)
            y = norm(functional.conv2d(y, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            identity = torch.zeros_like(y)
            first = (y.shape[1] - x.shape[1]) // 2
            identity[:, first : first + x.shape[1]] = x[:, :, ::stride, ::stride]
            x = (y + identity).clamp(min=0)
    return x.mean(dim=(2, 3)) @ state["linear.weight"].T + state["linear.bias"]


@pytest.mark.parametrize(("name", "blocks"), [("resnet14", 2), ("smallresnet", 1)])
def test_residual_networks_compute_what_the_paper_says(name: str, blocks: int) -> None:
    module = small(name)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.5, 0.5)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    x = torch.rand(3, 3, 9, 9)
    with torch.no_grad():
        expected = resnet_oracle(module.state_dict(), blocks, x)
        torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-4)


def test_the_shortcut_subsamples_and_pads_both_sides() -> None:
    x = torch.arange(2 * 3 * 3, dtype=torch.float32).view(1, 2, 3, 3)
    y = ParameterFreeShortcut(2, 5, 2)(x)
    assert y.shape == (1, 5, 2, 2)
    assert y[0, 1].tolist() == [[0, 2], [6, 8]]
    assert y[0, 2].tolist() == [[9, 11], [15, 17]]
    assert y[0, [0, 3, 4]].abs().sum() == 0


def test_smallresnet_has_widths_in_steps_of_a_half() -> None:
    module = build("smallresnet", num_classes=16)
    outputs = [getattr(module, f"layer{i}")[0].conv2.out_channels for i in (1, 2, 3)]
    assert outputs == [16, 24, 32]


def test_the_transformer_sees_where_a_patch_is() -> None:
    module = small("vit_tiny")
    x = torch.rand(1, 3, 8, 8)
    shifted = x.roll(4, dims=3)
    with torch.no_grad():
        assert not torch.allclose(module(x), module(shifted))
        module.position.zero_()
        torch.testing.assert_close(module(x), module(shifted), rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second = small("convnet").state_dict(), small("convnet").state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_an_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"unknown architecture 'resnt20'.*'resnet20'"):
        build("resnt20", num_classes=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet8", "num_classes": 1}, "1 classes; expected at least 2"),
        ({"name": "resnet8", "num_classes": 2, "width": 0}, "width 0; expected a positive"),
        ({"name": "vit_tiny", "num_classes": 2, "width": 40}, "width 40.*multiple of 16"),
        ({"name": "vit_tiny", "num_classes": 2, "image_size": 30}, "30x30.*multiples of 4"),
        ({"name": "convnet", "num_classes": 2, "in_channels": 0}, "0 channels"),
    ],
)
def test_impossible_dimensions_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(**arguments)
