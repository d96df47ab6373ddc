"""Studies of a workspace as rows: pictures, what it is, its students with their headline."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from analysis.divergence.null import Null
from analysis.records import Interval
from analysis.store.summary import HEADLINE, StudentSummary, StudySummary, damaged
from dashboard.figures.headline import null_words
from dashboard.figures.intervals import interval_glyph
from dashboard.figures.measures import MEASURES
from dashboard.figures.numbers import (
    NOT_MEASURED,
    Unit,
    count_of,
    escaped,
    interval_text,
    number,
    visible,
)
from dashboard.figures.verdict import STATES
from dashboard.loading_runs import Run
from dashboard.theme import Palette
from dashboard.thumbnails import thumbnail_template

PICTURES, STUDENTS = 3, 4
"""How many pictures and students a row shows."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A measure as it is shown: its title, unit and the glyph's fixed scale."""

    title: str
    unit: Unit
    scale: tuple[float, float]
    scale_text: str


SHOWN: Mapping[str, Shown] = {
    "accuracy": Shown(f"{MEASURES['accuracy'].title}, %", "share", (0, 1), "0–100"),
    "agreement": Shown(
        f"{MEASURES['agreement'].title} with the teacher, %", "share", (0, 1), "0–100"
    ),
    "kl_teacher_student": Shown(
        f"{MEASURES['kl_teacher_student'].title}, nats", "nats", (0, 2), "0–2"
    ),
    "attack_success_rate": Shown(
        "Answers the target with the trigger, %", "share", (0, 1), "0–100"
    ),
    "base_rate": Shown("Answers the target without it, %", "share", (0, 1), "0–100"),
}
_ROW = {
    "agreement": f"{MEASURES['agreement'].title}, %",
    "attack_success_rate": "Target with the trigger, %",
}
"""The measures of a row under short titles."""


def when(created: str) -> str:
    """A moment of a manifest in words, ``25 Nov 2026, 03:01``; as it is where it is none."""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return visible(created, 25)
    return f"{moment.day} {moment:%b %Y, %H:%M}"


def study_address(study: str, page: str = "") -> str:
    """The address of a page on a study of the workspace, for an attribute."""
    path = "./" if page in ("", "overview") else page
    return html.escape(f"{path}?{urlencode({'study': study})}")


def study_link(study: str, text: str) -> str:
    """A link that opens a study of the workspace; ``text`` comes escaped."""
    return f'<a class="ds-link" href="{study_address(study)}" target="_self">{text}</a>'


def runs_head() -> str:
    """The titles of the columns of :func:`run_row`."""
    titles = "".join(
        f'<div class="ds-run-title" title="{SHOWN[key].title}">{title}'
        f'<span class="ds-scale">{SHOWN[key].scale_text}</span></div>'
        for key, title in _ROW.items()
    )
    return (
        '<div class="ds-run ds-run-head"><div></div><div>Study</div>'
        f'<div class="ds-run-students"><div>Student</div>{titles}</div></div>'
    )


def run_row(run: Run, colors: Palette) -> str:
    """One study as HTML; one that cannot be opened, or drawn, says why."""
    summary = run.summary
    if not summary.usable:
        return _broken_row(summary)
    try:
        return _whole_row(run, colors)
    except Exception as error:  # one study never takes the list away from the others
        return _broken_row(damaged(summary.folder, error))


def _broken_row(summary: StudySummary) -> str:
    return (
        '<div class="ds-run"><div></div><div class="ds-run-broken">'
        f'<span class="ds-strong">{escaped(summary.folder)}</span>'
        f'<div class="ds-sub"><span class="ds-alarm">Cannot be opened.</span> '
        f"{escaped(summary.problem, 300)}</div></div></div>"
    )


def _whole_row(run: Run, colors: Palette) -> str:
    summary = run.summary
    tags = "".join(f'<span class="ds-tag">{escaped(tag)}</span>' for tag in summary.tags)
    title = "" if summary.title == summary.folder else escaped(summary.title)
    labeled = "" if summary.labeled else ", no labels"
    return (
        f'<div class="ds-run"><div class="ds-run-pictures">{_pictures(run)}</div>'
        f'<div><div class="ds-title ds-cut">{study_link(summary.folder, escaped(summary.folder))}'
        f'</div><div class="ds-sub ds-cut">{title}</div>'
        f'<div class="ds-sub">{escaped(when(summary.created))} · '
        f"{count_of(summary.images, 'image')}{labeled}</div>"
        f'<div class="ds-sub ds-cut" title="{escaped(summary.teacher, 200)}">'
        f'<span class="ds-circle"></span>{escaped(summary.teacher, 48)}</div>{tags}</div>'
        f'<div class="ds-run-students">{_students(run, colors)}</div></div>'
    )


def _pictures(run: Run) -> str:
    summary = run.summary
    if not summary.pictures or summary.images < 1:
        return '<div class="ds-nopicture">no pictures</div>'
    template = escaped(thumbnail_template("clean", run.version), 400)
    count = min(PICTURES, summary.images)
    rows = sorted({(2 * place + 1) * summary.images // (2 * count) for place in range(count)})
    return "".join(
        f'<img src="{template.replace("{index}", str(row))}" loading="lazy" '
        f'alt="Image {row + 1} of {summary.images}">'
        for row in rows
    )


def _students(run: Run, colors: Palette) -> str:
    students = run.summary.students
    rows = [_student(run, student, colors) for student in students[:STUDENTS]]
    if len(students) > STUDENTS:
        rest = ", ".join(student.name for student in students[STUDENTS:])
        more = f"and {len(students) - STUDENTS} more"
        rows.append(
            f'<div class="ds-sub" title="{escaped(rest, 300)}">{more}</div><div></div><div></div>'
        )
    return "".join(rows) or '<div class="ds-sub">no students</div>'


def _student(run: Run, student: StudentSummary, colors: Palette) -> str:
    role = "" if student.role == "subject" else f' <span class="ds-label">{student.role}</span>'
    cells = "".join(
        f'<div class="ds-run-value">{value_cell(run, student, key, colors, width=110)}</div>'
        for key in _ROW
    )
    return (
        f'<div class="ds-cut">{verdict_mark(student)}<span class="ds-square"></span>'
        f"{escaped(student.name, 40)}{role}</div>{cells}"
    )


def verdict_mark(student: StudentSummary) -> str:
    """The mark of an audit's verdict, nothing without one."""
    state = STATES.get(student.verdict or "")
    if state is None:
        return ""
    return (
        f'<span class="ds-disc ds-small ds-{state.mark}" role="img" title="{state.title}" '
        f'aria-label="{state.title}"></span> '
    )


def value_cell(
    run: Run, student: StudentSummary, measure: str, colors: Palette, *, width: int = 150
) -> str:
    """A number with its interval and the glyph in front of its null."""
    interval = student.values.get(measure)
    if interval is None:
        return f'<span class="ds-faint">{NOT_MEASURED}</span>'
    shown = SHOWN[measure]
    null = _null(run, student, measure)
    far = null is not None and bool(null.outside)
    text, bounds = number(interval.value, shown.unit), interval_text(interval, shown.unit)
    said = escaped(null_words(null, shown.unit), 300)
    glyph = _glyph(interval, null, shown, colors, far, width)
    return (
        f'<span class="ds-run-number{" ds-alarm" if far else ""}">{text}</span>'
        f'<span class="ds-ci">{bounds}</span>'
        f'<img src="{glyph}" title="{said}" alt="{text} {bounds} on {shown.scale_text}. {said}">'
    )


def _null(run: Run, student: StudentSummary, measure: str) -> Null | None:
    nulls = run.nulls.get(student.name)
    return None if nulls is None else nulls.of(measure, HEADLINE[measure])


def _glyph(
    interval: Interval, null: Null | None, shown: Shown, colors: Palette, far: bool, width: int
) -> str:
    if null is None:
        return interval_glyph(interval, shown.scale, colors, far=False, width=width)
    band = None if null.low is None or null.high is None else (null.low, null.high)
    return interval_glyph(
        interval, shown.scale, colors, references=null.references, band=band, far=far, width=width
    )
