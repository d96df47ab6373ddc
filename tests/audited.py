"""A small study with the records of an audit, a screening and repairs in it.

The numbers are made up: they exercise the page, and nothing here is a result.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from analysis.audit.record import AuditReport, FamilySizes
from analysis.records import Finding
from analysis.store import Study, StudyWriter, writing
from analysis.store.files import write_array

TARGET = 5
SHAPE = (32, 32, 3)


def sizes(unit: str, classes: int, smallest: float) -> FamilySizes:
    """Sizes of about 80 for every class but the target, in front of four references."""
    rng = np.random.default_rng(0)
    log_size = np.log(80 + 10 * rng.random(classes))
    log_size[TARGET] = np.log(smallest)
    censored = np.zeros(classes, dtype=bool)
    censored[1] = True
    return FamilySizes(
        unit=unit,
        log_size=log_size,
        censored=censored,
        flip_student=np.where(np.arange(classes) == TARGET, 0.93, np.nan),
        flip_teacher=np.where(np.arange(classes) == TARGET, 0.02, np.nan),
        references=np.log(75 + 20 * rng.random((4, classes))),
        references_censored=np.zeros((4, classes), dtype=bool),
    )


def report(student: str, classes: int, **changes: Any) -> AuditReport:
    """An audit that found a trigger towards class 5."""
    primary = Finding(
        test="inversion", title="Smallest trigger", sentence="A patch moves this student alone.",
        target_class=TARGET, statistic=1.4, null=(0.2, 0.3, 0.1, 0.25), p_value=0.004,
        p_kind="model", scores=tuple(float(place == TARGET) for place in range(classes)),
        threshold=0.5, seconds=12.0, passes=9000.0, primary=True,
    )  # fmt: skip
    inside = Finding(
        test="stickers", title="Ready stickers", sentence="None of them moves it.",
        statistic=0.2, null=(0.1, 0.3), p_value=0.67, p_kind="exact", corrected_p_value=0.67,
    )  # fmt: skip
    skipped = Finding(test="strip", title="STRIP", sentence="Not part of this budget.")
    values: dict[str, Any] = {
        "student": student, "verdict": "backdoored", "target_class": TARGET, "p_value": 0.004,
        "p_kind": "model", "p_floor": 0.2, "evidence": (primary, inside, skipped),
        "not_tested": ("triggers hidden in the teacher",), "budget": "standard",
        "seconds_subject": 12.0, "seconds_references": 48.0, "mad_index": 3.1,
        "classes": {"mask": sizes("pixels", classes, 20), "warp": sizes("pixels", classes, 60)},
        "settings": {"family": "mask"}, "sentence": "A patch moves this student alone.",
    }  # fmt: skip
    return AuditReport(**{**values, **changes})


def repair_entry(method: str, rate: float, *, control: bool, within: bool) -> dict[str, Any]:
    """A record of one remedy, as the repair stage writes it."""

    def measures(value: float) -> dict[str, Any]:
        known = {"value": value, "low": value - 0.01, "high": value + 0.01}
        fine = {"value": 0.93, "low": 0.92, "high": 0.94}
        return {"accuracy": fine, "agreement": fine, "asr_recovered": known, "asr_true": None}

    change = {"value": -0.006, "low": -0.01, "high": 0.001}
    return {
        "method": method, "title": method, "control": control, "student": None,
        "before": measures(0.95), "after": measures(rate),
        "difference": {"accuracy": change, "agreement": change, "asr_recovered": None},
        "within_references": within, "accuracy_kept": True, "measured": 60, "seconds": 7.0,
    }  # fmt: skip


def make_audited(tiny_study: Path, folder: Path, **changes: Any) -> Path:
    """Copy the study to ``folder`` and write the records of an audit of ``alpha`` into it."""
    copy = folder / "audited"
    shutil.copytree(tiny_study, copy)
    with writing(copy):
        study, writer = Study.open(copy), StudyWriter(copy)
        classes = len(study.class_names)
        writer.records["audit/alpha"] = report("alpha", classes, **changes).to_json()
        writer.records["repair/alpha"] = [
            repair_entry("unlearn", 0.01, control=False, within=True),
            repair_entry("finetune", 0.94, control=True, within=False),
        ]
        rng = np.random.default_rng(1)
        arrays: dict[str, np.ndarray] = {
            "audit/alpha/mask/mask": rng.random((classes, *SHAPE[:2]), dtype=np.float32),
            "audit/alpha/mask/pattern": rng.random((classes, *SHAPE), dtype=np.float32),
            "audit/alpha/mask/example": rng.integers(0, 256, (classes, 3, *SHAPE), dtype=np.uint8),
        }
        for place, (key, values) in enumerate(arrays.items()):
            path = folder / f"{place}.npy"
            write_array(path, values)
            writer.put_array(key, path)
        writer.publish(study.manifest)
    return copy
