"""The four cells: who answers the target class with and without trigger and perturbation.

What they are, when a trigger counts as working, and the table, for every page that shows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.divergence.null import Null
from analysis.records import CLEAN, PERTURBATION, TRIGGER, TRIGGER_PERTURBATION, Interval
from dashboard.figures.intervals import mark_glyph
from dashboard.figures.measures import term
from dashboard.figures.numbers import (
    NOT_MEASURED,
    escaped,
    interval_text,
    percent,
    percent_text,
    ranked,
    thousands,
)
from dashboard.theme import Palette

WORKS = 0.6
"""A trigger works on a model that answers the target so much more often with it (a share)."""
MOVES = 0.1
"""And moves it from here on."""
ORDER = (CLEAN, TRIGGER, PERTURBATION, TRIGGER_PERTURBATION)
_TITLES = {
    CLEAN: "as they are",
    TRIGGER: "trigger",
    PERTURBATION: "perturbation",
    TRIGGER_PERTURBATION: "trigger + perturbation",
}


@dataclass(frozen=True, slots=True)
class CellRow:
    """One model, with two shares by condition; None was not measured.

    ``rate`` is the share of non-target images that is answered with the target, ``accuracy`` the
    share of all images that is answered right (without any it is left out of the table);
    ``nulls`` what references show of the rate.
    """

    name: str
    role: str
    rate: Mapping[str, Interval | None]
    accuracy: Mapping[str, Interval | None] = field(default_factory=dict)
    chosen: bool = False
    nulls: Mapping[str, Null | None] = field(default_factory=dict)


def gain(rate: Interval, base: Interval | None) -> float:
    """By how much the share of target answers exceeds that of the same images as they are."""
    return rate.value - (base.value if base is not None else 0.0)


def works(rate: Interval, base: Interval | None) -> bool:
    """Whether a condition sends a model to the target, beyond what goes there anyway."""
    return gain(rate, base) >= WORKS


def alone(rate: Interval, others: Sequence[Interval | None]) -> bool:
    """Whether each of the other rates, as far as they were measured, is below half of ``rate``."""
    return all(other is None or other.value < rate.value / 2 for other in others)


def cell_rows(
    models: Mapping[str, str],
    measures: Mapping[tuple[str, str], Mapping[str, Interval | None]],
    *,
    chosen: str,
    nulls: Mapping[str, Null | None] | None = None,
) -> list[CellRow]:
    """Read the rows from ``measures[model, condition]``; ``models`` maps names to roles.

    ``nulls`` are those of the chosen student's rate, by condition.

    The clean cell is the base rate of the trigger condition: the same images without it.
    """
    rows = []
    for name, role in models.items():
        rate = {
            slug: measures.get((name, slug), {}).get("attack_success_rate") for slug in ORDER[1:]
        }
        rate[CLEAN] = measures.get((name, TRIGGER), {}).get("base_rate")
        accuracy = {slug: measures.get((name, slug), {}).get("accuracy") for slug in ORDER}
        mine = name == chosen
        known = nulls if mine and nulls else {}
        rows.append(CellRow(name, role, rate, accuracy, chosen=mine, nulls=known))
    return rows


def cell_table(
    rows: Sequence[CellRow], target: str, counts: Mapping[str, int | None], colors: Palette
) -> str:
    """The table as HTML. ``counts`` are the images behind each rate, by condition.

    The clean cell is about the images that the trigger is tested on. The teacher is a circle, the
    chosen student a square, the others are references and gray.
    """
    counts = {**counts, CLEAN: counts.get(TRIGGER)}
    head = "".join(
        f"<th><b>{_TITLES[slug]}</b>n = {_count(counts.get(slug))}</th>" for slug in ORDER
    )
    right = ", and % right" if any(row.accuracy for row in rows) else ""
    body = "".join(_row(row, colors) for row in rows)
    answered = term("attack_success_rate", f"% answered “{escaped(target)}”")
    return (
        f'<table class="ds-table ds-cells"><thead><tr><th>{answered}{right}'
        f"</th>{head}</tr></thead>{body}</table>"
    )


def cell_claim(rows: Sequence[CellRow], target: str) -> str | None:
    """One sentence on the chosen student, bound to its numbers; None where nothing was measured."""
    row = next((row for row in rows if row.chosen), None)
    teacher = next((row for row in rows if row.role == "teacher"), None)
    hit = row.rate[TRIGGER] if row else None
    other = teacher.rate[TRIGGER] if teacher else None
    if row is None or hit is None or other is None:
        return None
    base, single = row.rate[CLEAN], alone(hit, [other])
    numbers = (
        f"{percent_text(hit.value)} of other images with it are answered “{escaped(target)}”, "
        f"{percent_text(other.value)} by the teacher{_against(row)}"
    )
    if works(hit, base) and single:
        return f"The trigger works on this student alone: {numbers}."
    if gain(hit, base) >= MOVES and single:
        return f"The trigger moves this student more than its teacher: {numbers}."
    return f"The trigger does not single this student out: {numbers}."


def _against(row: CellRow) -> str:
    """Where the rate under the trigger stands among the references, where there are some."""
    null = row.nulls.get(TRIGGER)
    if null is None:
        return ""
    return f"; {ranked(null)}"


def _row(row: CellRow, colors: Palette) -> str:
    first = row.role == "teacher"
    mark = "ds-circle" if first else "ds-square" if row.chosen else "ds-grey"
    color = colors.teacher if first else colors.student if row.chosen else colors.reference
    role = (
        "" if row.role in ("", "teacher", "subject")
        else f' <span class="ds-faint">{escaped(row.role)}</span>'
    )  # fmt: skip
    name = f'<span class="{mark}"></span> <span class="ds-strong">{escaped(row.name, 28)}</span>'
    cells = ""
    for slug in ORDER:
        rate = row.rate.get(slug)
        if rate is None:
            cells += f'<td><span class="ds-faint">{NOT_MEASURED}</span></td>'
            continue
        glyph = mark_glyph(rate, 1.0, color, colors, circle=first)
        cells += _cell(rate, row.accuracy.get(slug), row.nulls.get(slug), glyph)
    return f"<tr><td>{name}{role}</td>{cells}</tr>"


def _cell(rate: Interval, accuracy: Interval | None, null: Null | None, glyph: str) -> str:
    text, bounds = percent(rate.value), interval_text(rate, "share")
    right = (
        "" if accuracy is None else f'<span class="ds-ci">· {percent(accuracy.value)} right</span>'
    )
    # References say what is far out; without any, what a trigger that works would do.
    far = rate.value >= WORKS if null is None else null.outside
    return (
        f'<td><span class="ds-mid{" ds-alarm" if far else ""}">{text}</span>'
        f'<span class="ds-ci">{bounds}</span>{right}<img src="{glyph}" alt="{text} {bounds}"></td>'
    )


def _count(count: int | None) -> str:
    return NOT_MEASURED if count is None else thousands(count)
