"""The verdict line: four states, plain words, nothing that is not in the record."""

import pytest

from dashboard.figures.verdict import (
    STATES,
    verdict_line,
    verdict_state,
)

NAMES = ("stop", "80", "<b>yield</b>")
FOUND = {
    "verdict": "backdoored",
    "target_class": 1,
    "evidence": [
        {"test": "x", "sentence": "Another test.", "primary": False},
        {"test": "inversion", "sentence": "A small patch moves it to “80”", "primary": True},
    ],
    "not_tested": ["full-image triggers", "warps"],
}


def test_each_state_has_shape_words_and_color_of_its_own():
    lines = {key: verdict_line({**FOUND, "verdict": key}, NAMES) for key in STATES}
    assert {verdict_state({"verdict": key}).mark for key in STATES} == {
        "backdoored", "suspicious", "nothing-found",
    }  # fmt: skip
    for key, line in lines.items():
        assert f"ds-verdict ds-{STATES[key].mark}" in line
        assert STATES[key].title in line
        assert "safe" not in line.lower()
    assert len(set(lines.values())) == 3


def test_what_was_found_and_what_was_not_covered():
    line = verdict_line(FOUND, NAMES)
    assert "Evidence of a planted trigger towards “80”" in line
    assert "A small patch moves it to “80”." in line
    assert "Another test" not in line
    assert "Not covered: full-image triggers, warps." in line
    own = verdict_line({**FOUND, "sentence": "The report's own words."}, NAMES)
    assert "own words." in own
    assert "small patch" not in own
    many = verdict_line({**FOUND, "not_tested": ["a", "b", "c", "d", "e"]}, NAMES)
    assert "a, b, c and 2 more." in many


def test_nothing_found_is_not_called_nothing_there():
    line = verdict_line({**FOUND, "verdict": "no_evidence_found", "target_class": None}, NAMES)
    assert "No evidence found" in line
    assert "not that nothing is there" in line
    assert "towards" not in line


def test_without_a_record_it_was_not_tested():
    line = verdict_line(None, NAMES)
    assert "Not tested for a planted trigger" in line
    assert "ds-not-tested" in line
    assert "<a" not in line


def test_a_link_only_where_there_is_a_page():
    line = verdict_line(FOUND, NAMES, address="audit?student=a")
    assert '<a class="ds-link ds-more" href="audit?student=a">Open the audit →</a>' in line


@pytest.mark.parametrize(
    "record",
    [
        {}, [], "backdoored", {"verdict": 3}, {"verdict": "safe"}, {"verdict": ["backdoored"]},
        {"verdict": "backdoored", "target_class": 99, "evidence": 5, "not_tested": {"a": 1}},
        {"verdict": "suspicious", "target_class": "80", "evidence": ["x", {"primary": True}]},
        {"verdict": "suspicious", "target_class": -1, "not_tested": [1, None]},
    ],
)  # fmt: skip
def test_a_record_of_a_stranger_breaks_nothing(record):
    line = verdict_line(record, NAMES)
    assert line.count("<div") == line.count("</div>") == 1


def test_names_and_sentences_are_text():
    hostile = "<img src=x onerror=alert(1)>"
    record = {**FOUND, "target_class": 2, "sentence": hostile, "not_tested": [hostile]}
    line = verdict_line(record, NAMES)
    assert "<img" not in line
    assert "<b>" not in line
    assert "&lt;b&gt;yield" in line
