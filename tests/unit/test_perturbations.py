"""Perturbations: analytic answers on linear models, a slow loop, the trigger in the way."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from analysis.attack.crafting import craft
from analysis.attack.perturbations import (
    CW,
    FGSM,
    PERTURBATIONS,
    PGD,
    lead,
    make_perturbation,
    read_epsilon,
)
from analysis.attack.rounding import round_inward, to_bytes
from analysis.attack.trigger import sample_seed
from analysis.attack.triggers import Patch, Sinusoid, Sticker, TranslucentPatch, with_trigger
from analysis.attack.views import draw_views
from analysis.data.augmentations import Augmentation
from analysis.errors import ConfigError
from tests.attack_nets import curved, linear, logits_of, noise

MOVES = Augmentation(flip=True, shift=1)


def weight_gap(handle, target, other):
    """w_target - w_other of a linear model, as an image (H, W, C)."""
    weights = handle.module[1].weight.detach().numpy()
    return (weights[target] - weights[other]).reshape(3, 8, 8).transpose(1, 2, 0)


def change(crafted):
    return crafted.both.astype(int) - crafted.triggered


@pytest.mark.parametrize("perturbation", [FGSM(epsilon=8), PGD(epsilon=8, margin=None)])
def test_on_two_linear_classes_the_whole_ball_is_used_along_the_weights(perturbation):
    teacher, images = linear(), noise(low=20, high=230)
    crafted = craft(teacher, images, perturbation, target=1)
    expected = 8 * np.sign(weight_gap(teacher, 1, 0)).astype(int)
    np.testing.assert_array_equal(change(crafted), np.broadcast_to(expected, crafted.both.shape))
    np.testing.assert_array_equal(crafted.both, crafted.perturbed)
    np.testing.assert_array_equal(crafted.triggered, images.images)


def test_at_the_border_of_the_range_pixels_are_clipped():
    teacher, images = linear(), noise(low=0, high=256)
    crafted = craft(teacher, images, PGD(epsilon=8, margin=None), target=0)
    expected = images.images + 8 * np.sign(weight_gap(teacher, 0, 1)).astype(int)
    np.testing.assert_array_equal(crafted.both, np.clip(expected, 0, 255))


@pytest.mark.parametrize("perturbation", [FGSM, PGD])
def test_the_l2_answer_of_two_linear_classes_is_the_direction_of_the_weights(perturbation):
    teacher, images = linear(scale=0.05), noise(low=100, high=150)
    options = {"margin": None, "random_start": False} if perturbation is PGD else {}
    crafted = craft(teacher, images, perturbation(norm="l2", epsilon=400, **options), target=1)
    gap = weight_gap(teacher, 1, 0)
    exact = 400 * gap / np.linalg.norm(gap)
    assert np.abs(change(crafted) - exact).max() <= 1.5
    assert np.linalg.norm(change(crafted).reshape(6, -1), axis=1).max() <= 400


def test_several_classes_descend_along_the_softmax_weighted_gap():
    teacher, images = linear(classes=3, scale=0.01), noise(count=2, low=50, high=200)
    crafted = craft(teacher, images, FGSM(epsilon=4), target=2)
    weights = teacher.module[1].weight.detach().numpy()
    for row in range(2):
        logits = logits_of(teacher, images.images[row : row + 1])[0]
        share = np.exp(logits) / np.exp(logits).sum()
        gradient = sum(share[k] * (weights[k] - weights[2]) for k in range(3))
        expected = -4 * np.sign(gradient).reshape(3, 8, 8).transpose(1, 2, 0).astype(int)
        np.testing.assert_array_equal(change(crafted)[row], expected)


def slow_start(perturbation, sample_id, shape):
    if not perturbation.plan.random_start:
        return torch.zeros(shape)
    generator = torch.Generator().manual_seed(sample_seed(perturbation.seed, sample_id, "start"))
    radius = perturbation.epsilon / 255
    if perturbation.norm == "linf":
        return (torch.rand(shape, generator=generator) * 2 - 1) * radius
    point = torch.randn(shape, generator=generator)
    return point / point.norm() * torch.rand((), generator=generator) ** (1 / 192) * radius


def slow_loss(perturbation, logits, target):
    if isinstance(perturbation, CW):
        others = max(logits[k] for k in range(len(logits)) if k != target)
        confidence = math.inf if perturbation.margin is None else perturbation.margin
        return torch.clamp(others - logits[target], min=-confidence)
    return -torch.log_softmax(logits, dim=0)[target]


def slow_leads(logits, target):
    """The target's lead over the largest other, of every row of ``logits`` (V, K)."""
    return [row[target] - max(row[k] for k in range(len(row)) if k != target) for row in logits]


def slow_descent(teacher, image, sample_id, perturbation, target, patch):
    """One image alone, step by step, as the papers write it. Returns clip(x + delta), steps."""
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    radius, plan, count = perturbation.epsilon / 255, perturbation.plan, perturbation.views
    views = draw_views(
        MOVES, [sample_id], plan.steps * count, seed=perturbation.seed, purpose="crafting views"
    )
    delta = slow_start(perturbation, sample_id, x.shape)
    delta[:, 3:7, 3:7] = 0  # a 4 x 4 patch one pixel off the lower right corner
    for step in range(plan.steps + 1):
        delta = (x + project(delta, radius, perturbation.norm)).clamp(0, 1) - x
        if step == plan.steps:
            return x + delta, step
        moving = delta.clone().requires_grad_()
        seen = x + moving
        covered = seen * (1 - patch) + patch * torch.tensor([1.0, 221 / 255, 0.0])[:, None, None]
        shown = [covered[None]]
        for view in range(step * count, (step + 1) * count):
            shown.append(views.show(covered[None], torch.tensor([0]), view))
        logits = torch.cat([teacher(one) for one in shown])
        if min(slow_leads(logits, target)) >= plan.margin:
            return x + delta, step
        losses = [slow_loss(perturbation, row, target) for row in logits]
        (sum(losses) / len(losses)).backward()
        gradient = moving.grad
        unit = gradient.sign() if perturbation.norm == "linf" else gradient / gradient.norm()
        delta = delta - plan.step / 255 * unit
    raise AssertionError("not reached")


def project(delta, radius, norm):
    if norm == "linf":
        return delta.clamp(-radius, radius)
    return delta * min(1.0, radius / max(float(delta.norm()), 1e-12))


@pytest.mark.parametrize("views", [0, 2])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", PERTURBATIONS)
def test_the_batch_equals_a_slow_loop_over_single_images(name, norm, views):
    margin = 0.5 if views else 1.5
    extra = {} if name == "fgsm" else {"steps": 7, "margin": margin}
    epsilon = 10 if norm == "linf" else 90
    perturbation = make_perturbation(name, epsilon=epsilon, norm=norm, views=views, **extra)
    teacher, images, patch = curved(), noise(count=8), torch.zeros(1, 8, 8)
    patch[:, 3:7, 3:7] = 1
    crafted = craft(
        teacher, images, perturbation, target=2, trigger=Patch(), augmentation=MOVES, batch_size=5
    )
    for row, sample_id in enumerate(images.sample_ids):
        slow, steps = slow_descent(teacher, images.images[row], sample_id, perturbation, 2, patch)
        assert crafted.steps[row] == steps
        plain = torch.from_numpy(np.array(images.images[row])).permute(2, 0, 1)[None].float() / 255
        rounded = round_inward(plain, slow[None], perturbation.epsilon, norm)[0]
        exact = rounded.permute(1, 2, 0).numpy().astype(int)
        # A value in the middle of two steps may fall either way.
        assert np.abs(crafted.perturbed[row].astype(int) - exact).max() <= 1
        assert (crafted.perturbed[row] != exact).mean() < 0.01
    if name != "fgsm":
        assert crafted.steps.min() < crafted.steps.max()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", PERTURBATIONS)
def test_the_batch_size_changes_nothing(name, norm):
    teacher, images = curved(), noise(count=7)
    extra = {} if name == "fgsm" else {"steps": 5}
    epsilon = 8 if norm == "linf" else 60
    perturbation = make_perturbation(name, epsilon=epsilon, norm=norm, views=2, **extra)
    results = [
        craft(teacher, images, perturbation, target=1, trigger=Sticker(size=3, jitter=0.5),
              augmentation=Augmentation(shift=2), batch_size=size)
        for size in (1, 3, 7)
    ]  # fmt: skip
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].both, other.both)
        np.testing.assert_array_equal(results[0].perturbed, other.perturbed)
        np.testing.assert_array_equal(results[0].steps, other.steps)


def test_the_order_of_the_images_changes_nothing_and_the_seed_does():
    teacher, images = curved(), noise(count=5)
    plain = craft(teacher, images, PGD(steps=3), target=1)
    order = np.array([3, 1, 4, 0, 2])
    turned = craft(teacher, images.rows(order), PGD(steps=3), target=1)
    np.testing.assert_array_equal(plain.both[order], turned.both)
    other = craft(teacher, images, PGD(steps=3, seed=1), target=1)
    assert (plain.both != other.both).any()


def test_an_image_is_done_at_the_margin():
    teacher, images = curved(), noise(count=12)
    crafted = craft(teacher, images, PGD(epsilon=32, steps=20, margin=3.0), target=0)
    leads = lead(torch.from_numpy(logits_of(teacher, crafted.both)), 0).numpy()
    early = crafted.steps < 20
    assert early.any()
    assert (leads[early] > 2.8).all()  # rounding to 8 bits takes a little
    longer = craft(teacher, images, PGD(epsilon=32, steps=20, margin=None), target=0)
    assert (longer.steps == 20).all()
    more = lead(torch.from_numpy(logits_of(teacher, longer.both)), 0).numpy()
    assert more.mean() > leads.mean() + 0.5


def test_a_fooled_teacher_needs_no_step():
    teacher, images = curved(), noise(count=6)
    crafted = craft(teacher, images, CW(random_start=False, margin=0.0), target=3)
    already = logits_of(teacher, images.images).argmax(axis=1) == 3
    np.testing.assert_array_equal(crafted.steps == 0, already)
    np.testing.assert_array_equal(crafted.both[already], images.images[already])


def test_the_cw_loss_stops_pushing_beyond_its_confidence():
    logits = torch.tensor([[5.0, 1.0, 0.0], [1.0, 4.0, 0.0], [2.0, 2.5, 0.0]])
    expected = torch.tensor([-2.0, 3.0, 0.5])
    torch.testing.assert_close(CW(margin=2.0).loss(logits, 0), expected)
    torch.testing.assert_close(CW(margin=None).loss(logits, 0)[0], torch.tensor(-4.0))


def test_the_lead_is_over_the_largest_other():
    logits = torch.tensor([[1.0, 5.0, 3.0], [0.0, -2.0, -1.0]])
    assert lead(logits, 1).tolist() == [2.0, -2.0]


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_both_halves_are_in_the_finished_image(name):
    """The trigger's pixels are the trigger's, and elsewhere the perturbation is seen."""
    trigger, images = Patch(size=3, color="#00ff00"), noise(count=4, low=30, high=200)
    crafted = craft(curved(), images, make_perturbation(name), target=2, trigger=trigger)
    covered = trigger.support(8, 8)
    assert (crafted.both[:, covered] == [0, 255, 0]).all()
    assert (crafted.both[:, ~covered] != images.images[:, ~covered]).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(crafted.triggered, with_trigger(images, trigger).images)
    # The perturbation alone is the same one, and leaves alone what the trigger hides.
    np.testing.assert_array_equal(crafted.perturbed[:, covered], images.images[:, covered])
    np.testing.assert_array_equal(crafted.perturbed[:, ~covered], crafted.both[:, ~covered])


@pytest.mark.parametrize("trigger", [TranslucentPatch(size=6, opacity=0.8), Sinusoid()])
def test_the_perturbation_is_found_with_the_trigger_in_place(trigger):
    teacher, images = curved(), noise(count=30)
    through = craft(teacher, images, PGD(epsilon=12), target=1, trigger=trigger)
    pasted = craft(teacher, images, PGD(epsilon=12), target=1)
    afterwards = with_trigger(replace(images, images=pasted.both), trigger).images
    best, other = (
        lead(torch.from_numpy(logits_of(teacher, shown)), 1).mean()
        for shown in (through.both, afterwards)
    )
    assert best > other


def test_views_make_the_teacher_surer_of_unseen_views():
    teacher, images = curved(seed=3), noise(count=40)
    views = Augmentation(flip=True, shift=1)
    shown = {
        count: craft(teacher, images, PGD(epsilon=16, steps=30, views=count, margin=None),
                     target=1, augmentation=views).both
        for count in (0, 6)
    }  # fmt: skip
    generator = torch.Generator().manual_seed(5)
    loss = {}
    for count, finished in shown.items():
        pixels = torch.from_numpy(finished).permute(0, 3, 1, 2).float().repeat(8, 1, 1, 1) / 255
        logits = teacher(views(pixels, generator))
        loss[count] = functional.cross_entropy(logits, torch.ones(len(logits)).long()).item()
    assert loss[6] < loss[0] - 0.1


def test_gray_images_are_perturbed_too():
    images = noise(channels=1)
    crafted = craft(linear(channels=1), images, PGD(), target=1, trigger=Patch(size=2))
    assert crafted.both.shape == images.images.shape
    assert np.abs(change(crafted)).max() == 8


def test_progress_counts_images():
    seen = []
    craft(linear(), noise(count=5), FGSM(), target=1, batch_size=2,
          progress=lambda *report: seen.append(report))  # fmt: skip
    assert seen == [("craft", 2, 5), ("craft", 4, 5), ("craft", 5, 5)]


@pytest.mark.parametrize(("given", "number"), [(8, 8.0), ("8", 8.0), (" 8/255 ", 8.0), (2.5, 2.5)])
def test_epsilon_is_read_in_255ths(given, number):
    assert read_epsilon(given) == number
    assert make_perturbation("pgd", epsilon=given).epsilon == number


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (0.03, "epsilon = 0.03; expected at least 1, in 1/255. Write 8"),
        ("0.03", "Write 8"),
        (0, "epsilon = 0; expected at least 1"),
        (-8, "expected at least 1"),
        ("8/256", "a number of 1/255, like 8 or 8/255"),
        ("eight", "a number of 1/255"),
        ("nan", "a number of 1/255"),
        (256, "at most 255 in the norm linf"),
    ],
)
def test_other_epsilons_are_refused_with_a_hint(given, words):
    with pytest.raises(ConfigError) as error:
        make_perturbation("pgd", epsilon=given)
    assert words in str(error.value)


def test_a_long_l2_epsilon_is_fine():
    assert make_perturbation("pgd", epsilon=512, norm="l2").epsilon == 512


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("pdg", {}, "unknown perturbation 'pdg'. Did you mean 'pgd'?"),
        ("pgd", {"step": 3}, "unknown key 'step'. Did you mean 'steps'?"),
        ("pgd", {"steps": 0}, "a number from 1 to 10000"),
        ("cw", {"margin": -1.0}, "at least 0"),
        ("fgsm", {"norm": "l1"}, "one of linf, l2"),
        ("fgsm", {"steps": 3}, "unknown key 'steps'"),
    ],
)
def test_bad_settings_are_refused(name, settings, words):
    with pytest.raises(ConfigError) as error:
        make_perturbation(name, **settings)
    assert words in str(error.value)


def test_views_without_an_augmentation_are_refused():
    with pytest.raises(ConfigError, match="views = 2 without an augmentation"):
        craft(linear(), noise(), PGD(views=2), target=1)


def test_rounding_goes_to_the_nearest_and_half_upwards():
    values = torch.tensor([0.0, 0.4, 0.5, 1.5, 2.5, 254.6, 255.0]) / 255
    assert to_bytes(values.double()).tolist() == [0, 0, 1, 2, 3, 255, 255]


@given(st.integers(0, 2**32 - 1), st.sampled_from([2.0, 7.5, 16.0, 64.0, 300.0]))
@settings(max_examples=25, deadline=None)
def test_rounding_in_l2_takes_back_what_it_must_and_no_more(seed, epsilon):
    generator = torch.Generator().manual_seed(seed)
    delta = torch.randn((1, 3, 8, 8), generator=generator, dtype=torch.float64)
    delta *= 0.999 * epsilon / delta.norm()
    plain = torch.full(delta.shape, 128 / 255, dtype=torch.float64)
    rounded = round_inward(plain, plain + delta / 255, epsilon, "l2") - 128
    exact = delta.numpy().ravel()
    whole = np.sign(exact) * np.floor(np.abs(exact) + 0.5)
    grown = np.abs(whole) - np.abs(exact)
    for place in np.argsort(-grown):
        if (whole**2).sum() <= epsilon**2:
            break
        whole[place] = np.trunc(exact[place])
    np.testing.assert_array_equal(rounded.numpy().ravel(), whole)
    assert (whole**2).sum() <= epsilon**2


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_every_perturbation_says_what_it_is_and_is_digestible(name):
    kind = PERTURBATIONS[name]
    assert kind.title
    assert kind.source
    digests = {PERTURBATIONS[other]().digest() for other in PERTURBATIONS}
    assert len(digests) == len(PERTURBATIONS)
