"""Augmentations against a slow, explicit oracle."""

import numpy as np
import pytest
import torch

from analysis.data.augmentations import Augmentation, Views
from analysis.errors import ConfigError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def oracle(pixels, views, padding):
    """Flip with numpy, pad with numpy, cut the window out: one image at a time."""
    result = []
    for image, flipped, (down, right) in zip(
        pixels.numpy(), views.flipped.tolist(), views.offsets.tolist(), strict=True
    ):
        _, height, width = image.shape
        image = image[:, :, ::-1] if flipped else image
        margin = max(abs(down), abs(right), 1)
        mode = {"zeros": "constant", "reflect": "reflect"}[padding]
        wide = np.pad(image, ((0, 0), (margin, margin), (margin, margin)), mode=mode)
        top, left = margin - down, margin - right
        result.append(wide[:, top : top + height, left : left + width])
    return np.stack(result)


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("flip", [True, False])
def test_views_match_the_oracle(padding, channels, flip):
    pixels = torch.rand(40, channels, 7, 9, generator=generator())
    augmentation = Augmentation(flip=flip, shift=3, padding=padding)
    views = augmentation.sample(len(pixels), generator(1))
    expected = oracle(pixels, views, padding)
    assert np.array_equal(augmentation.apply(pixels, views).numpy(), expected)
    assert np.array_equal(augmentation(pixels, generator(1)).numpy(), expected)


def test_a_positive_offset_moves_down_and_right():
    pixels = torch.zeros(1, 1, 5, 5)
    pixels[0, 0, 1, 1] = 1
    views = Views(torch.tensor([False]), torch.tensor([[2, 1]]))
    moved = Augmentation(shift=2).apply(pixels, views)
    assert moved.nonzero().tolist() == [[0, 0, 3, 2]]


def test_a_flip_comes_before_the_shift():
    pixels = torch.zeros(1, 1, 3, 5)
    pixels[0, 0, 1, 0] = 1
    views = Views(torch.tensor([True]), torch.tensor([[0, -1]]))
    moved = Augmentation(shift=1).apply(pixels, views)
    assert moved.nonzero().tolist() == [[0, 0, 1, 3]]


def test_draws_are_seeded_cover_all_shifts_and_flip_half():
    augmentation = Augmentation(shift=2)
    views = augmentation.sample(5000, generator(3))
    again = augmentation.sample(5000, generator(3))
    assert torch.equal(views.offsets, again.offsets)
    assert torch.equal(views.flipped, again.flipped)
    assert not torch.equal(views.offsets, augmentation.sample(5000, generator(4)).offsets)
    shifts, counts = views.offsets.unique(return_counts=True)
    assert shifts.tolist() == [-2, -1, 0, 1, 2]
    # Five standard deviations of a binomial draw.
    assert np.all(np.abs(counts.numpy() - 2000) < 5 * (10000 * 0.2 * 0.8) ** 0.5)
    assert abs(views.flipped.float().mean().item() - 0.5) < 5 * 0.5 / 5000**0.5


def test_switching_flips_off_leaves_the_shifts_alone():
    with_flips = Augmentation(flip=True).sample(100, generator())
    without = Augmentation(flip=False).sample(100, generator())
    assert torch.equal(with_flips.offsets, without.offsets)
    assert not without.flipped.any()


def test_nothing_to_do_changes_nothing():
    pixels = torch.rand(4, 3, 5, 5)
    assert Augmentation(flip=False, shift=0)(pixels, generator()) is pixels


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_the_gradient_flows_back_to_the_pixels_it_came_from(padding):
    augmentation = Augmentation(shift=2, padding=padding)
    pixels = torch.rand(3, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    views = augmentation.sample(3, generator(2))
    assert torch.autograd.gradcheck(lambda x: augmentation.apply(x, views), (pixels,))


def test_any_memory_layout_gives_the_same_views():
    pixels = torch.rand(6, 3, 8, 8)
    expected = Augmentation(shift=2)(pixels, generator())
    last = pixels.to(memory_format=torch.channels_last)
    assert torch.equal(Augmentation(shift=2)(last, generator()), expected)


def test_equal_settings_have_equal_digests():
    assert Augmentation().digest() == Augmentation(flip=True, shift=4).digest()
    assert Augmentation().digest() != Augmentation(padding="reflect").digest()


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match="shift = -1; expected"):
        Augmentation(shift=-1)
    with pytest.raises(ConfigError, match="padding = 'wrap'; expected one of zeros, reflect"):
        Augmentation(padding="wrap")
    with pytest.raises(ConfigError, match="shift = 8 on images of 9 x 8 pixels"):
        Augmentation(shift=8)(torch.rand(1, 3, 8, 9), generator())
