"""Attribution methods against closed forms, finite differences and slow quadrature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from torch import nn

from analysis.attribution.baselines import BASELINES, blur, blur_sigma
from analysis.attribution.maps import attribute
from analysis.attribution.methods import METHODS
from analysis.attribution.superpixels import superpixels
from analysis.data.imageset import ImageSet
from analysis.errors import Cancelled, ImageSetError, InputError, ModelError
from analysis.models.handle import ModelHandle
from analysis.models.normalization import Normalization
from tests.attribution_nets import (
    CLASSES,
    SIDE,
    Residual,
    handle_of,
    linear_net,
    pixels,
    smooth_net,
)

TWO = 2


@pytest.fixture(scope="module")
def linear() -> tuple[ModelHandle, np.ndarray]:
    """A linear model of two classes, and the gradient of its margin for class 1."""
    module = linear_net(classes=TWO)
    weight = module[1].weight.detach().numpy().astype(np.float64)
    gradient = (weight[1] - weight[0]).reshape(3, SIDE, SIDE)
    return handle_of(module, classes=TWO), gradient


def expected_of_linear(method: str, gradient: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The maps of a linear function, black baseline, written from the definitions."""
    if method == "saliency":
        return np.broadcast_to(np.abs(gradient).sum(0), x[:, 0].shape)
    if method == "smoothgrad":
        return np.broadcast_to(gradient.sum(0), x[:, 0].shape)
    effect = (gradient * x).sum(1)
    if method in COMPLETE_OF_LINEAR:
        return effect
    if method == "kernel_shap":
        return spread_over_superpixels(effect, x)
    total, count = np.zeros_like(effect), np.zeros_like(effect)
    for top in range(0, SIDE - 4 + 1, 2):
        for left in range(0, SIDE - 4 + 1, 2):
            window = np.s_[:, top : top + 4, left : left + 4]
            total[window] += effect[window].sum(axis=(1, 2), keepdims=True)
            count[window] += 1
    return total / count if method == "occlusion" else np.full_like(effect, np.nan)


COMPLETE_OF_LINEAR = {"input_x_gradient", "integrated_gradients", "gradient_shap", "deeplift"}


def spread_over_superpixels(effect: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Shapley values of a linear function are the patches' own effects."""
    expected = np.empty_like(effect)
    for row, image in enumerate(x):
        patches = superpixels(image, METHODS["kernel_shap"].options["segments"])
        for patch in range(patches.max() + 1):
            expected[row][patches == patch] = effect[row][patches == patch].mean()
    return expected


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"grad_cam"}))
def test_linear_model_in_closed_form(method: str, linear: tuple[ModelHandle, np.ndarray]) -> None:
    handle, gradient = linear
    x = pixels(3)
    baseline = "black" if METHODS[method].uses_baseline else None
    maps = attribute(handle, x, 1, method=method, baseline=baseline, scalar="logit_margin")
    expected = expected_of_linear(method, gradient, x.astype(np.float64))
    # A regression weights the two ends a million times more than all else.
    tolerance = 1e-3 if method == "kernel_shap" else 1e-5
    np.testing.assert_allclose(maps.values, expected, rtol=1e-4, atol=tolerance)
    assert maps.values.dtype == np.float32
    assert maps.signed == METHODS[method].signed
    assert (maps.values.min() < 0) == METHODS[method].signed


def probability(module: nn.Module, x: np.ndarray, c: int) -> np.ndarray:
    with torch.no_grad():
        logits = module(torch.from_numpy(x)).numpy()
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights[:, c] / weights.sum(axis=1)


def differences(module: nn.Module, x: np.ndarray, c: int, step: float = 1e-4) -> np.ndarray:
    """The gradient of the probability at each image of ``x`` by central differences."""
    flat = x.reshape(len(x), 1, -1)
    moves = step * np.eye(flat.shape[-1])
    shape = (-1, *x.shape[1:])
    up = probability(module, (flat + moves).reshape(shape), c)
    down = probability(module, (flat - moves).reshape(shape), c)
    return ((up - down) / (2 * step)).reshape(x.shape)


def test_integrated_gradients_against_slow_quadrature() -> None:
    module = smooth_net(1, channels=1)
    x = pixels(1, channels=1)
    wide = x.astype(np.float64)
    base = np.full_like(wide, wide.mean())
    nodes = (np.arange(60) + 0.5) / 60
    path = np.concatenate([base + node * (wide - base) for node in nodes])
    expected = (differences(module, path, 2).mean(0) * (wide - base)[0]).sum(0)
    maps = attribute(handle_of(module, channels=1), x, 2, baseline="mean")
    np.testing.assert_allclose(maps.values[0], expected, atol=1e-6)
    assert np.abs(expected).max() > 1e-3
    assert maps.completeness_error.max() < 1e-4


def test_saliency_and_smoothgrad_without_noise_against_finite_differences() -> None:
    module = smooth_net(2)
    x = pixels(2)
    gradient = differences(module, x.astype(np.float64), 0)
    handle = handle_of(module)
    absolute = attribute(handle, x, 0, method="saliency")
    signed = attribute(handle, x, 0, method="smoothgrad", noise=0.0)
    np.testing.assert_allclose(absolute.values, np.abs(gradient).sum(1), atol=1e-6)
    np.testing.assert_allclose(signed.values, gradient.sum(1), atol=1e-6)


def test_smoothgrad_averages_gradients_under_seeded_noise() -> None:
    handle, x = handle_of(smooth_net(2)), pixels(2)
    one, same, other = (attribute(handle, x, 0, method="smoothgrad", seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.values, same.values)
    assert np.abs(one.values - other.values).max() > 1e-5


def gradients_under_noise(module: nn.Module, x: np.ndarray, c: int, noise: float) -> np.ndarray:
    """Gradients of the probability at draws around ``x`` (1, C, H, W), summed over channels."""
    draws = np.random.default_rng(7).normal(size=(20_000, *x.shape[1:]))
    around = torch.from_numpy(x + noise * draws).requires_grad_()
    module(around).softmax(1)[:, c].sum().backward()
    return around.grad.numpy().sum(1)


def test_smoothgrad_averages_under_noise_of_the_stated_size() -> None:
    module, x, samples = smooth_net(2, channels=1), pixels(1, channels=1), 4000
    # Curved enough that the noise decides the mean, not so steep that the softmax is flat.
    nn.init.normal_(module[0].weight, std=1)
    nn.init.normal_(module[-1].weight, std=0.1)
    handle, before = handle_of(module, channels=1), differences(module, x.astype(np.float64), 0)
    for noise in (0.1, 0.2, 0.4):
        drawn = gradients_under_noise(module, x.astype(np.float64), 0, noise)
        expected = drawn.mean(0)
        error = drawn.std(0) * np.sqrt(1 / samples + 1 / len(drawn))
        found = attribute(handle, x, 0, method="smoothgrad", samples=samples, noise=noise)
        assert (np.abs(found.values[0] - expected) < 5 * error).all()
        assert (np.abs(before - expected) > 10 * error).any(), "less noise gives another mean"
        before = expected


@pytest.mark.parametrize("method", METHODS)
def test_batches_decide_nothing(method: str) -> None:
    handle, x = handle_of(smooth_net(3)), pixels(5)
    whole = attribute(handle, x, method=method)
    parts = attribute(handle, x, method=method, batch=2)
    np.testing.assert_allclose(parts.values, whole.values, atol=1e-6)
    np.testing.assert_array_equal(parts.explained_class, whole.explained_class)


@pytest.mark.parametrize("method", METHODS)
def test_completeness_is_reported_only_where_it_is_promised(method: str) -> None:
    maps = attribute(handle_of(smooth_net(3)), pixels(2), method=method)
    assert np.isnan(maps.completeness_error).all() != METHODS[method].complete


def test_completeness_error_is_relative_with_a_floor() -> None:
    """At one step the sum is off; the error must be what the definition makes of it."""
    module, x = smooth_net(4), 4 * pixels(6) / 4
    for part in module:
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=3)
    maps = attribute(handle_of(module), x, 1, baseline="black", steps=1)
    after = probability(module, x.astype(np.float64), 1)
    difference = after - probability(module, np.zeros_like(x, dtype=np.float64), 1)
    sums = maps.values.sum(axis=(1, 2), dtype=np.float64)
    expected = np.abs(sums - difference) / np.maximum(np.abs(difference), 0.01)
    np.testing.assert_allclose(maps.completeness_error, expected, rtol=1e-3, atol=1e-5)
    assert maps.completeness_error.max() > 1e-3


def test_default_class_is_the_answer_and_the_record_says_everything() -> None:
    handle = handle_of(Residual(), normalization=Normalization((0.5,) * 3, (0.25,) * 3))
    images = ImageSet(
        name="probe",
        images=(255 * pixels(3)).astype(np.uint8).transpose(0, 2, 3, 1),
        sample_ids=np.array([f"probe/{i}" for i in range(3)]),
    )
    maps = attribute(handle, images, steps=4, name="teacher")
    _, x = next(images.batches(3))
    answers = handle(torch.from_numpy(x)).argmax(1).numpy()
    np.testing.assert_array_equal(maps.explained_class, answers)
    assert maps.sample_ids.tolist() == ["probe/0", "probe/1", "probe/2"]
    assert (maps.model, maps.scalar, maps.baseline) == ("teacher", "p(c)", "blurred")
    assert dict(maps.parameters) == {
        "steps": 4, "quadrature": "gauss-legendre", "sigma": 1.0, "precision": "float32",
    }  # fmt: skip


def test_progress_counts_images_and_can_cancel() -> None:
    seen: list[tuple[str, int, int]] = []
    handle, x = handle_of(linear_net()), pixels(5)
    attribute(handle, x, 0, batch=2, progress=lambda *state: seen.append(state))
    assert seen == [("attribution", 2, 5), ("attribution", 4, 5), ("attribution", 5, 5)]

    def cancel(stage: str, done: int, total: int) -> None:
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        attribute(handle, x, 0, progress=cancel)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 4.0])
def test_blur_against_scipy(sigma: float) -> None:
    x = pixels(2, side=16).astype(np.float64)
    radius = min(int(np.ceil(3 * sigma)), 15)
    expected = x
    for axis in (2, 3):
        expected = gaussian_filter1d(expected, sigma, axis=axis, mode="mirror", radius=radius)
    np.testing.assert_allclose(blur(torch.from_numpy(x), sigma).numpy(), expected, atol=1e-12)


def test_baselines_are_what_they_say() -> None:
    x = torch.from_numpy(pixels(2))
    made = {name: entry.make(x) for name, entry in BASELINES.items()}
    assert all(base.shape == x.shape for base in made.values())
    torch.testing.assert_close(made["mean"], x.mean((2, 3), keepdim=True).expand_as(x))
    assert made["black"].abs().max() == 0
    torch.testing.assert_close(made["blurred"], blur(x, blur_sigma(SIDE, SIDE)))
    assert blur_sigma(32, 48) == 4.0


class NoGradient(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(x.sum((1, 2, 3)).long() % CLASSES, CLASSES).float()


@pytest.mark.parametrize("method", METHODS)
def test_a_model_without_gradients_is_refused_or_served(method: str) -> None:
    handle, x = handle_of(NoGradient()), pixels(2)
    if METHODS[method].uses_gradients:
        with pytest.raises(InputError, match=f"{method} needs gradients.*occlusion"):
            attribute(handle, x, 0, method=method)
    else:
        assert np.isfinite(attribute(handle, x, 0, method=method).values).all()


def test_nan_maps_are_refused() -> None:
    module = linear_net()
    module[1].weight.data[:] = torch.nan
    with pytest.raises(ModelError, match="NaN"):
        attribute(handle_of(module), pixels(2), 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "integratedgradients"}, "unknown attribution method.*integrated_gradients"),
        ({"baseline": "blured"}, "unknown baseline 'blured'.*blurred"),
        ({"method": "saliency", "baseline": "black"}, "baseline 'black' for saliency"),
        ({"scalar": "probabilty"}, "unknown scalar 'probabilty'.*probability"),
        ({"step": 3}, "option 'step' of integrated_gradients. Did you mean 'steps'"),
        ({"method": "saliency", "steps": 3}, "option 'steps' of saliency. It has no options"),
        ({"steps": 0}, "steps = 0.*whole number of at least 1"),
        ({"steps": 2.5}, "steps = 2.5.*whole number"),
        ({"method": "smoothgrad", "noise": -0.1}, "noise = -0.1.*a number of at least 0"),
        ({"method": "smoothgrad", "noise": float("nan")}, "noise = nan"),
        ({"method": "occlusion", "window": 9}, "window = 9 on images of 8x8.*at most 8"),
        ({"batch": 0}, "batch 0; expected at least 1"),
        ({"precision": "float16"}, "precision 'float16'"),
        ({"explained_class": CLASSES}, f"explained class {CLASSES}; expected 0 to {CLASSES - 1}"),
        ({"explained_class": -1}, "explained class -1"),
        ({"explained_class": np.zeros(3, int)}, r"shape \(3,\); expected one class, or \(2,\)"),
        ({"explained_class": np.zeros(2)}, "explained classes of type float64"),
        ({"sample_ids": ["a"]}, "1 sample ids for 2 images"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        attribute(handle_of(linear_net()), pixels(2), **arguments)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (pixels(2)[0], "expected floating point"),
        (np.zeros((1, 3, 8, 8), np.uint8), "pixels of type uint8"),
        (pixels(2)[:0], "no images"),
        (255 * pixels(2), r"expected all in \[0, 1\]. Divide 8-bit images by 255"),
        (np.full((1, 3, 8, 8), np.nan, np.float32), "pixels from nan"),
        (pixels(2, channels=1), "takes 3 channels, the images have 1"),
    ],
)
def test_bad_images(bad: np.ndarray, message: str) -> None:
    with pytest.raises((ImageSetError, ModelError), match=message):
        attribute(handle_of(linear_net()), bad, 0)
