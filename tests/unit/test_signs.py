"""Rendered road signs: determinism, balance, sane pixels, and no yellow."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.data.bundled import RENDERERS
from analysis.data.imageset import ImageSet
from analysis.data.signs import (
    SIGN_CLASSES,
    render,
    render_arrays,
    render_signs,
    rendering_ahead,
    sign_labels,
)
from analysis.data.signs.camera import photograph
from analysis.data.signs.pen import LETTERS, Pen
from analysis.data.signs.scene import SCENE_SIZE, Studio
from analysis.data.signs.shapes import MAKES, TEMPLATE_SIZE, draw_templates
from analysis.data.sources import load_images
from analysis.errors import Cancelled, ImageSetError

RED, BLUE = 0, 1


@pytest.fixture(scope="module")
def signs() -> tuple[np.ndarray, np.ndarray]:
    return render_arrays(320, seed=0, split="train")


@pytest.fixture(scope="module")
def templates() -> list[list[np.ndarray]]:
    drawn = draw_templates(np.random.default_rng(0))
    return [[np.asarray(make) for make in row] for row in drawn]


def yellow_share(pixels: np.ndarray) -> float:
    """Share of (N, 3) pixels that a person would call yellow, by hue, saturation and value."""
    hits = 0
    for r, g, b in (pixels / 255).tolist():
        hue, saturation, value = colorsys.rgb_to_hsv(r, g, b)
        hits += 42 <= hue * 360 <= 68 and saturation > 0.45 and value > 0.5
    return hits / len(pixels)


# Determinism


def test_same_seed_same_images(signs: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = render_arrays(70, seed=0, split="train")
    np.testing.assert_array_equal(images, signs[0][:70])
    np.testing.assert_array_equal(labels, signs[1][:70])


@given(count=st.integers(1, 90))
@settings(max_examples=4, deadline=None)
def test_an_image_does_not_depend_on_the_count(
    signs: tuple[np.ndarray, np.ndarray], count: int
) -> None:
    images, labels = render_arrays(count, seed=0, split="train")
    np.testing.assert_array_equal(images, signs[0][:count])
    np.testing.assert_array_equal(labels, signs[1][:count])


def test_processes_do_not_change_the_images(signs: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = render_arrays(100, seed=0, split="train", processes=2)
    np.testing.assert_array_equal(images, signs[0][:100])
    np.testing.assert_array_equal(labels, signs[1][:100])


def test_rendering_leaves_the_global_random_state_alone() -> None:
    before = np.random.get_state()[1].tolist()
    render_arrays(3, seed=5)
    assert np.random.get_state()[1].tolist() == before


def test_the_program_may_let_processes_render_and_others_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def render(count: int, *, processes: int, **settings: Any) -> ImageSet:
        asked.append(processes)
        return render_signs(4, seed=settings["seed"], split=settings["split"])

    monkeypatch.setattr("analysis.data.signs.render_signs", render)
    for wish in ("2", "0", "many", "-1", ""):
        monkeypatch.setenv(RENDERERS, wish)
        load_images("signs:test,n=2000")
    monkeypatch.setenv(RENDERERS, "2")
    load_images("signs:test,n=20")
    monkeypatch.delenv(RENDERERS)
    load_images("signs:test,n=2000")
    assert asked == [2, 1, 1, 1, 1, 1, 1]


def test_seeds_and_splits_share_no_image(signs: tuple[np.ndarray, np.ndarray]) -> None:
    others = [
        render_arrays(64, seed=0, split="test"),
        render_arrays(64, seed=1, split="train"),
        render_arrays(64, seed=1, split="test"),
    ]
    seen = [image.tobytes() for image in signs[0]]
    seen += [image.tobytes() for images, _ in others for image in images]
    assert len(set(seen)) == len(seen) == 320 + 3 * 64


def test_splits_share_no_background() -> None:
    from analysis.data.signs.render import _studio

    def backgrounds(split: str) -> set[bytes]:
        kinds = _studio(0, split)._bank.backgrounds.values()
        return {image.tobytes() for images in kinds for image in images}

    train, test = backgrounds("train"), backgrounds("test")
    assert len(train) == len(test) > 40
    assert not train & test


# Labels


@given(count=st.integers(1, 500), seed=st.integers(0, 2**31 - 1))
@settings(max_examples=30, deadline=None)
def test_classes_are_balanced_and_shuffled(count: int, seed: int) -> None:
    labels = sign_labels(count, seed=seed, split="train")
    counts = np.bincount(labels, minlength=len(SIGN_CLASSES))
    assert labels.dtype == np.int64
    assert len(labels) == count
    assert counts.max() - counts.min() <= 1
    if count >= 64:
        assert labels[:64].tolist() != list(range(16)) * 4


def test_the_order_of_labels_depends_on_seed_and_split() -> None:
    orders = {
        tuple(sign_labels(64, seed=seed, split=split).tolist())
        for seed in (0, 1)
        for split in ("train", "test")
    }
    assert len(orders) == 4


def test_the_classes_are_the_sixteen_signs_in_their_order() -> None:
    assert ", ".join(SIGN_CLASSES) == (
        "stop, yield, no entry, 30, 50, 80, keep right, no overtaking, ahead, right, left, "
        "roundabout, pedestrians, children, roadworks, caution"
    )


# Pixels


def test_images_are_neither_black_nor_white_nor_flat(
    signs: tuple[np.ndarray, np.ndarray],
) -> None:
    images = signs[0]
    assert images.dtype == np.uint8
    assert images.shape == (320, 32, 32, 3)
    brightness = images.mean(axis=(1, 2, 3))
    assert 80 < brightness.mean() < 140
    assert brightness.min() > 12
    assert brightness.max() < 235
    assert images.std(axis=(1, 2, 3)).min() > 4


def test_brightness_gives_no_class_away(signs: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = signs
    # The corners hold background only: they must look the same for every class.
    corners = images[:, :4].mean(axis=(1, 2, 3))
    means = [corners[labels == label].mean() for label in range(16)]
    spread = corners.std() / np.sqrt(20)
    assert max(means) - min(means) < 6.5 * spread


def test_no_class_is_yellow(signs: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = signs
    for label, name in enumerate(SIGN_CLASSES):
        pixels = images[labels == label].reshape(-1, 3)[::3]
        assert yellow_share(pixels) < 0.002, name
    # The measure does see the trigger's color.
    assert yellow_share(np.array([[250, 220, 40], [240, 210, 60]])) == 1


def test_no_template_is_yellow(templates: list[list[np.ndarray]]) -> None:
    for row in templates:
        for make in row:
            opaque = make[make[..., 3] == 255][::7, :3]
            assert yellow_share(opaque) == 0


@pytest.mark.parametrize(
    ("names", "colors"),
    [
        (("stop", "yield", "no entry", "30", "no overtaking", "caution"), {RED}),
        (("keep right", "ahead", "right", "left", "roundabout"), {BLUE}),
    ],
)
def test_signs_have_their_colors(
    templates: list[list[np.ndarray]], names: tuple[str, ...], colors: set[int]
) -> None:
    for name in names:
        for make in templates[SIGN_CLASSES.index(name)]:
            values = make.astype(int)
            solid = values[..., 3] > 200
            red = solid & (values[..., 0] > 150) & (values[..., 2] < 90)
            blue = solid & (values[..., 2] > 120) & (values[..., 0] < 60)
            found = {RED: red, BLUE: blue}
            for color, mask in found.items():
                share = mask.sum() / solid.sum()
                assert share > 0.2 if color in colors else share == 0


def test_templates_of_two_classes_differ_more_than_smoothing_explains(
    templates: list[list[np.ndarray]],
) -> None:
    for make in range(MAKES):
        flat = np.stack([row[make][::2, ::2].astype(float).ravel() for row in templates])
        distances = np.abs(flat[:, None] - flat[None]).mean(axis=-1)
        assert distances[~np.eye(16, dtype=bool)].min() > 2


def test_left_is_the_mirror_image_of_right(templates: list[list[np.ndarray]]) -> None:
    right, left = SIGN_CLASSES.index("right"), SIGN_CLASSES.index("left")
    for a, b in zip(templates[right], templates[left], strict=True):
        mirrored = np.abs(a.astype(int) - b[:, ::-1].astype(int)).mean()
        as_it_is = np.abs(a.astype(int) - b.astype(int)).mean()
        assert mirrored < 0.3 * as_it_is


def test_symbols_lie_inside_their_signs(templates: list[list[np.ndarray]]) -> None:
    """Dark paint (figures, digits) never touches what is transparent."""
    for row in templates:
        for make in row:
            values = make.astype(int)
            dark = (values[..., 3] == 255) & (values[..., :3].max(axis=-1) < 60)
            clear = values[..., 3] < 128
            grown = np.zeros_like(clear)
            for dy in (-2, 0, 2):
                for dx in (-2, 0, 2):
                    grown |= np.roll(clear, (dy, dx), axis=(0, 1))
            assert not (dark & grown).any()


# Parts


def test_the_pen_fills_a_disk_of_the_right_area() -> None:
    pen = Pen(100)
    pen.disk((0.0, 0.0), 0.5, (10, 20, 30))
    alpha = np.asarray(pen.finish())[..., 3] / 255
    unit = 100 / 2 / 1.06
    assert alpha.sum() == pytest.approx(np.pi * (0.5 * unit) ** 2, rel=0.02)
    assert alpha[50, 50] == 1
    assert alpha[2, 2] == 0


def test_the_pen_writes_only_within_its_box() -> None:
    for letter in LETTERS:
        pen = Pen(100)
        pen.text(letter, height=1.0, letter_width=0.5, gap=0.1, weight=0.1, color=(255, 255, 255))
        rows, columns = np.nonzero(np.asarray(pen.finish())[..., 3])
        unit, middle = 100 / 2 / 1.06, 50
        assert abs(rows.min() - (middle - 0.55 * unit)) < 3
        assert abs(rows.max() - (middle + 0.55 * unit)) < 3
        assert columns.min() > middle - 0.36 * unit - 2
        assert columns.max() < middle + 0.36 * unit + 2


def test_premultiplied_color_never_exceeds_alpha(templates: list[list[np.ndarray]]) -> None:
    for row in templates:
        for make in row:
            assert make.shape == (TEMPLATE_SIZE, TEMPLATE_SIZE, 4)
            assert (make[..., :3] <= make[..., 3:].astype(int) + 1).all()


def test_a_photograph_keeps_the_brightness_of_a_flat_scene() -> None:
    scene = np.full((SCENE_SIZE, SCENE_SIZE, 3), 112, dtype=np.float32)
    taken = [photograph(scene.copy(), np.random.default_rng(seed)).mean() for seed in range(40)]
    assert 90 < np.mean(taken) < 135


def test_every_scene_is_finite_and_shows_its_sign() -> None:
    studio = Studio(np.random.default_rng(0), np.random.default_rng(1))
    for seed in range(12):
        scenes = [studio.scene(label, np.random.default_rng(seed)) for label in (2, 8)]
        for scene in scenes:
            assert scene.shape == (SCENE_SIZE, SCENE_SIZE, 3)
            assert scene.dtype == np.float32
            assert np.isfinite(scene).all()
        # The same random numbers with another sign change the middle of the scene.
        middle = slice(SCENE_SIZE // 3, 2 * SCENE_SIZE // 3)
        assert np.abs(scenes[0] - scenes[1])[middle, middle].mean() > 4


# The image set, progress and refusals


def test_signs_come_as_an_image_set() -> None:
    signs = render_signs(20, seed=3, split="test", name="trusted")
    images, labels = render_arrays(20, seed=3, split="test")
    np.testing.assert_array_equal(signs.images, images)
    np.testing.assert_array_equal(signs.labels, labels)
    assert signs.name == "trusted"
    assert signs.class_names == SIGN_CLASSES
    assert signs.sample_ids[0] == "trusted/00000"
    assert signs.sample_ids[19] == "trusted/00019"
    assert "seed 3" in signs.source
    assert render_signs(20, seed=3, split="test", name="trusted").digest == signs.digest


def test_progress_counts_up_to_the_end() -> None:
    calls: list[tuple[str, int, int]] = []
    render_arrays(130, seed=0, progress=lambda *call: calls.append(call))
    assert calls == [("render", 64, 130), ("render", 128, 130), ("render", 130, 130)]


@pytest.mark.parametrize("processes", [1, 2])
def test_cancelling_stops_the_rendering(processes: int) -> None:
    calls: list[int] = []

    def cancel(stage: str, done: int, total: int) -> None:
        calls.append(done)
        raise Cancelled("rendering was cancelled")

    with pytest.raises(Cancelled):
        render_arrays(200, seed=0, processes=processes, progress=cancel)
    assert calls == [64]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0, "seed": 0}, "0 road signs; expected a count of at least 1"),
        ({"count": 1, "seed": -1}, "seed -1 of road signs; expected at least 0"),
        (
            {"count": 1, "seed": 0, "split": "tset"},
            "split 'tset' of road signs; expected train or test. Did you mean 'test'?",
        ),
        ({"count": 1, "seed": 0, "processes": 0}, "0 processes; expected at least 1"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ImageSetError) as caught:
        render_signs(**arguments)
    assert str(caught.value) == message


def test_images_that_are_rendered_ahead_are_those_that_were_asked_for() -> None:
    expected = render_arrays(130, seed=4)
    with rendering_ahead(130, seed=4, split="train", processes=2):
        assert_same(render_arrays(130, seed=4), expected)
        assert_same(render_arrays(130, seed=4), expected)  # once taken they are rendered here


def test_what_is_rendered_ahead_for_nobody_is_given_up() -> None:
    with rendering_ahead(100_000, seed=4, split="train", processes=2):
        pass
    assert not render._ahead


def assert_same(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> None:
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, second)
