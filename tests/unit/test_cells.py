from __future__ import annotations

import pytest

from analysis.records import Interval
from dashboard.figures.cells import (
    ORDER,
    WORKS,
    CellRow,
    alone,
    cell_claim,
    cell_rows,
    cell_table,
    gain,
    works,
)
from dashboard.theme import LIGHT

MODELS = {"teacher": "teacher", "bad": "subject", "good": "control"}


def shares(rate: float, base: float) -> dict[str, Interval | None]:
    return {
        "attack_success_rate": Interval(rate, rate - 0.01, rate + 0.01),
        "base_rate": Interval(base, 0.0, 0.02),
        "accuracy": Interval(0.9, 0.88, 0.92),
    }


def rows(chosen: str, *, bad: float = 0.95, teacher: float = 0.02) -> list[CellRow]:
    measures = {
        ("teacher", "trigger"): shares(teacher, 0.01),
        ("bad", "trigger"): shares(bad, 0.015),
        ("good", "trigger"): shares(0.03, 0.01),
        ("bad", "clean"): {"accuracy": Interval(0.93, 0.9, 0.95)},
    }
    return cell_rows(MODELS, measures, chosen=chosen)


def test_rates_land_in_their_cells_and_the_rest_is_not_measured() -> None:
    bad = rows("bad")[1]
    assert bad.rate["trigger"].value == 0.95
    assert bad.rate["clean"].value == 0.015, "the base rate: same images, no trigger"
    assert bad.rate["perturbation"] is None
    assert bad.accuracy["clean"].value == 0.93
    table = cell_table(rows("bad"), "80", dict.fromkeys(ORDER[1:], 1875), LIGHT)
    assert table.count(">95.0<") == 1
    assert table.count("–") >= 6, "what was not measured is a dash, never zero"
    assert table.count("1\N{NARROW NO-BREAK SPACE}875") == 4, "clean: those with the trigger"
    marks = [table.count(f'class="{mark}"') for mark in ("ds-circle", "ds-square", "ds-grey")]
    assert marks == [1, 1, 1], "the teacher, the chosen student, a reference"
    assert table.count("ds-alarm") == 1
    assert "and % right" in table


@pytest.mark.parametrize(
    ("chosen", "bad", "teacher", "words"),
    [
        ("bad", 0.95, 0.02, "works on this student alone: 95.0\u202f%"),
        ("good", 0.95, 0.02, "does not single this student out: 3.0\u202f%"),
        ("bad", 0.30, 0.02, "moves this student more than its teacher: 30.0\u202f%"),
        ("bad", 0.95, 0.90, "does not single this student out: 95.0\u202f%"),
    ],
)
def test_the_sentence_follows_the_numbers(
    chosen: str, bad: float, teacher: float, words: str
) -> None:
    claim = cell_claim(rows(chosen, bad=bad, teacher=teacher), "80")
    assert words in claim
    assert f"{100 * teacher:.1f}\u202f% by the teacher" in claim


def test_without_numbers_there_is_no_claim() -> None:
    assert cell_claim(cell_rows(MODELS, {}, chosen="bad"), "80") is None
    assert cell_claim(rows("nobody"), "80") is None


def test_hostile_names_stay_text() -> None:
    evil = "<img src=x onerror=alert(1)>"
    made = cell_rows({evil: "subject"}, {(evil, "trigger"): shares(0.9, 0.1)}, chosen=evil)
    table = cell_table(made, evil, {}, LIGHT)
    assert "<img src=x" not in table
    assert "&lt;img" in table


def test_a_trigger_works_beyond_the_base_rate() -> None:
    assert gain(Interval(0.9), Interval(0.2)) == pytest.approx(0.7)
    assert gain(Interval(0.9), None) == 0.9, "an unknown base rate is not held against it"
    assert works(Interval(WORKS), None)
    assert not works(Interval(0.95), Interval(0.4))
    assert alone(Interval(0.9), [Interval(0.44), None])
    assert not alone(Interval(0.9), [Interval(0.01), Interval(0.45)])
