"""Laws of attribution: completeness, linearity in the output, indifference to unread pixels."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from analysis.attribution.baselines import BASELINES, blur
from analysis.attribution.copies import inference_copy
from analysis.attribution.maps import attribute
from analysis.attribution.methods import METHODS
from analysis.attribution.pair import attribute_pair
from tests.attribution_nets import CLASSES, Residual, handle_of, pixels, smooth_net

seeds = st.integers(0, 2**16)
classes = st.integers(0, CLASSES - 1)
few = settings(max_examples=12, deadline=None)


@few
@given(seed=seeds, c=classes, baseline=st.sampled_from(sorted(BASELINES)))
def test_integrated_gradients_are_complete(seed: int, c: int, baseline: str) -> None:
    handle, x = handle_of(smooth_net(seed)), pixels(2, seed=seed)
    maps = attribute(handle, x, c, baseline=baseline)
    inputs = torch.from_numpy(x).double()
    ends = [handle(part).softmax(1)[:, c] for part in (inputs, BASELINES[baseline].make(inputs))]
    expected = (ends[0] - ends[1]).detach().numpy()
    np.testing.assert_allclose(maps.values.sum(axis=(1, 2)), expected, atol=1e-5)
    assert maps.completeness_error.max() < 1e-3


@few
@given(
    seed=seeds,
    c=classes,
    method=st.sampled_from(sorted(name for name, entry in METHODS.items() if entry.linear)),
)
def test_swapping_the_models_negates_the_pairs_map(seed: int, c: int, method: str) -> None:
    teacher, student = handle_of(smooth_net(seed)), handle_of(smooth_net(seed + 1))
    x = pixels(1, seed=seed)
    one = attribute_pair(teacher, student, x, c, method=method)["pair"]
    other = attribute_pair(student, teacher, x, c, method=method)["pair"]
    np.testing.assert_allclose(one.values, -other.values, atol=1e-7)


class LeftHalf(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.tanh, self.linear = nn.Tanh(), nn.Linear(3 * 8 * 4, CLASSES).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.tanh(x[..., :4]).flatten(1))


# These two speak of patches: of superpixels, and of the places of a layer.
COARSE = {"kernel_shap", "grad_cam"}


@few
@given(seed=seeds, c=classes, method=st.sampled_from(sorted(set(METHODS) - COARSE)))
def test_pixels_that_are_not_read_get_nothing(seed: int, c: int, method: str) -> None:
    options = {"window": 2} if method == "occlusion" else {}
    maps = attribute(handle_of(LeftHalf(seed)), pixels(2, seed=seed), c, method=method, **options)
    # Occlusion subtracts two answers, each rounded as its batch has it.
    assert np.abs(maps.values[..., 4:]).max() <= 1e-15
    assert np.abs(maps.values[..., :4]).max() > 1e-6


@few
@given(seed=seeds, sigma=st.floats(0.3, 3.0))
def test_blur_keeps_constants_range_and_symmetry(seed: int, sigma: float) -> None:
    x = torch.from_numpy(pixels(2, seed=seed)).double()
    level = torch.full_like(x, 0.3)
    torch.testing.assert_close(blur(level, sigma), level)
    blurred = blur(x, sigma)
    assert x.min() <= blurred.min()
    assert blurred.max() <= x.max()
    torch.testing.assert_close(blur(x.flip(3), sigma), blurred.flip(3))
    torch.testing.assert_close(blur(x.transpose(2, 3), sigma), blurred.transpose(2, 3))


@few
@given(seed=seeds, width=st.sampled_from([2, 4, 8]))
def test_fast_copies_answer_as_the_original(seed: int, width: int) -> None:
    handle = handle_of(Residual(seed, width=width))
    x = torch.from_numpy(pixels(5, seed=seed))
    fast = inference_copy(handle, x, precision="float32")
    scale = handle(x).abs().max().item()
    torch.testing.assert_close(fast(x), handle(x), rtol=0, atol=1e-4 * scale)
