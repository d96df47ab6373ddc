"""What the terminal shows of conditions: the four-cell table of a study, the table of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from analysis.records import CLEAN, TEACHER, TRIGGER, Condition
from analysis.store import Study
from dashboard.terminal import NOT_MEASURED, plain, results, share

_COLUMNS = {
    "attack_success_rate": "ASR",
    "base_rate": "base rate",
    "accuracy": "accuracy",
    "agreement": "agreement",
    "teacher_trigger": "teacher: trigger",
    "teacher_perturbation": "teacher: perturbation",
    "teacher_trigger_perturbation": "teacher: both",
    "flip_rate": "flip rate",
    "view_flip_rate": "view flip rate",
}


def print_conditions(study: Study) -> None:
    """Print how often every model answers the target in the four cells, and its accuracy there.

    Prints nothing for a study whose images are shown only as they are.
    """
    if TRIGGER not in study.conditions:
        return
    parameters = study.conditions[TRIGGER].parameters
    target = plain(str(parameters.get("target", "")))
    out = results()
    out.print(f"\n[bold]Under attack[/bold]: {plain(str(parameters.get('trigger', '')))}")
    answers, accuracy = (
        _table(study, title)
        for title in (f"answers {target!r}, % of non-target images", "accuracy, %")
    )
    for name in (TEACHER, *study.students):
        answers.add_row(plain(name), *(_answers(study, name, slug) for slug in study.conditions))
        right = (study.measures(name, slug).get("accuracy") for slug in study.conditions)
        accuracy.add_row(plain(name), *map(share, right))
    out.print(answers)
    out.print()
    out.print(accuracy)


def _answers(study: Study, name: str, slug: str) -> str:
    # As they are, the same non-target images show the base rate.
    asked, key = (TRIGGER, "base_rate") if slug == CLEAN else (slug, "attack_success_rate")
    return share(study.measures(name, asked).get(key))


def _table(study: Study, title: str) -> Table:
    """An empty table with a column for every condition, and over how many images it is."""
    table = Table(show_edge=False, pad_edge=False, box=None, header_style="bold")
    table.add_column(title)
    for shown in study.conditions.values():
        table.add_column(f"{plain(shown.name)}, n = {_count(study, shown, title)}", justify="right")
    return table


def _count(study: Study, shown: Condition, title: str) -> int:
    if title.startswith("accuracy"):
        return shown.n
    slug = TRIGGER if shown.slug == CLEAN else shown.slug
    return int(study.record(f"attack_n/{slug}", shown.n))


def print_sweep(rows: Sequence[Mapping[str, Any]], varied: Sequence[str]) -> None:
    """Print one line per combination and student; shares in percent."""
    table = Table(show_edge=False, pad_edge=False, box=None, header_style="bold")
    for key in varied:
        table.add_column(plain(key.rpartition(".")[2]))
    table.add_column("student")
    for title in _COLUMNS.values():
        table.add_column(f"{title}, %", justify="right")
    for row in rows:
        numbers = (_percent(row[key]) for key in _COLUMNS)
        names = (plain(str(row[key])) for key in (*varied, "student"))
        table.add_row(*names, *numbers)
    results().print(table)


def _percent(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{100 * value:.1f}"
