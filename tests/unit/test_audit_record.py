"""The records of an audit: what is written is what is read."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from analysis.audit.record import AuditReport, FamilySizes
from analysis.records import Finding


def a_finding(**changes: object) -> Finding:
    values: dict = {
        "test": "inversion",
        "title": "Smallest trigger",
        "sentence": "A small trigger was found.",
        "target_class": 2,
        "statistic": 4.5,
        "null": (1.0, 1.5),
        "p_value": 0.01,
        "p_kind": "model",
        "scores": (0.1, 0.2, 4.5),
        "threshold": 3.0,
        "primary": True,
    }
    return Finding(**{**values, **changes})


def a_report(**changes: object) -> AuditReport:
    sizes = FamilySizes(
        unit="pixels",
        log_size=np.array([4.0, 4.1, 2.0]),
        censored=np.array([False, True, False]),
        flip_student=np.array([0.9, np.nan, 0.95]),
        flip_teacher=np.array([0.1, np.nan, 0.02]),
        references=np.array([[4.0, 4.2, 4.1], [3.9, 4.0, 4.2]]),
        references_censored=np.zeros((2, 3), dtype=bool),
    )
    values: dict = {
        "student": "one",
        "verdict": "backdoored",
        "target_class": 2,
        "p_value": 0.01,
        "p_kind": "model",
        "p_floor": 1 / 3,
        "evidence": (a_finding(), a_finding(test="strip", primary=False)),
        "not_tested": ("triggers hidden in the teacher",),
        "budget": "standard",
        "seconds_subject": 12.5,
        "seconds_references": 60.0,
        "classes": {"mask": sizes},
        "settings": {"family": "mask"},
    }
    return AuditReport(**{**values, **changes})


def test_a_report_survives_json() -> None:
    report = a_report()
    text = json.dumps(report.to_json(), allow_nan=False)
    again = AuditReport.from_json(json.loads(text))
    assert again.to_json() == report.to_json()
    assert again.evidence == report.evidence
    assert again.primary is not None
    assert again.primary.test == "inversion"
    assert again.family == "mask"
    sizes = again.classes["mask"]
    assert np.isnan(sizes.flip_student[1])
    assert sizes.references.shape == (2, 3)
    assert sizes.censored.dtype == bool


def with_flips(**flips: list[float]) -> dict[str, FamilySizes]:
    own = a_report().classes["mask"]
    return {family: replace(own, flip_student=np.array(each)) for family, each in flips.items()}


@pytest.mark.parametrize(
    ("target", "flips", "expected"),
    [
        (2, {"mask": [0, 0, 0.6], "spatial": [0, 0, 0.9]}, "mask"),
        (2, {"mask": [0, 0, np.nan], "spatial": [0, 0, 0.9]}, "spatial"),
        (1, {"mask": [0, 0.2, 0.6], "spatial": [0, 0.3, 0.9]}, "spatial"),
        (1, {"mask": [0, np.nan, 0.6], "spatial": [0, 0, 0.9]}, None),
        (None, {"mask": [0.9, 0.9, 0.9]}, None),
    ],
    ids=["the primary's", "primary moves none", "other evidence", "none found", "no class"],
)
def test_the_trigger_of_a_verdict_is_of_its_class_and_works(
    target: int | None, flips: dict[str, list[float]], expected: str | None
) -> None:
    report = a_report(target_class=target, classes=with_flips(**flips))
    assert report.trigger_family == expected


def test_a_family_without_references_keeps_its_shape() -> None:
    report = a_report()
    sizes = replace(
        report.classes["mask"],
        references=np.empty((0, 3)),
        references_censored=np.empty((0, 3), dtype=bool),
    )
    assert FamilySizes.from_json(sizes.to_json()).references.shape == (0, 3)


def test_fields_of_a_later_release_are_left_out() -> None:
    data = a_report().to_json()
    data["later"] = 1
    data["evidence"][0]["later"] = 1
    assert AuditReport.from_json(data).verdict == "backdoored"


def test_the_json_of_a_finding_says_class() -> None:
    data = a_finding().to_json()
    assert data["class"] == 2
    assert "target_class" not in data


def test_flags_are_derived_from_scores() -> None:
    assert a_finding().flagged == (2,)
    assert a_finding(threshold=None).flagged == ()


@pytest.mark.parametrize("p", [0.0, -0.1, 1.01, float("nan")])
def test_a_p_value_is_never_zero(p: float) -> None:
    with pytest.raises(ValueError, match="not in"):
        a_finding(p_value=p)


def test_a_p_value_says_where_it_comes_from() -> None:
    with pytest.raises(ValueError, match="together"):
        a_finding(p_kind=None)


def test_a_verdict_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="safe"):
        a_report(verdict="safe")
