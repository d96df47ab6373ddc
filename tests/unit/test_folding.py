"""Folding, fusing and copying change nothing but the time; where they would, they are left out."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from analysis.attribution import copies
from analysis.attribution.copies import InferenceCopy, inference_copy, map_agreement
from analysis.attribution.folding import fold_batch_norm
from analysis.attribution.fusion import FusedConvolution, fuse_convolutions
from analysis.errors import InputError
from analysis.models.architectures import ARCHITECTURES, build
from analysis.models.normalization import Normalization
from tests.attribution_nets import Residual, Undrawable, handle_of, linear_net, pixels

needs_mkldnn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch was built without oneDNN"
)


def batch(count: int = 4, *, side: int = 8) -> torch.Tensor:
    return torch.from_numpy(pixels(count, side=side))


def answers(module: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and the gradient of one probability."""
    x = x.clone().requires_grad_()
    logits = module(x)
    return logits.detach(), torch.autograd.grad(logits.softmax(1)[:, 1].sum(), x)[0]


def assert_same(one: nn.Module, other: nn.Module, x: torch.Tensor, tolerance: float) -> None:
    for a, b in zip(answers(one, x), answers(other, x), strict=True):
        assert (a - b).abs().max() <= tolerance * a.abs().max()


def count(module: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(part, kind) for part in module.modules())


def test_folding_removes_normalizations_and_keeps_the_function() -> None:
    module = Residual().eval()
    before = copy.deepcopy(module.state_dict())
    folded = fold_batch_norm(module)
    assert count(module, nn.BatchNorm2d) == 3
    assert not any(node.target in ("bn1", "bn2", "bn3") for node in folded.graph.nodes)
    assert_same(module, folded, batch(), 1e-5)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert not any(parameter.requires_grad for parameter in folded.parameters())


class ReadTwice(nn.Module):
    """The convolution's output has a second reader, and one normalization serves two."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.conv2, self.shared = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        y = self.bn(y) * y
        return (self.shared(self.conv2(y)) + self.shared(y)).mean(dim=(2, 3))


def test_what_cannot_be_folded_is_left() -> None:
    module = ReadTwice().eval()
    for part in (module.bn, module.shared):
        nn.init.uniform_(part.running_mean)
    folded = fold_batch_norm(module)
    kept = [node.target for node in folded.graph.nodes if node.op == "call_module"]
    assert kept == ["conv", "bn", "conv2", "shared", "shared"]
    assert_same(module, folded, batch(), 1e-5)


def test_untraceable_networks_come_back_as_copies() -> None:
    module = Undrawable(Residual()).eval()
    folded = fold_batch_norm(module)
    assert folded is not module
    assert count(folded, nn.BatchNorm2d) == 3
    assert fuse_convolutions(folded) is folded
    assert_same(module, folded, batch(), 1e-6)


@needs_mkldnn
def test_fusing_keeps_answers_and_gradients() -> None:
    module = Residual().eval()
    fused = fuse_convolutions(fold_batch_norm(module))
    parts = [part for part in fused.modules() if isinstance(part, FusedConvolution)]
    assert sorted(part.rectify for part in parts) == [False, True, True, True]
    assert count(fused, nn.Conv2d) == count(fused, nn.ReLU) == 0
    assert_same(module, fused, batch(), 1e-4)


@needs_mkldnn
def test_gradients_in_bfloat16_leave_answers_alone() -> None:
    folded = fold_batch_norm(Residual().eval())
    exact, quick = fuse_convolutions(folded), fuse_convolutions(folded, torch.bfloat16)
    (logits, gradient), (same, rounded) = answers(exact, batch()), answers(quick, batch())
    torch.testing.assert_close(same, logits, rtol=0, atol=0)
    deviation = (rounded - gradient).abs().max() / gradient.abs().max()
    assert 0 < deviation < 0.02


@needs_mkldnn
def test_gradients_stay_channels_last() -> None:
    fused = fuse_convolutions(fold_batch_norm(Residual().eval()))
    seen: list[torch.Tensor] = []

    def watch(module: nn.Module, args: object, y: torch.Tensor) -> None:
        y.register_hook(seen.append)

    for part in fused.modules():
        if isinstance(part, FusedConvolution):
            part.register_forward_hook(watch)
    answers(fused, batch())
    inner = [grad for grad in seen if grad.shape[2] > 4]
    assert inner
    assert all(grad.is_contiguous(memory_format=torch.channels_last) for grad in inner)


@pytest.mark.parametrize("name", ["resnet8", "smallresnet", "convnet", "vit_tiny"])
def test_copies_of_built_in_architectures(name: str) -> None:
    torch.manual_seed(0)
    width = 32 if ARCHITECTURES[name].fixed_size else 4
    module = build(name, num_classes=4, width=width, image_size=8)
    handle = handle_of(module, normalization=Normalization((0.4,) * 3, (0.2,) * 3))
    fast = inference_copy(handle, batch(), precision="float32")
    assert fast.precision == "float32"
    assert_same(handle, fast, batch(6), 1e-4)  # type: ignore[arg-type]
    if torch.backends.mkldnn.is_available():
        # The transformer's control flow keeps it from being traced.
        assert (count(fast.network, FusedConvolution) > 0) == (name != "vit_tiny")


def test_float64_is_kept() -> None:
    handle = handle_of(Residual().double())
    fast = inference_copy(handle, batch())
    assert fast(batch()).dtype == torch.float64
    assert count(fast, FusedConvolution) == 0
    assert_same(handle, fast, batch().double(), 1e-9)  # type: ignore[arg-type]


def test_a_wrong_copy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = handle_of(Residual())
    monkeypatch.setattr(copies, "fold_batch_norm", lambda module: Residual(seed=9).eval())
    monkeypatch.setattr(copies, "fuse_convolutions", lambda *_: linear_net())
    assert inference_copy(handle, batch()).network is handle.module


def test_a_copy_that_raises_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = handle_of(Residual())
    monkeypatch.setattr(copies, "fold_batch_norm", lambda module: nn.Linear(3, 3))
    monkeypatch.setattr(copies, "fuse_convolutions", lambda *_: nn.Linear(3, 3))
    assert inference_copy(handle, batch()).network is handle.module


@needs_mkldnn
@pytest.mark.parametrize(
    ("units", "agreement", "asked", "precision"),
    [
        (True, 0.999, "auto", "bfloat16"),
        (True, 0.994, "auto", "float32"),
        (False, 0.999, "auto", "float32"),
        (True, 0.999, "float32", "float32"),
        (False, 0.0, "bfloat16", "bfloat16"),
    ],
)
def test_when_bfloat16_is_used(
    monkeypatch: pytest.MonkeyPatch, units: bool, agreement: float, asked: str, precision: str
) -> None:
    monkeypatch.setattr(copies, "has_bfloat16", lambda: units)
    monkeypatch.setattr(copies, "map_agreement", lambda *_: agreement)
    fast = inference_copy(handle_of(Residual()), batch(), precision=asked)  # type: ignore[arg-type]
    assert fast.precision == precision
    dtypes = {p.gradient_weight.dtype for p in fast.modules() if isinstance(p, FusedConvolution)}
    assert dtypes == {getattr(torch, precision)}


def test_map_agreement_tells_equal_from_different() -> None:
    one, other = (InferenceCopy(h := handle_of(Residual(s)), h.module) for s in (0, 1))
    assert map_agreement(one, one, batch()) == pytest.approx(1)
    assert map_agreement(one, other, batch()) < 0.9


def test_class_order_permutes_the_answers() -> None:
    handle = handle_of(Residual())
    fast = inference_copy(handle, batch(), class_order=(2, 0, 3, 1))
    torch.testing.assert_close(
        fast(batch()), handle(batch())[:, [2, 0, 3, 1]], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 0, 1, 2), (1, 2, 3, 4)])
def test_a_class_order_must_be_a_permutation(order: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"class order \[.*each of the outputs 0 to 3 once"):
        inference_copy(handle_of(Residual()), batch(), class_order=order)
