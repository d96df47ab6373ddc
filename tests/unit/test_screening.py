"""Screening: scores of images, the combination, alarms for a class, and how well they find."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate

from analysis.audit.alarms import (
    enrichment,
    flip_rates,
    log_odds,
    most_extreme,
    outlier_p_values,
)
from analysis.audit.detection import auroc, detection_rate
from analysis.audit.screening import (
    ScreeningConfig,
    brittleness,
    combination_weights,
    screen_answers,
)
from analysis.errors import ConfigError, InputError

NAMES = tuple(f"class {place}" for place in range(6))


ALL = ScreeningConfig(filters="median+jpeg+flip")


def answers(count=600, classes=6, seed=0, poisoned=60, target=2):
    """Logits of a sure teacher, on images and filtered; the poison's answers break."""
    rng = np.random.default_rng(seed)
    shown = rng.integers(0, classes, count)
    said = shown.copy()
    said[:poisoned] = target
    plain = rng.normal(0, 0.3, (count, classes)) + 8 * np.eye(classes)[said]
    filtered = {
        name: plain + rng.normal(0, 0.5, plain.shape) for name in ("median", "jpeg", "flip")
    }
    for name in ("median", "jpeg"):
        filtered[name][:poisoned] = rng.normal(0, 0.3, (poisoned, classes))
        filtered[name][:poisoned] += 8 * np.eye(classes)[shown[:poisoned]]
    # A mirror that says nothing of these classes.
    filtered["flip"] = rng.permutation(plain)
    return plain, filtered, shown, np.arange(count) < poisoned


def test_brittleness_is_the_divergence_written_out():
    rng = np.random.default_rng(1)
    one, other = rng.normal(0, 3, (2, 5, 4))
    for found, z, w in zip(brittleness(one, other), one, other, strict=True):
        p = [math.exp(v) / sum(map(math.exp, z)) for v in z]
        q = [math.exp(v) / sum(map(math.exp, w)) for v in w]
        assert found == pytest.approx(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    np.testing.assert_allclose(brittleness(one, one + 3), 0, atol=1e-12)


def test_answers_of_other_shapes_are_refused():
    with pytest.raises(InputError, match="shapes"):
        brittleness(np.zeros((3, 2)), np.zeros((2, 2)))


def test_a_filter_that_changes_ordinary_images_counts_little():
    plain, filtered, labels, poisoned = answers()
    found = screen_answers(plain, filtered, labels, ALL, NAMES)
    assert found.weights["flip"] < 0.2 * found.weights["median"]
    assert sum(found.weights.values()) == pytest.approx(1)
    alone = screen_answers(plain, filtered, None, ScreeningConfig(filters="flip"), NAMES)
    assert auroc(found.score, poisoned) > 0.9 > 0.6 > auroc(alone.score, poisoned)


def test_a_mirror_has_no_part_in_it_unless_asked_for():
    """An attack that was made to survive mirrored views turns its score around."""
    assert ScreeningConfig().names == ("median", "jpeg")


def test_weights_are_one_over_the_90th_percentile():
    rng = np.random.default_rng(0)
    parts = {"a": rng.exponential(1, 101), "b": rng.exponential(5, 101), "c": np.zeros(101)}
    weights = combination_weights(parts)
    assert weights["a"] / weights["b"] == pytest.approx(
        np.sort(parts["b"])[90] / np.sort(parts["a"])[90]
    )
    assert weights["c"] / weights["a"] == pytest.approx(np.sort(parts["a"])[90] / 1e-3)


def test_the_alarm_names_the_class_of_the_poison():
    plain, filtered, labels, _ = answers()
    found = screen_answers(plain, filtered, labels, ALL, NAMES)
    tests = {alarm.test: alarm for alarm in found.alarms}
    assert set(tests) == {
        "brittle_mix", "flip_rate_median", "flip_rate_jpeg", "label_disagreement",
    }  # fmt: skip
    for alarm in tests.values():
        assert alarm.target_class == 2, alarm.test
        assert alarm.p_value < 0.05
        assert "'class 2'" in alarm.sentence
        assert alarm.statistic == max(alarm.scores)
    shown = 100 * np.mean(found.answer[found.most_brittle(60)] == 2)
    assert f"{shown:.1f} % 'class 2'" in tests["brittle_mix"].sentence


def test_without_labels_nothing_is_said_of_labels():
    plain, filtered, _, _ = answers()
    found = screen_answers(plain, filtered, None, ALL, NAMES)
    assert set(found.parts) == {"median", "jpeg", "flip"}
    assert "label_disagreement" not in {alarm.test for alarm in found.alarms}


def test_nothing_stands_out_where_nothing_was_done():
    plain, filtered, labels, _ = answers(poisoned=0)
    found = screen_answers(plain, filtered, labels, ALL, NAMES)
    assert all(alarm.p_value > 0.05 for alarm in found.alarms)


def test_two_classes_raise_no_alarm():
    plain, filtered, labels, _ = answers(classes=2, target=1, poisoned=30)
    found = screen_answers(plain, filtered, labels, ALL, NAMES[:2])
    assert [alarm.p_value for alarm in found.alarms] == [None] * len(found.alarms)


def test_the_most_brittle_come_first():
    plain, filtered, _, _ = answers()
    found = screen_answers(plain, filtered, None, ALL, NAMES)
    rows = found.most_brittle(20)
    assert found.score[rows[0]] == found.score.max()
    assert (np.diff(found.score[rows]) <= 0).all()


@pytest.mark.parametrize("filters", ["median+blur", "median+median", ""])
def test_filters_are_named_once_and_known(filters):
    with pytest.raises(ConfigError):
        ScreeningConfig(filters=filters)


def test_enrichment_is_seen_against_expected():
    score = np.array([9.0, 8, 7, 6, 1, 1, 1, 1, 1, 1])
    answer = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 2])
    found = enrichment(score, answer, 4, 0.4)
    expected = [math.log(3.5 / 1.7), math.log(1.5 / 2.1), math.log(0.5 / 1.7), 0.0]
    np.testing.assert_allclose(found, expected)


def test_flip_rates_and_their_odds():
    answer, filtered = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 1, 1])
    rates = flip_rates(answer, filtered, 3)
    np.testing.assert_allclose(rates[:2], [2 / 3, 0])
    assert np.isnan(rates[2])
    odds = log_odds(rates, np.array([3, 2, 0]))
    np.testing.assert_allclose(odds, [math.log(2.5 / 1.5), math.log(0.5 / 2.5), 0])


def test_outliers_are_judged_by_the_others():
    values = np.array([0.3, -0.2, 0.1, 4.0, 0.05])
    others = np.delete(values, 3)
    t = (4.0 - others.mean()) / (others.std(ddof=1) * math.sqrt(1.25))
    # Student's density with 3 degrees of freedom, integrated.
    constant = math.gamma(2) / (math.sqrt(3 * math.pi) * math.gamma(1.5))
    tail, _ = integrate.quad(lambda u: constant * (1 + u * u / 3) ** -2, t, math.inf)
    p_values = outlier_p_values(values)
    assert p_values[3] == pytest.approx(tail, rel=1e-6)
    np.testing.assert_allclose(outlier_p_values(3 * values - 7), p_values)
    assert most_extreme(p_values) == (3, pytest.approx(5 * tail, rel=1e-6))


def test_the_search_over_classes_alarms_no_more_often_than_it_says():
    rng = np.random.default_rng(0)
    found = [most_extreme(outlier_p_values(rng.normal(size=10)))[1] for _ in range(1500)]
    assert np.mean(np.array(found) <= 0.05) <= 0.06


def test_classes_that_cannot_be_compared_give_no_alarm():
    assert (outlier_p_values(np.array([1.0, 5, 9])) == 1).all()
    assert most_extreme(np.ones(3)) == (0, None)
    np.testing.assert_allclose(outlier_p_values(np.full(5, 2.0)), 0.5)
    # Others that are all alike do not make a slightly higher one certain.
    assert outlier_p_values(np.array([0, 0, 0, 0, 0.1]))[4] > 0.1
    with pytest.raises(InputError):
        outlier_p_values(np.array([1.0, np.nan, 2, 3]))


def test_auroc_counts_pairs():
    rng = np.random.default_rng(0)
    score, truth = rng.integers(0, 5, 40).astype(float), rng.random(40) < 0.4
    pairs = list(itertools.product(score[truth], score[~truth]))
    expected = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
    assert auroc(score, truth) == pytest.approx(expected)


def test_the_detection_rate_allows_one_false_alarm_in_a_hundred():
    score = np.concatenate([np.arange(200.0), [198.5, 197.5, 199.5, 10]])
    truth = np.arange(204) >= 200
    # Two clean images of 200 may lie above: 198 and 199.
    assert detection_rate(score, truth) == pytest.approx(3 / 4)


def test_a_truth_of_one_kind_is_refused():
    with pytest.raises(InputError, match="poisoned"):
        auroc(np.arange(3.0), np.zeros(3, dtype=bool))
