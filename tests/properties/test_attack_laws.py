"""Laws of the attack: the ball, the range, the trigger's pixels, the labels, the text."""

import dataclasses

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from analysis.attack.crafting import craft
from analysis.attack.distortion import distortion
from analysis.attack.perturbations import PERTURBATIONS, make_perturbation
from analysis.attack.poisoning import PoisonConfig, choose_candidates, poison
from analysis.attack.rounding import round_inward, to_bytes
from analysis.attack.trigger import sample_numbers, sample_seed
from analysis.attack.triggers import TRIGGERS, parse_trigger, with_trigger
from tests.attack_nets import curved, noise

TEXTS = (
    "patch:size=3,fill=checker",
    "patch:size=8,margin=0",
    "translucent:size=5,opacity=0.4",
    "blend:alpha=0.3,grain=2",
    "sinusoid:amplitude=40,direction=30",
    "warp:strength=1.5",
    "sticker:size=4,jitter=1",
)

bytes_of = st.integers(0, 2**32)
few = settings(max_examples=25, deadline=None)


def change(after, before):
    return after.astype(np.int64) - before


@pytest.mark.parametrize("name", PERTURBATIONS)
@few
@given(
    text=st.sampled_from(TEXTS),
    epsilon=st.one_of(st.integers(1, 40), st.floats(1, 40)),
    norm=st.sampled_from(["linf", "l2"]),
    seed=bytes_of,
    target=st.integers(0, 3),
)
def test_finished_images_stay_in_the_ball_and_the_trigger_stays_the_trigger(
    name, text, epsilon, norm, seed, target
):
    images, trigger = noise(count=3, seed=seed), parse_trigger(text)
    radius = epsilon if norm == "linf" else 10 * epsilon
    extra = {} if name == "fgsm" else {"steps": 4}
    perturbation = make_perturbation(name, epsilon=radius, norm=norm, seed=seed % 1000, **extra)
    crafted = craft(curved(), images, perturbation, target=target, trigger=trigger)
    stamped = with_trigger(images, trigger).images
    np.testing.assert_array_equal(crafted.triggered, stamped)
    for after, before in ((crafted.both, stamped), (crafted.perturbed, images.images)):
        moved = change(after, before)
        if norm == "linf":
            assert np.abs(moved).max() <= radius
        else:
            assert np.linalg.norm(moved.reshape(3, -1), axis=1).max() <= radius * (1 + 1e-6)
    shown = torch.from_numpy(np.array(images.images)).permute(0, 3, 1, 2).float() / 255
    hidden = trigger.stamp(shown, images.sample_ids.tolist()).hidden()
    covered = hidden.expand(3, 1, 8, 8)[:, 0].numpy()
    assert (change(crafted.both, stamped)[covered] == 0).all()
    assert (change(crafted.perturbed, images.images)[covered] == 0).all()


@few
@given(seed=bytes_of, epsilon=st.floats(1, 300), norm=st.sampled_from(["linf", "l2"]))
def test_rounding_never_leaves_the_ball_nor_goes_further_than_a_step(seed, epsilon, norm):
    generator = torch.Generator().manual_seed(seed)
    plain = torch.rand((4, 3, 5, 5), generator=generator)
    raw = torch.randn((4, 3, 5, 5), generator=generator) * epsilon / 255
    if norm == "linf":
        raw = raw.clamp(-epsilon / 255, epsilon / 255)
    else:
        length = raw.flatten(1).norm(dim=1)[:, None, None, None]
        raw = raw * (epsilon / 255 / length).clamp(max=1)
    changed = (plain + raw).clamp(0, 1)
    rounded = round_inward(plain, changed, epsilon, norm)
    moved = rounded - to_bytes(plain)
    size = moved.abs().amax() if norm == "linf" else moved.flatten(1).norm(dim=1).max()
    assert size <= epsilon * (1 + 1e-6)
    assert torch.equal(rounded, rounded.floor())
    assert rounded.min() >= 0
    assert rounded.max() <= 255
    # Half a step for the base, at most one for the change.
    assert (rounded - changed * 255).abs().max() <= 1.51


@given(values=st.lists(st.integers(0, 255), min_size=12, max_size=12))
def test_what_has_8_bits_is_left_alone(values):
    pixels = (torch.tensor(values).float() / 255).reshape(1, 3, 2, 2)
    assert to_bytes(pixels).flatten().tolist() == values
    same = round_inward(pixels, pixels, 4, "linf")
    assert same.flatten().tolist() == values


@few
@given(seed=bytes_of, rate=st.floats(0.03, 0.6), target=st.integers(0, 3))
def test_poisoning_keeps_labels_ids_and_everything_that_is_not_poison(seed, rate, target):
    images = noise(count=32, classes=4, seed=seed)
    made = poison(
        curved(), images, trigger=parse_trigger("patch:size=3"), target=target,
        perturbation=make_perturbation("pgd", epsilon=64, steps=5),
        config=PoisonConfig(rate=rate, seed=seed % 100, check_views=0),
    )  # fmt: skip
    assert len(made.rows) == made.report.poisoned <= round(rate * 32)
    assert made.report.crafted == made.report.poisoned + sum(made.report.dropped.values())
    assert (images.labels[made.rows] != target).all()
    np.testing.assert_array_equal(made.images.labels, images.labels)
    np.testing.assert_array_equal(made.images.sample_ids, images.sample_ids)
    clean = ~made.is_poisoned
    np.testing.assert_array_equal(made.images.images[clean], images.images[clean])
    assert (np.diff(made.rows) > 0).all()


@few
@given(seed=bytes_of, rates=st.tuples(st.floats(0.1, 0.4), st.floats(0.4, 0.7)))
def test_a_higher_rate_tries_the_same_images_first(seed, rates):
    images = noise(count=32, classes=4, seed=seed)
    orders = [
        choose_candidates(curved(), images, target=1, config=PoisonConfig(rate=rate))
        for rate in rates
    ]
    np.testing.assert_array_equal(*orders)


def values_of(spec):
    low, high, choices = (spec.metadata[key] for key in ("low", "high", "choices"))
    if choices:
        return st.sampled_from(choices)
    match spec.default:
        case int():
            return st.integers(int(low), int(min(high or 1000, 1000)))
        case float():
            return st.floats(low, min(high or 100.0, 100.0), allow_subnormal=False)
        case str() if spec.default.startswith("#"):
            return st.integers(0, 0xFFFFFF).map(lambda color: f"#{color:06x}")
        case _:
            return st.just(spec.default)


@pytest.mark.parametrize("name", sorted(set(TRIGGERS) - {"image"}))
@given(data=st.data())
def test_the_text_of_any_trigger_reads_back_exactly(name, data):
    kind = TRIGGERS[name]
    values = {spec.name: data.draw(values_of(spec)) for spec in dataclasses.fields(kind)}
    trigger = kind(**values)
    again = parse_trigger(trigger.text)
    assert again == trigger
    assert again.text == trigger.text
    assert again.digest() == trigger.digest()


@given(seed=st.integers(0, 1000), keys=st.lists(st.text(max_size=9), min_size=1, unique=True))
def test_what_is_drawn_for_a_sample_follows_the_sample_alone(seed, keys):
    together = sample_numbers(seed, keys, "x")
    for row, key in enumerate(keys):
        np.testing.assert_array_equal(together[row], sample_numbers(seed, [key], "x")[0])
        assert 0 <= sample_seed(seed, key, "x") < 2**63
    assert (together >= 0).all()
    assert (together < 1).all()


@few
@given(seed=bytes_of, amount=st.integers(1, 60))
def test_distortion_is_symmetric_and_grows_with_the_change(seed, amount):
    first = noise(count=2, seed=seed, low=60, high=190).images
    signs = np.random.default_rng(seed).choice([-1, 1], first.shape)
    near, far = (
        np.clip(first + signs * size, 0, 255).astype(np.uint8) for size in (amount, amount + 5)
    )
    assert dataclasses.astuple(distortion(first, near)) == pytest.approx(
        dataclasses.astuple(distortion(near, first))
    )
    closer, farther = distortion(first, near), distortion(first, far)
    assert closer.linf < farther.linf
    assert closer.psnr > farther.psnr
    assert closer.ssim > farther.ssim
