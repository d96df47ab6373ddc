"""The table of samples as it is shown: names of columns, order, words for yes and no."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dashboard.figures.measures import MEASURES
from dashboard.figures.numbers import visible
from dashboard.figures.sides import Sides
from dashboard.table import COLUMNS

PARTING = "how far the two part"
_FIRST = (
    "sample_id", "label", "teacher", "teacher_confidence", "student", "student_confidence", "kl",
    "neighborhood_overlap", "agree", "negative_flip",
)  # fmt: skip
_HIDDEN = ("condition",)
_TITLES = {
    "sample_id": "sample",
    "teacher_confidence": "p",
    "student_confidence": "p",
    "kl": "KL",
    "js": "JS",
    "top5_overlap": "top-5 overlap",
    "confidence_gap": "confidence gap",
    "neighborhood_overlap": "shared neighbors",
    "agree": "same answer",
    "negative_flip": "negative flip",
    "attributed": "has maps",
    "map_rank_correlation": "maps: rank corr.",
    "map_top_overlap": "maps: top 5 %",
    "student_changed": "changed by it",
}


_PARTS = {"correct": "right", "clean": "on clean", "changed": "changed", "confidence": "p"}


def column_title(name: str, sides: Sides) -> str:
    """What a column is called on the screen: the models by their names in the comparison."""
    if name in _TITLES:
        return _TITLES[name]
    for ours, model in (("teacher", sides.left), ("student", sides.right)):
        if name == ours:
            return model
        if name.startswith(f"{ours}_"):
            return f"{model} {_PARTS[name.removeprefix(f'{ours}_')]}"
    return name.replace("_", " ")


def column_help(name: str) -> str:
    """What a column holds, its name in a filter, and the measure that it shows."""
    column = COLUMNS[name]
    says = f"{column.holds[:1].upper()}{column.holds[1:]}. In a filter: {name}."
    return f"{says} {MEASURES[column.measure].help}" if column.measure else says


def shown_columns(names: Sequence[str]) -> list[str]:
    """The columns of the screen in order; what is the same for all rows is left out."""
    known = [name for name in names if name not in _HIDDEN]
    return [*(name for name in _FIRST if name in known),
            *(name for name in known if name not in _FIRST)]  # fmt: skip


def sample_rows(table: pa.Table, rows: np.ndarray) -> dict[str, list[Any]]:
    """``rows`` of ``table`` for the screen: names made visible, yes and no, numbers as they are."""
    taken = table.select(shown_columns(table.column_names)).take(pa.array(rows))
    return {
        name: [_cell(value) for value in taken[name].to_pylist()] for name in taken.column_names
    }


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return visible(value) if isinstance(value, str) else value
