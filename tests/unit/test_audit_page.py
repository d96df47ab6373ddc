"""The Audit page: what it says with and without an audit, and that it never says more."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from analysis.audit.families import FAMILIES
from analysis.records import Finding
from analysis.store import Study, StudyWriter, writing
from dashboard.figures import (
    audit_classes,
    audit_evidence,
    audit_trigger,
    localization,
    repairs,
    screening,
)
from dashboard.figures.numbers import NOT_MEASURED, THIN, said
from dashboard.loading import STUDY_VARIABLE
from dashboard.theme import DARK, LIGHT
from tests.audited import TARGET, make_audited, repair_entry, report, sizes

NAMES = [f"class {place}" for place in range(8)]


def script() -> None:
    from dashboard import app

    app.render(app.PAGES["Audit"])


Open = Callable[[Path], AppTest]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Open:
    def start(folder: Path) -> AppTest:
        monkeypatch.setenv(STUDY_VARIABLE, str(folder))
        return AppTest.from_function(script, default_timeout=60).run()

    return start


def text_of(at: AppTest) -> str:
    assert not at.exception, [item.value for item in at.exception]
    return " ".join(item.proto.body for item in at.get("html"))


def test_without_an_audit_the_page_says_so_and_how_to_make_one(
    tiny_study: Path, opened: Open
) -> None:
    text = text_of(opened(tiny_study))
    assert "Not tested" in text
    assert "distillscope audit tiny --student alpha" in text
    assert "Evidence" not in text.replace("no evidence", "")


def test_the_page_shows_what_the_records_hold(
    tiny_study: Path, tmp_path: Path, opened: Open
) -> None:
    at = opened(make_audited(tiny_study, tmp_path))
    text = text_of(at)
    for words in (
        "Smallest trigger", "primary test", "p = 0.004<div>fitted tail</div>",
        "Not part of this budget",
        "12 s for the student, 48 s for its references", "No p-value below 0.2", f"93.0{THIN}%",
        "unlearn", "brought the target back", "triggers hidden in the teacher",
    ):  # fmt: skip
        assert words in text, words
    specs = [json.loads(item.proto.spec) for item in at.get("plotly_chart")]
    assert any("20 px; next smallest 8" in json.dumps(spec) for spec in specs)


def test_another_student_of_the_study_is_not_said_to_be_tested(
    tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STUDY_VARIABLE, str(make_audited(tiny_study, tmp_path)))
    at = AppTest.from_function(script, default_timeout=60)
    at.query_params["student"] = "beta"
    text = text_of(at.run())
    assert "Not tested" in text
    assert "primary test" not in text


def test_no_verdict_ever_says_that_a_student_is_safe(
    tiny_study: Path, tmp_path: Path, opened: Open
) -> None:
    clean = make_audited(tiny_study, tmp_path, verdict="no_evidence_found", target_class=None)
    text = text_of(opened(clean)).lower()
    assert "no evidence" in text
    assert "safe" not in text
    assert "clean bill" not in text


def finding(**changes: Any) -> Finding:
    values: dict[str, Any] = {"test": "t", "title": "T", "sentence": "S.", "statistic": 2.0}
    return Finding(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"statistic": None}, "not_run"),
        ({"p_value": 0.05, "p_kind": "exact", "primary": True}, "outside"),
        ({"p_value": 0.06, "p_kind": "exact", "primary": True}, "inside"),
        ({"p_value": 0.01, "p_kind": "exact", "corrected_p_value": 0.04}, "outside"),
        ({"p_value": 0.01, "p_kind": "exact", "corrected_p_value": 0.2}, "weaker"),
        ({"null": (0.1, 1.9)}, "weaker"),
        ({"null": (0.1, 2.1)}, "inside"),
        ({}, "no_null"),
        ({"primary": True}, "no_null"),
    ],
)
def test_a_test_is_outside_only_by_its_own_rule(changes: dict[str, Any], state: str) -> None:
    assert audit_evidence.state_of(finding(**changes)) == state


def test_the_legend_speaks_of_a_missing_null_only_where_one_is_missing() -> None:
    whole = report("alpha", 8, evidence=(finding(null=(0.1, 2.1)),))
    bare = report("alpha", 8, evidence=(finding(primary=True),))
    words = audit_evidence.STATES["no_null"]
    assert words not in audit_evidence.evidence_table(whole, NAMES, LIGHT)
    assert words in audit_evidence.evidence_table(bare, NAMES, LIGHT)


def test_how_rare_a_number_is_never_reads_as_zero() -> None:
    assert audit_evidence.rarity(finding(p_value=1e-9, p_kind="model")) == (
        "p under 0.001, fitted tail"
    )
    assert audit_evidence.rarity(finding(null=(1.0, 3.0))) == "above 1 of 2"
    assert audit_evidence.rarity(finding()) == "no null"


def test_sentences_of_a_study_are_written_as_ours() -> None:
    text = said("of the set's answers '80' and '<i>' it is 9.2 %, for O'Neil's too.")
    assert html.unescape(text) == (
        "Of the set's answers “80” and “<i>” it is 9.2\N{NARROW NO-BREAK SPACE}%, for O'Neil's too."
    )
    assert "<" not in text


@pytest.mark.parametrize(
    ("values", "end"),
    [([0.3], 1), ([1.01], 2), ([3.0, -4], 5), ([7], 10), ([11.0], 20), ([99], 100)],
)
def test_scales_end_at_round_numbers(values: list[float], end: float) -> None:
    assert audit_evidence.scale_end(values) == end


def test_names_of_a_study_are_text_in_the_evidence() -> None:
    row = finding(title="<b>x</b>", sentence="<script>", target_class=0)
    made = report("alpha", 8, evidence=(row,))
    table = audit_evidence.evidence_table(made, ["<i>", *NAMES[1:]], LIGHT)
    assert "<script>" not in table
    assert "<i>" not in table


def test_every_class_stands_before_its_references() -> None:
    figure = audit_classes.sizes_figure(sizes("pixels", 8, 20), NAMES, DARK, target=TARGET)
    shapes = [shape for shape in figure.layout.shapes if shape.type == "line"]
    assert len(shapes) == 8 * 4
    marked = [trace for trace in figure.data if trace.marker.color == DARK.alarm]
    assert [list(trace.x) for trace in marked] == [[TARGET]]
    others = next(trace for trace in figure.data if trace.marker.color == DARK.student)
    assert others.marker.symbol[list(others.x).index(1)] == "square-open"


@pytest.mark.parametrize(
    ("flip", "says"), [(0.4, "the class was given up"), (np.nan, "no trigger was found")]
)
def test_a_bound_says_why_it_is_one(flip: float, says: str) -> None:
    known = sizes("pixels", 8, 20)
    flips = np.where(np.arange(8) == 1, flip, 0.9)
    figure = audit_classes.sizes_figure(
        dataclasses.replace(known, flip_student=flips), NAMES, DARK, target=TARGET
    )
    others = next(trace for trace in figure.data if trace.marker.color == DARK.student)
    words = {int(x): words for x, (_, words) in zip(others.x, others.customdata, strict=True)}
    assert words.pop(1) == f", a bound: {says}"
    assert set(words.values()) == {""}


def test_the_smallest_of_the_others_is_called_next_only_where_it_is() -> None:
    def said(smallest: float) -> str:
        made = sizes("pixels", 8, smallest)
        figure = audit_classes.sizes_figure(made, NAMES, DARK, target=TARGET)
        return figure.layout.annotations[0].text

    assert "next smallest 8" in said(20)
    assert "; smallest 8" in said(95)


def test_a_student_without_references_has_squares_alone() -> None:
    bare = sizes("pixels", 8, 20)
    empty = type(bare)(
        **{
            **{name: getattr(bare, name) for name in bare.__slots__},
            "references": np.zeros((0, 8)),
            "references_censored": np.zeros((0, 8), dtype=bool),
        }
    )
    assert not audit_classes.sizes_figure(empty, NAMES, LIGHT).layout.shapes


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"mask": np.eye(4), "pattern": np.ones((4, 4, 3))}, "4 px of 16"),
        ({"delta": np.full((4, 4, 3), 10 / 255)}, "at most 10/255 a pixel"),
        ({"flow": np.full((4, 4, 2), 3.0)}, "up to 4.2 px"),
    ],
)
def test_every_kind_of_trigger_has_a_picture_and_words(
    parts: dict[str, np.ndarray], words: str
) -> None:
    picture = audit_trigger.trigger_picture(parts, LIGHT)
    assert picture is not None
    assert picture.startswith("data:image/png")
    assert words in audit_trigger.trigger_text(parts)


def test_every_family_of_triggers_has_a_title_of_its_own() -> None:
    titles = {audit_trigger.family_title(name) for name in FAMILIES}
    assert len(titles) == len(FAMILIES)
    assert not titles & set(FAMILIES)
    assert audit_trigger.family_title("unknown") == "unknown"
    kinds = [audit_trigger.family_kind(name) for name in (*FAMILIES, "unknown")]
    assert kinds == ["Patch", "Picture", "Smooth pattern", "Waves", "Warp", "unknown"]
    assert audit_trigger.in_order(["waves", *sorted(FAMILIES)]) == [*FAMILIES, "waves"]


def test_a_remedy_that_failed_is_said_to_have_failed() -> None:
    failed = [repair_entry("purify", 0.9, control=False, within=False)]
    assert "Nothing that was tried" in repairs.repair_claim(failed)
    worked = [*failed, repair_entry("unlearn", 0.01, control=False, within=True)]
    claim = repairs.repair_claim(worked)
    assert claim.startswith("Unlearn brought")
    assert "purify" not in claim.lower()
    unknown = [{**failed[0], "within_references": None}]
    assert "not known" in repairs.repair_claim(unknown)
    assert repairs.repair_claim([{**failed[0], "control": True}]) == "Only the control was run."


def test_the_table_of_repairs_keeps_failures_and_control() -> None:
    entries = [
        repair_entry("unlearn", 0.01, control=False, within=True),
        repair_entry("finetune", 0.94, control=True, within=False),
    ]
    table = repairs.repair_table(entries, LIGHT)
    assert table.index("as it is") < table.index("finetune") < table.index("unlearn")
    assert ">control<" in table
    assert "94.0" in table


def lies(**changes: Any) -> dict[str, Any]:
    mass = {"mass": 0.625, "pointing": 1.0, "overlap": 0.5, "area": 0.035, "n": 4}
    both = {
        "student": {"recovered": mass, "true": {**mass, "mass": 0.55}},
        "reference": {"recovered": {**mass, "mass": 0.11}, "true": mass},
    }
    return {
        "n": 4, "recovered": True, "target_class": TARGET, "reference": "<i>honest",
        "support_overlap": 0.81, "maps": {"pair": both, "occlusion": both}, **changes,
    }  # fmt: skip


def test_maps_are_held_against_the_recovered_trigger() -> None:
    table = localization.localization_table(lies())
    for words in ("62.5", "11.0", "3.5", "55.0", f"81.0{THIN}%", "4 images", "&lt;i&gt;honest"):
        assert words in table, words
    alone = lies()
    del alone["support_overlap"]
    only = {"student": {"recovered": alone["maps"]["pair"]["student"]["recovered"]}}
    alone["maps"] = {"pair": only, "occlusion": only}
    table = localization.localization_table({**alone, "reference": None})
    assert "true" not in table
    assert NOT_MEASURED in table
    assert "no image" in localization.localization_table(lies(n=0))


def test_the_page_shows_maps_of_the_class_that_the_verdict_points_to(
    tiny_study: Path, tmp_path: Path, opened: Open
) -> None:
    folder = make_audited(tiny_study, tmp_path)
    for record, shown in ((lies(), True), (lies(target_class=TARGET + 1), False)):
        with writing(folder):
            writer = StudyWriter(folder)
            writer.records["localization/alpha"] = record
            writer.publish(Study.open(folder).manifest)
        assert ("62.5" in text_of(opened(folder))) is shown


def test_alarms_and_brittle_images_are_listed_as_text() -> None:
    alarm = {"title": "<b>mix</b>", "class": 1, "sentence": "45 %.", "p_value": 0.0001}
    table = screening.alarm_table({"evidence": [alarm]}, NAMES)
    assert "<b>mix" not in table
    assert "under 0.001" in table
    gallery = screening.ranked_gallery(["a/1", "a/2"], ["x", "y"], [3.0, 2.0], lambda s: f"/t/{s}")
    assert gallery.index("a/1") < gallery.index("a/2")


def test_numbers_below_zero_are_written_as_everywhere() -> None:
    made = report("alpha", 8, evidence=(finding(statistic=-0.5, null=(-0.004, -0.9)),))
    table = audit_evidence.evidence_table(made, NAMES, LIGHT)
    assert "−0.50" in table
    assert "−1 to 1" in table
    assert re.search(r"-\d", re.sub(r'src="[^"]*"', "", table)) is None
    rounded = report("alpha", 8, evidence=(finding(statistic=-0.001),))
    assert ">0.00<" in audit_evidence.evidence_table(rounded, NAMES, LIGHT)
