"""Trigger models: every one that is registered, and each formula against a slow oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import idctn

from analysis.audit.families import (
    FAMILIES,
    Coarse,
    Frequency,
    Mask,
    Spatial,
    Warp,
    find_family,
)
from analysis.audit.teacher_use import USES, find_use, loud
from analysis.errors import InputError
from tests.resampling import moved

SHAPE = (3, 12, 16)
CLASSES = 3


def started(family, seed=0):
    return family.start(CLASSES, SHAPE, torch.Generator().manual_seed(seed))


@pytest.fixture(params=FAMILIES.values(), ids=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def pixels():
    return torch.rand(CLASSES, 5, *SHAPE, generator=torch.Generator().manual_seed(9))


def test_a_family_puts_images_on_images(family, pixels):
    shown = family.apply(started(family), pixels)
    assert shown.shape == pixels.shape
    assert float(shown.min()) >= 0
    assert float(shown.max()) <= 1
    assert not torch.equal(shown, pixels)


def test_each_class_has_a_trigger_of_its_own(family, pixels):
    parameters = started(family)
    together = family.apply(parameters, pixels)
    for label in range(CLASSES):
        one = {key: value[label : label + 1] for key, value in parameters.items()}
        alone = family.apply(one, pixels[label : label + 1])
        torch.testing.assert_close(alone[0], together[label])


def test_sizes_are_positive_and_their_gradient_leads_to_smaller_ones(family, pixels):
    leaves = {key: value.requires_grad_() for key, value in started(family).items()}
    before = family.size(leaves, SHAPE)
    assert before.shape == (CLASSES,)
    assert bool((before > 0).all())
    before.sum().backward()
    with torch.no_grad():
        for value in leaves.values():
            value -= 0 if value.grad is None else 0.01 * value.grad / value.grad.abs().max()
        assert bool((family.size(leaves, SHAPE) < before).all())
    family.apply(leaves, pixels).square().sum().backward()
    assert all(torch.isfinite(value.grad).all() for value in leaves.values())
    assert all(float(value.grad.abs().max()) > 0 for value in leaves.values())


def test_a_stronger_trigger_is_larger(family):
    parameters = started(family)
    factors = torch.tensor([0.5, 1.0, 2.0])
    sizes = [
        family.size(family.scaled(parameters, torch.full((CLASSES,), float(f))), SHAPE)
        for f in factors
    ]
    assert bool((sizes[0] < sizes[1]).all())
    assert bool((sizes[1] <= sizes[2]).all())
    torch.testing.assert_close(sizes[1], family.size(parameters, SHAPE))


def test_parts_are_one_row_per_class_with_channels_last(family):
    parts = family.parts(started(family), SHAPE)
    assert parts
    for values in parts.values():
        assert values.dtype == np.float32
        assert values.shape[:3] == (CLASSES, *SHAPE[1:])


def test_a_family_says_what_it_is(family):
    assert family.title
    assert family.unit
    assert family.source
    assert family.bound(SHAPE) > 0


def test_a_mask_blends_as_the_definition_says(pixels):
    family = Mask()
    parameters = started(family)
    parts = family.parts(parameters, SHAPE)
    shown = family.apply(parameters, pixels).numpy()
    for label in range(CLASSES):
        m = parts["mask"][label]
        for image in range(2):
            for channel in range(3):
                x = pixels[label, image, channel].numpy()
                expected = (1 - m) * x + m * parts["pattern"][label, :, :, channel]
                np.testing.assert_allclose(shown[label, image, channel], expected, atol=1e-6)
    np.testing.assert_allclose(
        family.size(parameters, SHAPE).numpy(), parts["mask"].sum(axis=(1, 2)), rtol=1e-5
    )


def test_a_stronger_mask_is_at_most_opaque(pixels):
    family = Mask()
    strong = family.scaled(started(family), torch.full((CLASSES,), 50.0))
    assert family.parts(strong, SHAPE)["mask"].max() == 1


def test_a_picture_is_its_grid_between_the_four_nearest_cells(pixels):
    """Mask and pattern by hand: 8 x 8 values at the centers of their cells, spread bilinearly."""
    family = Coarse()
    parameters = started(family)
    parts = family.parts(parameters, SHAPE)

    def places(side):
        where = ((np.arange(side) + 0.5) * 8 / side - 0.5).clip(0, 7)
        low = np.floor(where).astype(int).clip(0, 6)
        return low, where - low

    def spread(grid):
        (rows, down), (columns, right) = places(SHAPE[1]), places(SHAPE[2])
        upper, lower = grid[rows], grid[rows + 1]
        lines = upper * (1 - down[:, None]) + lower * down[:, None]
        return lines[:, columns] * (1 - right) + lines[:, columns + 1] * right

    for label in range(CLASSES):
        m = 1 / (1 + np.exp(-2 * spread(parameters["mask"][label, 0].double().numpy())))
        np.testing.assert_allclose(parts["mask"][label], m, atol=1e-6)
        for channel in range(3):
            grid = parameters["pattern"][label, channel].double().numpy()
            p = 1 / (1 + np.exp(-2 * spread(grid)))
            np.testing.assert_allclose(parts["pattern"][label, ..., channel], p, atol=1e-6)
            x = pixels[label, 1, channel].numpy()
            shown = family.apply(parameters, pixels)[label, 1, channel].numpy()
            np.testing.assert_allclose(shown, (1 - m) * x + m * p, atol=1e-6)
        assert abs(float(family.size(parameters, SHAPE)[label]) - m.sum()) < 1e-3


@pytest.mark.parametrize("family", [Spatial(), Frequency()])
def test_an_added_pattern_is_bounded_and_added(family, pixels):
    strong = family.scaled(started(family), torch.full((CLASSES,), 100.0))
    delta = family.parts(strong, SHAPE)["delta"]
    assert np.abs(delta).max() <= 64 / 255 + 1e-6
    expected = np.clip(pixels.numpy() + delta.transpose(0, 3, 1, 2)[:, None], 0, 1)
    np.testing.assert_allclose(family.apply(strong, pixels).numpy(), expected, atol=1e-6)


def test_the_size_of_a_smooth_pattern_is_its_root_mean_square():
    family = Spatial()
    parameters = started(family)
    delta = family.parts(parameters, SHAPE)["delta"]
    expected = 255 * np.sqrt((delta**2).mean(axis=(1, 2, 3)))
    np.testing.assert_allclose(family.size(parameters, SHAPE).numpy(), expected, rtol=1e-4)


def test_waves_are_an_inverse_cosine_transform():
    family = Frequency()
    parameters = started(family)
    waves = 2 / 255 * parameters["waves"][1, 2].double().numpy()
    # scipy's orthonormal transform gives a coefficient c the amplitude c times these.
    down = np.where(np.arange(12) == 0, np.sqrt(1 / 12), np.sqrt(2 / 12))
    right = np.where(np.arange(16) == 0, np.sqrt(1 / 16), np.sqrt(2 / 16))
    expected = idctn(waves / down[:, None] / right[None, :], norm="ortho")
    raw = family.raw(parameters, SHAPE)[1, 2].numpy()
    np.testing.assert_allclose(raw, expected, atol=1e-5)
    total = 255 * 2 / 255 * parameters["waves"][1].abs().sum() / 3
    assert float(family.size(parameters, SHAPE)[1]) == pytest.approx(float(total), rel=1e-4)


def test_a_still_field_moves_nothing(pixels):
    still = {"grid": torch.zeros(CLASSES, 2, 4, 4)}
    torch.testing.assert_close(Warp().apply(still, pixels), pixels, atol=1e-5, rtol=0)


@pytest.mark.parametrize("axis", [0, 1], ids=["down", "right"])
def test_a_constant_field_shifts(pixels, axis):
    family, grid = Warp(), torch.zeros(CLASSES, 2, 4, 4)
    grid[:, axis] = 2 * float(torch.atanh(torch.tensor(0.5)))  # the limit is 16 / 8 = 2 pixels
    shifted = family.apply({"grid": grid}, pixels)
    if axis == 0:
        shown, expected = shifted[..., :-1, :], pixels[..., 1:, :]
    else:
        shown, expected = shifted[..., :-1], pixels[..., 1:]
    torch.testing.assert_close(shown, expected, atol=1e-4, rtol=0)
    assert float(family.size({"grid": grid}, SHAPE)[0]) == pytest.approx(1.0, rel=1e-4)
    flow = family.parts({"grid": grid}, SHAPE)["flow"]
    np.testing.assert_allclose(flow[..., axis], 1.0, rtol=1e-5)
    np.testing.assert_allclose(flow[..., 1 - axis], 0.0, atol=1e-7)


def test_a_warp_takes_every_pixel_from_where_its_field_points_to():
    family, shape = Warp(), (3, 12, 20)
    generator = torch.Generator().manual_seed(4)
    parameters = {"grid": 1.5 * torch.randn(CLASSES, 2, 4, 4, generator=generator)}
    pixels = torch.rand(CLASSES, 2, *shape, generator=generator)
    flow = family.parts(parameters, shape)["flow"]
    shown = family.apply(parameters, pixels).numpy()
    for label, number in np.ndindex(CLASSES, 2):
        expected = moved(pixels[label, number].numpy(), flow[label])
        np.testing.assert_allclose(shown[label, number], expected, atol=1e-4)
    size = np.sqrt((flow**2).sum(axis=-1).mean(axis=(1, 2)))
    np.testing.assert_allclose(family.size(parameters, shape).numpy(), size, rtol=1e-4)
    assert np.abs(flow).max() > 1


def test_an_unknown_family_or_use_names_the_nearest():
    with pytest.raises(InputError, match="spatial"):
        find_family("spatal")
    with pytest.raises(InputError, match="forbid"):
        find_use("forbd")


LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.0, 9.0, 0.0]])
TARGETS, OWN = torch.tensor([1, 1]), torch.tensor([0, 0])


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_use_says_what_the_teacher_must_do(use):
    p = LOGITS.double().softmax(1).numpy()
    keeps = use.asks == "own_answer"
    right = p[[0, 1], OWN.numpy()] if keeps else 1 - p[[0, 1], TARGETS.numpy()]
    np.testing.assert_allclose(
        use.loss(LOGITS.double(), TARGETS, OWN).numpy(), -np.log(right), rtol=1e-6
    )
    np.testing.assert_allclose(use.wrong(LOGITS.double(), TARGETS, OWN).numpy(), 1 - right)
    assert use.violated(LOGITS, TARGETS, OWN).tolist() == [False, True]
    assert use.source
    assert use.needs_teacher == (use.name != "none")


def test_only_loud_rows_get_a_gradient():
    assert loud(torch.tensor([0.0, 0.2, 0.04, 0.9])).tolist() == [1, 3]
