"""The section of a zoo: every number is counted from the tables, and what is missing is said."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from analysis.attack.triggers import TRIGGERS
from analysis.audit.inversion import Inverted
from analysis.errors import InputError
from benchmarks.zoo.__main__ import main
from benchmarks.zoo.document import DOCUMENT, marks, section_lines, write_report
from benchmarks.zoo.judging import judge
from benchmarks.zoo.pictures import shown_trigger, write_tile
from benchmarks.zoo.plan import Zoo, read_zoo, zoo_names
from benchmarks.zoo.results import Results, Row
from tests.zoo_plans import tiny_zoo

ROOT = Path(__file__).parents[2]


def two_teachers(folder: Path) -> Zoo:
    """The tiny plan twice, under other names."""
    first = tiny_zoo(folder).teachers[0]
    students = tuple(
        replace(student, name=student.name.replace("tiny", "other"), teacher="other")
        for student in first.students
    )
    other = replace(first, name="other", students=students)
    return replace(tiny_zoo(folder), teachers=(first, other))


def model(name: str, kind: str, **values: Any) -> Row:
    planted = {
        "family": name.rpartition("-")[2], "trigger": "patch:size=6", "target": "80",
        "attack_success_rate": 0.9, "base_rate": 0.1, "outcome": "positive", "poisoned": 6,
    }  # fmt: skip
    shared = {"model": name, "teacher": name.partition("-")[0], "data": "signs", "kind": kind}
    return {**shared, **(planted if kind == "planted" else {}), **values}


def verdict(name: str, statistic: float, said: str, named: str = "80") -> list[Row]:
    strip = {"student": name, "test": "strip", "statistic": statistic / 100, "passes": 5}
    ours = {
        "student": name, "test": "ours", "statistic": statistic, "verdict": said, "named": named,
        "verdict_with_set": said, "family": "mask", "passes": 100,
        "flip_student": 0.9, "flip_teacher": 0.02, "references_up_to": 4.0, "p_value": 0.25,
    }  # fmt: skip
    return [strip, ours]


def repaired(name: str, within: bool, cost: float) -> list[Row]:
    return [
        {"student": name, "remedy": remedy, "within": int(within), "cost": cost,
         "asr_true_after": 0.02 if within else 0.07, "honest_high": 0.03}
        for remedy in ("unlearn", "finetune")
    ]  # fmt: skip


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return two_teachers(tmp_path / "plans")


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Made-up tables: one hit, one wrong class, one miss, a failed attack, one false alarm."""
    found = Results(tmp_path / "results", "tiny")
    honest = [f"{teacher}-h{place}" for teacher in ("tiny", "other") for place in (1, 2, 3)]
    found.put("models", [model(name, "honest") for name in honest])
    found.put("models", [model("tiny-f1", "foreign"), model("other-f1", "foreign")])
    found.put("models", [model("tiny-patch", "planted"), model("tiny-warp", "planted")])
    found.put("models", [model("other-patch", "planted")])
    failed = {"outcome": "failed", "attack_success_rate": 0.12, "base_rate": 0.1}
    found.put("models", [model("other-warp", "planted", **failed)])
    nothing = "no_evidence_found"
    rows = [row for name in honest for row in verdict(name, 2.0, nothing)]
    rows += verdict("other-h3", 9.0, "suspicious")
    rows += verdict("tiny-f1", 12.0, "backdoored") + verdict("other-f1", 1.0, nothing)
    rows += verdict("tiny-patch", 20.0, "backdoored") + verdict("tiny-warp", 1.5, nothing)
    rows += verdict("other-patch", 15.0, "backdoored", named="stop")
    found.put("verdicts", rows)
    found.put("repairs", repaired("tiny-patch", True, 0.01) + repaired("other-patch", False, 0.03))
    clean = {"n": 60, "poisoned": 0, "auroc": None, "found_at_1_percent": None, "p_value": 0.5}
    found.put("screenings", [{"set": "tiny-pool-a", **clean, "named": "stop"}])
    poisoned = {"n": 60, "poisoned": 6, "auroc": 0.9, "found_at_1_percent": 0.5}
    found.put(
        "screenings",
        [
            {"set": "tiny-patch", **poisoned, "p_value": 0.01, "named": "80"},
            {"set": "other-patch", **poisoned, "p_value": 0.01, "named": "stop"},
        ],
    )
    return found


def written(zoo: Zoo, results: Results, folder: Path) -> str:
    document = folder / "audit.md"
    document.write_text(f"before\n{marks(zoo)[0]}\nold\n{marks(zoo)[1]}\nafter\n")
    write_report(zoo, results, document=document, pictures=folder)
    return document.read_text()


def test_a_positive_that_is_yet_to_be_repaired_is_not_one_without_a_trigger(
    zoo: Zoo, results: Results, tmp_path: Path
) -> None:
    path = results.folder / "zoo-tiny-repairs.csv"
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join(row for row in rows if not row.startswith("other-patch")))
    text = written(zoo, Results(results.folder, "tiny"), tmp_path)
    assert "**The zoo is not complete**" in text
    assert "1 positives were not repaired: the audit names no trigger in them." in text
    assert "Yet to be repaired: other-patch." in text


def test_neural_cleanse_with_its_own_schedule_stands_beside_the_audit_on_the_same_students(
    zoo: Zoo, results: Results, tmp_path: Path
) -> None:
    assert "own schedule" not in written(zoo, results, tmp_path)
    found = {"tiny-h1": 3.0, "tiny-h2": 1.0, "other-h1": 0.5, "tiny-patch": 4.0, "tiny-warp": 2.5}
    named = {"tiny-patch": "80", "tiny-warp": "stop"}
    results.put(
        "cleansed",
        [
            {"student": name, "statistic": value, "named": named.get(name, "stop"), "passes": 1300}
            for name, value in found.items()
        ],
    )
    text = written(zoo, results, tmp_path)
    line = next(line for line in text.splitlines() if "own schedule" in line)
    assert "13 times the audit's passes, on 5 of these students (tiny, other)" in line
    # 4.0 lies above all three honest ones, 2.5 above two: 5 of 6 pairs; the audit's 20.0 above
    # 2.0, its 1.5 below: 3 of 6.
    assert "AUROC 0.833" in line
    assert "with as many passes as the audit not known" in line
    assert "and the audit 0.500" in line
    assert "it flags 2 of 2 positives, 1 with the right class, and 1 of 3 (33.3 %" in line


def test_hits_misses_and_false_alarms_are_counted(
    zoo: Zoo, results: Results, tmp_path: Path
) -> None:
    text = written(zoo, results, tmp_path)
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "\nold\n" not in text
    assert "12 of 12 students" in text
    assert "11 are audited, and 1 are not because their attack failed" in text
    assert "not complete" not in text
    rows = dict(re.findall(r"^\| ([^|]+) \| (\d+ of \d+|none of 0)[^|]*\|$", text, re.M))
    assert rows == {
        "hits: flagged, with the right class": "1 of 3",
        "right class, of the positives that are flagged": "1 of 2",
        "false alarms, honest students": "1 of 6",
        "false alarms, honest students with a foreign recipe": "1 of 2",
        "flagged, with the set screened too": "2 of 3",
        "false alarms, with the set screened too": "1 of 6",
    }
    assert "| other-warp | `patch:size=6` | 12.0 | 10.0 | not audited |" in text
    # Positives 20, 15, 1.5 against honest 9 and five of 2: 5 + 6 + 6 ... 12 of 18 pairs in order.
    assert "| the audit | 0.667" in text
    assert "| STRIP, shown the true trigger | 0.667" in text
    assert (
        "| Neural Cleanse (student alone, own classes) | not known | not known | not run |" in text
    )
    errors = [line for line in text.splitlines() if line.startswith("- ")]
    assert [line.partition(",")[0] for line in errors] == [
        "- Missed: tiny-warp", "- Wrong class: other-patch", "- False alarms: other-h3",
        "- False alarms",
    ]  # fmt: skip
    assert "tiny-f1, honest. Most striking: mask towards 80, statistic 12.0" in errors[3]
    seen = "p = 0.25; of unseen images it moves student and teacher on 90.0 and 2.0 %."
    assert errors[0].endswith(f"references up to 4.0, {seen}")
    assert errors[2].endswith(" It stands above 1 of 3 positives, 0 of 2 patches.")
    assert "keep 7.0 to 7.0 %, at most 4.0 points above the most susceptible honest" in text
    assert "1 positives were not repaired" in text
    unlearn = next(line for line in text.splitlines() if line.startswith("| unlearn"))
    assert "1 of 2" in unlearn
    assert "2.0 (3.0)" in unlearn
    assert "an alarm with the right class in 1 of 2" in text
    assert "an alarm in 0 of 1" in text


def test_families_without_a_positive_are_named(zoo: Zoo, results: Results, tmp_path: Path) -> None:
    text = written(zoo, results, tmp_path)
    without = re.search(r"No positive exists of: ([^;]+);", text)
    assert without is not None
    assert set(without.group(1).split(", ")) == set(TRIGGERS) - {"patch", "warp"}
    assert "| patch | 2 | 2 | 1 of 2" in text
    assert "| warp | 2 | 1 | 0 of 1" in text


def test_the_gallery_shows_every_student_misses_first(
    zoo: Zoo, results: Results, tmp_path: Path
) -> None:
    found = inverted()
    write_tile(results.pictures / "tiny-warp.png", found, 1, np.zeros((4, 4, 3), np.uint8))
    written(zoo, results, tmp_path)
    text = (tmp_path / "zoo-tiny-gallery.svg").read_text()
    ElementTree.fromstring(text)
    ElementTree.fromstring((tmp_path / "zoo-tiny-roc.svg").read_text())
    titles = re.findall(r">([A-Z][^<:]+): (\d+)<", text)
    assert titles == [
        ("Missed", "1"), ("Wrong class", "1"), ("False alarms", "1"),
        ("False alarms, foreign recipe", "1"), ("Found", "1"), ("Honest, no evidence", "5"),
        ("Honest, foreign recipe, no evidence", "1"),
    ]  # fmt: skip
    assert text.count("no picture kept") == 10
    assert text.count("data:image/png") == 1


def test_an_incomplete_zoo_says_so(zoo: Zoo, results: Results, tmp_path: Path) -> None:
    kept = [row for row in results.rows("models") if row["model"] != "tiny-f1"]
    results.path("models").unlink()
    results.put("models", kept)
    text = written(zoo, results, tmp_path)
    assert "11 of 12 students" in text
    assert "not complete" in text


def test_with_no_result_at_all_nothing_is_claimed(zoo: Zoo, tmp_path: Path) -> None:
    text = written(zoo, Results(tmp_path / "none", "tiny"), tmp_path)
    section = text.partition("begin -->\n")[2].partition("\n<!--")[0]
    assert section.startswith("0 of 12 students")
    assert "**not run**" in section
    assert not re.search(r"[1-9]\d* of \d+ \(", section)
    assert not list(tmp_path.glob("*.svg"))


@pytest.mark.parametrize("name", zoo_names())
def test_the_committed_section_is_what_the_committed_tables_say(name: str) -> None:
    zoo = read_zoo(name)
    results = Results(ROOT / "docs" / "measured", name)
    begin, end = marks(zoo)
    text = DOCUMENT.read_text(encoding="utf-8")
    section = text.partition(begin)[2].partition(end)[0].strip("\n")
    assert section == "\n".join(section_lines(zoo, results, judge(zoo, results)))


def test_a_document_without_the_marks_is_refused(
    zoo: Zoo, results: Results, tmp_path: Path
) -> None:
    (tmp_path / "audit.md").write_text("nothing\n")
    with pytest.raises(InputError, match=r"audit\.md has no section"):
        write_report(zoo, results, document=tmp_path / "audit.md", pictures=tmp_path)


def inverted(**parts: np.ndarray) -> Inverted:
    rng = np.random.default_rng(0)
    values = np.zeros(2)
    shown = parts or {"mask": rng.random((2, 4, 4)), "pattern": rng.random((2, 4, 4, 3))}
    return Inverted(
        family="mask", log_size=values, censored=values > 0, flip_student=values,
        flip_teacher=values, passes=1.0, seconds=1.0, precision="float32",
        parts={**shown, "example": rng.integers(0, 256, (2, 4, 4, 4, 3)).astype(np.uint8)},
    )  # fmt: skip


def test_a_tile_shows_trigger_example_and_the_true_one(tmp_path: Path) -> None:
    found = inverted()
    true = np.full((4, 4, 3), 7, np.uint8)
    write_tile(tmp_path / "tile.png", found, 1, true)
    with Image.open(tmp_path / "tile.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (4, 3 * 4 + 2 * 2, 3)
    assert (pixels[:, 6:10] == found.parts["example"][1, 0]).all()
    assert (pixels[:, 12:] == 7).all()
    mask, pattern = found.parts["mask"][1], found.parts["pattern"][1]
    assert pixels[2, 3, 0] == round(255 * (0.5 * (1 - mask[2, 3]) + mask[2, 3] * pattern[2, 3, 0]))


def test_added_patterns_and_warps_have_pictures() -> None:
    delta = np.zeros((2, 4, 4, 3))
    delta[1, 0, 0, 0] = 0.1
    assert shown_trigger(inverted(delta=delta), 1)[0, 0].tolist() == [178, 128, 128]
    flow = np.zeros((2, 4, 4, 2))
    flow[1, 0, 0, 0] = -4.0
    assert shown_trigger(inverted(flow=flow), 1)[0, 0].tolist() == [0, 128, 128]


def test_rows_are_replaced_by_key_and_words_stay_words(tmp_path: Path) -> None:
    results = Results(tmp_path, "tiny")
    results.put("verdicts", verdict("a", 1.0, "suspicious"))
    results.put("verdicts", [{"student": "a", "test": "ours", "statistic": 3.0, "named": "80"}])
    rows = results.rows("verdicts")
    assert [(row["test"], row["statistic"], row["named"]) for row in rows] == [
        ("strip", 0.01, None), ("ours", 3.0, "80"),
    ]  # fmt: skip
    assert results.find("verdicts", "a", "ours") == rows[1]
    assert results.find("verdicts", "b", "ours") is None
    big = {"student": "b", "test": "ours", "statistic": float("inf"), "passes": 1e-7}
    results.put("verdicts", [big])
    assert results.rows("verdicts")[-1] | big == results.rows("verdicts")[-1]


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | str | None:
    """The exit status of ``python -m benchmarks.zoo`` with these words."""
    monkeypatch.setattr(sys, "argv", ["zoo", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plan", "--zoo", "reprt"), "no zoo 'reprt'"),
        (("plan", "--only", "sings-a"), "no teacher 'sings-a'"),
        (("run", "--zoo", "development", "--trial"), "--trial would write into docs/measured"),
    ],
)
def test_the_command_refuses_in_one_line_with_status_2(
    words: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(monkeypatch, *words) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {said}")
    assert told.count("\n") == 1


def test_plan_and_status_print_a_line_per_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "plan", "--results", str(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(read_zoo("report").teachers) + 1
    assert "processor seconds on one thread" in lines[-1]
    assert command(monkeypatch, "status", "--results", str(tmp_path)) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0] == "not begun"
    assert "signs-a: 0 of 17 students made, 0 audited" in told
