"""Tables: the samples of a selection as columns, and any columns as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.figures.sides import TEACHING, Sides
from dashboard.loading import Pair

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def sample_columns(
    pair: Pair, class_names: Sequence[str], *, sides: Sides = TEACHING
) -> dict[str, list[Any]]:
    """One row per sample: id, label, both answers with probability, KL, common neighbors."""
    left, right = sides.columns
    columns: dict[str, list[Any]] = {"sample": [str(name) for name in pair.sample_ids]}
    if pair.labels is not None:
        columns["label"] = [class_names[index] for index in pair.labels]
    columns |= {
        left: [class_names[index] for index in pair.teacher_answer],
        f"{left}_p": pair.teacher_confidence.tolist(),
        right: [class_names[index] for index in pair.student_answer],
        f"{right}_p": pair.student_confidence.tolist(),
        "kl": pair.kl.tolist(),
    }
    if pair.overlap is not None:
        columns["shared_neighbors"] = pair.overlap.tolist()
    return columns


def csv_text(columns: Mapping[str, Sequence[Any]]) -> str:
    """``columns`` as CSV; a text that a spreadsheet would run as a formula gets a quote first."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([_inert(value) for value in row])
    return file.getvalue()


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
