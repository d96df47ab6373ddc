"""Where it parts most: both models, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.divergence.calibration import wilson_interval
from analysis.records import Interval
from dashboard.figures.intervals import interval_glyph
from dashboard.figures.numbers import percent
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
            agreement=Interval(float(same[index] / n[index]), float(low[index]), float(high[index])),
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


def class_columns(rows: Sequence[ClassRow], colors: Palette) -> dict[str, list[object]]:
    """The table's columns; the glyph is an SVG data URI."""
    scale = glyph_scale(rows)
    columns: dict[str, list[object]] = {
        "class": [row.name for row in rows],
        "n": [row.n for row in rows],
        "glyph": [interval_glyph(row.agreement, scale, colors, width=150) for row in rows],
        "agreement": [percent(row.agreement.value) for row in rows],
    }
    if any(row.teacher_accuracy is not None for row in rows):
        columns["teacher"] = [percent(row.teacher_accuracy or 0.0) for row in rows]
        columns["student"] = [percent(row.student_accuracy or 0.0) for row in rows]
    return columns
