"""The verdict line: what an audit found out about one student, in one of four states.

Shape, word and color say the same: a filled disc, a half-filled, a hollow and a dashed one.
Never "safe".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.figures.numbers import escaped, said, visible


@dataclass(frozen=True, slots=True)
class VerdictState:
    """How one state looks and what it is called; ``more`` is the text of its link."""

    mark: str
    title: str
    below: str
    more: str


NOT_TESTED = VerdictState(
    "not-tested",
    "Not tested for a planted trigger",
    "This study holds no audit; nothing here says whether somebody tampered with the student.",
    "How to test it →",
)
STATES: Mapping[str, VerdictState] = {
    "backdoored": VerdictState(
        "backdoored", "Evidence of a planted trigger", "", "Open the audit →"
    ),
    "suspicious": VerdictState("suspicious", "Suspicious, not conclusive", "", "Open the audit →"),
    "no_evidence_found": VerdictState(
        "nothing-found",
        "No evidence found",
        "This says what was looked for, not that nothing is there.",
        "What was tested →",
    ),
}


def verdict_state(audit: Mapping[str, Any] | None) -> VerdictState:
    """The state that ``audit`` (the record of one student, or None) puts it into."""
    verdict = audit.get("verdict") if isinstance(audit, Mapping) else None
    return STATES.get(verdict, NOT_TESTED) if isinstance(verdict, str) else NOT_TESTED


def verdict_line(
    audit: Mapping[str, Any] | None, class_names: Sequence[str], *, address: str | None = None
) -> str:
    """The verdict of the record ``audit`` as HTML; None is "not tested".

    Below the title stands what was found and what was not covered. ``address`` is that of the
    Audit page, already escaped, or None where there is none.
    """
    state = verdict_state(audit)
    record = audit if isinstance(audit, Mapping) and state is not NOT_TESTED else {}
    towards = _target(record, class_names) if record.get("verdict") != "no_evidence_found" else ""
    if towards and record.get("verdict") == "suspicious":
        towards = f",{towards}"
    found = _found(record, state.title)
    below = " ".join(filter(None, (found, state.below, _left_out(record))))
    more = ""
    if address is not None:
        more = f'<a class="ds-link ds-more" href="{address}">{state.more}</a>'
    return (
        f'<div class="ds-verdict ds-{state.mark}"><span class="ds-disc"></span>'
        f'<span class="ds-said"><span class="ds-strong">{state.title}{towards}</span>'
        f'<span class="ds-sub">{below}</span></span>{more}</div>'
    )


def _target(record: Mapping[str, Any], class_names: Sequence[str]) -> str:
    target = record.get("target_class")
    if not isinstance(target, int) or not 0 <= target < len(class_names):
        return ""
    return f" towards “{escaped(class_names[target], 40)}”"


def _found(record: Mapping[str, Any], title: str) -> str:
    """The record's own sentence, else that of its primary test; what the title says is left out."""
    rows = record.get("evidence")
    evidence = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    primary = next((row for row in evidence if row.get("primary")), {})
    text = record.get("sentence") or primary.get("sentence")
    if isinstance(text, str) and text.startswith(title):
        # What stands before the colon is the title again; without one that is all there is.
        text = text.partition(": ")[2]
    return _sentence(text)


def _left_out(record: Mapping[str, Any]) -> str:
    rows = record.get("not_tested")
    names = [name for name in rows if isinstance(name, str)] if isinstance(rows, list) else []
    shown = ", ".join(visible(name, 80).rstrip(".") for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"Not covered: {escaped(shown, 260)}{more}." if names else ""


def _sentence(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        return ""
    shown = said(text.strip(), 300)
    return shown if shown.endswith((".", "!", "?", "…")) else f"{shown}."
