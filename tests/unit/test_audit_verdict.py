"""From evidence to a verdict: which word, and what is never said."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from analysis.audit.null import judge_sizes
from analysis.audit.record import FamilySizes
from analysis.audit.verdict import Case, corrected, decide
from analysis.records import Finding
from tests.conftest import ROOT

CLASSES = ("one", "two", "three", "four", "five")
HONEST = np.random.default_rng(0).normal(4, 0.1, (5, 5))


def sizes(own: np.ndarray, references: np.ndarray, flips=(0.9, 0.02)) -> FamilySizes:
    return FamilySizes(
        unit="pixels",
        log_size=own,
        censored=np.zeros(len(own), dtype=bool),
        flip_student=np.full(len(own), flips[0]),
        flip_teacher=np.full(len(own), flips[1]),
        references=references,
        references_censored=np.zeros(references.shape, dtype=bool),
    )


def case(planted: float = 0.0, references: int = 5, flips=(0.9, 0.02), secondary=()) -> Case:
    own = np.random.default_rng(1).normal(4, 0.1, 5)
    own[3] -= planted
    family = sizes(own, HONEST[:references], flips)
    return Case(
        student="one",
        class_names=CLASSES,
        families={"mask": family},
        extreme=judge_sizes({"mask": own}, {"mask": family.references}),
        secondary=secondary,
        null_fit={"note": None},
        budget="standard",
        seconds_subject=1.0,
        seconds_references=5.0,
        passes=1000,
        settings={},
        trusted={},
    )


def other(p: float | None, label: int | None = 1, test: str = "strip") -> Finding:
    return Finding(
        test=test, title="Another test", sentence="It says so.", target_class=label,
        statistic=1.0, p_value=p, p_kind=None if p is None else "exact", primary=True,
    )  # fmt: skip


def test_a_planted_trigger_is_named_with_its_class():
    report = decide(case(planted=3.0))
    assert (report.verdict, report.target_class) == ("backdoored", 3)
    assert report.p_value is not None
    assert report.p_value <= 0.05
    assert report.p_kind == "model"
    assert report.p_floor == pytest.approx(1 / 6)
    assert report.primary is not None
    assert report.primary.target_class == 3
    assert "“four”" in report.sentence
    assert "90.0 %" in report.sentence
    assert report.family == "mask"


def test_an_honest_student_is_not_accused():
    report = decide(case())
    assert (report.verdict, report.target_class) == ("no_evidence_found", None)
    assert report.p_value is not None
    assert report.p_value > 0.05


@pytest.mark.parametrize("flips", [(0.9, 0.6), (0.3, 0.0), (np.nan, np.nan)])
def test_a_trigger_that_the_teacher_follows_is_only_suspicious(flips):
    report = decide(case(planted=3.0, flips=flips))
    assert (report.verdict, report.target_class) == ("suspicious", 3)


def test_without_references_the_strongest_word_is_suspicious():
    report = decide(case(planted=3.0, references=0))
    assert (report.verdict, report.target_class) == ("suspicious", 3)
    assert report.p_value is None
    assert report.p_floor is None
    assert report.mad_index is not None
    assert report.mad_index > 3.5
    assert decide(case(references=0)).verdict == "no_evidence_found"


def test_other_evidence_can_raise_to_suspicious_and_no_further():
    assert decide(case(secondary=[other(0.01)])).verdict == "suspicious"
    assert decide(case(secondary=[other(0.01)])).target_class == 1
    assert decide(case(planted=3.0, secondary=[other(0.9)])).verdict == "backdoored"
    # Corrected for two tests, 0.03 does not stand.
    pair = [other(0.03), other(0.9, test="spectral")]
    assert decide(case(secondary=pair)).verdict == "no_evidence_found"
    assert decide(case(secondary=[other(None)])).verdict == "no_evidence_found"


@pytest.mark.parametrize("planted", [0.0, 3.0])
def test_without_references_the_sentence_names_what_raised_the_verdict(planted):
    report = decide(case(planted=planted, references=0, secondary=[other(0.01)]))
    assert report.verdict == "suspicious"
    if planted:
        assert report.target_class == 3
        assert "no reference students" in report.sentence
    else:
        assert report.target_class == 1
        assert "only a secondary test speaks for it (Another test)" in report.sentence


def test_only_the_inversion_is_primary():
    report = decide(case(secondary=[other(0.5)]))
    assert [finding.primary for finding in report.evidence] == [True, False]
    assert report.evidence[1].corrected_p_value == 0.5
    assert corrected([other(0.01), other(0.02)])[0].corrected_p_value == 0.02


def test_what_was_not_tested_is_always_said():
    assert any("teacher" in text for text in decide(case()).not_tested)


WORDS = re.compile(r"\b(safe|clean bill|harmless|trustworthy|secure|not backdoored)\b", re.I)


@pytest.mark.parametrize("planted", [0.0, 3.0])
@pytest.mark.parametrize("references", [0, 2, 5])
@pytest.mark.parametrize("flips", [(0.9, 0.0), (np.nan, np.nan)])
@pytest.mark.parametrize("p", [None, 0.01])
def test_no_sentence_says_that_a_student_is_safe(planted, references, flips, p):
    report = decide(case(planted, references, flips, [other(p)] if p else []))
    said = [report.sentence, *report.not_tested, *(one.sentence for one in report.evidence)]
    assert all(text for text in said)
    assert not [text for text in said if WORDS.search(text)]


def test_no_text_of_the_audit_says_so():
    for path in [*(ROOT / "analysis" / "audit").glob("*.py"), ROOT / "dashboard/terminal_audit.py"]:
        assert not re.search(r"\b(is|are|seems|looks) safe\b", Path(path).read_text()), path
