"""Studies side by side: where their settings differ, and their headlines."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from analysis.store.differences import ABSENT, Setting
from analysis.store.summary import HEADLINE
from dashboard.figures.numbers import NOT_MEASURED, escaped, sentence_case
from dashboard.figures.runs import SHOWN, study_link, value_cell, verdict_mark, when
from dashboard.loading_runs import Run
from dashboard.theme import Palette

_LONGEST = 160
_DIGEST = re.compile(r"[0-9a-f]{32,64}")


def headline_side_by_side(runs: Sequence[Run], colors: Palette) -> str:
    """A table with a column per study; rows are students, matched by name, under each measure.

    A measure that no study has is left out. ``-`` stands where a study has no such student.
    """
    names = dict.fromkeys(one.name for run in runs for one in run.summary.students)
    body = ""
    for measure in HEADLINE:
        rows = "".join(_row(runs, name, measure, colors) for name in names)
        if rows:
            shown = SHOWN[measure]
            body += (
                f'<tr class="ds-group"><th colspan="{len(runs) + 1}"><b>{shown.title}</b>'
                f'<span class="ds-scale">{shown.scale_text}</span></th></tr>{rows}'
            )
    return f'<table class="ds-table ds-beside"><thead>{_head(runs)}</thead>{body}</table>'


def _head(runs: Sequence[Run]) -> str:
    cells = "".join(
        f"<th>{study_link(run.summary.folder, escaped(run.summary.folder))}"
        f'<div class="ds-sub">{escaped(when(run.summary.created))}</div></th>'
        for run in runs
    )
    return f"<tr><th></th>{cells}</tr>"


def _row(runs: Sequence[Run], name: str, measure: str, colors: Palette) -> str:
    cells, known = "", False
    for run in runs:
        student = next((one for one in run.summary.students if one.name == name), None)
        if student is None:
            cells += f'<td><span class="ds-faint">{NOT_MEASURED}</span></td>'
            continue
        known = known or measure in student.values
        mark = verdict_mark(student) if measure == "attack_success_rate" else ""
        value = value_cell(run, student, measure, colors)
        cells += f'<td><div class="ds-beside-value">{value}{mark}</div></td>'
    if not known:
        return ""
    return f'<tr><td><span class="ds-square"></span>{escaped(name, 40)}</td>{cells}</tr>'


def settings_table(runs: Sequence[Run], settings: Sequence[Setting], *, everything: bool) -> str:
    """A table with a column per study; where studies differ the row is marked in shape and weight.

    Without ``everything`` only rows that differ are there, and of a student that not every study
    has only its role: the rest would be its whole recipe against nothing.
    """
    lonely = {s.group for s in settings if s.key == "role" and ABSENT in s.values}
    shown = [
        setting
        for setting in settings
        if everything
        or (setting.differs and (setting.group not in lonely or setting.key == "role"))
    ]
    body, group = "", None
    for setting in shown:
        if setting.group != group:
            group = setting.group
            head = f'<th colspan="{len(runs) + 1}"><b>{escaped(group)}</b></th>'
            body += f'<tr class="ds-group">{head}</tr>'
        body += _setting(setting)
    return f'<table class="ds-table ds-beside"><thead>{_head(runs)}</thead>{body}</table>'


def _setting(setting: Setting) -> str:
    usual = setting.values[0]
    cells = "".join(
        f'<td title="{escaped(text, 600)}"'
        f"{_mark(value, usual) if setting.differs else ''}>{escaped(_short(text), _LONGEST)}</td>"
        for value, text in ((value, _text(value)) for value in setting.values)
    )
    kind = ' class="ds-differs"' if setting.differs else ""
    return f"<tr{kind}><td>{escaped(_title(setting.key), 80)}</td>{cells}</tr>"


def _mark(value: Any, usual: Any) -> str:
    return ' class="ds-other"' if value != usual else ""


def _title(key: str) -> str:
    return str(sentence_case(key.replace("_", " ").replace(".", ": ")))


def _short(text: str) -> str:
    """The beginning of a digest, which tells two apart; anything else as it is."""
    return f"{text[:12]}…" if _DIGEST.fullmatch(text) else text


def _text(value: Any) -> str:
    if value is ABSENT:
        return NOT_MEASURED
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
