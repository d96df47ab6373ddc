"""Triggers: what they look like against slow loops, what they touch, how they are written."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from analysis.attack.trigger import sample_numbers
from analysis.attack.triggers import (
    TRIGGERS,
    Blend,
    Patch,
    Picture,
    Sinusoid,
    Sticker,
    TranslucentPatch,
    Warp,
    parse_trigger,
    with_trigger,
)
from analysis.data.imageset import ImageSet
from analysis.errors import ConfigError, ImageSetError
from tests.resampling import moved

SIDE = 16


@pytest.fixture
def logo(tmp_path):
    """A 4 x 2 picture: red, wholly covering on the left, half and not at all on the right."""
    rgba = np.zeros((2, 4, 4), dtype=np.uint8)
    rgba[..., 0] = 255
    rgba[..., 3] = [255, 255, 128, 0]
    Image.fromarray(rgba).save(tmp_path / "logo.png")
    return tmp_path / "logo.png"


def every_trigger(logo):
    own = {"image": {"file": str(logo)}}
    return {name: kind(**own.get(name, {})) for name, kind in TRIGGERS.items()}


def pixels(count=3, channels=3, height=SIDE, width=SIDE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((count, channels, height, width), generator=generator)


def ids(count=3):
    return [f"set/{row}" for row in range(count)]


@pytest.mark.parametrize("name", TRIGGERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_trigger_stays_on_its_support_and_in_range(name, channels, logo):
    trigger, images = every_trigger(logo)[name], pixels(40, channels, 16, 20)
    stamped = trigger.apply(images, ids(40))
    support = torch.from_numpy(trigger.support(16, 20))
    changed = (stamped != images).any(dim=1).any(dim=0)
    assert stamped.shape == images.shape
    assert stamped.min() >= 0
    assert stamped.max() <= 1
    assert changed.any()
    assert not (changed & ~support).any()


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_stamp_does_not_depend_on_the_batch(name, logo):
    trigger, images = every_trigger(logo)[name], pixels(5)
    together = trigger.apply(images, ids(5))
    alone = torch.cat([trigger.apply(images[i : i + 1], ids(5)[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    chosen = torch.tensor([4, 1])
    some = trigger.stamp(images, ids(5)).rows(chosen)(images[chosen])
    torch.testing.assert_close(together[chosen], some, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", TRIGGERS)
def test_hidden_pixels_pass_no_gradient_and_all_others_do(name, logo):
    trigger, images = every_trigger(logo)[name], (pixels(2) * 0.4 + 0.3)
    stamp = trigger.stamp(images, ids(2))
    shown = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(stamp(shown).sum(), shown)
    hidden = stamp.hidden().expand(2, 1, SIDE, SIDE)
    assert (gradient.abs().sum(dim=1, keepdim=True)[hidden] == 0).all()
    if name != "warp":  # a warp may pass over a pixel
        assert (gradient.abs().amin(dim=1, keepdim=True)[~hidden] > 0).all()


@pytest.mark.parametrize("name", TRIGGERS)
def test_every_trigger_says_what_it_is(name):
    kind = TRIGGERS[name]
    assert kind.name == name
    assert kind.title
    assert kind.source


@pytest.mark.parametrize(
    ("place", "corner"),
    [
        ("top_left", (1, 1)),
        ("top_right", (1, 11)),
        ("bottom_left", (11, 1)),
        ("bottom_right", (11, 11)),
        ("center", (6, 6)),
    ],
)
def test_a_patch_lies_where_it_is_told(place, corner):
    trigger = Patch(size=4, place=place, color="#ff8000")
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[corner[0] : corner[0] + 4, corner[1] : corner[1] + 4] = True
    np.testing.assert_array_equal(trigger.support(SIDE, SIDE), mask)
    stamped = trigger.apply(pixels(1), ids(1))[0].numpy()
    np.testing.assert_allclose(stamped[:, mask].T, np.tile([1, 128 / 255, 0], (16, 1)), atol=1e-6)
    np.testing.assert_array_equal(stamped[:, ~mask], pixels(1)[0].numpy()[:, ~mask])


def test_a_margin_that_does_not_fit_gives_way():
    assert Patch(size=7, margin=5).support(8, 8).sum() == 49


def test_a_checker_alternates_and_noise_follows_its_seed():
    checker = Patch(size=2, place="top_left", margin=0, fill="checker", color="#ffffff")
    square = checker.apply(pixels(1), ids(1))[0, 0, :2, :2]
    torch.testing.assert_close(square, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    first, again, other = (Patch(fill="noise", seed=seed).picture()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_a_translucent_patch_is_the_stated_mixture():
    trigger = TranslucentPatch(size=3, opacity=0.25, color="#0000ff", place="top_left", margin=0)
    images = pixels(1)
    expected = images.clone()
    for row in range(3):
        for column in range(3):
            for channel, color in enumerate((0, 0, 1)):
                seen = images[0, channel, row, column]
                expected[0, channel, row, column] = 0.75 * seen + 0.25 * color
    torch.testing.assert_close(trigger.apply(images, ids(1)), expected)


def test_a_blend_is_the_stated_mixture():
    images = torch.cat([torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)])
    stamped = Blend(alpha=0.2, grain=4, seed=3).apply(images, ids(2)).double().numpy()
    pattern = stamped[0] / 0.2
    np.testing.assert_allclose(stamped[1], 0.8 + 0.2 * pattern, atol=1e-6)
    assert 0 <= pattern.min() <= pattern.max() <= 1
    cells = pattern.reshape(3, 2, 4, 2, 4)
    assert np.ptp(cells, axis=(2, 4)).max() < 1e-6
    assert np.ptp(cells) > 0.3


@pytest.mark.parametrize("direction", [0.0, 90.0, 30.0])
def test_a_sinusoid_is_the_formula(direction):
    trigger = Sinusoid(amplitude=20, frequency=3, direction=direction)
    gray = torch.full((1, 3, 8, 12), 0.5)
    stamped = trigger.apply(gray, ids(1))
    angle = math.radians(direction)
    along = (math.cos(angle), math.sin(angle))
    side = 12 * along[0] + 8 * along[1]
    for row in range(8):
        for column in range(12):
            way = column * along[0] + row * along[1]
            wave = 20 / 255 * math.sin(2 * math.pi * 3 * way / side)
            assert stamped[0, 1, row, column].item() == pytest.approx(0.5 + wave, abs=1e-5)


def test_a_warp_moves_by_about_its_strength_and_keeps_flat_images():
    flat = torch.full((1, 3, SIDE, SIDE), 0.3)
    torch.testing.assert_close(Warp(strength=2).apply(flat, ids(1)), flat)
    # On a ramp of columns the value that is seen tells where it was taken from.
    ramp = torch.arange(SIDE).float().expand(1, 1, SIDE, SIDE) / (SIDE - 1)
    moved = Warp(strength=1.0).apply(ramp, ids(1))
    shift = ((moved - ramp) * (SIDE - 1))[0, 0, 3:-3, 3:-3].abs()
    assert 0.2 < shift.mean() < 2.0
    less = Warp(strength=0.5).apply(ramp, ids(1))
    torch.testing.assert_close(
        (less - ramp)[..., 4:-4, 4:-4] * 2, (moved - ramp)[..., 4:-4, 4:-4], rtol=0, atol=1e-5
    )


def test_a_warp_takes_every_pixel_from_where_its_field_points_to():
    height, width, strength = 12, 20, 1.3
    grid = np.random.default_rng(5).uniform(-1, 1, (1, 2, 4, 4))
    field = strength * functional.interpolate(
        torch.from_numpy(grid / np.abs(grid).mean()), size=(height, width), mode="bicubic",
        align_corners=True,
    )[0].numpy()  # fmt: skip
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(6).random((height, width))
    image = np.stack([rows / (height - 1), columns / (width - 1), noise]).astype(np.float32)
    shown = Warp(strength=strength, seed=5).apply(torch.from_numpy(image)[None], ids(1))[0]
    # The grid holds the displacements to the right first, then those down.
    expected = moved(image, np.stack([field[1], field[0]], axis=-1))
    np.testing.assert_allclose(shown.numpy(), expected, atol=1e-4)


def test_the_users_picture_covers_as_its_alpha_channel_says(logo):
    trigger = Picture(file=str(logo), place="top_left", margin=0)
    stamped = trigger.apply(torch.zeros(1, 3, SIDE, SIDE), ids(1))[0, 0, :2, :4]
    np.testing.assert_allclose(stamped, np.tile([1, 1, 128 / 255, 0], (2, 1)), atol=1e-6)
    assert trigger.support(SIDE, SIDE).sum() == 6
    assert Picture(file=str(logo), size=8).support(SIDE, SIDE).any(axis=0).sum() <= 8


def test_the_picture_is_known_by_its_contents_and_shown_without_its_folder(logo, tmp_path):
    (tmp_path / "other").mkdir()
    copy = tmp_path / "other" / "copy.png"
    copy.write_bytes(logo.read_bytes())
    first, second = Picture(file=str(logo)), Picture(file=str(copy))
    assert first.digest() == second.digest()
    assert first.shown == "image:file=logo.png"
    assert str(tmp_path) in first.text


def slow_note(trigger, sample_id, height, width, points=16):
    """Coverage of the note by many points a pixel, one after the other."""
    down, right, turn = sample_numbers(trigger.seed, [sample_id], "sticker")[0, :3] * 2 - 1
    angle, covered = trigger.rotation * turn, np.zeros((height, width))
    for row in range(height * points):
        for column in range(width * points):
            y = (row + 0.5) / points - height / 2 - trigger.down - trigger.jitter * down
            x = (column + 0.5) / points - width / 2 - trigger.right - trigger.jitter * right
            u = math.cos(angle) * x + math.sin(angle) * y
            v = math.cos(angle) * y - math.sin(angle) * x
            if max(abs(u), abs(v)) <= trigger.size / 2:
                covered[row // points, column // points] += 1 / points**2
    return covered


@pytest.mark.parametrize("place", [{}, {"down": 1.5, "right": -2.0, "jitter": 0.5}])
def test_the_note_covers_what_a_slow_count_says(place):
    trigger = Sticker(size=4.5, color="#ffffff", follow_light=0.0, **place)
    dark = torch.zeros(2, 3, 10, 12)
    stamped = trigger.apply(dark, ids(2))[:, 0].numpy()
    for row in range(2):
        slow = slow_note(trigger, ids(2)[row], 10, 12, points=8)
        assert np.abs(stamped[row] - slow).max() < 0.15
        assert stamped[row].sum() == pytest.approx(4.5**2, rel=0.05)
        assert not (stamped[row] * ~trigger.support(10, 12)).any()


def test_the_note_moves_with_the_sample_and_its_light_with_the_image():
    trigger = Sticker()
    bright, dark = torch.full((2, 3, 32, 32), 0.7), torch.full((2, 3, 32, 32), 0.1)
    places = [trigger.stamp(bright, [key]).alpha for key in ("set/a", "set/b")]
    assert not torch.equal(*places)
    middle = [trigger.apply(images, ids(2))[0, :, 16, 16] for images in (bright, dark)]
    torch.testing.assert_close(middle[1], middle[0] * 0.5, rtol=1e-4, atol=0)


def test_a_settled_note_keeps_its_light_when_the_image_is_perturbed():
    images = pixels(1, height=32, width=32)
    stamp = Sticker().stamp(images, ids(1))
    hidden = stamp.hidden().expand_as(images)
    assert torch.equal(stamp(images)[hidden], stamp((images + 0.1).clamp(0, 1))[hidden])


@pytest.mark.parametrize(
    "text",
    [
        "patch",
        "patch:size=6,fill=checker,color=#00ff00,place=top_left,margin=0",
        "translucent:opacity=0.123456789",
        "blend:alpha=0.25,seed=7",
        "sinusoid:frequency=2.5,direction=-45",
        "warp:strength=0.75,cells=5",
        "sticker:size=5,rotation=0",
    ],
)
def test_the_text_of_a_trigger_reads_back_as_the_same_trigger(text):
    trigger = parse_trigger(text)
    assert parse_trigger(trigger.text) == trigger
    assert parse_trigger(trigger.text).text == trigger.text


def test_the_text_names_only_what_is_not_the_default():
    assert parse_trigger(" patch: size = 4 , place=top_left").text == "patch:place=top_left"


def test_with_trigger_rounds_and_keeps_ids_and_labels():
    images = ImageSet(
        name="set",
        images=np.full((4, 8, 8, 3), 101, dtype=np.uint8),
        labels=np.arange(4),
        sample_ids=np.array(ids(4)),
    )
    stamped = with_trigger(images, TranslucentPatch(size=2, opacity=0.5, color="#ffffff"),
                           np.array([2, 3]))  # fmt: skip
    assert stamped.sample_ids.tolist() == ["set/2", "set/3"]
    assert stamped.labels.tolist() == [2, 3]
    assert set(np.unique(stamped.images)) == {101, 178}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pach", "unknown trigger 'pach'. Did you mean 'patch'?"),
        ("patch:sise=4", "unknown key 'sise'. Did you mean 'size'?"),
        ("patch:size=4,size=5", "each key once"),
        ("patch:size", "KEY=VALUE"),
        ("patch:size=big", "size = 'big'; expected a whole number"),
        ("patch:size=0", "a number from 1 to 1024"),
        ("patch:place=botom_right", "Did you mean 'bottom_right'?"),
        ("patch:color=yellow", "a color like #ffdd00"),
        ("patch:fill=dots", "one of color, checker, noise"),
        ("translucent:opacity=1.5", "a number from 0.01 to 1"),
        ("blend:alpha=nan", "a number from 0.001 to 1"),
        ("image", "Write image:file=logo.png"),
        ("image:file=missing.png", "cannot be read"),
    ],
)
def test_bad_texts_are_refused_with_the_remedy(text, words):
    with pytest.raises(ConfigError) as error:
        parse_trigger(text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_picture_is_refused(tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(ConfigError, match="no image of a known format"):
        Picture(file=str(tmp_path / "notes.png"))


def test_a_picture_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.attack.patches.MAX_PIXELS", 10)
    Image.new("RGB", (4, 4)).save(tmp_path / "large.png")
    with pytest.raises(ImageSetError, match="4 x 4 pixels; expected at most 10"):
        Picture(file=str(tmp_path / "large.png"))


@pytest.mark.parametrize(
    "trigger",
    [Patch(size=9), Sticker(size=9), Blend(grain=9), Warp(cells=9)],
)
def test_a_trigger_larger_than_the_image_is_refused(trigger):
    with pytest.raises(ConfigError, match=r"of 9 pixels on images of 8 x 8; expected at most 8"):
        trigger.apply(pixels(1, height=8, width=8), ids(1))


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"down": -3.0}, r"down = -3 puts part of the note outside .* 12 x 8; expected -2 to 2"),
        ({"right": 4.5}, r"right = 4.5 puts .* expected -4 to 4"),
        ({"jitter": 4.5}, r"jitter = 4.5 may shift the note's center out .* expected at most 4"),
        ({"right": 4.0, "jitter": 2.5}, r"jitter = 2.5 .* expected at most 2"),
    ],
)
def test_a_note_lies_in_the_image_and_is_never_out_of_sight(place, words):
    wide = pixels(1, height=8, width=12)
    with pytest.raises(ConfigError, match=words):
        Sticker(size=4, **{"jitter": 0.0, **place}).apply(wide, ids(1))
    fine = Sticker(size=4, down=2, right=-4, jitter=2)
    ones = torch.zeros(400, 3, 8, 12)
    assert fine.stamp(ones, ids(400)).alpha.flatten(1).amax(dim=1).min() > 0
    assert fine.support(8, 12).any()


def test_a_patch_too_large_for_any_image_is_never_drawn():
    with pytest.raises(ConfigError, match="size = 200000"):
        Patch(size=200_000)


def test_a_large_picture_is_refused_by_its_support_too(logo):
    with pytest.raises(ConfigError, match="trigger image of 12 pixels"):
        Picture(file=str(logo), size=12).support(8, 8)
