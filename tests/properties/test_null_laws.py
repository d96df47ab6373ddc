"""Laws of the null: units do not matter, corrections only ever soften."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from analysis.divergence.null import holm, judge, null_of, prediction_interval, prediction_p

numbers = st.floats(-100, 100, allow_nan=False)
samples = st.lists(numbers, min_size=2, max_size=8)
p_values = st.lists(st.floats(0, 1), max_size=12)


@given(numbers, samples, st.floats(0.01, 100), numbers)
def test_the_unit_does_not_matter(value, references, factor, shift):
    assume(np.std(references) > 1e-3)
    moved = [factor * other + shift for other in references]
    assert prediction_p(factor * value + shift, moved) == pytest.approx(
        prediction_p(value, references), rel=1e-5, abs=1e-9
    )


@given(numbers, samples)
def test_inside_the_interval_is_p_above_one_minus_level(value, references):
    assume(np.std(references) > 1e-3)
    low, high = prediction_interval(references)
    # On the very edge rounding decides.
    assume(min(abs(value - low), abs(value - high)) > 1e-6 * (high - low))
    assert (low < value < high) == (prediction_p(value, references) > 0.05)


@given(samples, st.floats(0.001, 0.999), st.floats(0, 1))
def test_intervals_are_nested_and_never_narrower_than_the_resolution(references, level, step):
    assume(np.std(references) > 1e-3)
    inner = prediction_interval(references, level=level * 0.99)
    outer = prediction_interval(references, level=level)
    assert outer[0] <= inner[0] <= inner[1] <= outer[1]
    coarse = prediction_interval(references, level=level, resolution=step)
    assert coarse[0] <= outer[0] <= outer[1] <= coarse[1]


@given(p_values)
def test_holm_softens_and_keeps_the_order(values):
    adjusted = holm(values)
    assert all(p <= q <= 1 for p, q in zip(values, adjusted, strict=True))
    # Between no correction and Bonferroni's.
    assert all(q <= min(1, p * len(values)) + 1e-12 for p, q in zip(values, adjusted, strict=True))
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.asarray(adjusted)[order]) >= 0).all()


@given(numbers, st.lists(numbers, min_size=1, max_size=8))
def test_exactly_one_rank_is_named(value, references):
    null = null_of(value, references)
    lower, higher = null.rank.startswith("lower than"), null.rank.startswith("higher than")
    assert lower == all(other > value for other in references)
    if higher and " of " in null.rank:
        count = int(null.rank.split()[2])
        assert count == sum(other < value for other in references)


@given(st.dictionaries(st.integers(0, 9), st.tuples(numbers, samples), max_size=6))
def test_judging_changes_nothing_but_the_verdict(table):
    nulls = {key: null_of(value, references) for key, (value, references) in table.items()}
    judged = judge(nulls, set(nulls))
    assert list(judged) == list(nulls)
    for key, null in judged.items():
        before = nulls[key]
        assert (null.p, null.rank, null.low, null.mean) == (
            before.p, before.rank, before.low, before.mean,
        )  # fmt: skip
        assert (null.outside is None) == (null.n < 3)
        if null.outside:
            assert null.p_holm < 0.05
            assert null.p <= null.p_holm
