"""The entry point: a request as one value, maps of teacher, student and pair."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from analysis.attribution.baselines import BASELINES
from analysis.attribution.catalog import BASELINE_DESCRIPTIONS, METHOD_CARDS, PAIR_FORMULAS
from analysis.attribution.explanation import answers, explain_images
from analysis.attribution.methods import METHODS
from analysis.attribution.pair import attribute_pair
from analysis.attribution.scalars import PAIR_SCALARS
from analysis.attribution.settings import AttributionConfig
from analysis.errors import InputError
from analysis.models.handle import ModelHandle
from tests.attribution_nets import CLASSES, SIDE, handle_of, pixels, smooth_net


@pytest.fixture(scope="module")
def pair() -> tuple[ModelHandle, ModelHandle]:
    return handle_of(smooth_net(1)), handle_of(smooth_net(4))


def test_equal_requests_are_equal_values() -> None:
    plain = AttributionConfig()
    written = AttributionConfig(
        method="integrated_gradients", baseline="blurred", options={"steps": 32.0}
    )
    assert plain == written
    assert hash(plain) == hash(written)
    assert plain.digest() == written.digest()
    assert plain.options == (("steps", 32),)
    assert AttributionConfig(options={"steps": 31}).digest() != plain.digest()
    assert AttributionConfig(batch=3).digest() == plain.digest()
    assert pickle.loads(pickle.dumps(plain)) == plain
    assert AttributionConfig.from_mapping(plain.to_mapping()) == plain


def test_the_catalog_lists_what_can_be_computed() -> None:
    assert list(METHOD_CARDS) == list(METHODS)
    assert list(BASELINE_DESCRIPTIONS) == list(BASELINES)
    assert list(PAIR_FORMULAS) == list(PAIR_SCALARS)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_makes_a_request(method: str) -> None:
    made = AttributionConfig(method=method)
    assert dict(made.options) == dict(METHODS[method].options)
    assert (made.baseline is None) == (not METHODS[method].uses_baseline)


@pytest.mark.parametrize("explained", ["own", "student", "teacher", "label", 2])
def test_whose_class_is_explained(pair: tuple[ModelHandle, ModelHandle], explained: str) -> None:
    x, labels = pixels(6), np.array([3, 2, 1, 0, 1, 2])
    teacher, student = (handle(torch.from_numpy(x)).argmax(1).numpy() for handle in pair)
    assert (teacher != student).any(), "the fixture must tell the cases apart"
    expected = {
        "own": (teacher, student), "student": (student, student), "teacher": (teacher, teacher),
        "label": (labels, labels), 2: (np.full(6, 2), np.full(6, 2)),
    }[explained]  # fmt: skip
    config = AttributionConfig(explained=explained, options={"steps": 3})
    maps = explain_images(*pair, x, config, labels=labels)
    assert list(maps) == ["teacher", "student", "pair"]
    for part, classes in zip(maps, (*expected, expected[1]), strict=True):
        np.testing.assert_array_equal(maps[part].explained_class, classes)
    alone = attribute_pair(*pair, x, expected[1], teacher_class=expected[0], steps=3)
    for part, record in maps.items():
        np.testing.assert_array_equal(record.values, alone[part].values)


def test_one_image_is_the_same_as_among_many(pair: tuple[ModelHandle, ModelHandle]) -> None:
    x = pixels(3)
    for method in METHODS:
        config = AttributionConfig(method=method)
        whole, one = explain_images(*pair, x, config), explain_images(*pair, x[1:2], config)
        for part, record in one.items():
            np.testing.assert_allclose(record.values[0], whole[part].values[1], atol=1e-6)


def test_a_baseline_of_ones_own(pair: tuple[ModelHandle, ModelHandle]) -> None:
    x, config = pixels(3), AttributionConfig(baseline="custom", options={"steps": 8})
    black = np.zeros((3, SIDE, SIDE), dtype=np.float32)
    maps = explain_images(*pair, x, config, baseline_image=black)
    expected = explain_images(*pair, x, AttributionConfig(baseline="black", options={"steps": 8}))
    np.testing.assert_array_equal(maps["pair"].values, expected["pair"].values)
    assert maps["pair"].baseline == "custom"
    gray = explain_images(*pair, x, config, baseline_image=black + 0.5)
    digests = {record["pair"].parameters["image"] for record in (maps, gray)}
    assert len(digests) == 2


def test_classes_of_a_student_in_another_order(pair: tuple[ModelHandle, ModelHandle]) -> None:
    """The student's outputs are renamed; the teacher's answers are not."""
    x, order = pixels(2), (1, 0, 3, 2)
    maps = explain_images(*pair, x, AttributionConfig(explained="own"), student_order=order)
    renamed = np.array(order)[answers(pair[1], x)]
    np.testing.assert_array_equal(maps["student"].explained_class, renamed)
    np.testing.assert_array_equal(maps["teacher"].explained_class, answers(pair[0], x))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "gradcam"}, "unknown attribution method 'gradcam'. Did you mean 'grad_cam'"),
        ({"baseline": "blak"}, "unknown baseline 'blak'. Did you mean 'black'"),
        ({"method": "saliency", "baseline": "black"}, "baseline 'black' for saliency"),
        ({"scalar": "kl"}, "unknown scalar 'kl' of a pair"),
        ({"explained": "pupil"}, "explained = 'pupil'; expected one of own, student, teacher"),
        ({"explained": -1}, "explained class -1; expected 0 or above"),
        ({"options": {"step": 3}}, "option 'step' of integrated_gradients"),
        ({"options": {"steps": 0}}, "steps = 0"),
        ({"options": 5}, "options = 5"),
        ({"options": {"steps": "x"}}, "options = .*expected numbers by name"),
        ({"seed": -1}, "seed = -1"),
        ({"batch": 0}, "batch = 0"),
    ],
)
def test_bad_requests_are_named(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        AttributionConfig(**values)


IMAGE = np.zeros((3, SIDE, SIDE), dtype=np.float32)


@pytest.mark.parametrize(
    ("values", "given", "message"),
    [
        ({"explained": "label"}, {}, "the label cannot be explained: there are no labels"),
        ({"explained": "label"}, {"labels": np.zeros(3, int)}, "3 labels for 2 images"),
        ({"explained": CLASSES}, {}, f"explained class {CLASSES}; expected 0 to {CLASSES - 1}"),
        ({"baseline": "custom"}, {}, "baseline 'custom' with no image"),
        ({}, {"baseline_image": IMAGE}, "baseline 'blurred' with an image"),
        (
            {"baseline": "custom"}, {"baseline_image": IMAGE[:, :4]},
            r"a baseline image of shape \(3, 4, 8\); expected \(3, 8, 8\)",
        ),
        (
            {"baseline": "custom"}, {"baseline_image": IMAGE[0]},
            r"a baseline image of type float32 and shape \(8, 8\)",
        ),
        ({"baseline": "custom"}, {"baseline_image": IMAGE + 2}, "a baseline image from 2 to 2"),
    ],
)  # fmt: skip
def test_bad_input_is_named(
    pair: tuple[ModelHandle, ModelHandle], values: dict, given: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        explain_images(*pair, pixels(2), AttributionConfig(**values), **given)
