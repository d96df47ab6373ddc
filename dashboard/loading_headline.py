"""The rows of the headline table and of the four cells, read from a study. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from analysis.records import TEACHER, TRIGGER, Interval
from analysis.store.study import Study
from analysis.study.null import StudentNulls
from dashboard.figures.cells import ORDER, CellRow, cell_rows
from dashboard.figures.headline import HeadlineRow

Measures = Mapping[str, Interval | None]

_OF_THE_ATTACK = ("attack_success_rate", "base_rate", "titg")


def condition_rows(
    study: Study,
    student: str,
    left: str,
    nulls: StudentNulls,
    measures: Callable[[str], Measures],
    *,
    skip: str,
) -> list[HeadlineRow]:
    """The stored measures on every condition but ``skip``; ``measures`` reads those of one."""
    rows = []
    for slug, condition in study.conditions.items():
        if slug == skip or not study.measures(student, slug):
            continue
        beside = study.measures(left, slug)
        # What one model has alone; a student's other measures are against the teacher.
        alone = {name: beside.get(name) for name in ("accuracy", "ece")}
        rows.append(
            HeadlineRow(
                name=condition.name,
                n=condition.n,
                measures=measures(slug),
                nulls=nulls.on(slug),
                teacher={name: v.value for name, v in alone.items() if v is not None},
            )
        )
    return rows


def images_behind(study: Study, measure: str, condition: str, n: int) -> int:
    """How many of the ``n`` images of ``condition`` a measure is of.

    Rates of the attack are of those alone that are not of the target class.
    """
    return int(study.record(f"attack_n/{condition}", n)) if measure in _OF_THE_ATTACK else n


@dataclass(frozen=True, slots=True, kw_only=True)
class FourCells:
    """The rows of the four cells, the target class, and the images behind each rate."""

    rows: list[CellRow]
    target: str
    counts: Mapping[str, int | None]


def four_cells_of(study: Study, student: str, nulls: StudentNulls) -> FourCells | None:
    """Every model's four cells with ``student`` chosen; None where no trigger is shown."""
    if TRIGGER not in study.conditions:
        return None
    models = {TEACHER: "teacher", **{name: m.role for name, m in study.students.items()}}
    measures = {
        (name, slug): study.measures(name, slug) for name in models for slug in study.conditions
    }
    rows = cell_rows(
        models,
        measures,
        chosen=student,
        nulls={slug: nulls.of("attack_success_rate", slug) for slug in ORDER[1:]},
    )
    return FourCells(
        rows=rows,
        target=str(study.conditions[TRIGGER].parameters.get("target", "")),
        counts={slug: study.record(f"attack_n/{slug}") for slug in ORDER},
    )
