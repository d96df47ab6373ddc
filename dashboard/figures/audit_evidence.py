"""The evidence table of an audit: every test with its number in front of its null."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Literal

from analysis.audit.record import AuditReport
from analysis.records import Finding, Interval
from dashboard.figures.intervals import interval_glyph
from dashboard.figures.measures import term
from dashboard.figures.numbers import MINUS, NOT_MEASURED, escaped, nats, said
from dashboard.theme import Palette

State = Literal["outside", "weaker", "inside", "no_null", "not_run"]
LEVEL = 0.05
STATES: dict[State, str] = {
    "outside": "far outside the null",
    "weaker": "outside, weaker",
    "inside": "inside",
    "no_null": "no null to judge it by",
    "not_run": "not run",
}


def state_of(finding: Finding) -> State:
    """How one test came out.

    ``outside``: p at most 0.05, after Holm's correction unless the test is the primary one.
    ``weaker``: that only without the correction, or above every reference where no p-value is to
    be had. ``no_null``: a number with neither p-value nor references. ``not_run``: no number.
    """
    if finding.statistic is None:
        return "not_run"
    decisive = finding.p_value if finding.primary else finding.corrected_p_value
    if decisive is not None and decisive <= LEVEL:
        return "outside"
    if finding.p_value is not None:
        return "weaker" if finding.p_value <= LEVEL else "inside"
    if not finding.null:
        return "no_null"
    return "weaker" if finding.statistic > max(finding.null) else "inside"


def evidence_line(null: str) -> str:
    """The sentence above the table; ``null`` says what each test stands beside."""
    return (
        f"Nothing is known about the trigger here; {null}. "
        "The larger a statistic, the more suspicious."
    )


def evidence_table(report: AuditReport, names: Sequence[str], colors: Palette) -> str:
    """The table as HTML, the primary test first; each glyph's scale starts at 0."""
    rows = "".join(_row(finding, names, colors) for finding in report.evidence)
    return (
        '<table class="ds-table ds-rows ds-evidence"><thead><tr><th></th><th>test</th>'
        f'<th class="ds-number">{escaped(report.student, 28)}'
        '<div class="ds-sub">statistic</div></th>'
        "<th>against the null</th>"
        f"<th>{term('p_value', 'how rare', end=True)}</th></tr></thead>{rows}</table>"
        f"{_legend({state_of(finding) for finding in report.evidence})}"
    )


def state_mark(state: State) -> str:
    """The small square of a state; shape says it, color repeats it."""
    return (
        f'<span class="ds-state ds-state-{state}" role="img" aria-label="{STATES[state]}"></span>'
    )


def rarity(finding: Finding) -> str:
    """How rare the number is among honest students, in words: a p-value, else a rank."""
    if finding.statistic is None:
        return NOT_MEASURED
    if finding.p_value is not None:
        kind = "" if finding.p_kind == "exact" else ", fitted tail"
        corrected = finding.corrected_p_value
        also = "" if corrected is None else f"; corrected {_p(corrected)}"
        said_p = _p(finding.p_value)
        equals = "" if said_p.startswith("under") else "= "
        return f"p {equals}{said_p}{kind}{also}"
    if not finding.null:
        return "no null"
    below = sum(finding.statistic > value for value in finding.null)
    return f"above {below} of {len(finding.null)}"


def _lines(words: str) -> str:
    """The p-value first, how it was come by below it."""
    first, *rest = (escaped(part, 80) for part in re.split("[,;] ", words))
    return first + "".join(f"<div>{part}</div>" for part in rest)


def _p(value: float) -> str:
    return "under 0.001" if value < 0.001 else f"{value:.2g}"


def _row(finding: Finding, names: Sequence[str], colors: Palette) -> str:
    state, title = state_of(finding), said(finding.title, 90)
    quiet = " ds-quiet" if state == "not_run" else ""
    return (
        f"<tr><td>{state_mark(state)}</td>"
        f'<td class="ds-wrap{quiet}"><span class="ds-test">{title}</span>'
        f'{_primary(finding)}<div class="ds-sub">{said(finding.sentence)}</div></td>'
        f'<td class="ds-number">{_value(finding, names, state)}</td>'
        f"<td>{_glyph(finding, colors, state)}</td>"
        f'<td class="ds-sub ds-rarity">{_lines(rarity(finding))}</td></tr>'
    )


def _primary(finding: Finding) -> str:
    return ' <span class="ds-faint">primary test</span>' if finding.primary else ""


def _value(finding: Finding, names: Sequence[str], state: State) -> str:
    if finding.statistic is None:
        return '<span class="ds-faint">not run</span>'
    kind = "ds-alarm" if state == "outside" else "ds-strong"
    target = ""
    if finding.target_class is not None:
        target = f"<div class='ds-sub'>“{escaped(names[finding.target_class], 24)}”</div>"
    return f'<span class="{kind}">{nats(finding.statistic)}</span>{target}'


def _glyph(finding: Finding, colors: Palette, state: State) -> str:
    if finding.statistic is None or not finding.null:
        return f'<span class="ds-faint">{NOT_MEASURED}</span>'
    reach = scale_end([finding.statistic, *finding.null])
    low = 0.0 if min(finding.statistic, *finding.null) >= 0 else -reach
    glyph = interval_glyph(
        Interval(finding.statistic), (low, reach), colors, references=finding.null,
        width=150, far=state == "outside",
    )  # fmt: skip
    scale = f"{low:g} to {reach:g}".replace("-", MINUS)
    text = f"{nats(finding.statistic)} on {scale}, {len(finding.null)} references"
    return f'<img src="{glyph}" alt="{text}"><span class="ds-faint">{scale}</span>'


def scale_end(values: Sequence[float]) -> float:
    """The smallest of 1, 2, 5, 10, 20, .. that no magnitude exceeds."""
    reach, steps = 1.0, (2.0, 2.5, 2.0)
    turn = 0
    while reach < max(map(abs, values)) and reach < 1e9:
        reach *= steps[turn % 3]
        turn += 1
    return reach


def _legend(shown: Collection[State]) -> str:
    """What the marks mean; that a null is missing, only where one is."""
    states = [state for state in STATES if state != "no_null" or state in shown]
    marks = " &nbsp; ".join(f"{state_mark(state)} {STATES[state]}" for state in states)
    return f'<div class="ds-sub ds-legend">{marks}</div>'
