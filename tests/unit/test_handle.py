from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import ModelError, SpecError
from analysis.models.architectures import build
from analysis.models.handle import ModelHandle, Normalization, weights_digest
from analysis.models.loading import wrap_module
from analysis.records import PENULTIMATE

IMAGENET = Normalization.parse("imagenet")


def handle(name: str = "smallresnet", *, seed: int = 0, **changes: object) -> ModelHandle:
    torch.manual_seed(seed)
    options = {"normalization": IMAGENET, "class_names": ("a", "b", "c"), **changes}
    module = build(name, num_classes=3, width=16, image_size=8)
    return wrap_module(module, architecture=name, width=16, num_classes=3, **options)


def pixels(count: int = 4, side: int = 8, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(1))


numbers = st.floats(-2, 2, allow_nan=False, width=32)
stds = st.floats(0.125, 2, width=32)


@given(st.lists(st.tuples(numbers, stds), min_size=1, max_size=4))
def test_normalization_follows_its_formula_and_survives_its_text(pairs: list) -> None:
    normalization = Normalization(*map(tuple, zip(*pairs, strict=True)))
    assert Normalization.parse(normalization.text) == normalization
    x = np.random.default_rng(0).random((2, len(pairs), 2, 3)).astype(np.float32)
    expected = np.empty_like(x)
    for c, (mean, std) in enumerate(pairs):
        expected[:, c] = (x[:, c] - np.float32(mean)) / np.float32(std)
    found = normalization(torch.from_numpy(x))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_normalization_that_changes_nothing_is_none() -> None:
    assert Normalization((0, 0), (1, 1)) == Normalization() == Normalization.parse("none")
    assert Normalization((0, 0), (1, 1)).text == "none"
    assert IMAGENET.text == "imagenet"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("imagnet", "normalize=imagnet; expected imagenet.*Did you mean 'imagenet'"),
        ("0.5:x/1:1", "normalize=0.5:x/1:1; expected numbers"),
        ("0.5:0.5/1", "as many finite means as positive"),
        ("0.5/0", "as many finite means as positive"),
        ("nan/1", "as many finite means as positive"),
    ],
)
def test_a_wrong_normalization_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Normalization.parse(text)


def test_normalization_happens_inside() -> None:
    model, x = handle(), pixels()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET.mean, IMAGENET.std))
    torch.testing.assert_close(model(x), model.module((x - mean) / std))
    assert not torch.allclose(model(x), model.module(x))


def test_the_module_is_frozen_and_pixels_get_gradients() -> None:
    model, x = handle(), pixels().requires_grad_()
    model(x)[:, 0].sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(not p.requires_grad for p in model.module.parameters())
    assert not any(part.training for part in model.module.modules())


@pytest.mark.parametrize("name", ["smallresnet", "convnet", "vit_tiny"])
def test_penultimate_features_are_what_the_classifier_reads(name: str) -> None:
    model, x = handle(name), pixels()
    logits, features = model.traced(x, [PENULTIMATE, *model.layer_names])
    linear = model.module.linear
    torch.testing.assert_close(features[PENULTIMATE] @ linear.weight.T + linear.bias, logits)
    torch.testing.assert_close(logits, model(x), rtol=0, atol=0)
    assert list(features) == [PENULTIMATE, *model.layer_names]
    assert all(value.ndim == 2 and len(value) == len(x) for value in features.values())
    assert not any(part._forward_hooks for part in model.module.modules())


def test_block_outputs_are_averaged_and_class_tokens_taken() -> None:
    model, x = handle("smallresnet"), pixels()
    _, features = model.traced(x, ["relu"])
    net = model.module
    stem = net.relu(net.bn1(net.conv1(IMAGENET(x))))
    torch.testing.assert_close(features["relu"], stem.mean(dim=(2, 3)))
    assert handle("vit_tiny").token_pooling == "class token"
    assert model.token_pooling == "mean"


def test_an_unknown_layer_names_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"no layer 'layer1.O'.*'layer1.0'"):
        handle().traced(pixels(), ["layer1.O"])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.rand(3, 8, 8), r"given Tensor \(3, 8, 8\); expected a tensor \(N, C, H, W\)"),
        (np.zeros((1, 3, 8, 8)), r"given ndarray \(1, 3, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "torch.uint8; expected floating point"),
        (torch.rand(1, 1, 8, 8), "takes 3 channels, the images have 1"),
        (torch.rand(1, 3, 8, 12), "takes images of 8x8, these are 8x12"),
    ],
)
def test_pixels_that_do_not_fit_are_refused(x: torch.Tensor, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        handle("vit_tiny")(x)


def test_convolutions_take_any_size() -> None:
    assert handle().input_size is None
    assert handle()(pixels(side=13)).shape == (4, 3)


def test_the_digest_depends_on_what_decides_an_answer() -> None:
    base = handle()
    changed = [
        handle(seed=1),
        handle(normalization=Normalization()),
        dataclasses.replace(base, width=17),
        dataclasses.replace(base, architecture="other"),
        dataclasses.replace(base, user_code="0" * 64),
    ]
    digests = {base.digest, *(other.digest for other in changed)}
    assert len(digests) == 1 + len(changed)
    same = dataclasses.replace(
        base, spec_text="elsewhere", file_bytes=7, metadata={"a": 1}, class_names=None
    )
    assert same.digest == handle().digest == base.digest


def test_the_name_of_a_users_file_does_not_enter_the_digest() -> None:
    base = dataclasses.replace(handle(), user_code="0" * 64, architecture="net.py:make")
    renamed = dataclasses.replace(base, architecture="copy.py:make")
    other = dataclasses.replace(base, architecture="net.py:make_other")
    assert base.digest == renamed.digest != other.digest


@given(st.integers(0, 2**31), st.sampled_from(["conv1.weight", "bn1.running_var", "linear.bias"]))
def test_any_single_weight_changes_the_digest(position: int, name: str) -> None:
    module = build("smallresnet", num_classes=2, width=4)
    before = weights_digest(module)
    values = module.state_dict()[name].view(-1)
    values[position % len(values)] += 1
    assert weights_digest(module) != before


def test_memory_layout_and_batch_counts_do_not_enter_the_digest() -> None:
    module = build("smallresnet", num_classes=2, width=4)
    before = weights_digest(module)
    module.bn1.num_batches_tracked += 3
    assert weights_digest(module.to(memory_format=torch.channels_last)) == before


def test_class_names_and_channels_must_fit() -> None:
    with pytest.raises(ModelError, match="2 class names for smallresnet; expected 3"):
        handle(class_names=("a", "b"))
    with pytest.raises(SpecError, match=r"normalize=0.5/0.5 is for 1 channels; expected 3"):
        handle(normalization=Normalization((0.5,), (0.5,)))


def test_an_answer_of_another_shape_is_refused() -> None:
    model = dataclasses.replace(handle(), num_classes=4, class_names=None)
    with pytest.raises(ModelError, match=r"answered Tensor \(4, 3\); expected logits.*\(4, 4\)"):
        model(pixels())


def test_moving_keeps_the_model_and_refuses_devices_that_are_not_there() -> None:
    model = handle()
    assert model.to("cpu") is model
    with pytest.raises(ModelError, match=r"device 'nonsense' cannot be used.*--device cpu"):
        model.to("nonsense")
