"""Audit: was a trigger planted, where is it, and can it be taken out again?"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

from analysis.audit.record import AuditReport
from dashboard import loading_audit, messages, missing
from dashboard.context import Export, View, name_in_workspace
from dashboard.figures import audit_evidence, screening
from dashboard.figures.measures import term
from dashboard.figures.numbers import count_of, escaped, thousands
from dashboard.figures.tables import csv_text
from dashboard.figures.verdict import verdict_line
from dashboard.pages.audit_pieces import show_classes, show_recovered, show_repairs
from dashboard.pages.four_cells import four_cells
from dashboard.thumbnails import thumbnail_url

BRITTLE = 24


def show(view: View) -> None:
    """Draw the page."""
    student = view.selection.student
    report = loading_audit.audit_of(view.study, student)
    st.html(verdict_line(view.study.record(f"audit/{student}"), view.class_names))
    if report is None:
        _how_to_audit(view)
    left, right = st.columns([10, 8], gap="large")
    with left:
        if report is not None:
            _evidence(view, report)
            show_classes(view, report, key="audit")
    with right:
        if report is not None:
            show_recovered(view, report)
        _repairs(view)
    four_cells(view)
    _screening(view)


def _how_to_audit(view: View) -> None:
    student = view.selection.student
    if (reason := missing.why_no_weights(view.study)) is not None:
        messages.empty("No audit of this student", reason)
        return
    command = (
        f"distillscope audit {_shell(name_in_workspace(view.study))} --student {_shell(student)}"
    )
    messages.empty(
        "No audit of this student",
        "It searches, for every class, the smallest trigger that moves this student and not its "
        f"teacher, beside honest reference students. Start it with:  {command}",
    )


def _shell(text: str) -> str:
    return shlex.quote(text)


def _evidence(view: View, report: AuditReport) -> None:
    references = len(next(iter(report.classes.values())).references) if report.classes else 0
    null = (
        f"each test beside {count_of(references, 'reference student')} of the same teacher"
        if references
        else "no reference students, so no p-value"
    )
    messages.section("Evidence", audit_evidence.evidence_line(null))
    st.html(audit_evidence.evidence_table(report, view.class_names, view.colors))
    note = report.null_fit.get("note")
    if note:
        messages.note(str(note))
    st.html(f'<div class="ds-sub">{escaped(_cost(report), 300)}</div>')


def _cost(report: AuditReport) -> str:
    passes = sum(finding.passes for finding in report.evidence)
    floor = "" if report.p_floor is None else f" No p-value below {report.p_floor:.2g} is possible."
    index = "" if report.mad_index is None else (
        f" Index over the classes (Neural Cleanse, shown only): {report.mad_index:.1f}."
    )  # fmt: skip
    return (
        f"Budget {report.budget}: {report.seconds_subject:.0f} s for the student, "
        f"{report.seconds_references:.0f} s for its references, {thousands(round(passes))} "
        f"passes of one image.{floor}{index}"
    )


def _repairs(view: View) -> None:
    entries = loading_audit.repairs_of(view.study, view.selection.student)
    if not entries and view.study.from_predictions:
        return
    if not entries:
        student = _shell(view.selection.student)
        messages.section("Repair", "Nothing was tried on this student.")
        st.html(
            '<div class="ds-sub">Take a recovered trigger out again with <span class="ds-mono">'
            f"distillscope repair {escaped(_shell(name_in_workspace(view.study)), 80)} --student "
            f"{escaped(student, 80)} --method unlearn --out repaired.safetensors</span></div>"
        )
        return
    show_repairs(view, entries)


def _screening(view: View) -> None:
    found = loading_audit.screening_of(view.study)
    if found is None:
        return
    images = found.record.get("images", {})
    messages.section(
        term("brittleness", "Which distillation images are brittle?"),
        f"{thousands(int(images.get('n', 0)))} images, ranked by how far a mild filter moves the "
        f"teacher’s answer. Nothing is known of which were poisoned.{_taught(view, found.record)}",
    )
    st.html(screening.alarm_table(found.record, view.class_names))
    shown = slice(0, BRITTLE)
    st.html(
        screening.ranked_gallery(
            found.samples[shown],
            [view.class_names[answer] for answer in found.answers[shown]],
            found.scores[shown].tolist(),
            lambda sample: thumbnail_url(sample, loading_audit.SCREENING, view.version),
        )
    )


def _taught(view: View, record: Mapping[str, Any]) -> str:
    """Whose images they are, where this student is not among them."""
    students = record.get("students")
    if not students or view.selection.student in students:
        return ""
    return f" They taught {escaped(', '.join(students), 120)}, not this student."


def exports(view: View) -> list[Export]:
    """What the Save menu offers on this page."""
    student = view.selection.student
    report = loading_audit.audit_of(view.study, student)
    if report is None:
        return []

    def evidence_csv() -> str:
        fields = ("test", "title", "target_class", "statistic", "p_value", "p_kind",
                  "corrected_p_value", "seconds", "passes", "sentence")  # fmt: skip
        rows = report.evidence
        return csv_text({name: [getattr(row, name) for row in rows] for name in fields})

    def classes_csv() -> str:
        table: dict[str, list[object]] = {
            name: [] for name in ("family", "class", "size", "unit", "bound", "student", "teacher")
        }
        for family, sizes in report.classes.items():
            for place, name in enumerate(view.class_names):
                row = (
                    family, name, float(np.exp(sizes.log_size[place])), sizes.unit,
                    bool(sizes.censored[place]), float(sizes.flip_student[place]),
                    float(sizes.flip_teacher[place]),
                )  # fmt: skip
                for key, value in zip(table, row, strict=True):
                    table[key].append(value)
        return csv_text(table)

    return [
        Export("Evidence, CSV", f"{student}-evidence.csv", evidence_csv),
        Export("Smallest triggers, CSV", f"{student}-triggers.csv", classes_csv),
    ]
