"""Recorded audits are what the present statistic says of their sizes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from analysis.audit.record import AuditReport
from benchmarks.audit_null import FAMILIES, LAWS, draw, rate
from benchmarks.rejudge import rejudge
from benchmarks.zoo.choosing import CLASS_NAMES
from tests.conftest import ROOT

RECORDS = {"cifar10-audit": "cifar10", "repaired-audit": "signs"}


@pytest.mark.parametrize("name", RECORDS)
def test_committed_records_are_judged_by_the_present_statistic(name: str) -> None:
    data = json.loads((ROOT / "docs" / "measured" / f"{name}.json").read_text())
    for entry in data["students"].values():
        report = AuditReport.from_json(entry["audit"])
        again = rejudge(report, CLASS_NAMES[RECORDS[name]])
        assert again.verdict == report.verdict
        assert again.p_value == pytest.approx(report.p_value)
        assert again.sentence == report.sentence
        assert [finding.sentence for finding in again.evidence] == [
            finding.sentence for finding in report.evidence
        ]


@pytest.mark.parametrize("law", LAWS)
def test_classes_that_are_given_up_count_as_the_largest_that_is_not(law: str) -> None:
    rng = np.random.default_rng(0)
    values = draw(rng, law, 5, 10, 0.5, True)
    assert values.shape == (5, len(FAMILIES), 10)
    assert np.isfinite(values).all()
    largest = values.max(axis=2, keepdims=True)
    assert ((values == largest).sum(axis=2) == 6).all()


def test_a_rate_is_that_of_its_seed() -> None:
    first = rate("Laplace", 5, 10, 0.0, True, 20)
    assert first == rate("Laplace", 5, 10, 0.0, True, 20)
    assert 0 <= first <= 1
