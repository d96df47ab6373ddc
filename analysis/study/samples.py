"""Stage: one row per sample of what a model did on a condition."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from analysis.divergence.answers import log_softmax, read_answers, row_chunks
from analysis.records import CLEAN, TEACHER

SAMPLE_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("condition", pa.string()),
        ("model", pa.string()),
        ("label", pa.int32()),
        ("answer", pa.int32()),
        ("confidence", pa.float32()),
        ("p_label", pa.float32()),
        ("correct", pa.bool_()),
        ("teacher_answer", pa.int32()),
        ("teacher_confidence", pa.float32()),
        ("agreement", pa.bool_()),
        ("kl_teacher_student", pa.float32()),
        ("kl_student_teacher", pa.float32()),
        ("js", pa.float32()),
        ("top5_overlap", pa.float32()),
        ("confidence_gap", pa.float32()),
        ("negative_flips", pa.bool_()),
        ("neighborhood_overlap", pa.float32()),
        ("attributed", pa.bool_()),
        ("map_rank_correlation", pa.float32()),
        ("map_top_overlap", pa.float32()),
    ]
)


def sample_table(
    model: str,
    sample_ids: np.ndarray,
    labels: np.ndarray | None,
    arrays: Mapping[str, Path],
    *,
    condition: str = CLEAN,
) -> pa.Table:
    """Return one row per sample; what was not measured is null, never zero.

    The teacher's rows have null in every column that compares with the teacher.
    """
    n = len(sample_ids)
    logits = np.load(arrays[f"logits/{model}/{condition}"], mmap_mode="r")
    own = read_answers(logits)
    columns: dict[str, object] = {
        "sample_id": [str(name) for name in sample_ids],
        "condition": [condition] * n,
        "model": [model] * n,
        "answer": own.answer,
        "confidence": own.confidence,
    }
    if labels is not None:
        columns["label"] = labels
        columns["p_label"] = _label_probability(logits, labels)
        columns["correct"] = own.answer == labels
    if model != TEACHER:
        columns.update(_comparison(model, sample_ids, arrays, condition))
    return pa.table(
        [_column(columns.get(field.name), field, n) for field in SAMPLE_SCHEMA],
        schema=SAMPLE_SCHEMA,
    )


def _comparison(
    model: str, sample_ids: np.ndarray, arrays: Mapping[str, Path], condition: str
) -> dict[str, object]:
    teacher = read_answers(np.load(arrays[f"logits/{TEACHER}/{condition}"], mmap_mode="r"))
    columns: dict[str, object] = {
        "teacher_answer": teacher.answer,
        "teacher_confidence": teacher.confidence,
    }
    base = f"divergence/{model}/{condition}/"
    for key, path in arrays.items():
        if key.startswith(base):
            columns[key.removeprefix(base)] = np.load(path)
    attributed = arrays.get(f"attribution/{model}/{condition}/sample_ids")
    if attributed is not None:
        mapped = np.load(attributed)
        columns["attributed"] = np.isin(sample_ids, mapped)
        agreement = f"attribution_agreement/{model}/{condition}"
        for name in ("rank_correlation", "top_overlap"):
            if (found := arrays.get(f"{agreement}/{name}")) is not None:
                columns[f"map_{name}"] = _spread(np.load(found), mapped, sample_ids)
    return columns


def _spread(values: np.ndarray, ids: np.ndarray, sample_ids: np.ndarray) -> pa.Array:
    """Values of some samples as a column of all; the others, and what is NaN, are null."""
    at = dict(zip(ids.tolist(), values.tolist(), strict=True))
    column = [at.get(name) for name in sample_ids.tolist()]
    return pa.array(column, pa.float32(), from_pandas=True)


def _label_probability(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    values = np.empty(len(labels), dtype=np.float32)
    for rows in row_chunks(*logits.shape):
        log_p = log_softmax(np.asarray(logits[rows]))
        values[rows] = np.exp(log_p[np.arange(len(log_p)), labels[rows]])
    return values


def _column(values: object, field: pa.Field, n: int) -> pa.Array:
    if values is None:
        return pa.nulls(n, field.type)
    if isinstance(values, pa.Array):
        return values
    if isinstance(values, np.ndarray):
        if pa.types.is_boolean(field.type):
            return pa.array(values.astype(bool))
        return pa.array(values.astype(field.type.to_pandas_dtype()))
    return pa.array(values, field.type)
