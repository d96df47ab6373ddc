"""Laws that every pair of models obeys."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from analysis.divergence.classes import drift_matrix, per_class
from analysis.divergence.outputs import MEASURES, answer_pair, compare_outputs

Pair = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    shape = draw(st.tuples(st.integers(1, 12), st.integers(2, 8)))
    # Multiples of 1/8 stay exact under the shifts below, so that ties stay ties.
    values = st.integers(-200, 200).map(lambda value: value / 8)
    teacher = draw(npst.arrays(np.float64, shape, elements=values))
    student = draw(npst.arrays(np.float64, shape, elements=values))
    labels = draw(npst.arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    return teacher, student, labels


@given(pairs())
@settings(max_examples=60, deadline=None)
def test_ranges_and_identities(pair: Pair) -> None:
    measured = compare_outputs(*pair, draws=20)
    value = {name: item.value.value for name, item in measured.items()}
    for name, (_, unit) in MEASURES.items():
        low, high = {"share": (0, 1), "nats": (0, math.inf), "difference": (-1, 1)}[unit]
        assert low <= value[name] <= high, name
        samples = measured[name].per_sample
        assert samples is None or ((samples >= low) & (samples <= high)).all(), name
        assert measured[name].value.low <= measured[name].value.high
    assert value["agreement"] + value["churn"] == pytest.approx(1)
    assert value["negative_flips"] <= 1 - value["accuracy"] + 1e-12
    assert value["negative_flips"] <= value["churn"] + 1e-12
    assert (measured["js"].per_sample <= math.log(2)).all()


@given(pairs())
@settings(max_examples=60, deadline=None)
def test_a_model_does_not_diverge_from_itself(pair: Pair) -> None:
    measured = compare_outputs(pair[0], pair[0], pair[2], draws=5)
    zero = ("churn", "kl_teacher_student", "kl_student_teacher", "js", "dark_kl", "confidence_gap")
    for name in zero:
        assert np.abs(measured[name].per_sample).max() < 1e-12, name
    for name in ("agreement", "top5_overlap", "top5_order"):
        assert (measured[name].per_sample == 1).all(), name
    assert measured["negative_flips"].value.value == 0


@given(pairs())
@settings(max_examples=60, deadline=None)
def test_exchanging_the_models(pair: Pair) -> None:
    forward, back = answer_pair(pair[0], pair[1]), answer_pair(pair[1], pair[0])
    np.testing.assert_allclose(forward.js, back.js, atol=1e-12)
    np.testing.assert_array_equal(forward.kl_teacher_student, back.kl_student_teacher)
    np.testing.assert_array_equal(forward.top5_overlap, back.top5_overlap)
    np.testing.assert_array_equal(drift_matrix(*pair[:2]), drift_matrix(pair[1], pair[0]).T)


@given(pairs(), st.integers(-64, 64), st.integers(-64, 64))
@settings(max_examples=60, deadline=None)
def test_a_constant_added_to_logits_changes_nothing(pair: Pair, first: int, second: int) -> None:
    teacher, student, labels = pair
    before = compare_outputs(teacher, student, labels, draws=5)
    after = compare_outputs(teacher + first, student + second, labels, draws=5)
    for name, item in before.items():
        assert item.value.value == pytest.approx(after[name].value.value, abs=1e-9), name
        if item.per_sample is not None:
            np.testing.assert_allclose(item.per_sample, after[name].per_sample, atol=1e-9)


@given(pairs(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_samples_does_not_matter(pair: Pair, random: object) -> None:
    order = np.arange(len(pair[0]))
    random.shuffle(order)
    before = compare_outputs(*pair, draws=5)
    after = compare_outputs(*(part[order] for part in pair), draws=5)
    for name, item in before.items():
        assert item.value.value == pytest.approx(after[name].value.value, abs=1e-9), name
        if item.per_sample is not None:
            np.testing.assert_array_equal(item.per_sample[order], after[name].per_sample)


@given(pairs())
@settings(max_examples=60, deadline=None)
def test_classes_add_up_to_the_whole(pair: Pair) -> None:
    measured = compare_outputs(*pair, draws=5)
    records = [record for record in per_class(*pair, draws=5) if record.n]
    n = sum(record.n for record in records)
    assert n == len(pair[0])
    for name, field in [
        ("agreement", "agreement"),
        ("accuracy", "student_accuracy"),
        ("kl_teacher_student", "kl_teacher_student"),
    ]:
        total = sum(record.n * getattr(record, field).value for record in records) / n
        assert total == pytest.approx(measured[name].value.value, abs=1e-9)
    drift = drift_matrix(*pair[:2])
    assert drift.sum() == n
    assert np.trace(drift) / n == pytest.approx(measured["agreement"].value.value)
