"""What a study holds about planted triggers: the audit, the screening, what was tried as a repair.

Reads records and arrays only; loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.audit.record import AuditReport, read_audit, recovered
from analysis.store.study import Study

SCREENING = "screening"


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """The recovered trigger that the verdict points to: its family and its row of every part."""

    family: str
    target: int
    parts: Mapping[str, np.ndarray]

    @property
    def examples(self) -> np.ndarray:
        """(n, H, W, C) uint8 trusted images that carry it; empty where none were kept."""
        found = self.parts.get("example")
        return np.zeros((0, 1, 1, 3), dtype=np.uint8) if found is None else np.asarray(found)


@dataclass(frozen=True, kw_only=True)
class Screened:
    """The screening of the distillation set: its record and the most brittle images."""

    record: Mapping[str, Any]
    samples: tuple[str, ...]
    answers: np.ndarray
    scores: np.ndarray


def audit_of(study: Study, student: str) -> AuditReport | None:
    """The audit of ``student``, or None; a record of another form raises as the store does."""
    return read_audit(study, student)


def recovered_of(study: Study, report: AuditReport) -> Recovered | None:
    """The trigger that the report's primary test points to, or None where there is none."""
    primary = report.primary
    if primary is None or primary.target_class is None:
        return None
    family, target = report.family or next(iter(report.classes), None), primary.target_class
    if family is None:
        return None
    parts = {name: rows[target] for name, rows in recovered(study, report.student, family).items()}
    return Recovered(family=family, target=target, parts=parts) if parts else None


def localization_of(study: Study, report: AuditReport) -> Mapping[str, Any] | None:
    """How the pair's maps lie on the trigger that the verdict points to, or None.

    A record of another class than the report's is that of an earlier audit.
    """
    record = study.record(f"localization/{report.student}")
    if record is None or report.target_class is None or not record.get("recovered"):
        return None
    return record if record.get("target_class") == report.target_class else None


def repairs_of(study: Study, student: str) -> list[Mapping[str, Any]]:
    """What was tried on ``student``, in the order it was tried."""
    return list(study.record(f"repair/{student}", []))


def screening_of(study: Study) -> Screened | None:
    """The screening that the study holds, or None."""
    record = study.record(SCREENING)
    if record is None or not study.has_array(f"{SCREENING}/score"):
        return None
    ids = np.asarray(study.array(f"{SCREENING}/ids"))
    rows = {str(name): row for row, name in enumerate(ids.tolist())}
    samples = tuple(str(name) for name in record.get("most_brittle", ()) if str(name) in rows)
    at = np.array([rows[name] for name in samples], dtype=np.int64)
    return Screened(
        record=record,
        samples=samples,
        answers=np.asarray(study.array(f"{SCREENING}/answer"))[at],
        scores=np.asarray(study.array(f"{SCREENING}/score"))[at],
    )
