"""The report's audit: verdict, evidence, recovered trigger, repairs, screening. HTML."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import plotly.graph_objects as go

from analysis.audit.record import AuditReport, FamilySizes
from dashboard import loading_audit
from dashboard.comparison import Comparison
from dashboard.figures import audit_classes, audit_evidence, audit_trigger, localization, repairs
from dashboard.figures import screening as screened
from dashboard.figures.attributions import picture_uri
from dashboard.figures.numbers import (
    count_of,
    escaped,
    percent_text,
    sentence_case,
    thousands,
)
from dashboard.report.answers import verdict
from dashboard.report.pieces import columns, figure, section, themed, titled
from dashboard.theme import Palette

_EXAMPLES = 6


def audit(c: Comparison) -> str:
    """Everything that the study holds about planted triggers in the student."""
    report = loading_audit.audit_of(c.study, c.student)
    repaired = _repairs(c)
    if report is None:
        body = verdict(c) + repaired + _screening(c)
        return section("audit", "Accident or backdoor?", "", body)
    body = verdict(c) + _evidence(c, report) + _recovered(c, report) + _sizes(c, report)
    return section("audit", "Accident or backdoor?", "", body + repaired + _screening(c))


def _evidence(c: Comparison, report: AuditReport) -> str:
    references = len(next(iter(report.classes.values())).references) if report.classes else 0
    null = (
        f"each test beside {count_of(references, 'reference student')} of the same teacher"
        if references
        else "no reference students, so no p-value"
    )
    head = titled("Evidence", audit_evidence.evidence_line(null))
    table = themed(lambda colors: audit_evidence.evidence_table(report, c.class_names, colors))
    left_out = ", ".join(report.not_tested)
    below = f"Not covered: {left_out}. " if left_out else ""
    floor = "" if report.p_floor is None else f"No p-value below {report.p_floor:.2g} is possible. "
    note = str(report.null_fit.get("note") or "")
    text = escaped(f"{below}{floor}Budget {report.budget}. {note}", 2000)
    return f'{head}{table}<div class="ds-sub">{text}</div>'


def _recovered(c: Comparison, report: AuditReport) -> str:
    found = loading_audit.recovered_of(c.study, report)
    if found is None:
        return ""
    sizes = report.classes[found.family]
    student, teacher = (
        percent_text(float(share[found.target]))
        for share in (sizes.flip_student, sizes.flip_teacher)
    )
    name = escaped(c.class_names[found.target], 24)
    title = "The recovered trigger"
    if report.verdict == "no_evidence_found":
        title = "What came nearest"
    extent = audit_trigger.trigger_text(found.parts)
    head = titled(
        title,
        f"On images it was not searched on, this student answers “{name}” on {student}, the "
        f"teacher on {teacher}. {escaped(sentence_case(extent), 90)}.",
    )

    def drawn(colors: Palette) -> str:
        pictures = [audit_trigger.trigger_picture(found.parts, colors)]
        pictures += [picture_uri(image) for image in found.examples[:_EXAMPLES]]
        shown = [uri for uri in pictures if uri is not None]
        return (
            '<div class="strip">'
            + "".join(f'<img class="ds-map" src="{uri}" alt="">' for uri in shown)
            + "</div>"
        )

    lies = loading_audit.localization_of(c.study, report)
    where = ""
    if lies is not None and lies["target_class"] == found.target:
        where = localization.localization_table(lies)
    return head + themed(drawn) + where


def _sizes(c: Comparison, report: AuditReport) -> str:
    if not report.classes:
        return ""
    primary, charts = report.primary, []
    for family in audit_trigger.in_order(report.classes):
        sizes = report.classes[family]
        own = primary is not None and family == report.family
        target = primary.target_class if primary is not None and own else None
        chart = partial(_size_chart, sizes, c.class_names, target)
        title = audit_trigger.family_title(family)
        charts.append(
            titled("", f"{escaped(title, 40)}, {escaped(sizes.unit, 60)}")
            + figure(chart, alt=f"{title} of every class beside the references")
        )
    head = titled(
        "Smallest trigger for each class",
        audit_classes.CAPTION,
    )
    return head + columns(*charts)


def _size_chart(
    sizes: FamilySizes, names: Sequence[str], target: int | None, colors: Palette
) -> go.Figure:
    return audit_classes.sizes_figure(sizes, names, colors, target=target)


def _repairs(c: Comparison) -> str:
    entries = loading_audit.repairs_of(c.study, c.student)
    if not entries:
        return ""
    head = titled("Repair", repairs.repair_line(entries))
    return head + themed(lambda colors: repairs.repair_table(entries, colors))


def _screening(c: Comparison) -> str:
    found = loading_audit.screening_of(c.study)
    if found is None:
        return ""
    taught = found.record.get("students")
    if taught and c.student not in taught:
        return ""
    n = int(found.record.get("images", {}).get("n", 0))
    head = titled(
        "Which distillation images are brittle?",
        f"{thousands(n)} images, ranked by how far a mild filter moves the teacher’s answer. "
        "Nothing is known of which were poisoned.",
    )
    return head + screened.alarm_table(found.record, c.class_names)
