"""Before and after: shares, paired differences, and the judgment of both."""

import numpy as np
import pytest

from analysis.remedy.outcome import Answers, Ground, judge, outcome, success_rates

LABELS = np.array([0, 1, 2, 3, 0, 1, 2, 3])
TEACHER = Answers(clean=np.array([0, 1, 2, 3, 0, 1, 2, 0]))
GROUND = Ground(labels=LABELS, teacher=TEACHER, target_recovered=1, target_true=1)
BEFORE = Answers(
    clean=np.array([0, 1, 2, 3, 0, 1, 0, 0]),
    recovered=np.array([1, 1, 1, 1, 1, 0, 1, 3]),
    true=np.full(8, 1),
)
AFTER = Answers(
    clean=LABELS.copy(), recovered=LABELS.copy(), true=np.array([0, 0, 2, 3, 0, 1, 1, 1])
)


def test_shares_and_differences_written_out():
    found = outcome(GROUND, BEFORE, AFTER, draws=200)
    assert found["before"]["accuracy"]["value"] == 6 / 8
    assert found["after"]["accuracy"]["value"] == 1
    assert found["difference"]["accuracy"]["value"] == pytest.approx(2 / 8)
    assert found["after"]["agreement"]["value"] == 7 / 8
    # Six images are not of class 1: five of them answered 1 before.
    assert found["n"]["asr_recovered"] == 6
    assert found["before"]["asr_recovered"]["value"] == pytest.approx(5 / 6)
    assert found["after"]["asr_recovered"]["value"] == 0
    assert found["after"]["asr_true"]["value"] == pytest.approx(2 / 6)


def test_the_difference_is_paired():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    same = np.where(rng.random(400) < 0.5, labels, 9)
    ground = Ground(labels=labels, teacher=Answers(clean=labels))
    found = outcome(ground, Answers(clean=same), Answers(clean=same.copy()), draws=200)
    assert found["difference"]["accuracy"] == {"value": 0, "low": 0, "high": 0}
    assert found["before"]["accuracy"]["high"] > found["before"]["accuracy"]["low"]


def test_what_cannot_be_measured_is_none():
    ground = Ground(labels=None, teacher=TEACHER)
    found = outcome(ground, BEFORE, AFTER, draws=100)
    for part in ("before", "after", "difference", "n"):
        assert found[part]["accuracy"] is None
        assert found[part]["asr_true"] is None
    assert found["before"]["agreement"]["value"] == 7 / 8


def test_without_labels_the_teacher_says_which_images_are_of_the_target():
    ground = Ground(labels=None, teacher=TEACHER, target_recovered=0)
    found = outcome(ground, BEFORE, AFTER, draws=100)
    assert found["n"]["asr_recovered"] == int((TEACHER.clean != 0).sum())


def test_a_repair_is_judged_by_honest_students():
    found = outcome(GROUND, BEFORE, AFTER, draws=100)
    honest = {"a": {"asr_true": 0.4}, "b": {"asr_true": 0.1}}
    assert judge(found, honest) == {
        "judged_by": "asr_true", "within_references": True, "accuracy_kept": True,
    }  # fmt: skip
    strict = {"a": {"asr_true": 0.3}}
    assert judge(found, strict)["within_references"] is False
    assert judge(found, {})["within_references"] is None
    worse = outcome(GROUND, AFTER, BEFORE, draws=100)
    assert judge(worse, {})["accuracy_kept"] is False


def test_rates_without_a_trigger_are_none():
    assert success_rates(GROUND, TEACHER) == {"asr_recovered": None, "asr_true": None}
    assert success_rates(GROUND, BEFORE)["asr_true"] == 1
