"""The samples of a comparison as one Arrow table: what is shown, filtered, sorted and written out.

One row per sample, in the order of the study. Classes stand by name; what was not measured is
null. With another model than the teacher on the left, ``teacher`` is that model's, as in every
formula.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from analysis.records import CLEAN, TEACHER
from analysis.store.study import Study

if TYPE_CHECKING:
    from dashboard.loading import Pair

Kind = Literal["text", "number", "truth"]

_FROM_STUDY = ("attributed", "map_rank_correlation", "map_top_overlap")


@dataclass(frozen=True, slots=True)
class Column:
    """A column: what it holds, its kind, and the measure that it shows, if it is one."""

    name: str
    kind: Kind
    holds: str
    measure: str | None = None


COLUMNS: Mapping[str, Column] = {
    column.name: column
    for column in (
        Column("sample_id", "text", "the image’s id"),
        Column("condition", "text", "how the images are presented"),
        Column("label", "text", "the label’s class"),
        Column("teacher", "text", "the class that the teacher answers"),
        Column("teacher_confidence", "number", "its probability", "confidence"),
        Column("student", "text", "the class that the student answers"),
        Column("student_confidence", "number", "its probability", "confidence"),
        Column("agree", "truth", "both answer the same class", "agreement"),
        Column("teacher_correct", "truth", "the teacher answers the label", "accuracy"),
        Column("student_correct", "truth", "the student answers the label", "accuracy"),
        Column(
            "negative_flip", "truth", "the teacher is right and the student wrong", "negative_flips"
        ),
        Column("kl", "number", "KL(teacher ∥ student)", "kl_teacher_student"),
        Column("js", "number", "Jensen-Shannon divergence", "js"),
        Column("top5_overlap", "number", "share of classes in both top 5", "top5_overlap"),
        Column(
            "confidence_gap", "number", "student’s confidence minus teacher’s", "confidence_gap"
        ),
        Column(
            "neighborhood_overlap", "number", "share of common nearest neighbors",
            "mean_neighborhood_overlap",
        ),
        Column("attributed", "truth", "the study holds attribution maps of the image"),
        Column(
            "map_rank_correlation", "number", "rank correlation of both models’ maps",
            "rank_correlation",
        ),
        Column("map_top_overlap", "number", "overlap of their strongest pixels", "top_overlap"),
        Column("teacher_clean", "text", "the teacher’s answer to the clean image"),
        Column("student_clean", "text", "the student’s answer to the clean image"),
        Column("student_changed", "truth", "the student answers otherwise than on the clean image"),
    )
}  # fmt: skip
"""Every column that a table of samples may have, in order."""


def sample_table(
    study: Study,
    pair: Pair,
    *,
    student: str,
    condition: str = CLEAN,
    left: str = TEACHER,
    clean: Pair | None = None,
) -> pa.Table:
    """The rows of ``pair`` with all columns that are known; see :data:`COLUMNS`.

    ``clean`` holds the same models on the clean images. Columns of attribution maps appear
    against the teacher only, where the study holds maps.
    """
    columns = _answers(pair, study.class_names, condition) | _measured(pair)
    if left == TEACHER:
        columns |= _maps(study, pair, student, condition)
    if clean is not None and condition != CLEAN:
        columns |= _on_clean(pair, clean, study.class_names)
    return pa.table({name: columns[name] for name in COLUMNS if name in columns})


def _answers(pair: Pair, names: Sequence[str], condition: str) -> dict[str, pa.Array]:
    columns = {
        "sample_id": pa.array([str(name) for name in pair.sample_ids], pa.string()),
        "condition": named(np.zeros(len(pair), dtype=np.int64), [condition]),
        "teacher": named(pair.teacher_answer, names),
        "teacher_confidence": _number(pair.teacher_confidence),
        "student": named(pair.student_answer, names),
        "student_confidence": _number(pair.student_confidence),
        "agree": pa.array(pair.agree),
    }
    if pair.labels is not None:
        columns |= {
            "label": named(pair.labels, names),
            "teacher_correct": pa.array(pair.teacher_correct),
            "student_correct": pa.array(pair.student_correct),
            "negative_flip": pa.array(pair.negative_flip),
        }
    return columns


def _measured(pair: Pair) -> dict[str, pa.Array]:
    numbers = {
        "kl": pair.kl,
        "js": pair.js,
        "top5_overlap": pair.top5_overlap,
        "confidence_gap": pair.confidence_gap,
        "neighborhood_overlap": pair.overlap,
    }
    return {name: _number(values) for name, values in numbers.items() if values is not None}


def _maps(study: Study, pair: Pair, student: str, condition: str) -> dict[str, pa.Array]:
    stored = study.samples(student, condition)
    if "attributed" not in stored.column_names or stored["attributed"].null_count == len(stored):
        return {}
    at = {name: row for row, name in enumerate(stored["sample_id"].to_pylist())}
    order = pa.array([at.get(str(name)) for name in pair.sample_ids], pa.int64())
    columns = {name: stored[name] for name in _FROM_STUDY if name in stored.column_names}
    taken = {name: column.combine_chunks().take(order) for name, column in columns.items()}
    return {
        name: column if pa.types.is_boolean(column.type) else column.cast(pa.float64())
        for name, column in taken.items()
    }


def _on_clean(pair: Pair, clean: Pair, names: Sequence[str]) -> dict[str, pa.Array]:
    at = {str(name): row for row, name in enumerate(clean.sample_ids)}
    rows = np.asarray([at.get(str(name), -1) for name in pair.sample_ids], dtype=np.int64)
    known = rows >= 0
    student = clean.student_answer[rows]
    return {
        "teacher_clean": named(np.where(known, clean.teacher_answer[rows], -1), names),
        "student_clean": named(np.where(known, student, -1), names),
        "student_changed": pa.array(student != pair.student_answer, mask=~known),
    }


def named(classes: np.ndarray, names: Sequence[str]) -> pa.DictionaryArray:
    """Classes (N,) as their names, each stored once; a class without a name is null."""
    known = (classes >= 0) & (classes < len(names))
    codes = pa.array(np.where(known, classes, 0).astype(np.int32), mask=~known)
    return pa.DictionaryArray.from_arrays(codes, pa.array([str(name) for name in names]))


def _number(values: np.ndarray) -> pa.Array:
    return pa.array(np.asarray(values, dtype=np.float64), from_pandas=True)
