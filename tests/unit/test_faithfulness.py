"""Faithfulness of maps against slow readings of the definitions, and against captum's metrics."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from captum.metrics import infidelity

from analysis.attribution.agreement import strongest
from analysis.attribution.baselines import blur, blur_sigma
from analysis.attribution.copies import InferenceCopy
from analysis.attribution.curves import place_in_order
from analysis.attribution.faithfulness import check_faithfulness, subjects_of
from analysis.attribution.hiding import _random_masks, check_by_hiding
from analysis.attribution.infidelity import random_squares, relative_infidelity
from analysis.attribution.pair import attribute_pair
from analysis.attribution.scalars import PAIR_SCALARS
from analysis.attribution.settings import FaithfulnessConfig
from analysis.errors import InputError
from analysis.models.handle import ModelHandle
from tests.attribution_nets import SIDE, handle_of, linear_net, pixels, smooth_net

CONFIG = FaithfulnessConfig(steps=4, orders=3, squares=12)


@pytest.fixture(scope="module")
def pair() -> tuple[ModelHandle, ModelHandle]:
    return handle_of(smooth_net(1)), handle_of(smooth_net(4))


def number(pair: tuple[ModelHandle, ModelHandle], image: np.ndarray, c: int) -> float:
    """p_S(c) - p_T(c) of one image, in float64."""
    x = torch.from_numpy(image[None]).double()
    p_t, p_s = (handle(x).softmax(1)[0, c].item() for handle in pair)
    return p_s - p_t


def blurred(image: np.ndarray) -> np.ndarray:
    return blur(torch.from_numpy(image[None]), blur_sigma(SIDE, SIDE))[0].numpy()


def test_curves_of_the_pair_by_loops(pair: tuple[ModelHandle, ModelHandle]) -> None:
    x = pixels(2)
    maps = attribute_pair(*pair, x, 1, steps=8)
    found = check_faithfulness(*pair, x, maps, CONFIG)["pair"]
    assert found.deletion.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    for row, image in enumerate(x):
        order = np.argsort(-maps["pair"].values[row].ravel(), kind="stable")
        base = blurred(image)
        deleted, inserted = [], []
        for share in (0, 0.25, 0.5, 0.75, 1):
            first = np.zeros(64, dtype=bool)
            first[order[: round(64 * share)]] = True
            first = first.reshape(SIDE, SIDE)
            deleted.append(number(pair, np.where(first, base, image), 1))
            inserted.append(number(pair, np.where(first, image, base), 1))
        np.testing.assert_allclose(found.deletion.values[row], deleted, atol=1e-6)
        np.testing.assert_allclose(found.insertion.values[row], inserted, atol=1e-6)
        area = sum(0.25 * (a + b) / 2 for a, b in pairwise(deleted))
        assert found.deletion.area[row] == pytest.approx(area, abs=1e-6)
    # Whatever the order, the ends are the whole image and the baseline.
    for curves in (found.deletion, found.insertion):
        assert curves.random.shape == (3, 2, 5)
        for at in (0, -1):
            np.testing.assert_allclose(
                curves.random[:, :, at], np.broadcast_to(curves.values[:, at], (3, 2)), atol=1e-9
            )
    assert np.ptp(found.deletion.random[:, :, 2], axis=0).min() > 0, "orders differ"


def test_curves_of_a_linear_model_are_as_good_as_they_can_be() -> None:
    """With the exact map of a linear number no order deletes or inserts faster."""
    handles = handle_of(linear_net(0, classes=2), classes=2), handle_of(
        linear_net(1, classes=2), classes=2
    )  # fmt: skip
    x = pixels(4)
    maps = attribute_pair(*handles, x, 1, scalar="margin_student_minus_teacher")
    config = FaithfulnessConfig(orders=19)
    found = check_faithfulness(*handles, x, maps, config, scalar="margin_student_minus_teacher")
    for record in found.values():
        assert (record.deletion.p_values == 0.05).all()
        assert (record.insertion.p_values == 0.05).all()
        assert record.infidelity.max() < 1e-6
        assert record.moved_infidelity.min() > 0.05
        assert record.completeness_error.max() < 1e-3


def test_a_map_that_says_the_opposite_fails_every_check(
    pair: tuple[ModelHandle, ModelHandle],
) -> None:
    x = pixels(3)
    maps = attribute_pair(*pair, x, 1)
    config = FaithfulnessConfig(orders=19)
    good = check_faithfulness(*pair, x, maps, config)
    for record in maps.values():
        record.values[:] = -record.values
    bad = check_faithfulness(*pair, x, maps, config)
    for part, record in bad.items():
        assert (record.deletion.area > good[part].deletion.area).all()
        assert (record.insertion.area < good[part].insertion.area).all()
        assert (record.deletion.p_values > good[part].deletion.p_values).all()
        assert (record.infidelity > good[part].infidelity).all()


def test_infidelity_against_captum(pair: tuple[ModelHandle, ModelHandle]) -> None:
    """captum's measure of the game "which pixels are shown", as a share of that of no map."""
    x, c = pixels(3), np.array([0, 1, 2])
    maps = attribute_pair(*pair, x, c, steps=8)
    found = check_faithfulness(*pair, x, maps, CONFIG)["pair"].infidelity
    copies = [InferenceCopy(handle, handle.module) for handle in pair]
    subject = subjects_of(*copies, "p_student_minus_teacher")["pair"]
    for row in range(3):
        generator = np.random.default_rng(CONFIG.seed)
        for _ in range(CONFIG.orders):
            generator.permutation(64)
        squares = torch.from_numpy(random_squares(SIDE, SIDE, 12, generator)).double()[:, None]
        image = torch.from_numpy(x[row : row + 1]).double()
        base = torch.from_numpy(blurred(x[row]))[None].double()

        def game(shown: torch.Tensor, image=image, base=base, row=row) -> torch.Tensor:
            mixed = base + shown * (image - base)
            return subject(mixed, torch.full((len(mixed),), int(c[row])))

        def remove(shown: torch.Tensor, squares=squares) -> tuple[torch.Tensor, torch.Tensor]:
            return squares, shown - squares

        def measured(values: torch.Tensor, normalize: bool, game=game, remove=remove) -> float:
            shown = torch.ones(1, 1, SIDE, SIDE, dtype=torch.float64)
            result = infidelity(
                game, remove, shown, values, n_perturb_samples=12, normalize=normalize
            )
            return float(result)

        own = torch.from_numpy(maps["pair"].values[row]).double()[None, None]
        expected = measured(own, True) / measured(torch.zeros_like(own), False)
        assert found[row] == pytest.approx(expected, rel=1e-4)
        assert 0 < found[row] < 1


def test_infidelity_by_the_definition() -> None:
    rng = np.random.default_rng(0)
    masses, falls = rng.normal(size=(2, 30))
    scales = np.linspace(0, 3, 30001)
    errors = ((scales[:, None] * masses - falls) ** 2).mean(1) / (falls**2).mean()
    assert relative_infidelity(masses, falls) == pytest.approx(errors.min(), abs=1e-6)
    assert relative_infidelity(falls, 7 * falls) == pytest.approx(0)
    assert relative_infidelity(-falls, falls) == 1, "the opposite explains nothing"
    assert relative_infidelity(np.zeros(30), falls) == 1
    assert np.isnan(relative_infidelity(masses, np.zeros(30)))


def test_squares_have_the_sizes_that_they_say() -> None:
    squares = random_squares(16, 24, 200, np.random.default_rng(0))
    for square in squares:
        rows, columns = np.flatnonzero(square.any(1)), np.flatnonzero(square.any(0))
        side = len(rows)
        assert square.sum() == side**2
        assert len(columns) == side
        assert 2 <= side <= 8
    assert squares.any(0).mean() > 0.97, "only corners are rarely reached"


def test_hiding_by_hand(pair: tuple[ModelHandle, ModelHandle]) -> None:
    x = pixels(3)
    maps = attribute_pair(*pair, x)["pair"].values
    found = check_by_hiding(*pair, x, maps, share=0.1, draws=5, batch=2)
    top = strongest(maps, 0.1)
    for part, handle in zip(("teacher", "student"), pair, strict=True):
        record = found[part]
        assert record.count == 6 == top[0].sum()
        for row, image in enumerate(x):
            shown = np.where(top[row], blurred(image), image)
            expected = handle(torch.from_numpy(np.stack([image, shown])).double()).softmax(1)
            np.testing.assert_allclose(record.whole[row], expected[0], atol=1e-6)
            np.testing.assert_allclose(record.top[row], expected[1], atol=1e-6)
        assert record.random.shape == (5, 3, 4)
        assert np.ptp(record.random, axis=0).max() > 0
        usual, probability, times = record.usual(0)
        assert times == (record.random[:, 0].argmax(1) == usual).sum() >= 2
        assert probability == pytest.approx(record.random[:, 0, usual].mean())
    again = check_by_hiding(*pair, x, maps, share=0.1, draws=5)
    np.testing.assert_allclose(again["student"].random, found["student"].random, atol=1e-6)


def test_as_many_random_pixels_are_hidden_as_strongest_ones() -> None:
    top = np.zeros((3, SIDE, SIDE), dtype=bool)
    top[:, :2, :5] = True
    masks = _random_masks(top, 6, seed=0)
    assert masks.shape == (6, *top.shape)
    assert (masks.sum(axis=(2, 3)) == 10).all()
    assert (masks == masks[:, :1]).all(), "every image has the same"
    assert len({mask[0].tobytes() for mask in masks}) == 6


def test_checks_depend_on_the_seed_alone(pair: tuple[ModelHandle, ModelHandle]) -> None:
    x = pixels(3)
    maps = attribute_pair(*pair, x, 1, steps=4)
    whole = check_faithfulness(*pair, x, maps, CONFIG)["student"]
    small = FaithfulnessConfig(steps=4, orders=3, squares=12, batch=2)
    parts = check_faithfulness(*pair, x, maps, small)["student"]
    other = FaithfulnessConfig(steps=4, orders=3, squares=12, seed=1)
    moved = check_faithfulness(*pair, x, maps, other)["student"]
    np.testing.assert_allclose(parts.deletion.random, whole.deletion.random, atol=1e-7)
    np.testing.assert_allclose(parts.infidelity, whole.infidelity, atol=1e-6)
    assert (moved.infidelity != whole.infidelity).all()


@pytest.mark.parametrize("scalar", PAIR_SCALARS)
def test_every_scalar_can_be_checked(pair: tuple[ModelHandle, ModelHandle], scalar: str) -> None:
    seen: list[tuple[str, int, int]] = []
    x = pixels(1)
    maps = attribute_pair(*pair, x, 1, scalar=scalar, steps=4)
    found = check_faithfulness(
        *pair, x, maps, CONFIG, scalar=scalar, progress=lambda *state: seen.append(state)
    )
    tensors = [handle(torch.from_numpy(x).double()) for handle in pair]
    expected = PAIR_SCALARS[scalar].function(*tensors, torch.tensor([1]))
    assert found["pair"].deletion.values[0, 0] == pytest.approx(float(expected), abs=1e-6)
    assert seen == [("faithfulness", done, 3) for done in (1, 2, 3)]


def test_places_in_order() -> None:
    assert place_in_order(np.array([[0.1, 0.5], [0.5, -2.0]])).tolist() == [2, 0, 1, 3]


def test_bad_input_is_named(pair: tuple[ModelHandle, ModelHandle]) -> None:
    x = pixels(2)
    maps = attribute_pair(*pair, x, 1, steps=2)
    with pytest.raises(InputError, match=r"maps of shape \(2, 8, 8\); expected \(1, 8, 8\)"):
        check_faithfulness(*pair, x[:1], maps)
    with pytest.raises(InputError, match=r"maps of shape \(2, 8, 8\)"):
        check_by_hiding(*pair, x[:1], maps["pair"].values)
    with pytest.raises(InputError, match="share 0 of the pixels"):
        check_by_hiding(*pair, x, maps["pair"].values, share=0)
    with pytest.raises(InputError, match="0 draws"):
        check_by_hiding(*pair, x, maps["pair"].values, draws=0)
    for values, message in (
        ({"baseline": "blured"}, "unknown baseline 'blured'"),
        ({"steps": 1}, "steps = 1"),
        ({"orders": 0}, "orders = 0"),
    ):
        with pytest.raises(InputError, match=message):
            FaithfulnessConfig(**values)
