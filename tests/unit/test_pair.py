"""The pair's maps: student minus teacher where that is exact, a pass of their own elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from scipy.special import rel_entr, softmax
from torch import nn

from analysis.attribution.baselines import BASELINES, blur, blur_sigma
from analysis.attribution.catalog import BASELINE_DESCRIPTIONS, METHOD_CARDS, PAIR_FORMULAS
from analysis.attribution.copies import inference_copy
from analysis.attribution.maps import attribute
from analysis.attribution.methods import METHODS
from analysis.attribution.pair import PairModel, attribute_pair
from analysis.attribution.scalars import PAIR_SCALARS, logit_margin
from analysis.errors import InputError
from analysis.models.handle import ModelHandle
from tests.attribution_nets import (
    CLASSES,
    SIDE,
    Residual,
    handle_of,
    linear_net,
    pixels,
    smooth_net,
)


@pytest.fixture(scope="module")
def pair() -> tuple[ModelHandle, ModelHandle]:
    return handle_of(smooth_net(1)), handle_of(smooth_net(2))


def test_the_catalog_lists_what_can_be_computed() -> None:
    assert list(METHOD_CARDS) == list(METHODS)
    assert list(BASELINE_DESCRIPTIONS) == list(BASELINES)
    assert list(PAIR_FORMULAS) == list(PAIR_SCALARS)


def captum_map(
    pair: tuple[ModelHandle, ModelHandle], x: np.ndarray, c: np.ndarray, scalar: str, steps: int
) -> np.ndarray:
    """What a user of captum would do: integrated gradients of one module."""
    inputs = torch.from_numpy(x).double()
    model = PairModel(*pair, scalar)
    assert isinstance(model, nn.Module)
    maps = IntegratedGradients(model).attribute(
        inputs,
        blur(inputs, blur_sigma(SIDE, SIDE)),
        additional_forward_args=(torch.from_numpy(c),),
        n_steps=steps,
        method="gausslegendre",
    )
    return maps.sum(1).detach().numpy()


@pytest.mark.parametrize("scalar", PAIR_SCALARS)
def test_pair_map_is_captums_map_of_the_pair(
    pair: tuple[ModelHandle, ModelHandle], scalar: str
) -> None:
    x, c = pixels(3), np.array([0, 3, 1])
    maps = attribute_pair(*pair, x, c, scalar=scalar, steps=9, batch=2)
    expected = captum_map(pair, x, c, scalar, 9)
    np.testing.assert_allclose(maps["pair"].values, expected, atol=1e-8)
    assert np.abs(expected).max() > 1e-4
    assert maps["pair"].scalar == PAIR_SCALARS[scalar].formula
    # The margin has a kink wherever the runner-up changes, and nine steps meet it.
    assert maps["pair"].completeness_error.max() < (0.5 if "margin" in scalar else 1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scalar", PAIR_SCALARS)
def test_linear_methods_subtract_and_the_others_do_not(
    pair: tuple[ModelHandle, ModelHandle], method: str, scalar: str
) -> None:
    x = pixels(3)
    maps = attribute_pair(*pair, x, 1, method=method, scalar=scalar)
    subtracted = maps["student"].values - maps["teacher"].values
    same = np.allclose(maps["pair"].values, subtracted, atol=1e-6)
    assert same == (METHODS[method].linear and PAIR_SCALARS[scalar].difference_of is not None)


def test_saliency_of_the_pair_is_the_absolute_difference_of_gradients(
    pair: tuple[ModelHandle, ModelHandle],
) -> None:
    x = torch.from_numpy(pixels(2)).double()
    gradients = []
    for handle in pair:
        inputs = x.clone().requires_grad_()
        gradients.append(torch.autograd.grad(handle(inputs).softmax(1)[:, 2].sum(), inputs)[0])
    expected = (gradients[1] - gradients[0]).abs().sum(1).numpy()
    maps = attribute_pair(*pair, pixels(2), 2, method="saliency")
    np.testing.assert_allclose(maps["pair"].values, expected, atol=1e-7)


def test_scalars_against_numpy() -> None:
    generator = np.random.default_rng(0)
    t, s = generator.normal(size=(2, 5, CLASSES))
    c = np.array([0, 1, 2, 3, 0])
    rows = np.arange(5)
    margins = [
        np.array([z[i, k] - np.delete(z[i], k).max() for i, k in enumerate(c)]) for z in (t, s)
    ]
    p_t, p_s = softmax(t, axis=1), softmax(s, axis=1)
    expected = {
        "p_student_minus_teacher": p_s[rows, c] - p_t[rows, c],
        "margin_student_minus_teacher": margins[1] - margins[0],
        "kl_teacher_student": rel_entr(p_t, p_s).sum(1),
    }
    assert set(expected) == set(PAIR_SCALARS)
    tensors = [torch.from_numpy(a) for a in (t, s, c)]
    for name, values in expected.items():
        np.testing.assert_allclose(PAIR_SCALARS[name].function(*tensors).numpy(), values)
    assert (logit_margin(tensors[0], tensors[0].argmax(1)) > 0).all()


def test_defaults_explain_the_students_answer(pair: tuple[ModelHandle, ModelHandle]) -> None:
    x = pixels(6)
    maps = attribute_pair(*pair, x, steps=4)
    answer = pair[1](torch.from_numpy(x)).argmax(1).numpy()
    assert list(maps) == ["teacher", "student", "pair"]
    for record in maps.values():
        np.testing.assert_array_equal(record.explained_class, answer)


def test_the_teacher_may_explain_a_class_of_its_own(pair: tuple[ModelHandle, ModelHandle]) -> None:
    x, c, own = pixels(4), np.array([0, 1, 2, 3]), np.array([0, 2, 2, 1])
    maps = attribute_pair(*pair, x, c, teacher_class=own, steps=6)
    plain = attribute_pair(*pair, x, c, steps=6)
    alone = attribute(pair[0], x, own, steps=6)
    np.testing.assert_allclose(maps["teacher"].values, alone.values, atol=1e-7)
    np.testing.assert_allclose(
        maps["teacher"].completeness_error, alone.completeness_error, atol=1e-5
    )
    np.testing.assert_array_equal(maps["teacher"].explained_class, own)
    np.testing.assert_array_equal(maps["pair"].values, plain["pair"].values)
    assert np.abs(maps["teacher"].values - plain["teacher"].values).max(axis=(1, 2)).astype(
        bool
    ).tolist() == [False, True, False, True]


class Reordered(nn.Module):
    """A student whose output ``j`` is class ``order[j]``."""

    def __init__(self, inner: nn.Module, order: list[int]) -> None:
        super().__init__()
        self.inner, self.order = inner, order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)[:, self.order]


@pytest.mark.parametrize("method", METHODS)
def test_one_image_is_the_same_as_among_many(
    pair: tuple[ModelHandle, ModelHandle], method: str
) -> None:
    x = pixels(3)
    whole = attribute_pair(*pair, x, method=method)
    for part, record in attribute_pair(*pair, x[1:2], method=method).items():
        np.testing.assert_allclose(record.values[0], whole[part].values[1], atol=1e-6)


def test_classes_in_another_order(pair: tuple[ModelHandle, ModelHandle]) -> None:
    order = [2, 0, 3, 1]
    student = handle_of(Reordered(smooth_net(2), order))
    back = tuple(order.index(k) for k in range(CLASSES))
    given = attribute_pair(pair[0], student, pixels(3), student_order=back, steps=5)
    expected = attribute_pair(*pair, pixels(3), steps=5)
    for key, record in expected.items():
        np.testing.assert_allclose(given[key].values, record.values, atol=1e-7)
        np.testing.assert_array_equal(given[key].explained_class, record.explained_class)


def test_a_model_against_itself_differs_nowhere() -> None:
    handle = handle_of(Residual())
    maps = attribute_pair(handle, handle, pixels(2), steps=4)
    assert np.abs(maps["pair"].values).max() == 0
    assert np.abs(maps["student"].values).max() > 0


def test_copies_are_taken_as_they_are(pair: tuple[ModelHandle, ModelHandle]) -> None:
    x = pixels(2)
    copies = [inference_copy(handle, torch.from_numpy(x)) for handle in pair]
    maps = attribute_pair(*copies, x, 0, steps=4)
    expected = attribute_pair(*pair, x, 0, steps=4)
    np.testing.assert_array_equal(maps["pair"].values, expected["pair"].values)


@pytest.mark.parametrize(
    ("scalar", "own", "total"),
    [
        ("p_student_minus_teacher", None, 10),
        ("p_student_minus_teacher", 1, 15),
        ("kl_teacher_student", 1, 15),
    ],
)
def test_progress_counts_every_pass(
    pair: tuple[ModelHandle, ModelHandle], scalar: str, own: int | None, total: int
) -> None:
    seen: list[tuple[str, int, int]] = []
    attribute_pair(
        *pair, pixels(5), 0, teacher_class=own, scalar=scalar, steps=2, batch=3,
        progress=lambda *state: seen.append(state),
    )  # fmt: skip
    assert seen[-1] == ("attribution", total, total)
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})


def test_unequal_classes_are_refused(pair: tuple[ModelHandle, ModelHandle]) -> None:
    student = handle_of(linear_net(classes=3), classes=3)
    with pytest.raises(InputError, match="teacher of 4 classes and a student of 3"):
        attribute_pair(pair[0], student, pixels(2))


def test_unknown_scalars_are_refused(pair: tuple[ModelHandle, ModelHandle]) -> None:
    with pytest.raises(InputError, match="unknown scalar 'kl' of a pair"):
        attribute_pair(*pair, pixels(2), scalar="kl")


def test_an_order_for_a_copy_is_refused(pair: tuple[ModelHandle, ModelHandle]) -> None:
    student = inference_copy(pair[1], torch.from_numpy(pixels(2)))
    with pytest.raises(InputError, match=r"student_order with a copy.*class_order"):
        attribute_pair(pair[0], student, pixels(2), student_order=(1, 0, 2, 3))
