"""The headline table: six measures, each value in front of its null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.divergence.bootstrap import bootstrap_means, bootstrap_sums, percentile_interval
from analysis.divergence.calibration import calibration_gaps, ece
from analysis.divergence.null import Null
from analysis.records import Interval
from dashboard.figures.intervals import interval_glyph
from dashboard.figures.measures import MEASURES, term
from dashboard.figures.numbers import (
    MINUS,
    Unit,
    escaped,
    interval_text,
    number,
    ranked,
    thousands,
)
from dashboard.figures.sides import TEACHING, Sides
from dashboard.loading import Pair
from dashboard.theme import Palette


@dataclass(frozen=True, slots=True)
class Column:
    """One measure of the headline table; ``scale`` is fixed for all rows of the table.

    ``title`` and ``below`` name the two models as ``{left}``, ``{the_left}`` and ``{right}``, the
    measure as ``{title}`` and ``{short}``.
    """

    measure: str
    title: str
    below: str
    unit: Unit
    scale: tuple[float, float]
    scale_text: str
    needs_labels: bool = False

    def words(self, text: str, sides: Sides) -> str:
        """``text`` (title or line below) with the models named, escaped for HTML."""
        named = MEASURES[self.measure]
        return text.format(
            title=named.title,
            short=named.short,
            left=escaped(sides.left),
            the_left=escaped(sides.the_left),
            right=escaped(sides.right),
        )


COLUMNS = (
    Column("accuracy", "{title}", "% right", "share", (0, 1), "0–100", True),
    Column("agreement", "{title} with {the_left}", "% same answer", "share", (0, 1), "0–100"),
    Column("kl_teacher_student", "{short} ({left} ∥ {right})", "nats, mean", "nats", (0, 2), "0–2"),
    Column(
        "confidence_gap", "{title}", "points, vs. {left}", "difference",
        (-0.2, 0.2), "−20…+20",
    ),
    Column(
        "negative_flips", "{title}", "% newly wrong", "share", (0, 0.25),
        "0–25", True,
    ),
    Column("ece", "{title}", "points, 15 bins", "points", (0, 0.25), "0–25", True),
)  # fmt: skip


def measure_rows(pair: Pair) -> dict[str, Interval | None]:
    """The measures of :data:`COLUMNS` on the rows of ``pair``, with bootstrap intervals.

    For rows that a filter leaves; the study holds those of all rows. None without labels, and
    for no rows.
    """
    if len(pair) == 0:
        return {column.measure: None for column in COLUMNS}
    values = {
        "agreement": pair.agree,
        "kl_teacher_student": pair.kl,
        "confidence_gap": pair.confidence_gap,
    }
    if pair.student_correct is not None and pair.negative_flip is not None:
        values |= {"accuracy": pair.student_correct, "negative_flips": pair.negative_flip}
    intervals = bootstrap_means(np.column_stack(list(values.values())))
    measured: dict[str, Interval | None] = dict(zip(values, intervals, strict=True))
    if pair.student_correct is not None:
        confidence = np.clip(pair.student_confidence, 0, 1)
        measured["ece"] = _ece_interval(confidence, pair.student_correct)
    return {column.measure: measured.get(column.measure) for column in COLUMNS}


def teacher_values(pair: Pair) -> dict[str, float]:
    """The teacher's own accuracy and calibration error on the rows of ``pair``."""
    if pair.teacher_correct is None or len(pair) == 0:
        return {}
    return {
        "accuracy": float(pair.teacher_correct.mean()),
        "ece": ece(np.clip(pair.teacher_confidence, 0, 1), pair.teacher_correct),
    }


def _ece_interval(confidence: np.ndarray, correct: np.ndarray) -> Interval:
    gaps = calibration_gaps(confidence, correct)
    value = float(np.abs(gaps.sum(axis=0)).sum() / len(gaps))
    resampled = np.abs(bootstrap_sums(gaps)).sum(axis=1) / len(gaps)
    return percentile_interval(value, resampled)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadlineRow:
    """One row: a condition or a selection of rows, its n and measures.

    ``nulls`` holds what reference students show of a measure, where there are any; ``teacher``
    the teacher's own value of the measures that one model has alone.
    """

    name: str
    n: int
    measures: Mapping[str, Interval | None]
    nulls: Mapping[str, Null] = field(default_factory=dict)
    teacher: Mapping[str, float] = field(default_factory=dict)


def headline_table(
    rows: Sequence[HeadlineRow], colors: Palette, *, labeled: bool, sides: Sides = TEACHING
) -> str:
    """The table as HTML; the first row is the one that is looked at."""
    columns = [_fitted(column, rows) for column in COLUMNS]
    head = "".join(_head(column, sides, last=column is columns[-1]) for column in columns)
    body = "".join(_row(row, columns, colors, first=index == 0, labeled=labeled)
                   for index, row in enumerate(rows))  # fmt: skip
    return (
        f'<table class="ds-table ds-headline"><thead><tr><th></th>{head}</tr></thead>{body}</table>'
    )


def _head(column: Column, sides: Sides, *, last: bool) -> str:
    title = term(column.measure, column.words(column.title, sides), end=last)
    return (
        f'<th><b>{title}</b><span class="ds-axis"><span class="ds-scale">{column.scale_text}'
        f"</span>{column.words(column.below, sides)}</span></th>"
    )


def _row(
    row: HeadlineRow, columns: Sequence[Column], colors: Palette, *, first: bool, labeled: bool
) -> str:
    cells = "".join(_cell(row, column, colors, first=first, labeled=labeled) for column in columns)
    return (
        f'<tr><td><span class="ds-strong">{escaped(row.name)}</span><br>'
        f'<span class="ds-label">n = {thousands(row.n)}</span></td>{cells}</tr>'
    )


def _cell(row: HeadlineRow, column: Column, colors: Palette, *, first: bool, labeled: bool) -> str:
    interval, null = row.measures.get(column.measure), row.nulls.get(column.measure)
    if interval is None:
        reason = "needs labels" if column.needs_labels and not labeled else "not measured"
        return f'<td><span class="ds-faint">{reason}</span></td>'
    text = number(interval.value, column.unit)
    bounds = interval_text(interval, column.unit)
    style = ' style="color:var(--ds-alarm)"' if null is not None and null.outside else ""
    teacher = row.teacher.get(column.measure)
    glyph = _glyph(interval, null, column, colors, teacher)
    own = ""
    if teacher is not None:
        own = f'<span class="ds-circle"></span>{number(teacher, column.unit)}'
        own = f'<span class="ds-ci">{own}</span>'
    size = "ds-big" if first else "ds-mid"
    said = null_words(null, column.unit)
    return (
        f'<td><span class="{size}"{style}>{text}</span><span class="ds-ci">{bounds}</span>{own}'
        f'<img src="{glyph}" title="{said}" alt="{text} {bounds} on {column.scale_text}. {said}">'
        "</td>"
    )


def _glyph(
    interval: Interval,
    null: Null | None,
    column: Column,
    colors: Palette,
    teacher: float | None,
) -> str:
    if null is None:
        return interval_glyph(interval, column.scale, colors, far=False, teacher=teacher)
    band = None if null.low is None or null.high is None else (null.low, null.high)
    return interval_glyph(
        interval,
        column.scale,
        colors,
        references=null.references,
        band=band,
        far=bool(null.outside),
        teacher=teacher,
    )


def null_words(null: Null | None, unit: Unit) -> str:
    """What the references say of a number: rank, honest range, corrected p."""
    if null is None:
        return "no reference students"
    said = [ranked(null)]
    if null.low is not None and null.high is not None:
        limits = Interval(null.mean, null.low, null.high)
        said.append(f"honest range {interval_text(limits, unit)}")
    if null.p_holm is not None:
        said.append(f"p = {null.p_holm:.2g} after Holm’s correction")
    return ", ".join(said)


def _fitted(column: Column, rows: Sequence[HeadlineRow]) -> Column:
    """The column with its scale widened in whole steps where a value lies outside it."""
    values = [
        end
        for row in rows
        if (interval := row.measures.get(column.measure)) is not None
        for end in (interval.low, interval.value, interval.high, *_references(row, column))
        if end is not None
    ]
    low, high = column.scale
    reach = max((abs(value) for value in values), default=0.0)
    while reach > max(high, -low):
        low, high = low * 2, high * 2
    if high == column.scale[1] or (low, high) == column.scale:
        return column
    if column.unit == "nats":
        text = f"0–{high:g}"
    else:
        low, high = max(low, -1.0), min(high, 1.0)
        start = "0–" if low == 0 else f"{MINUS}{-100 * low:.0f}…+"
        text = f"{start}{100 * high:.0f}"
    return Column(
        column.measure, column.title, column.below, column.unit, (low, high), text,
        column.needs_labels,
    )  # fmt: skip


def _references(row: HeadlineRow, column: Column) -> tuple[float, ...]:
    null = row.nulls.get(column.measure)
    return () if null is None else null.references
