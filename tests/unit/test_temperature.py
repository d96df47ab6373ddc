"""Temperature scaling and what lies below the answer, against slow oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import kendalltau

from analysis.divergence.calibration import ece
from analysis.divergence.dark_knowledge import dark_divergence, order_agreement
from analysis.divergence.outputs import top_mask
from analysis.divergence.temperature import fit_temperature, scale_temperature
from analysis.errors import InputError


def drawn(seed: int, n: int = 600, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax: calibrated at temperature 1."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return logits, np.asarray([rng.choice(classes, p=row) for row in p])


def slow_loss(temperature: float, logits: np.ndarray, labels: np.ndarray) -> float:
    total = 0.0
    for row, label in zip(logits / temperature, labels, strict=True):
        total += math.log(sum(math.exp(value - row.max()) for value in row))
        total -= row[label] - row.max()
    return total / len(labels)


@pytest.mark.parametrize("factor", [0.2, 1.0, 3.0])
def test_the_temperature_has_the_least_loss(factor: float) -> None:
    logits, labels = drawn(1, n=200)
    found = fit_temperature(factor * logits, labels)
    best = minimize_scalar(
        lambda log_t: slow_loss(math.exp(log_t), factor * logits, labels),
        bounds=(-4, 4), method="bounded", options={"xatol": 1e-7},
    )  # fmt: skip
    assert found == pytest.approx(math.exp(best.x), rel=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100), st.floats(0.1, 10))
def test_scaled_logits_have_a_scaled_temperature(seed: int, factor: float) -> None:
    logits, labels = drawn(seed, n=120)
    one = fit_temperature(logits, labels)
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor * one, rel=1e-5)


def test_a_model_that_is_always_right_gets_the_coldest_temperature() -> None:
    logits = np.eye(3)[[0, 1, 2, 0]] * 5
    assert fit_temperature(logits, np.asarray([0, 1, 2, 0])) is None
    assert fit_temperature(logits, np.asarray([1, 2, 0, 1])) is None
    assert fit_temperature(np.zeros((4, 3)), np.asarray([1, 2, 0, 1])) is None
    with pytest.raises(InputError, match="no samples"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, int))


def test_one_half_is_fitted_and_the_other_measured() -> None:
    logits, labels = drawn(3)
    scaled = scale_temperature(3 * logits, labels, seed=5, draws=100)
    assert scaled is not None
    order = np.random.default_rng(5).permutation(len(labels))
    fitted, tested = order[:300], order[300:]
    assert (scaled.n_fitted, scaled.n_tested) == (300, 300)
    assert scaled.temperature == pytest.approx(fit_temperature(3 * logits[fitted], labels[fitted]))
    assert scaled.temperature == pytest.approx(3, rel=0.15)
    for factor, error, loss in (
        (3.0, scaled.ece_before, scaled.nll_before),
        (3.0 / scaled.temperature, scaled.ece_after, scaled.nll_after),
    ):
        values = factor * logits[tested]
        p = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
        right = p.argmax(axis=1) == labels[tested]
        assert error.value == pytest.approx(ece(p.max(axis=1), right))
        assert error.low <= error.high
        assert loss == pytest.approx(slow_loss(1, values, labels[tested]))
    assert scaled.ece_after.value < scaled.ece_before.value
    assert scaled.nll_after < scaled.nll_before


def test_what_is_measured_does_not_depend_on_how_many_rows_are_looked_at_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits, labels = drawn(5)
    whole = scale_temperature(2 * logits, labels, draws=100)
    monkeypatch.setattr("analysis.divergence.answers._CHUNK_CELLS", 7 * logits.shape[1])
    assert scale_temperature(2 * logits, labels, draws=100) == whole


def test_no_labels_no_temperature() -> None:
    logits, labels = drawn(4, n=30)
    assert scale_temperature(logits, None) is None
    assert scale_temperature(logits[:19], labels[:19]) is None
    assert scale_temperature(logits, labels) is not None


def test_the_order_is_kendalls_tau_on_the_teachers_top() -> None:
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(40, 9)), rng.normal(size=(40, 9))
    found = order_agreement(teacher, student, top_mask(teacher, 5))
    for row in range(40):
        top = np.argsort(-teacher[row])[:5]
        expected = kendalltau(teacher[row, top], student[row, top]).statistic
        assert found[row] == pytest.approx(expected)


def test_equal_logits_have_an_order_too() -> None:
    teacher = np.asarray([[1.0, 1.0, 1.0]])
    top = np.ones((1, 3), bool)
    assert order_agreement(teacher, teacher, top).tolist() == [1]
    assert order_agreement(teacher, np.asarray([[1.0, 2.0, 3.0]]), top).tolist() == [-1]


def test_being_surer_of_the_answer_does_not_enter() -> None:
    teacher = np.asarray([[5.0, 1.0, 0.0, -1.0]])
    surer = teacher + np.asarray([[4.0, 0.0, 0.0, 0.0]])
    assert dark_divergence(teacher, surer) == pytest.approx([0])
    other = np.asarray([[5.0, 0.0, 1.0, -1.0]])
    p, q = (np.exp(row[0, 1:]) / np.exp(row[0, 1:]).sum() for row in (teacher, other))
    expected = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert dark_divergence(teacher, other) == pytest.approx([expected])


def test_two_classes_leave_nothing_to_share() -> None:
    assert dark_divergence(np.eye(2), np.eye(2)[::-1]).tolist() == [0, 0]
