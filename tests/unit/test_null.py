"""The null of a number: intervals and p-values against scipy, Holm against its definition."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.divergence.null import (
    FEWEST_TO_JUDGE,
    holm,
    judge,
    null_of,
    prediction_interval,
    prediction_p,
    rank_words,
)

THREE = (0.96, 0.97, 0.965)


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_interval_and_p_against_scipy(n):
    rng = np.random.default_rng(n)
    references = rng.normal(0.9, 0.02, n)
    scale = references.std(ddof=1) * math.sqrt(1 + 1 / n)
    slow = stats.t.interval(0.95, df=n - 1, loc=references.mean(), scale=scale)
    assert prediction_interval(references) == pytest.approx(slow)
    for value in (0.5, 0.89, references.mean(), 0.97):
        t = (value - references.mean()) / scale
        slow = 2 * stats.t.sf(abs(t), df=n - 1)
        assert prediction_p(value, references) == pytest.approx(slow)


def test_p_of_a_pooled_t_test_with_a_sample_of_one():
    # The prediction statistic is Student's two-sample t with one observation on one side.
    for value in (0.91, 0.964, 1.2):
        slow = stats.ttest_ind([value], THREE).pvalue
        assert prediction_p(value, THREE) == pytest.approx(slow)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_interval_holds_one_new_draw_in_95_of_100(n):
    rng = np.random.default_rng(7)
    draws = rng.normal(0.96, 0.004, (6000, n + 1))
    inside = 0
    for row in draws:
        low, high = prediction_interval(row[1:])
        inside += low <= row[0] <= high
    # Three standard errors of a share of 6 000.
    assert inside / len(draws) == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 6000))


def test_shares_of_few_images_are_not_called_outside_too_often():
    # Shares of 40 images move in steps of 2.5 points, and references often agree by chance.
    rng = np.random.default_rng(3)
    shares = rng.binomial(40, np.clip(rng.normal(0.97, 0.003, (6000, 4)), 0, 1)) / 40
    found = {
        step: [null_of(r[0], r[1:], resolution=step).p for r in shares.tolist()]
        for step in (0.0, 1 / 40)
    }
    assert found[0.0].count(None) > 30  # without the step, references that agree say nothing
    assert None not in found[1 / 40]
    assert np.mean([p < 0.05 / 20 for p in found[1 / 40]]) < 0.0025


def naive_holm(p_values):
    """Straight from the definition: step down, stop at the first that is not rejected."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = {}
    for place, index in enumerate(order):
        steps = [(len(order) - j) * p_values[order[j]] for j in range(place + 1)]
        adjusted[index] = min(1.0, max(steps))
    return [adjusted[i] for i in range(len(p_values))]


def test_holm_against_its_definition():
    rng = np.random.default_rng(0)
    for count in (1, 2, 7, 20):
        p_values = rng.uniform(0, 0.3, count).tolist()
        assert holm(p_values) == pytest.approx(naive_holm(p_values))
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.95, "lower than all 3"),
        (0.99, "higher than all 3"),
        (0.966, "higher than 2 of 3"),
        (0.96, "equal to the lowest of 3"),
        (0.97, "equal to the highest of 3"),
        (0.965, "higher than 1 of 3"),
    ],
)
def test_rank_in_words(value, words):
    assert rank_words(value, THREE) == words


def test_rank_among_few_and_many():
    assert rank_words(1.0, [2.0]) == "lower than the only one"
    assert rank_words(2.0, [2.0, 2.0]) == "equal to both"
    assert rank_words(2.0, [1.0, 1.5]) == "higher than both"
    assert rank_words(30.5, list(range(100))) == "higher than 31 of 100"  # no percentile


def test_few_references_say_little():
    alone = null_of(0.5, [0.9])
    assert (alone.low, alone.high, alone.p, alone.n) == (None, None, None, 1)
    two = null_of(0.0, [0.9, 0.91])
    assert two.low < 0.9 < two.high
    judged = judge({"one": alone, "two": two}, {"one", "two"})
    assert FEWEST_TO_JUDGE == 3
    assert all(null.outside is None and null.p_holm is None for null in judged.values())


def test_only_the_family_is_judged_and_only_after_correction():
    near = (0.9600, 0.9610, 0.9605, 0.9612)
    nulls = {name: null_of(0.957, near) for name in "abcdefgh"}
    (single,) = judge({"a": nulls["a"]}, {"a"}).values()
    assert single.outside
    assert single.p_holm == single.p < 0.05
    many = judge(nulls, set("abcdefg"))
    assert many["h"].outside is None
    assert many["a"].p_holm == pytest.approx(7 * nulls["a"].p)
    assert not any(null.outside for null in many.values())


def test_an_interval_ends_where_the_number_does():
    null = null_of(0.99, [0.999, 0.97, 0.95], bounds=(0.0, 1.0))
    assert null.high == 1.0
    assert null.low < 0.95


def test_references_without_spread():
    assert null_of(0.9, [0.9] * 5).p == 1.0
    assert null_of(0.8, [0.9] * 5).p is None
    assert null_of(0.89, [0.9] * 5, resolution=0.01).p > 0.05
    thirds = [0.1 + 0.2, 0.3, 0.3]
    assert null_of(0.3, thirds, resolution=0.01).p == pytest.approx(1.0)
