"""Laws of the audit's statistics."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analysis.audit.null import corroborated, holm, p_value_of, smallness

NUMBERS = st.floats(-50, 50)
NULLS = st.lists(NUMBERS, min_size=1, max_size=25)
SHAPES = st.tuples(st.integers(3, 6), st.integers(1, 3), st.integers(2, 6))


@given(NUMBERS, NULLS, st.integers(1, 400))
def test_p_is_never_zero_and_never_above_one(statistic: float, null: list, tests: int) -> None:
    p, _ = p_value_of(statistic, null, tests=tests)
    assert 0 < p <= 1


@given(NUMBERS, st.floats(0, 20), NULLS, st.integers(1, 400))
def test_a_more_extreme_statistic_never_has_a_larger_p(
    statistic: float, more: float, null: list, tests: int
) -> None:
    stronger, _ = p_value_of(statistic + more, null, tests=tests)
    assert stronger <= p_value_of(statistic, null, tests=tests)[0]


@given(NUMBERS, NULLS, st.randoms())
def test_the_order_of_the_references_does_not_matter(statistic, null, random) -> None:
    mixed = list(null)
    random.shuffle(mixed)
    assert p_value_of(statistic, mixed, tests=8) == p_value_of(statistic, null, tests=8)


@given(SHAPES, st.integers(0, 1000))
def test_students_are_judged_alike(shape: tuple, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, order = rng.normal(size=shape), rng.permutation(shape[0])
    np.testing.assert_allclose(smallness(values[order]), smallness(values)[order], atol=1e-9)


@given(SHAPES, st.integers(0, 1000))
def test_how_easy_a_class_is_for_everybody_does_not_matter(shape: tuple, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, easy = rng.normal(size=shape), rng.normal(size=(1, *shape[1:]))
    np.testing.assert_allclose(smallness(values + easy), smallness(values), atol=1e-9)


@given(st.tuples(st.integers(3, 6), st.integers(1, 3), st.integers(4, 6)), st.integers(0, 1000))
def test_a_smaller_trigger_is_stranger(shape: tuple, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=shape)
    scores, numbers = [], []
    for less in (0.0, 1.0, 2.0, 4.0):
        smaller = values.copy()
        smaller[0, 0, 0] -= less
        scores.append(smallness(smaller)[0, 0, 0])
        numbers.append(corroborated(smallness(smaller))[0, 0])
    # While the class is the student's middle one, it moves the middle along and stays at 0.
    assert np.all(np.diff(scores) >= 0)
    assert scores[-1] > scores[0]
    assert np.all(np.diff(numbers) >= 0)


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=8))
def test_correction_never_helps_and_keeps_the_order(p: list) -> None:
    corrected = holm(p)
    assert all(a >= b for a, b in zip(corrected, p, strict=True))
    rank = np.argsort(p, kind="stable")
    assert np.all(np.diff(np.array(corrected)[rank]) >= 0)
