"""Exact intervals and areas under the ROC curve, by slow oracles."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.audit.detection import auroc
from analysis.errors import InputError
from benchmarks.zoo.rates import area, areas_of, rate, roc


def binomial_tail(n: int, chance: float, hits: range) -> float:
    """P(X in ``hits``) of a binomial X, term by term."""
    return sum(math.comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in hits)


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=60, deadline=None)
def test_the_interval_is_where_each_tail_is_one_in_forty(case: tuple[int, int]) -> None:
    hits, n = case
    found = rate(hits, n)
    assert 0 <= found.low <= hits / n <= found.high <= 1
    if hits:
        assert binomial_tail(n, found.low, range(hits, n + 1)) == pytest.approx(0.025, rel=1e-6)
    else:
        assert found.low == 0
    if hits < n:
        assert binomial_tail(n, found.high, range(hits + 1)) == pytest.approx(0.025, rel=1e-6)
    else:
        assert found.high == 1


def test_no_false_alarm_in_thirty_may_be_one_in_nine() -> None:
    assert rate(0, 30).high == pytest.approx(1 - 0.025 ** (1 / 30))
    assert str(rate(0, 30)) == "0 of 30 (0.0 % [0.0, 11.6])"


def test_nothing_tried_is_nothing_known() -> None:
    assert (rate(0, 0).low, rate(0, 0).high) == (0, 1)
    assert str(rate(0, 0)) == "none of 0"
    with pytest.raises(InputError, match="3 of 2"):
        rate(3, 2)


scored = st.lists(
    st.tuples(st.integers(0, 5).map(float), st.booleans()), min_size=2, max_size=20
).filter(lambda rows: len({truth for _, truth in rows}) == 2)


@given(scored)
@settings(max_examples=60, deadline=None)
def test_the_area_is_the_chance_of_a_right_order_and_that_under_the_curve(
    rows: list[tuple[float, bool]],
) -> None:
    scores, truth = [s for s, _ in rows], [t for _, t in rows]
    pairs = list(product([s for s, t in rows if t], [s for s, t in rows if not t]))
    expected = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
    found = area(scores, truth, ["one"] * len(rows))
    assert found is not None
    assert found.value == pytest.approx(expected)
    corners = roc(scores, truth)
    assert corners[0] == (0, 0)
    assert corners[-1] == (1, 1)
    trapezoids = sum((x2 - x1) * (y1 + y2) / 2 for (x1, y1), (x2, y2) in pairwise(corners))
    assert trapezoids == pytest.approx(expected)


def test_whole_teachers_are_drawn() -> None:
    """Two teachers: three of four draws hold both alike or one alone, so the ends are theirs."""
    scores = [1.0, 0.0, 0.0, 1.0]
    truth = [True, False, True, False]
    found = area(scores, truth, ["a", "a", "b", "b"])
    assert found is not None
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
    assert (found.positives, found.honest) == (2, 2)
    assert str(found) == "0.500 [0.000, 1.000]"


@given(scored, st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_a_draw_is_the_area_over_the_students_of_the_drawn_teachers(
    rows: list[tuple[float, bool]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scores, truth = np.array([s for s, _ in rows]), np.array([t for _, t in rows])
    owner = rng.integers(3, size=len(rows))
    counts = rng.multinomial(3, [1 / 3] * 3, size=4)
    expected = []
    for count in counts:
        drawn = np.repeat(np.arange(len(rows)), count[owner])
        if 0 < truth[drawn].sum() < len(drawn):
            expected.append(auroc(scores[drawn], truth[drawn]))
    assert areas_of(scores, truth, owner, counts) == pytest.approx(expected)


def test_one_teacher_gives_no_interval_and_one_kind_no_area() -> None:
    alone = area([1.0, 0.0], [True, False], ["a", "a"])
    assert alone is not None
    assert (alone.value, alone.low, str(alone)) == (1.0, None, "1.000")
    assert area([1.0, 0.0], [True, True], ["a", "b"]) is None
    assert area([], [], []) is None
    lopsided = area([1.0, 0.0], [True, False], ["a", "b"])
    assert lopsided is not None
    assert (lopsided.low, lopsided.high) == (1.0, 1.0)


def test_the_bootstrap_is_seeded() -> None:
    given_ = ([3.0, 1.0, 2.0, 0.0, 2.5, 1.5], [True, False] * 3, ["a", "a", "b", "b", "c", "c"])
    assert area(*given_) == area(*given_)
