"""Laws of the test behind slices, and of what lies below an answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from analysis.divergence.dark_knowledge import dark_divergence, order_agreement
from analysis.divergence.max_statistic import excess, max_statistic_p_values
from analysis.divergence.outputs import top_mask

DRAWS = 99


@st.composite
def groups(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(4, 30))
    count = draw(st.integers(1, 5))
    masks = draw(npst.arrays(np.bool_, (count, n)))
    return masks, draw(npst.arrays(np.bool_, n))


def statistic(masks: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    hits = masks.astype(int) @ outcome.astype(int)
    return excess(masks.sum(axis=1), hits, len(outcome), float(outcome.sum()))


@given(groups())
@settings(max_examples=60, deadline=None)
def test_what_a_group_has_more_the_others_have_less(case: tuple[np.ndarray, np.ndarray]) -> None:
    masks, outcome = case
    assert statistic(masks, outcome) == pytest.approx(-statistic(~masks, outcome), abs=1e-9)
    assert statistic(masks, outcome) == pytest.approx(-statistic(masks, ~outcome), abs=1e-9)


@given(groups())
@settings(max_examples=40, deadline=None)
def test_p_values_follow_the_statistic(case: tuple[np.ndarray, np.ndarray]) -> None:
    masks, outcome = case
    p = max_statistic_p_values(masks, outcome, draws=DRAWS, seed=1)
    assert ((p >= 1 / (1 + DRAWS)) & (p <= 1)).all()
    order = np.argsort(-statistic(masks, outcome), kind="stable")
    assert (np.diff(p[order]) >= 0).all()


@given(groups())
@settings(max_examples=40, deadline=None)
def test_a_group_twice_is_looked_at_once(case: tuple[np.ndarray, np.ndarray]) -> None:
    masks, outcome = case
    once = max_statistic_p_values(masks, outcome, draws=DRAWS, seed=2)
    twice = max_statistic_p_values(np.concatenate([masks, masks]), outcome, draws=DRAWS, seed=2)
    assert twice.tolist() == [*once, *once]


@given(groups(), npst.arrays(np.bool_, 30))
@settings(max_examples=40, deadline=None)
def test_looking_at_more_groups_costs(
    case: tuple[np.ndarray, np.ndarray], more: np.ndarray
) -> None:
    masks, outcome = case
    alone = max_statistic_p_values(masks, outcome, draws=DRAWS, seed=3)
    wider = np.concatenate([masks, more[None, : masks.shape[1]]])
    assert (max_statistic_p_values(wider, outcome, draws=DRAWS, seed=3)[:-1] >= alone).all()


logits = npst.arrays(
    np.float64, st.tuples(st.just(4), st.integers(3, 7)), elements=st.integers(-40, 40).map(float)
)


@given(logits, st.floats(0.1, 5), st.floats(-9, 9))
@settings(max_examples=60, deadline=None)
def test_an_order_survives_scaling_and_shifting(
    values: np.ndarray, scale: float, by: float
) -> None:
    other = np.roll(values, 1, axis=1)
    top = top_mask(values, 3)
    before = order_agreement(values, other, top)
    assert (np.abs(before) <= 1).all()
    assert order_agreement(values, scale * other + by, top).tolist() == before.tolist()


@given(logits, st.floats(0, 20))
@settings(max_examples=60, deadline=None)
def test_more_of_the_answer_changes_nothing_below_it(values: np.ndarray, more: float) -> None:
    other = np.roll(values, 1, axis=1)
    top = values.argmax(axis=1)
    raised = other.copy()
    raised[np.arange(len(other)), top] += more
    below = dark_divergence(values, other)
    assert (below >= 0).all()
    assert dark_divergence(values, raised) == pytest.approx(below)
