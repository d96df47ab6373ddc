"""Where it parts most: both models, class by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.divergence.calibration import wilson_interval
from analysis.records import Interval
from dashboard.figures.intervals import interval_glyph
from dashboard.figures.measures import term
from dashboard.figures.numbers import escaped, interval_text, percent, thousands
from dashboard.figures.sides import TEACHING, Sides
from dashboard.loading import Pair
from dashboard.theme import Palette


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """Both models on the ``n`` images of one class; accuracies are None without labels."""

    index: int
    name: str
    n: int
    agreement: Interval
    teacher_accuracy: float | None
    student_accuracy: float | None


def class_rows(pair: Pair, class_names: Sequence[str]) -> list[ClassRow]:
    """One row for each class that has images, the lowest agreement first.

    Intervals are Wilson's (95 %). A class is the label, without labels the teacher's answer.
    """
    classes = len(class_names)
    n = np.bincount(pair.groups, minlength=classes)[:classes]
    same = np.bincount(pair.groups, weights=pair.agree, minlength=classes)[:classes]
    low, high = wilson_interval(same, n)
    right = [
        None if correct is None else np.bincount(pair.groups, weights=correct, minlength=classes)
        for correct in (pair.teacher_correct, pair.student_correct)
    ]

    def accuracy(which: int, index: int) -> float | None:
        counts = right[which]
        return None if counts is None else float(counts[index] / n[index])

    rows = [
        ClassRow(
            index=index,
            name=class_names[index],
            n=int(n[index]),
            agreement=Interval(
                float(same[index] / n[index]), float(low[index]), float(high[index])
            ),
            teacher_accuracy=accuracy(0, index),
            student_accuracy=accuracy(1, index),
        )
        for index in np.flatnonzero(n).tolist()
    ]
    return sorted(rows, key=lambda row: (row.agreement.value, -row.n, row.index))


def glyph_scale(rows: Sequence[ClassRow]) -> tuple[float, float]:
    """One scale for all rows: 0 to 100, or 50 to 100 when all intervals lie there."""
    lows = [row.agreement.low for row in rows if row.agreement.low is not None]
    return (0.5, 1.0) if lows and min(lows) >= 0.5 else (0.0, 1.0)


def class_table(
    rows: Sequence[ClassRow],
    colors: Palette,
    link: Callable[[int], str],
    *,
    chosen: int | None = None,
    sides: Sides = TEACHING,
) -> str:
    """The table as HTML; ``link`` gives a class's address, escaped for HTML."""
    scale = glyph_scale(rows)
    labeled = any(row.teacher_accuracy is not None for row in rows)
    names = (escaped(name, 12) for name in (sides.left, sides.right))
    right = "".join(f'<th class="ds-number">{name}</th>' for name in names)
    head = (
        '<tr><th>class</th><th class="ds-number">n</th>'
        f"<th>{term('agreement', 'agreement')}, {100 * scale[0]:.0f} to 100 %</th>"
        f'<th class="ds-number">agree</th>{right if labeled else ""}</tr>'
    )
    body = "".join(_class_row(row, scale, colors, link(row.index), chosen) for row in rows)
    return f'<table class="ds-table ds-rows"><thead>{head}</thead>{body}</table>'


def _class_row(
    row: ClassRow, scale: tuple[float, float], colors: Palette, address: str, chosen: int | None
) -> str:
    name = escaped(row.name, 28)
    share = percent(row.agreement.value)
    glyph = interval_glyph(row.agreement, scale, colors, width=150, height=14)
    accuracies = "".join(
        f'<td class="ds-number ds-quiet">{percent(value)}</td>'
        for value in (row.teacher_accuracy, row.student_accuracy)
        if value is not None
    )
    mark = ' class="ds-chosen"' if row.index == chosen else ""
    alt = f"{share} {interval_text(row.agreement, 'share')}"
    return (
        f'<tr{mark}><td><a class="ds-link" href="{address}" target="_self">{name}</a></td>'
        f'<td class="ds-number ds-quiet">{thousands(row.n)}</td>'
        f'<td><img src="{glyph}" alt="{alt}"></td>'
        f'<td class="ds-number"><span class="ds-strong">{share}</span></td>{accuracies}</tr>'
    )
