"""The methods that attach to modules or draw numbers, against slow readings of their papers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import softmax
from torch import nn

from analysis.attribution.baselines import blur, blur_sigma
from analysis.attribution.copies import inference_copy
from analysis.attribution.gradcam import spatial_layers
from analysis.attribution.images import as_pixels
from analysis.attribution.maps import attribute
from analysis.attribution.methods import METHODS, unsupported
from analysis.attribution.pair import attribute_pair
from analysis.attribution.passes import explain
from analysis.attribution.plan import Plan, Report
from analysis.attribution.scalars import PAIR_SCALARS
from analysis.attribution.subject import subject_of
from analysis.attribution.superpixels import superpixels
from analysis.errors import InputError
from analysis.models.architectures import ARCHITECTURES, build
from analysis.models.handle import ModelHandle
from analysis.models.loading import wrap_module
from tests.attribution_nets import (
    CLASSES,
    SIDE,
    Residual,
    handle_of,
    linear_net,
    pixels,
    smooth_net,
)

SHAPE = (SIDE, SIDE, 3)


def mlp(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    parts = nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 9), nn.ReLU(), nn.Linear(9, CLASSES)
    return nn.Sequential(*parts).double()


def deeplift_by_hand(module: nn.Sequential, x: np.ndarray, base: np.ndarray, c: int) -> np.ndarray:
    """The rescale rule of the paper (its equation 8), and the exact mean gradient of softmax."""
    w1, b1, w2, b2 = (part.detach().numpy() for part in module.parameters())
    pre = [w1 @ end.ravel() + b1 for end in (x, base)]
    z, z0 = (w2 @ np.maximum(p, 0) + b2 for p in pre)

    def gradient(t: float, k: int) -> float:
        p = softmax(z0 + t * (z - z0))
        return p[c] * ((k == c) - p[k])

    through = np.array([quad(gradient, 0, 1, args=(k,))[0] for k in range(CLASSES)])
    rescale = (np.maximum(pre[0], 0) - np.maximum(pre[1], 0)) / (pre[0] - pre[1])
    contributions = (x - base).ravel() * (((through @ w2) * rescale) @ w1)
    return contributions.reshape(x.shape).sum(0)


def test_deeplift_against_the_rescale_rule() -> None:
    module, x = mlp(3), pixels(3)
    maps = attribute(handle_of(module), x, 2, method="deeplift", baseline="mean")
    for row, image in enumerate(x.astype(np.float64)):
        base = np.broadcast_to(image.mean(axis=(1, 2), keepdims=True), image.shape)
        np.testing.assert_allclose(
            maps.values[row], deeplift_by_hand(module, image, base, 2), atol=1e-7
        )
    assert maps.completeness_error.max() < 1e-4


@pytest.mark.parametrize("scalar", PAIR_SCALARS)
def test_deeplift_is_complete_for_whatever_follows_the_logits(scalar: str) -> None:
    pair = handle_of(mlp(1)), handle_of(mlp(2))
    maps = attribute_pair(*pair, pixels(4), 1, method="deeplift", scalar=scalar)
    assert max(record.completeness_error.max() for record in maps.values()) < 0.02


def test_deeplift_of_a_model_against_itself() -> None:
    handle = handle_of(mlp(1))
    maps = attribute_pair(handle, handle, pixels(2), method="deeplift", scalar="kl_teacher_student")
    assert np.abs(maps["pair"].values).max() < 1e-12


@pytest.mark.parametrize("method", [name for name, entry in METHODS.items() if entry.linear])
def test_the_pair_explained_as_one_model_is_student_minus_teacher(method: str) -> None:
    """The identity that saves linear methods a pass: here the pass is made."""
    x, c = pixels(2), np.array([1, 3])
    copies = [inference_copy(handle_of(smooth_net(s)), torch.from_numpy(x)) for s in (1, 2)]
    maps = attribute_pair(*copies, x, c, method=method)
    plan = Plan.settle(method, None, {}, 16, 0)
    subject = subject_of(PAIR_SCALARS["p_student_minus_teacher"], *copies)
    alone = explain(plan, subject, as_pixels(x), c, Report(None, 2))
    np.testing.assert_allclose(maps["pair"].values, alone.values, atol=2e-6)
    assert np.abs(alone.values).max() > 1e-4


def bilinear(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear interpolation at pixel centers, edges repeated."""
    rows, columns = grid.shape
    out = np.empty((height, width))
    for i, j in itertools.product(range(height), range(width)):
        y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
        x = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
        top, left = int(y), int(x)
        below, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
        fy, fx = y - top, x - left
        out[i, j] = (
            (1 - fy) * ((1 - fx) * grid[top, left] + fx * grid[top, right])
            + fy * ((1 - fx) * grid[below, left] + fx * grid[below, right])
        )  # fmt: skip
    return out


def weighted_channels(
    handle: ModelHandle, layer: str, x: np.ndarray, c: int, tokens: int = 0
) -> np.ndarray:
    """Sum over channels of mean gradient times activation, (H, W) before anything is cut off."""
    kept = {}
    module = handle.module.get_submodule(layer)
    hook = module.register_forward_hook(lambda _, __, output: kept.update(out=output))
    inputs = torch.from_numpy(x[None]).requires_grad_()
    p = handle(inputs).softmax(1)[0, c]
    hook.remove()
    grad = torch.autograd.grad(p, kept["out"])[0][0].double().numpy()
    activation = kept["out"][0].detach().double().numpy()
    if tokens:
        side = math.isqrt(tokens)
        grad, activation = (a[1:].T.reshape(-1, side, side) for a in (grad, activation))
    coarse = (grad.mean(axis=(1, 2), keepdims=True) * activation).sum(0)
    return bilinear(coarse, *x.shape[1:])


def test_grad_cam_of_model_and_pair_by_hand() -> None:
    pair, x = [handle_of(Residual(s)) for s in (0, 1)], pixels(3)
    assert spatial_layers(pair[0], SHAPE)[-1].name == "bn3"
    maps = attribute_pair(*pair, x, 2, method="grad_cam")
    for row, image in enumerate(x):
        teacher, student = (weighted_channels(handle, "bn3", image, 2) for handle in pair)
        for part, expected in {
            "teacher": teacher, "student": student, "pair": student - teacher,
        }.items():  # fmt: skip
            np.testing.assert_allclose(maps[part].values[row], np.maximum(expected, 0), atol=1e-5)
    assert maps["pair"].parameters["layer"] == "bn3 + bn3"
    earlier = attribute(pair[0], x, 2, method="grad_cam", layers_back=1)
    assert earlier.parameters["layer"] == "conv3"
    with pytest.raises(InputError, match="layers_back = 99 of grad_cam; expected at most"):
        attribute(pair[0], x, 2, method="grad_cam", layers_back=99)


def wrapped(name: str, side: int = 16) -> ModelHandle:
    torch.manual_seed(0)
    module = build(name, num_classes=CLASSES, image_size=side)
    return wrap_module(module, architecture=name, width=None, num_classes=CLASSES)


def test_grad_cam_lays_tokens_out_and_skips_the_block_whose_patches_go_unread() -> None:
    handle, x = wrapped("vit_tiny"), pixels(2, side=16)
    found = spatial_layers(handle, (16, 16, 3))
    assert [layer.name for layer in found] == ["blocks.0", "blocks.1", "blocks.2"]
    assert found[0].grid == (4, 4)
    maps = attribute(handle, x, 1, method="grad_cam")
    for row, image in enumerate(x):
        expected = weighted_channels(handle, "blocks.2", image, 1, tokens=16)
        np.testing.assert_allclose(maps.values[row], np.maximum(expected, 0), atol=1e-6)
    assert maps.values.max() > 0


def test_gradient_shap_averages_over_seeded_points_between() -> None:
    """With many points they converge on the mean along the path, so on integrated gradients."""
    handle, x = handle_of(smooth_net(2)), pixels(2)
    many = attribute(handle, x, 0, method="gradient_shap", samples=2000)
    path = attribute(handle, x, 0, method="integrated_gradients")
    np.testing.assert_allclose(many.values, path.values, atol=0.05 * np.abs(path.values).max())
    one, same, other = (attribute(handle, x, 0, method="gradient_shap", seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.values, same.values)
    assert np.abs(one.values - other.values).max() > 1e-6


def test_kernel_shap_against_exact_shapley_values() -> None:
    module, x = smooth_net(5), pixels(1)
    handle = handle_of(module)
    maps = attribute(handle, x, 1, method="kernel_shap", segments=4, samples=4000)
    patches = superpixels(x[0], 4)
    wide = torch.from_numpy(x).double()
    base = blur(wide, blur_sigma(SIDE, SIDE))
    count = int(patches.max()) + 1

    def worth(members: tuple[int, ...]) -> float:
        shown = torch.from_numpy(np.isin(patches, members))
        return float(handle(torch.where(shown, wide, base)).softmax(1)[0, 1])

    for patch in range(count):
        others, value = [p for p in range(count) if p != patch], 0.0
        for size in range(count):
            weight = 1 / (count * math.comb(count - 1, size))
            for some in itertools.combinations(others, size):
                value += weight * (worth((*some, patch)) - worth(some))
        assert maps.values[0][patches == patch].sum() == pytest.approx(value, abs=2e-4)
    assert maps.completeness_error.max() < 1e-3


def test_random_methods_leave_the_global_generators_alone() -> None:
    handle, x = handle_of(smooth_net(2)), pixels(1)
    for method in (name for name, entry in METHODS.items() if entry.random):
        torch.manual_seed(5)
        np.random.seed(5)
        attribute(handle, x, 0, method=method)
        drawn = torch.rand(1).item(), np.random.rand()
        torch.manual_seed(5)
        np.random.seed(5)
        assert drawn == (torch.rand(1).item(), np.random.rand())


def test_superpixels_follow_color_and_place() -> None:
    image = np.zeros((3, 8, 8), dtype=np.float32)
    image[:, :, 5:] = 1.0
    patches = superpixels(image, 4)
    assert not set(patches[:, :5].ravel()) & set(patches[:, 5:].ravel())
    flat = superpixels(np.full((1, 6, 9), 0.4), 6)
    assert sorted(np.bincount(flat.ravel()).tolist()) == [9] * 6
    assert superpixels(np.zeros((3, 1, 5)), 2).max() == 1
    for segments in (1, 65):
        with pytest.raises(InputError, match=rf"{segments} superpixels .* expected 2 to 64"):
            superpixels(image, segments)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = linear_net()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(torch.relu(x))


class Reused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu, self.inner = nn.ReLU(), linear_net()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.inner(self.relu(x)))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = linear_net()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(2 * x) * self.inner(x)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Functional(), "DeepLift has no rule for relu"),
        (Reused(), "DeepLift needs activations called once, relu is reused"),
        (Gated(), "DeepLift has no rule for mul"),
        (nn.Sequential(nn.GELU(), linear_net()), "DeepLift has no rule for gelu in 0"),
        (Residual(), "DeepLift has no rule for relu"),
        (nn.Sequential(nn.ReLU(), nn.MaxPool2d(1), linear_net()), None),
        (smooth_net(0), None),
    ],
)
def test_deeplift_names_what_it_has_no_rule_for(module: nn.Module, reason: str | None) -> None:
    handle = handle_of(module)
    assert unsupported("deeplift", handle, SHAPE) == reason
    if reason is not None:
        with pytest.raises(InputError, match=f"tiny: {reason}.*occlusion"):
            attribute(handle, pixels(1), 0, method="deeplift")
    else:
        maps = attribute(handle, pixels(1), 0, method="deeplift")
        assert maps.completeness_error.max() < 1e-3


def test_grad_cam_says_when_there_is_no_place_to_look_at() -> None:
    reason = unsupported("grad_cam", handle_of(linear_net()), SHAPE)
    assert reason == "Grad-CAM needs a layer with places, more than one, that the answer depends on"
    with pytest.raises(InputError, match="tiny: Grad-CAM needs a layer"):
        attribute(handle_of(linear_net()), pixels(1), 0, method="grad_cam")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_served_or_told_why_not(name: str) -> None:
    handle = wrapped(name, side=8)
    reasons = {method: unsupported(method, handle, (8, 8, 3)) for method in METHODS}
    refused = {method for method, reason in reasons.items() if reason}
    assert refused == ({"deeplift"} if name == "vit_tiny" else set())
    assert all("\n" not in reason for reason in reasons.values() if reason)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["resnet8", "convnet", "vit_tiny"])
def test_every_method_on_every_kind_of_network(name: str, method: str) -> None:
    handle, x = wrapped(name), pixels(2, side=16)
    few = {"steps": 64, "samples": 40}
    options = {key: value for key, value in few.items() if key in METHODS[method].options}
    if unsupported(method, handle, (16, 16, 3)):
        with pytest.raises(InputError, match="DeepLift has no rule for"):
            attribute(handle, x, 1, method=method, **options)
        return
    maps = attribute(handle, x, 1, method=method, **options)
    assert maps.values.shape == (2, 16, 16)
    assert np.abs(maps.values).max() > 0
    if METHODS[method].complete and method != "gradient_shap":
        assert maps.completeness_error.max() < 0.05
