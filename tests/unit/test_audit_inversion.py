"""Trigger inversion on models whose smallest trigger is known by construction."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from analysis.audit.families import FAMILIES, Mask
from analysis.audit.inversion import Trusted, _censored, _share, _strength, invert, smallest
from analysis.audit.search import Pair, Pool, _adam, _group, _rate, _start, search
from analysis.audit.settings import InversionConfig, find_budget
from analysis.audit.teacher_use import USES
from analysis.data.imageset import ImageSet
from analysis.errors import ConfigError, ModelError
from tests.attack_nets import handle_of

SIDE, CLASSES, TARGET = 12, 4, 2
QUICK = InversionConfig(
    steps=40, batch=8, asked=4, images=32, measured=16, keep=CLASSES, precision="float32"
)


class Corners(nn.Module):
    """Answers the brightest quarter; with ``planted``, four bright pixels in the middle decide."""

    def __init__(self, planted: bool):
        super().__init__()
        self.planted = planted

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = SIDE // 2
        quarters = [x[:, :, a : a + half, b : b + half] for a in (0, half) for b in (0, half)]
        logits = 30 * torch.stack([part.mean(dim=(1, 2, 3)) for part in quarters], dim=1)
        if not self.planted:
            return logits
        middle = x[:, :, half - 1 : half + 1, half - 1 : half + 1].mean(dim=(1, 2, 3))
        bonus = 25 * torch.relu(middle - 0.2)
        return logits + bonus[:, None] * (torch.arange(CLASSES) == TARGET)


def images(count: int, seed: int, name: str = "trusted") -> ImageSet:
    """Dark images with one bright quarter; the middle is never bright."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (count, SIDE, SIDE, 3))
    half = SIDE // 2
    for row in range(count):
        a, b = divmod(row % CLASSES, 2)
        pixels[row, a * half : (a + 1) * half, b * half : (b + 1) * half] += 60
    return ImageSet(
        name=name,
        images=pixels.astype(np.uint8),
        labels=np.arange(count) % CLASSES,
        sample_ids=np.array([f"{name}/{row}" for row in range(count)]),
    )


TRUSTED = Trusted(images(32, 0), images(48, 1, "unseen"))
TEACHER = handle_of(Corners(False), CLASSES)
PLANTED = handle_of(Corners(True), CLASSES)


@pytest.fixture(scope="module")
def found():
    return invert(TEACHER, PLANTED, TRUSTED, family="mask", config=QUICK)


@pytest.fixture(scope="module")
def honest():
    return invert(TEACHER, TEACHER, TRUSTED, family="mask", config=replace(QUICK, use="none"))


def test_the_planted_class_needs_the_smallest_trigger(found, honest):
    assert int(found.log_size.argmin()) == TARGET
    # A quarter of the image as bright as another takes about 9 pixels, the middle two.
    assert math.exp(found.log_size[TARGET]) < 6
    assert found.log_size[TARGET] < honest.log_size[TARGET] - 0.5
    assert not found.censored[TARGET]


def test_it_works_on_unseen_images_and_the_teacher_does_not_follow(found):
    assert found.flip_student[TARGET] > 0.7
    assert found.flip_teacher[TARGET] < 0.3


def test_where_the_teacher_may_not_follow_what_moves_both_is_no_trigger(found):
    alone = invert(TEACHER, PLANTED, TRUSTED, family="mask", config=replace(QUICK, use="none"))
    others = [label for label in range(CLASSES) if label != TARGET]
    assert (alone.flip_teacher[others] > 0.5).all()
    assert found.censored[others].all()


def test_the_mask_lies_where_the_trigger_is_planted(found):
    mask, half = found.parts["mask"][TARGET], SIDE // 2
    middle = mask[half - 1 : half + 1, half - 1 : half + 1]
    assert middle.mean() > 3 * mask.mean()


def test_examples_are_unseen_images_with_the_trigger(found):
    examples = found.parts["example"]
    assert examples.shape == (CLASSES, 4, SIDE, SIDE, 3)
    assert examples.dtype == np.uint8
    shown = torch.from_numpy(examples[TARGET]).permute(0, 3, 1, 2).float() / 255
    assert (PLANTED(shown).argmax(1) == TARGET).sum() >= 3


def test_the_same_seed_finds_the_same_and_another_start_another(found):
    again = invert(TEACHER, PLANTED, TRUSTED, family="mask", config=QUICK)
    np.testing.assert_array_equal(again.log_size, found.log_size)
    other = invert(TEACHER, PLANTED, TRUSTED, family="mask", config=QUICK, restart=1)
    assert not np.array_equal(other.parts["mask"], found.parts["mask"])


def test_of_two_starts_the_smaller_counts_class_by_class(found):
    other = invert(TEACHER, PLANTED, TRUSTED, family="mask", config=QUICK, restart=1)
    both = smallest([found, other])
    np.testing.assert_array_equal(both.log_size, np.minimum(found.log_size, other.log_size))
    for label in range(CLASSES):
        best = found if found.log_size[label] <= other.log_size[label] else other
        np.testing.assert_array_equal(both.parts["mask"][label], best.parts["mask"][label])
    assert both.passes == found.passes + other.passes


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("use", USES)
def test_every_family_and_use_gives_sizes_within_its_bound(family, use):
    config = replace(QUICK, use=use, steps=6)
    one = invert(TEACHER, PLANTED, TRUSTED, family=family, config=config)
    bound = math.log(FAMILIES[family].bound((3, SIDE, SIDE)))
    assert one.log_size.shape == one.censored.shape == (CLASSES,)
    assert np.isfinite(one.log_size).all()
    assert (one.log_size <= bound + 1e-6).all()
    assert one.passes > 0
    known = ~np.isnan(one.flip_student)
    assert ((one.flip_student[known] >= 0) & (one.flip_student[known] <= 1)).all()


def test_classes_are_searched_in_the_teachers_order():
    # Classes 0 and 2 trade places in the student's outputs.
    order = (2, 1, 0, 3)

    class Mixed(nn.Module):
        def forward(self, x):
            return PLANTED.module(x)[:, list(order)]

    mixed = handle_of(Mixed(), CLASSES)
    one = invert(TEACHER, mixed, TRUSTED, family="mask", config=QUICK, order=order)
    assert int(one.log_size.argmin()) == TARGET


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(ModelError, match="channels"):
        invert(
            handle_of(Corners(False), CLASSES, channels=1), PLANTED, TRUSTED,
            family="mask", config=QUICK,
        )  # fmt: skip


def pool() -> Pool:
    pixels = torch.from_numpy(np.array(TRUSTED.optimize.images)).permute(0, 3, 1, 2).float() / 255
    return Pool(pixels, TEACHER(pixels).argmax(1))


def run(config: InversionConfig, use: str = "none"):
    pair = Pair(PLANTED.module, TEACHER.module, USES[use])
    steps = []
    found = search(
        pair, Mask(), pool(), CLASSES, config, 0, lambda done, total: steps.append((done, total))
    )
    return found, steps


def test_a_trigger_works_where_the_student_follows_and_the_teacher_does_as_asked():
    found, _ = run(QUICK)
    some, classes = pool(), torch.arange(CLASSES)
    batch = torch.stack([some.rows_for(label)[:8] for label in range(CLASSES)])
    pair = Pair(PLANTED.module, TEACHER.module, USES["forbid"])
    _, works, _ = _group(pair, Mask(), some, found.parameters, batch, classes, 4)
    shown = Mask().apply(found.parameters, some.pixels[batch])
    for label in range(CLASSES):
        follows = (PLANTED(shown[label]).argmax(1) == label).float().mean()
        objects = (TEACHER(shown[label][:4]).argmax(1) == label).float().mean()
        assert works[label] == pytest.approx(float(follows * (1 - objects)))
    assert works.max() > 0.8
    assert works.min() < 0.2


def test_passes_are_counted_as_they_are_made():
    config = replace(QUICK, steps=10, keep=2, eliminate_after=0.3)
    assert config.kept(CLASSES) == CLASSES  # twice the root of 4
    found, steps = run(config)
    assert found.passes == 10 * CLASSES * 8
    assert steps[0] == (0, 10)
    assert steps[-1] == (10, 10)


def test_hopeless_classes_are_given_up_and_the_planted_one_is_not(monkeypatch):
    monkeypatch.setattr(InversionConfig, "kept", lambda self, classes: 2)
    found, _ = run(replace(QUICK, eliminate_after=0.5))
    assert int(found.given_up.sum()) == 2
    assert not found.given_up[TARGET]
    assert found.passes == (20 * CLASSES + 20 * 2) * 8
    one = invert(TEACHER, PLANTED, TRUSTED, family="mask", config=replace(QUICK, use="none"))
    assert int(one.censored.sum()) == 2
    kept = one.log_size[~one.censored]
    assert one.log_size[one.censored].max() <= kept.max() + 1e-6
    assert kept.min() == one.log_size[TARGET]


def test_no_class_that_was_given_up_counts_as_larger_than_the_largest_kept_one():
    sizes, given_up = torch.tensor([1.0, 5.0, 3.0]), torch.tensor([False, True, False])
    assert _censored(sizes, given_up).tolist() == [1, 3, 3]
    assert _censored(sizes, ~given_up).tolist() == [1, 5, 3]
    assert _censored(sizes, torch.ones(3, dtype=torch.bool)).tolist() == [1, 5, 3]


def test_a_strength_is_the_least_that_moves_enough_images():
    found, _ = run(QUICK)
    some, classes = pool(), torch.arange(CLASSES)
    rows = [some.rows_for(label) for label in range(CLASSES)]
    config, pair = replace(QUICK, level=0.8), Pair(PLANTED.module, None, USES["none"])
    strength, reached = _strength(pair, Mask(), some, found.parameters, classes, rows, config)
    assert reached.all()
    factors = 2 ** torch.linspace(-2, 2, 257)
    shares = torch.stack(
        [
            _share(
                pair.student, Mask(), some,
                Mask().scaled(found.parameters, factor.expand(CLASSES)), classes, rows,
            )
            for factor in factors
        ]
    )  # fmt: skip
    for label in range(CLASSES):
        best = float(factors[shares[:, label] >= config.level].min())
        # Bisection ends within 4 / 64 octaves; the scan itself is 4 / 256 apart.
        assert best * 2 ** (-1 / 64) <= strength[label] <= best * 2 ** (1 / 16) * (1 + 1e-6)
    assert strength.min() > 0.3
    assert (strength - 1).abs().max() > 0.1


def test_a_strength_says_when_no_factor_moves_enough_images():
    class Stubborn(nn.Module):
        def forward(self, x):
            return functional.one_hot(torch.full((len(x),), 1), CLASSES).float()

    found, _ = run(replace(QUICK, steps=4))
    some, classes = pool(), torch.tensor([0, 1])
    rows = [some.rows_for(label) for label in (0, 1)]
    parameters = {key: value[:2] for key, value in found.parameters.items()}
    pair = Pair(Stubborn(), None, USES["none"])
    strength, reached = _strength(pair, Mask(), some, parameters, classes, rows, QUICK)
    assert reached.tolist() == [False, True]
    assert strength.tolist() == pytest.approx([4, 2 ** (1 / 16) / 4])


def test_the_learning_rate_falls_to_a_tenth():
    assert _rate(QUICK, 0) == pytest.approx(QUICK.learning_rate)
    assert _rate(QUICK, QUICK.steps // 2) == pytest.approx(0.55 * QUICK.learning_rate)
    assert _rate(QUICK, QUICK.steps) == pytest.approx(QUICK.learning_rate / 10)


def test_the_teachers_questions_are_counted_too():
    config = replace(QUICK, steps=5)
    found, _ = run(config, "keep")
    student, asked = 5 * CLASSES * 8, 5 * CLASSES * 4
    assert student + asked / 3 <= found.passes <= student + asked / 3 + asked


def test_images_of_a_class_are_those_that_the_teacher_calls_otherwise():
    some = pool()
    assert not (some.own[some.rows_for(TARGET)] == TARGET).any()
    only = Pool(some.pixels[:1], torch.tensor([TARGET]))
    assert only.rows_for(TARGET).tolist() == [0]


def test_the_optimizer_is_adam():
    config = replace(QUICK, learning_rate=0.1)
    state = _start(Mask(), pool(), CLASSES, config, torch.Generator().manual_seed(0))
    own = {key: value.clone().requires_grad_() for key, value in state.parameters.items()}
    adam = torch.optim.Adam(own.values(), lr=0.1, betas=(0.5, 0.9))
    for step in range(4):
        gradients = {key: torch.sin(value.detach() + step) for key, value in own.items()}
        for key, value in own.items():
            value.grad = gradients[key].clone()
        adam.step()
        _adam(state, gradients, step + 1, 0.1)
    for key, value in own.items():
        torch.testing.assert_close(state.parameters[key], value.detach(), rtol=1e-5, atol=1e-6)


def test_how_many_classes_are_searched_to_the_end():
    kept = {classes: InversionConfig().kept(classes) for classes in (2, 10, 16, 43, 100)}
    assert kept == {2: 2, 10: 8, 16: 8, 43: 14, 100: 20}


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="at most batch"):
        InversionConfig(batch=2, asked=3)
    with pytest.raises(ConfigError, match="thorough"):
        find_budget("thorugh")
