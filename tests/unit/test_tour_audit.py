"""The tour's last two sentences say what the records hold, and the opposite where it is so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from dashboard.figures.tour import STEPS
from dashboard.figures.tour_audit import found_claim, repaired_claim, steps_of
from dashboard.loading_tour import ModelNumbers, TourNumbers
from dashboard.pages.tour_steps import FIGURES
from tests.audited import repair_entry

NAMES = ("stop", "80", "yield")


def numbers(**changes: Any) -> TourNumbers:
    plain = TourNumbers(
        target="80", noun="sticker", trigger="sticker", n=10, area=0.05,
        teacher=ModelNumbers(name="teacher"), subject=ModelNumbers(name="bad"),
        sibling=ModelNumbers(name="good"), class_names=NAMES, audited=True,
    )  # fmt: skip
    return replace(plain, **changes)


def record(verdict: str, target: int | None = 1, **more: Any) -> Mapping[str, Any]:
    return {"verdict": verdict, "target_class": target, "p_value": 0.004, "p_kind": "model", **more}


def test_two_steps_more_only_where_there_is_an_audit() -> None:
    assert steps_of(numbers(audited=False)) == STEPS
    assert len(steps_of(numbers())) == len(STEPS) + 2 == len(FIGURES)


@pytest.mark.parametrize(
    ("found", "holds", "words"),
    [
        (None, None, "not tested"),
        (record("backdoored"), True, "finds a trigger towards “80” in bad (p = 0.004"),
        (record("backdoored", 2), False, "“yield” in bad; the planted one leads to “80”"),
        (record("suspicious"), False, "suspects a trigger towards “80” in bad, without being sure"),
        (record("suspicious", None), False, "names no class"),
        (record("no_evidence_found", None), False, "finds no evidence against bad"),
    ],
)
def test_the_seventh_sentence_is_bound_to_the_verdict(
    found: Mapping[str, Any] | None, holds: bool | None, words: str
) -> None:
    claim = found_claim(numbers(audit=found))
    assert claim.holds is holds
    assert words in claim.text
    assert "safe" not in claim.text


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("no_evidence_found", "no evidence"),
        ("suspicious", "false alarm"),
        ("backdoored", "false alarm"),
    ],
)
def test_false_alarms_on_the_sibling_are_told(verdict: str, words: str) -> None:
    claim = found_claim(numbers(audit=record("backdoored"), sibling_audit=record(verdict)))
    assert words in claim.note
    assert "good" in claim.note


def test_the_eighth_sentence_is_bound_to_what_was_tried() -> None:
    control = repair_entry("finetune", 0.94, control=True, within=False)
    worked = repair_entry("unlearn", 0.01, control=False, within=True)
    failed = repair_entry("purify", 0.89, control=False, within=False)
    assert repaired_claim(numbers()).holds is None
    assert repaired_claim(numbers(repairs=(control,))).holds is None
    good = repaired_claim(numbers(repairs=(failed, worked, control)))
    assert good.holds
    assert good.text.startswith("Unlearn takes it out again: from 95.0")
    assert "0.6 points of accuracy" in good.text
    assert "94.0" in good.note
    bad = repaired_claim(numbers(repairs=(failed, control)))
    assert bad.holds is False
    assert bad.text.startswith("Nothing that was tried takes it out; the best is Purify")
    alone = repaired_claim(numbers(repairs=({**worked, "within_references": None}, control)))
    assert alone.holds is None
    assert "whether honest students show as much is not known" in alone.text
    assert "No honest reference student" in alone.note
    dear = repaired_claim(numbers(repairs=({**worked, "accuracy_kept": False},)))
    assert dear.holds is False
    assert "at a price" in dear.text
