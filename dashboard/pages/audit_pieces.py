"""Pieces of the audit that more than one page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from analysis.audit.record import AuditReport
from dashboard import loading_audit, messages
from dashboard.context import View
from dashboard.figures import audit_classes, audit_trigger, localization, repairs
from dashboard.figures.attributions import picture_uri
from dashboard.figures.measures import term
from dashboard.figures.numbers import escaped, percent_text
from dashboard.saving import keep_pictures, show_chart

EXAMPLES = 4


def show_classes(view: View, report: AuditReport, *, key: str) -> None:
    """The smallest trigger of every class; a picker where several families were searched."""
    if not report.classes:
        return
    families = audit_trigger.in_order(report.classes)
    family = report.family if report.family in families else families[0]
    messages.section(
        term("trigger_size", "Smallest trigger for each class"),
        audit_classes.CAPTION,
    )
    if len(families) > 1:
        family = st.segmented_control(
            "Kind of trigger", families, default=family, key=f"{key}_family", required=True,
            format_func=audit_trigger.family_kind, label_visibility="collapsed",
        )  # fmt: skip
    sizes = report.classes[family]
    primary = report.primary
    target = primary.target_class if primary is not None and family == report.family else None
    title = audit_trigger.family_title(family)
    st.html(f'<div class="ds-sub">{escaped(title, 40)}, {escaped(sizes.unit, 60)}</div>')
    show_chart(
        audit_classes.sizes_figure(sizes, view.class_names, view.colors, target=target),
        view.colors, key=f"{key}_sizes", title="Smallest triggers",
        alt="Size of the smallest trigger of every class beside the references",
    )  # fmt: skip


def show_recovered(view: View, report: AuditReport) -> None:
    """The trigger that the primary test points to, alone and on images it was not told of."""
    found = loading_audit.recovered_of(view.study, report)
    if found is None:
        return
    name = view.class_names[found.target]
    sizes = report.classes[found.family]
    flips = (sizes.flip_student[found.target], sizes.flip_teacher[found.target])
    student, teacher = (percent_text(share) for share in flips)
    messages.section(
        "What came nearest" if report.verdict == "no_evidence_found" else "The recovered trigger",
        f"On images it was not searched on, this student answers “{escaped(name, 24)}” on "
        f"{student}, the teacher on {teacher}.",
    )
    trigger = audit_trigger.trigger_picture(found.parts, view.colors)
    shown = [] if trigger is None else [("recovered", trigger)]
    shown += [("on an image", picture_uri(image)) for image in found.examples[:EXAMPLES]]
    if shown:
        values = {n: np.asarray(v) for n, v in found.parts.items() if n != "example"}
        keep_pictures("recovered", "Recovered trigger", shown, view.colors, values)
    columns = st.columns(1 + EXAMPLES, gap="small")
    with columns[0]:
        _picture(trigger, "recovered")
    for column, image in zip(columns[1:], found.examples[:EXAMPLES], strict=False):
        with column:
            _picture(picture_uri(image), "on an image")
    extent = audit_trigger.trigger_text(found.parts)
    st.html(f'<div class="ds-sub">Recovered: {escaped(extent, 90)}.</div>')
    lies = loading_audit.localization_of(view.study, report)
    if lies is not None and lies["target_class"] == found.target:
        st.html(localization.localization_table(lies))


def _picture(uri: str | None, title: str) -> None:
    if uri is not None:
        st.html(
            f'<img class="ds-map" src="{uri}" alt="{escaped(title)}">'
            f'<div class="ds-sub">{escaped(title)}</div>'
        )


def show_repairs(view: View, entries: Sequence[Mapping[str, Any]]) -> None:
    """What was tried on the student, before and after, the control beside it."""
    messages.section("Repair", repairs.repair_line(entries))
    st.html(repairs.repair_table(entries, view.colors))
