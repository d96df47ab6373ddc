"""What the terminal shows of an audit: the verdict, what it rests on, what it does not cover."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from dashboard.terminal import plain, results

if TYPE_CHECKING:
    from analysis.audit.record import AuditReport
    from analysis.records import Finding

VERDICTS = {
    "backdoored": "backdoored",
    "suspicious": "suspicious, not conclusive",
    "no_evidence_found": "no evidence found",
}


def print_report(report: AuditReport, class_names: Sequence[str]) -> None:
    """Print the verdict on one student with its evidence."""
    out = results()
    where = "" if report.target_class is None else f", “{class_names[report.target_class]}”"
    verdict = f"{VERDICTS[report.verdict]}{where}"
    out.print(f"\n[bold]{plain(report.student)}: {plain(verdict)}[/bold]")
    out.print(plain(report.sentence))
    table = Table(show_edge=False, pad_edge=False, box=None, header_style="bold")
    for title in ("test", "class", "statistic", "references", "p", "seconds"):
        table.add_column(title, justify="left" if title in ("test", "class") else "right")
    for finding in report.evidence:
        table.add_row(*_cells(finding, class_names))
    out.print(table)
    for finding in report.evidence:
        out.print(plain(finding.sentence))
    if report.null_fit.get("note"):
        out.print(f"! {plain(report.null_fit['note'])}")
    out.print(plain(f"trusted images: {_trusted(report)}"))
    seconds = f"{report.seconds_subject:.0f} s for the student"
    out.print(f"searched in {seconds}, {report.seconds_references:.0f} s for the references")
    out.print(plain(f"not tested: {'; '.join(report.not_tested)}"))


def _cells(finding: Finding, class_names: Sequence[str]) -> list[str]:
    """One row of the evidence table."""
    p_value = finding.p_value if finding.primary else finding.corrected_p_value
    shown = "none" if p_value is None else f"{p_value:.2g}"
    if p_value is not None and finding.p_kind == "model":
        shown += " (fitted tail)"
    null = f"{min(finding.null):.2f} to {max(finding.null):.2f}" if finding.null else "none"
    label = "" if finding.target_class is None else class_names[finding.target_class]
    value = "not run" if finding.statistic is None else f"{finding.statistic:.2f}"
    cost = f"{finding.seconds:.0f}"
    return [plain(finding.title), plain(label), value, null, shown, cost]


def _trusted(report: AuditReport) -> str:
    """Where they came from and how they were split."""
    parts = report.trusted.get("parts", {})
    split = ", ".join(f"{count} to {name}" for name, count in parts.items())
    source = report.trusted.get("source") or "given"
    if report.trusted.get("inspection_set"):
        source = f"the study's inspection set ({source})"
    said = f"{source}: {split}; references: {report.trusted.get('references')}"
    screened = report.trusted.get("distillation_set")
    if screened is not None:
        said += f"; distillation set screened: {screened['n']} images of {screened['source']}"
    return said
