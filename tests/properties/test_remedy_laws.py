"""Laws of screening, localization and remedies that hold for any input."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.audit.alarms import enrichment, outlier_p_values
from analysis.audit.detection import auroc, detection_rate
from analysis.audit.localization import pointing, region_of, region_overlap
from analysis.audit.screening import brittleness, combination_weights
from analysis.divergence.answers import log_softmax
from analysis.remedy.outcome import Answers, Ground, outcome
from analysis.remedy.purification import kept_rows, mean_answer

LOGITS = arrays(np.float64, (6, 4), elements=st.floats(-20, 20))
SCORES = arrays(np.float64, 30, elements=st.floats(-100, 100, width=16))
TRUTH = arrays(np.bool_, 30).filter(lambda truth: truth.any() and not truth.all())
CLASSES = arrays(np.int64, 12, elements=st.integers(0, 3))


@given(LOGITS, LOGITS, st.floats(-5, 5))
def test_brittleness_is_a_divergence(one, other, shift):
    found = brittleness(one, other)
    assert (found >= 0).all()
    np.testing.assert_allclose(brittleness(one, one + shift), 0, atol=1e-9)
    np.testing.assert_allclose(brittleness(one + shift, other - shift), found, atol=1e-8)


@given(st.lists(arrays(np.float64, 20, elements=st.floats(0, 50)), min_size=1, max_size=4))
def test_weights_share_out_one_and_fall_with_the_filters_spread(parts):
    named = {str(place): part for place, part in enumerate(parts)}
    weights = combination_weights(named)
    assert abs(sum(weights.values()) - 1) < 1e-9
    spread = {name: max(np.quantile(part, 0.9), 1e-3) for name, part in named.items()}
    order = sorted(named, key=lambda name: spread[name])
    values = [weights[name] for name in order]
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(values))


@given(SCORES, TRUTH)
def test_auroc_turns_with_the_score_and_ignores_its_scale(score, truth):
    value = auroc(score, truth)
    assert 0 <= value <= 1
    assert abs(auroc(-score, truth) - (1 - value)) < 1e-9
    assert auroc(2 * score, truth) == value
    assert 0 <= detection_rate(score, truth) <= 1


@given(SCORES, arrays(np.int64, 30, elements=st.integers(0, 5)), st.floats(0.05, 0.5))
def test_enrichment_is_finite_and_some_class_is_not_below_its_share(score, answer, top):
    found = enrichment(score, answer, 6, top)
    assert np.isfinite(found).all()
    assert found.max() >= -1e-12


@given(arrays(np.float64, 7, elements=st.floats(-50, 50)))
def test_p_values_are_probabilities_and_order_the_classes(values):
    p_values = outlier_p_values(values)
    assert ((p_values > 0) & (p_values <= 1)).all()
    assert p_values[values.argmax()] <= p_values.min() + 1e-12


@given(arrays(np.float64, (3, 5, 5), elements=st.floats(-9, 9)), arrays(np.bool_, (5, 5)))
def test_pointing_lies_in_the_unit_interval_and_all_of_the_image_is_hit(maps, region):
    whole = pointing(maps, np.ones((5, 5), dtype=bool))
    assert whole.pointing == whole.overlap == whole.area == 1
    if region.any():
        found = pointing(maps, region).to_json()
        assert all(0 <= found[name] <= 1 for name in ("mass", "pointing", "overlap", "area"))


@given(arrays(np.bool_, (4, 4)), arrays(np.bool_, (4, 4)))
def test_overlap_is_symmetric_and_one_for_itself(one, other):
    assert region_overlap(one, other) == region_overlap(other, one)
    assert region_overlap(one, one) == (1 if one.any() else 0)
    assert region_of(one.astype(float)).any()


@given(LOGITS, st.floats(0.5, 8))
def test_the_mean_of_equal_answers_is_that_answer(logits, temperature):
    found = mean_answer([logits, logits], temperature)
    np.testing.assert_allclose(
        log_softmax(found / temperature), log_softmax(logits / temperature), atol=1e-4
    )


@given(SCORES, st.floats(0, 0.99))
def test_what_is_dropped_is_never_less_suspicious_than_what_is_kept(score, share):
    kept = kept_rows(score, share)
    dropped = np.setdiff1d(np.arange(len(score)), kept)
    assert len(dropped) == round(share * len(score))
    if len(dropped) and len(kept):
        assert score[dropped].min() >= score[kept].max()


@settings(max_examples=40)
@given(CLASSES, CLASSES, CLASSES, st.integers(0, 3))
def test_a_remedy_that_does_nothing_changes_nothing(labels, teacher, answers, target):
    ground = Ground(labels=labels, teacher=Answers(clean=teacher), target_true=target)
    same = Answers(clean=answers, true=answers)
    found = outcome(ground, same, same, draws=100)
    for name, value in found["difference"].items():
        assert value is None or value == {"value": 0, "low": 0, "high": 0}, name
        assert found["before"][name] == found["after"][name]
