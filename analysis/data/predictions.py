"""Predictions that somebody else computed: one row per sample in a Parquet file.

Columns: ``sample_id``; ``logits`` (a list of numbers per row), or one column per class named
``logit_<class>``; optionally ``label`` (a class index, or a class name where columns name the
classes) and ``features`` (a list of numbers per row).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.digest import digest_array, digest_json, digest_strings
from analysis.errors import ModelError, nearest

_PREFIX = "logit_"


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What one model answered: ``sample_ids`` (N,) of str, ``logits`` (N, K) float32.

    ``labels`` (N,) int64, ``features`` (N, D) float32 and ``class_names`` (K,) are None where the
    file tells none. ``name`` is the file's, without directories.
    """

    name: str
    sample_ids: np.ndarray
    logits: np.ndarray
    labels: np.ndarray | None
    features: np.ndarray | None
    class_names: tuple[str, ...] | None

    @cached_property
    def digest(self) -> str:
        """Digest of the content, whatever the file is called."""
        arrays = (self.logits, self.labels, self.features)
        return digest_json(
            [
                digest_strings([str(name) for name in self.sample_ids]),
                [None if values is None else digest_array(values) for values in arrays],
                self.class_names,
            ]
        )


def read_predictions(path: Path) -> Predictions:
    """Read a file of predictions; row order is kept.

    Raises :class:`~analysis.errors.ModelError`, naming file and column, for a file that cannot be
    read, missing columns, sample ids that are empty or not unique, ragged rows, fewer than two
    classes, numbers that are not finite and labels that are no class.
    """
    table = _table(path)
    ids = _ids(path, table)
    logits, names = _logits(path, table)
    features = None
    if "features" in table.column_names:
        features = _matrix(path, "features", table["features"])
    return Predictions(
        name=path.name,
        sample_ids=ids,
        logits=logits,
        labels=_labels(path, table, names, logits.shape[1]),
        features=features,
        class_names=names,
    )


def _table(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ModelError(
            f"predictions {str(path)!r} cannot be read ({type(error).__name__})",
            expected="a Parquet file with the columns sample_id and logits",
        ) from error
    if "sample_id" not in table.column_names:
        raise ModelError(
            f"{path.name} has no column 'sample_id'",
            expected="one row per sample with the columns sample_id and logits",
            remedy=nearest("sample_id", table.column_names) if table.column_names else None,
        )
    if len(table) == 0:
        raise ModelError(f"{path.name} has no rows", expected="one row per sample")
    return table


def _ids(path: Path, table: pa.Table) -> np.ndarray:
    values = table["sample_id"].to_pylist()
    empty = next((row for row, value in enumerate(values) if value in (None, "")), None)
    if empty is not None:
        raise ModelError(f"row {empty} of {path.name} has no sample_id", expected="one for each")
    ids = [str(value) for value in values]
    if len(set(ids)) != len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise ModelError(f"sample_id {twice!r} stands twice in {path.name}", expected="unique ids")
    return np.asarray(ids, dtype=object)


def _logits(path: Path, table: pa.Table) -> tuple[np.ndarray, tuple[str, ...] | None]:
    columns = [name for name in table.column_names if name.startswith(_PREFIX)]
    if "logits" in table.column_names:
        values, names = _matrix(path, "logits", table["logits"]), None
    elif columns:
        suffixes = [name.removeprefix(_PREFIX) for name in columns]
        numbered = all(suffix.isdigit() for suffix in suffixes)
        if numbered:
            columns = sorted(columns, key=lambda name: int(name.removeprefix(_PREFIX)))
            _check_numbers(path, [int(name.removeprefix(_PREFIX)) for name in columns])
        values = np.column_stack([_numbers(path, name, table[name]) for name in columns])
        names = None if numbered else tuple(suffixes)
    else:
        raise ModelError(
            f"{path.name} has no column 'logits'",
            expected="a list of numbers per row, or one column per class named logit_<class>",
            remedy=nearest("logits", table.column_names),
        )
    if values.shape[1] < 2:
        raise ModelError(f"{path.name} has logits of {values.shape[1]} class", expected="2 or more")
    return values, names


def _check_numbers(path: Path, numbers: list[int]) -> None:
    if numbers != list(range(len(numbers))):
        raise ModelError(
            f"{path.name} has the columns logit_{numbers[0]} to logit_{numbers[-1]}, "
            f"{len(numbers)} in all",
            expected=f"logit_0 to logit_{len(numbers) - 1}",
        )


def _matrix(path: Path, column: str, values: pa.ChunkedArray) -> np.ndarray:
    """A column of equally long lists as (N, W) float32."""
    kind = values.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not lists and not pa.types.is_fixed_size_list(kind):
        raise ModelError(
            f"column {column!r} of {path.name} holds {kind}", expected="a list of numbers per row"
        )
    rows: list[Any] = values.to_pylist()
    lengths = {-1 if row is None else len(row) for row in rows}
    if len(lengths) != 1 or min(lengths) < 1:
        raise ModelError(
            f"column {column!r} of {path.name} has rows of different or no length",
            expected="equally many numbers in each",
        )
    try:
        matrix = np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"column {column!r} of {path.name} holds {kind}", expected="numbers"
        ) from error
    return _finite(path, column, matrix)


def _numbers(path: Path, column: str, values: pa.ChunkedArray) -> np.ndarray:
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        raise ModelError(
            f"column {column!r} of {path.name} holds {values.type}", expected="numbers"
        )
    numbers = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float32)
    return _finite(path, column, numbers)


def _finite(path: Path, column: str, values: np.ndarray) -> np.ndarray:
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if bad.any():
        raise ModelError(
            f"row {int(np.argmax(bad))} of column {column!r} of {path.name} is not finite",
            expected="finite numbers",
        )
    return values


def _labels(
    path: Path, table: pa.Table, names: tuple[str, ...] | None, classes: int
) -> np.ndarray | None:
    """Labels as class indices, or None where a row has none."""
    if "label" not in table.column_names or table["label"].null_count:
        return None
    values = table["label"]
    if names is not None and _is_text(values.type):
        known = {name: index for index, name in enumerate(names)}
        given = values.to_pylist()
        foreign = next((name for name in given if name not in known), None)
        if foreign is not None:
            raise ModelError(
                f"label {foreign!r} in {path.name} is no class", remedy=nearest(foreign, names)
            )
        return np.asarray([known[name] for name in given], dtype=np.int64)
    if not pa.types.is_integer(values.type):
        raise ModelError(
            f"column 'label' of {path.name} holds {values.type}", expected="class indices"
        )
    labels = np.asarray(values.to_numpy(), dtype=np.int64)
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        raise ModelError(
            f"label {int(labels[outside][0])} in {path.name}", expected=f"0 to {classes - 1}"
        )
    return labels


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)
