"""Output measures against slow oracles written from their definitions."""

from __future__ import annotations

import itertools
import math
from itertools import permutations

import numpy as np
import pytest
from scipy.special import rel_entr, softmax
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from analysis.divergence import answers as answers_module
from analysis.divergence.answers import read_answers
from analysis.divergence.bootstrap import (
    bootstrap_counts,
    bootstrap_mean,
    bootstrap_means,
    bootstrap_sums,
)
from analysis.divergence.calibration import ece
from analysis.divergence.classes import drift_matrix, per_class, worst_class
from analysis.divergence.outputs import (
    MEASURES,
    answer_measures,
    answer_pair,
    compare_outputs,
    top_mask,
)
from analysis.divergence.permutation import _kappa, best_permutation, find_permutation
from analysis.errors import InputError, ModelError


@pytest.fixture(name="case")
def _case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    teacher = generator.normal(size=(200, 7)).astype(np.float32) * 3
    student = teacher + generator.normal(size=teacher.shape).astype(np.float32) * 2
    return teacher, student, generator.integers(0, 7, 200)


def _oracle_samples(
    teacher: np.ndarray, student: np.ndarray, labels: np.ndarray
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in MEASURES if name != "ece"}
    for row_t, row_s, label in zip(teacher.tolist(), student.tolist(), labels, strict=True):
        p, q = softmax(np.array(row_t)), softmax(np.array(row_s))
        by_t = sorted(range(len(p)), key=lambda c: (-row_t[c], c))
        by_s = sorted(range(len(p)), key=lambda c: (-row_s[c], c))
        middle = (p + q) / 2
        found["agreement"].append(float(by_t[0] == by_s[0]))
        found["churn"].append(float(by_t[0] != by_s[0]))
        found["kl_teacher_student"].append(rel_entr(p, q).sum())
        found["kl_student_teacher"].append(rel_entr(q, p).sum())
        found["js"].append((rel_entr(p, middle).sum() + rel_entr(q, middle).sum()) / 2)
        found["top5_overlap"].append(len({*by_t[:5]} & {*by_s[:5]}) / min(5, len(p)))
        pairs = list(itertools.combinations(by_t[:5], 2))
        kept = sum(by_s.index(a) < by_s.index(b) for a, b in pairs)
        found["top5_order"].append((2 * kept - len(pairs)) / len(pairs))
        others = [c for c in range(len(p)) if c != by_t[0]]
        rest_p, rest_q = ([r[c] / sum(r[o] for o in others) for c in others] for r in (p, q))
        found["dark_kl"].append(
            sum(a * math.log(a / b) for a, b in zip(rest_p, rest_q, strict=True))
        )
        found["confidence_gap"].append(q.max() - p.max())
        found["accuracy"].append(float(by_s[0] == label))
        found["negative_flips"].append(float(by_t[0] == label and by_s[0] != label))
    return found


def test_every_measure_matches_its_oracle(case: tuple[np.ndarray, ...]) -> None:
    teacher, student, labels = case
    measured = compare_outputs(teacher, student, labels)
    for name, expected in _oracle_samples(teacher, student, labels).items():
        np.testing.assert_allclose(measured[name].per_sample, expected, atol=1e-12, err_msg=name)
        assert measured[name].value.value == pytest.approx(np.mean(expected), abs=1e-12)
    assert list(measured) == list(MEASURES)
    assert all(item.n == 200 for item in measured.values())
    assert measured["ece"].per_sample is None


def test_the_student_is_the_second_argument(case: tuple[np.ndarray, ...]) -> None:
    teacher, student, labels = case
    forward, back = compare_outputs(teacher, student, labels), compare_outputs(student, teacher)
    assert forward["kl_teacher_student"].value == back["kl_student_teacher"].value
    assert forward["kl_teacher_student"].value != forward["kl_student_teacher"].value
    assert forward["accuracy"].value == answer_measures(student, labels)["accuracy"].value
    assert forward["ece"].value == answer_measures(student, labels)["ece"].value


def test_negative_flips_count_all_labeled_samples() -> None:
    teacher = np.eye(2)[[0, 0, 1, 1]] * 9
    student = np.eye(2)[[0, 1, 0, 1]] * 9
    measured = compare_outputs(teacher, student, np.array([0, 0, 0, 1]))
    assert measured["negative_flips"].per_sample.tolist() == [0, 1, 0, 0]
    assert measured["negative_flips"].value.value == 0.25


def test_without_labels_the_labeled_measures_are_not_measured(
    case: tuple[np.ndarray, ...],
) -> None:
    measured = compare_outputs(case[0], case[1])
    unmeasured = {name for name, item in measured.items() if item.value is None}
    assert unmeasured == {"accuracy", "negative_flips", "ece"}
    assert all(measured[name].per_sample is None for name in unmeasured)
    assert {item.value for item in answer_measures(case[0]).values()} == {None}


def test_chunks_do_not_show(case: tuple[np.ndarray, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = answer_pair(case[0], case[1])
    monkeypatch.setattr(answers_module, "_CHUNK_CELLS", 100)
    pieces = answer_pair(case[0], case[1])
    np.testing.assert_array_equal(pieces.js, whole.js)
    np.testing.assert_array_equal(pieces.student.answer, whole.student.answer)


def test_extreme_logits_stay_finite() -> None:
    teacher, student = np.array([[1e4, 0.0]]), np.array([[0.0, 1e4]])
    pair = answer_pair(teacher, student)
    assert pair.kl_teacher_student[0] == pytest.approx(1e4)
    assert pair.js[0] == pytest.approx(math.log(2))


def test_ties_go_to_the_lower_class() -> None:
    logits = np.array([[1.0, 3.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0, 2.0]])
    assert read_answers(logits).answer.tolist() == [1, 0]
    first, second = top_mask(logits, 2)
    assert np.flatnonzero(first).tolist() == [1, 2]
    assert np.flatnonzero(second).tolist() == [0, 1]


def test_entropy_and_confidence(case: tuple[np.ndarray, ...]) -> None:
    p = softmax(case[0].astype(np.float64), axis=1)
    answers = read_answers(case[0])
    np.testing.assert_allclose(answers.confidence, p.max(axis=1))
    np.testing.assert_allclose(answers.entropy, [-(row * np.log(row)).sum() for row in p])


def test_bootstrap_counts_resample_with_replacement() -> None:
    blocks = list(bootstrap_counts(50, 400, 3))
    counts = np.concatenate(blocks)
    assert counts.shape == (400, 50)
    assert (counts.sum(axis=1) == 50).all()
    assert counts.max() > 1
    # Multinomial: each count has mean 1 and variance 1 - 1/n.
    assert counts.var() == pytest.approx(1 - 1 / 50, abs=0.02)
    np.testing.assert_array_equal(counts, np.concatenate(list(bootstrap_counts(50, 400, 3))))
    assert (counts != np.concatenate(list(bootstrap_counts(50, 400, 4)))).any()


def test_bootstrap_is_cut_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap_sums(np.arange(30.0)[:, None], draws=20)
    monkeypatch.setattr("analysis.divergence.bootstrap._BLOCK_CELLS", 70)
    assert [len(block) for block in bootstrap_counts(30, 5)] == [2, 2, 1]
    np.testing.assert_array_equal(bootstrap_sums(np.arange(30.0)[:, None], draws=20), whole)


def test_interval_matches_a_loop_over_resamples() -> None:
    values = np.random.default_rng(0).exponential(size=80)
    means = []
    for row in np.concatenate(list(bootstrap_counts(80, 300, 5))):
        picked = [
            value for value, times in zip(values, row, strict=True) for _ in range(int(times))
        ]
        means.append(sum(picked) / 80)
    interval = bootstrap_mean(values, draws=300, seed=5)
    assert interval.low == pytest.approx(np.percentile(means, 2.5))
    assert interval.high == pytest.approx(np.percentile(means, 97.5))


def test_interval_has_the_width_of_the_standard_error() -> None:
    values = np.random.default_rng(1).normal(size=4000)
    interval = bootstrap_mean(values)
    expected = 2 * 1.96 * values.std() / math.sqrt(4000)
    assert interval.high - interval.low == pytest.approx(expected, rel=0.1)


def test_draws_are_shared_between_measures(case: tuple[np.ndarray, ...]) -> None:
    measured = compare_outputs(*case)
    agreement, churn = measured["agreement"].value, measured["churn"].value
    assert churn.low == pytest.approx(1 - agreement.high)
    assert churn.high == pytest.approx(1 - agreement.low)


def test_ece_interval_matches_a_loop(case: tuple[np.ndarray, ...]) -> None:
    teacher, student, labels = case
    confidence = softmax(student.astype(np.float64), axis=1).max(axis=1)
    correct = student.argmax(axis=1) == labels
    values = []
    for row in np.concatenate(list(bootstrap_counts(200, 100, 9))):
        picked = np.repeat(np.arange(200), row.astype(int))
        values.append(ece(confidence[picked], correct[picked]))
    interval = compare_outputs(teacher, student, labels, seed=9, draws=100)["ece"].value
    assert interval.value == pytest.approx(ece(confidence, correct))
    assert interval.low == pytest.approx(np.percentile(values, 2.5))
    assert interval.high == pytest.approx(np.percentile(values, 97.5))


def test_a_single_sample_has_a_degenerate_interval() -> None:
    measured = compare_outputs(np.array([[0.3, 1.0]]), np.array([[2.0, 0.1]]), np.array([1]))
    for item in measured.values():
        assert item.value.low == item.value.value == item.value.high, item.name
    assert bootstrap_means(np.full((9, 1), 0.1))[0].low == 0.1


def test_per_class_by_label(case: tuple[np.ndarray, ...]) -> None:
    teacher, student, labels = case
    names = tuple("abcdefg")
    records = per_class(teacher, student, labels, names)
    samples = _oracle_samples(teacher, student, labels)
    for index, record in enumerate(records):
        rows = np.flatnonzero(labels == index)
        assert (record.index, record.name, record.n) == (index, names[index], len(rows))
        assert record.agreement.value == pytest.approx(np.array(samples["agreement"])[rows].mean())
        assert record.student_accuracy.value == pytest.approx(
            np.array(samples["accuracy"])[rows].mean()
        )
        assert record.teacher_accuracy.value == pytest.approx(
            (teacher[rows].argmax(axis=1) == index).mean()
        )
        kl = record.kl_teacher_student
        assert kl.value == pytest.approx(np.array(samples["kl_teacher_student"])[rows].mean())
        assert kl.low < kl.value < kl.high
    lowest = min(record.agreement.value for record in records)
    assert worst_class(records).agreement.value == lowest


def test_per_class_without_labels_goes_by_the_teacher(case: tuple[np.ndarray, ...]) -> None:
    teacher, student, _ = case
    records = per_class(teacher, student)
    expected = np.bincount(teacher.argmax(axis=1), minlength=7)
    assert [record.n for record in records] == expected.tolist()
    assert {record.student_accuracy for record in records} == {None}
    assert [record.name for record in records] == list("0123456")


def test_an_empty_class_is_not_measured() -> None:
    teacher = np.array([[2.0, 1.0, 0.0]] * 3)
    records = per_class(teacher, teacher, np.zeros(3, np.int64))
    assert [record.n for record in records] == [3, 0, 0]
    assert records[1].agreement is None
    assert records[1].kl_teacher_student is None
    assert worst_class(records).index == 0
    assert worst_class(records[1:]) is None


def test_the_worst_class_of_equal_agreement_has_the_higher_divergence() -> None:
    teacher = np.array([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]])
    student = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    assert worst_class(per_class(teacher, student)).index == 1
    assert worst_class(per_class(teacher, teacher)).index == 0


def test_drift_matrix_is_a_confusion_matrix(case: tuple[np.ndarray, ...]) -> None:
    teacher, student, _ = case
    expected = confusion_matrix(teacher.argmax(1), student.argmax(1), labels=range(7))
    np.testing.assert_array_equal(drift_matrix(teacher, student), expected)


def _models(
    n: int, classes: int, noise: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    generator = np.random.default_rng(seed)
    teacher = generator.normal(size=(n, classes)) * 3
    return teacher, teacher + generator.normal(size=(n, classes)) * noise, generator


@pytest.mark.parametrize("classes", [2, 10])
def test_a_permuted_student_is_found(classes: int) -> None:
    teacher, student, generator = _models(500, classes, 1.0)
    order = np.roll(np.arange(classes), 1) if classes == 2 else generator.permutation(classes)
    finding = find_permutation(teacher, student[:, order])
    # Column c of the permuted student is what the teacher calls order[c].
    assert finding.permutation == tuple(order.tolist())
    agreement = (teacher.argmax(1) == student.argmax(1)).mean()
    assert finding.agreement_after == pytest.approx(agreement)
    assert finding.agreement_before == pytest.approx(
        (teacher.argmax(1) == student[:, order].argmax(1)).mean()
    )
    assert set(finding.moved) == {c for c in range(classes) if order[c] != c}


def test_two_swapped_classes_of_many_gain_too_little() -> None:
    teacher, student, _ = _models(2000, 20, 0.5)
    order = np.arange(20)
    order[[3, 4]] = 4, 3
    assert find_permutation(teacher, student[:, order]) is None


@pytest.mark.parametrize("n", [1, 2, 5, 10, 20, 50, 1000])
def test_random_students_raise_no_alarm(n: int) -> None:
    for seed in range(40):
        generator = np.random.default_rng(seed)
        teacher, student = generator.normal(size=(2, n, 10))
        assert find_permutation(teacher, student, seed=seed) is None


@pytest.mark.parametrize("n", [30, 1000])
def test_poor_students_raise_no_alarm(n: int) -> None:
    for seed in range(20):
        teacher, student, _ = _models(n, 10, 9.0, seed)
        assert find_permutation(teacher, student) is None


def test_a_student_that_says_one_class_raises_no_alarm() -> None:
    generator = np.random.default_rng(0)
    teacher = np.eye(5)[np.where(generator.random(1000) < 0.6, 0, generator.integers(0, 5, 1000))]
    constant = np.tile(np.eye(5)[3], (1000, 1))
    # Renaming class 3 to 0 would raise the agreement from 8 to 68 %.
    assert find_permutation(teacher, constant) is None


def test_classes_that_are_never_answered_keep_their_names() -> None:
    # The student never answers classes 1 to 3.
    counts = np.zeros((5, 5), np.int64)
    counts[4, 0] = counts[0, 4] = 7
    assert best_permutation(counts).tolist() == [4, 1, 2, 3, 0]
    counts[0, 4] = 0
    assert best_permutation(counts).tolist() == [4, 1, 2, 3, 0]


def test_best_permutation_matches_exhaustive_search() -> None:
    counts = np.random.default_rng(2).integers(0, 9, (5, 5))
    best = max(sum(counts[p[c], c] for c in range(5)) for p in permutations(range(5)))
    assert counts[best_permutation(counts), np.arange(5)].sum() == best


def test_kappa_matches_scikit_learn() -> None:
    first, second = np.random.default_rng(3).integers(0, 4, (2, 300))
    assert _kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))


GOOD = np.tile([0.0, 1.0, 2.0], (4, 1))


@pytest.mark.parametrize(
    ("teacher", "student", "labels", "message"),
    [
        (GOOD, GOOD[:, :2], None, "the teacher answers 3 classes, the student 2"),
        (GOOD, GOOD[:3], None, "the teacher answered 4 samples, the student 3"),
        (GOOD[:0], GOOD[:0], None, r"logits of the teacher have shape \(0, 3\)"),
        (GOOD, GOOD[0], None, r"logits of the student have shape \(3,\)"),
        (GOOD[:, :1], GOOD[:, :1], None, "at least 1 sample and 2 classes"),
        (GOOD, GOOD, np.zeros(3, int), r"labels of shape \(3,\)"),
        (GOOD, GOOD, np.zeros(4), "type float64"),
        (GOOD, GOOD, np.array([0, 1, -1, 2]), "label -1 of sample 2; expected 0 to 2"),
        (GOOD, GOOD, np.array([0, 3, 1, 2]), "label 3 of sample 1"),
    ],
)
def test_bad_input_is_named(
    teacher: np.ndarray, student: np.ndarray, labels: np.ndarray | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        compare_outputs(teacher, student, labels)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(value: float) -> None:
    bad = GOOD.copy()
    bad[2, 1] = value
    with pytest.raises(ModelError, match=f"the student answers {value} on sample 2"):
        compare_outputs(GOOD, bad)
    with pytest.raises(ModelError, match=f"the teacher answers {value} on sample 2"):
        drift_matrix(bad, GOOD)


def test_the_row_is_named_in_any_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers_module, "_CHUNK_CELLS", 3)
    bad = GOOD.copy()
    bad[2:, 0] = np.nan
    with pytest.raises(ModelError, match="the student answers nan on sample 2"):
        compare_outputs(GOOD, bad)


def test_class_names_must_fit() -> None:
    with pytest.raises(InputError, match="2 class names for models that answer 3 classes"):
        per_class(GOOD, GOOD, None, ("a", "b"))


def test_nothing_to_draw_from() -> None:
    with pytest.raises(InputError, match="bootstrap of 0 samples with 10 draws"):
        list(bootstrap_counts(0, 10))
