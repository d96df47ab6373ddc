"""Parquet files in the Hugging Face layout: a column of encoded images and one of labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.data.decoding import Fit
from analysis.data.imageset import unique_ids
from analysis.data.listing import SPLITS, Listing, Location, choose_split, natural_key, row_ids
from analysis.errors import ImageSetError

_IMAGE_COLUMNS = ("img", "image", "images", "pixels")
_LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target")
_BATCH = 128
_LARGEST_LABEL = 1 << 63
_SPLIT = re.compile(rf"(?<![A-Za-z])({'|'.join(SPLITS)})(?![A-Za-z])", re.IGNORECASE)


@dataclass(frozen=True)
class _Columns:
    """Which columns hold what, and the names of the classes where the file tells them."""

    image: str
    nested: bool
    has_path: bool
    label: str | None
    class_names: tuple[str, ...] | None


def list_parquet(location: Location) -> Listing:
    """List a Parquet file, or a folder of shards.

    The image column is ``img`` or ``image`` (a struct of ``bytes`` and ``path``, or bytes), the
    label column ``label`` or ``fine_label``; class names come from the schema's ``huggingface``
    metadata. Sample ids are the paths where they tell most rows apart, else row numbers.
    """
    shards = _shards(location)
    columns = [_columns(shard) for shard in shards]
    for shard, found in zip(shards, columns, strict=True):
        if found != columns[0]:
            raise ImageSetError(
                f"{shard.name!r} and {shards[0].name!r} differ in their columns or class names",
                remedy="put shards of one data set into one folder",
            )
    counts = [_opened(shard).metadata.num_rows for shard in shards]
    ids = _ids(shards, columns[0], sum(counts))
    labels, names = _labels(shards, columns[0])
    return Listing(
        ids=ids,
        labels=labels,
        class_names=names,
        description=location.description,
        read=lambda rows, fit: _read(shards, counts, columns[0], rows, fit),
    )


def holds_parquet(folder: Path) -> bool:
    """Whether a folder is one of Parquet shards."""
    return next(_parquet_files(folder), None) is not None


def _parquet_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*.parquet"):
        parts = path.relative_to(folder).parts
        inside = path.resolve().is_relative_to(folder.resolve())
        if path.is_file() and inside and not any(part.startswith(".") for part in parts):
            yield path


def _shards(location: Location) -> list[Path]:
    root = location.existing
    if root.is_file():
        if location.split:
            raise ImageSetError(f"{root.name!r} has no splits", remedy="leave out the split")
        return [root]
    files = sorted(_parquet_files(root), key=lambda path: natural_key(str(path)))
    by_split: dict[str, list[Path]] = {}
    for path in files:
        by_split.setdefault(_split_of(path.relative_to(root)), []).append(path)
    if set(by_split) == {""} and location.split is None:
        return files
    return by_split[choose_split(location, by_split, "folder")]


def _split_of(path: Path) -> str:
    matches = (_SPLIT.search(part) for part in path.parts)
    return next((match[1].lower() for match in matches if match), "")


def _opened(shard: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(shard)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(shard, error) from error


def _damaged(shard: Path, error: Exception) -> ImageSetError:
    return ImageSetError(
        f"{shard.name!r} cannot be read ({error})",
        expected="a Parquet file",
        remedy="fetch it again",
    )


def _columns(shard: Path) -> _Columns:
    schema = _opened(shard).schema_arrow
    features = _features(schema)
    by_lower = {name.lower(): name for name in schema.names}
    tagged = [name for name in schema.names if _kind(features, name) == "Image"]
    named = [by_lower[name] for name in _IMAGE_COLUMNS if name in by_lower]
    usable = [name for name in [*named, *tagged] if _is_image(schema.field(name).type)]
    if not usable:
        raise ImageSetError(
            f"{shard.name!r} has the columns {', '.join(schema.names)}",
            expected="a column 'img' or 'image' of encoded images",
            remedy="rename the column",
        )
    classes = [name for name in schema.names if _kind(features, name) == "ClassLabel"]
    labels = [by_lower[name] for name in _LABEL_COLUMNS if name in by_lower] + classes
    label = labels[0] if labels else None
    names = features.get(label, {}).get("names") if label else None
    kind = schema.field(usable[0]).type
    nested = pa.types.is_struct(kind)
    return _Columns(
        image=usable[0],
        nested=nested,
        has_path=nested and kind.get_field_index("path") >= 0,
        label=label,
        class_names=tuple(map(str, names)) if isinstance(names, list) else None,
    )


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """The features that the schema declares; what cannot be understood declares nothing."""
    try:
        declared = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    if not isinstance(declared, dict):
        return {}
    return {name: value for name, value in declared.items() if isinstance(value, dict)}


def _kind(features: dict[str, dict[str, Any]], name: str) -> object:
    return features.get(name, {}).get("_type")


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_binary(kind.field(index).type)
    return _is_binary(kind)


def _labels(
    shards: list[Path], columns: _Columns
) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """Labels (N,) and class names; -1 or null in every row is how a table says "unlabeled"."""
    if columns.label is None:
        return None, columns.class_names
    values = [value for table in _tables(shards, columns.label) for value in table[0].to_pylist()]
    if all(value in (None, -1) for value in values):
        return None, columns.class_names
    if all(isinstance(value, str) for value in values):
        names = columns.class_names or tuple(sorted(set(values), key=natural_key))
        values = [names.index(value) if value in names else value for value in values]
        columns = replace(columns, class_names=names)
    for row, value in enumerate(values):
        if not isinstance(value, int) or isinstance(value, bool):
            raise ImageSetError(
                f"label {value!r} in column {columns.label!r}, row {row}",
                expected="a class number in every row, or one of the class names in every row",
            )
        if abs(value) >= _LARGEST_LABEL:
            raise ImageSetError(f"label {value} in column {columns.label!r}, row {row}")
    return np.array(values, dtype=np.int64), columns.class_names


def _ids(shards: list[Path], columns: _Columns, count: int) -> list[str]:
    numbers = row_ids(count, shards[0].name)
    paths: list[str | None] = []
    if columns.has_path:
        for table in _tables(shards, f"{columns.image}.path"):
            paths += table[0].combine_chunks().field("path").to_pylist()
    kept = [_local(path) for path in paths if path]
    if len(kept) == count and len(set(kept)) * 2 > count:
        return unique_ids(kept)
    return numbers


def _local(path: str) -> str:
    """The path as part of an id; of one that could tell of somebody's disk only the name."""
    pure = PurePosixPath(path.replace("\\", "/"))
    leads_out = pure.is_absolute() or ".." in pure.parts or ":" in pure.parts[0]
    return pure.name if leads_out else str(pure)


def _tables(shards: list[Path], column: str) -> Iterator[pa.Table]:
    for shard in shards:
        try:
            yield _opened(shard).read(columns=[column])
        except (pa.ArrowException, OSError) as error:
            raise _damaged(shard, error) from error


def _read(
    shards: list[Path], counts: list[int], columns: _Columns, rows: np.ndarray, fit: Fit
) -> Iterator[tuple[str, np.ndarray]]:
    """Decode the given rows (ascending); row groups that hold none of them are not read."""
    start = 0
    for shard, count in zip(shards, counts, strict=True):
        wanted = rows[(rows >= start) & (rows < start + count)] - start
        for row, data in _cells(shard, columns, wanted):
            where = f"{shard.name!r}, row {row}"
            if data is None:
                raise ImageSetError(
                    f"{where} holds no image bytes",
                    expected="encoded images inside the table",
                    remedy="embed the images; files that a table refers to are not opened",
                )
            yield where, fit.decode(data, where)
        start += count


def _cells(shard: Path, columns: _Columns, rows: np.ndarray) -> Iterator[tuple[int, bytes | None]]:
    file = _opened(shard)
    start = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if np.any((rows >= start) & (rows < start + count)):
            yield from _group_cells(file, shard, columns, group, start, rows)
        start += count


def _group_cells(
    file: pq.ParquetFile, shard: Path, columns: _Columns, group: int, start: int, rows: np.ndarray
) -> Iterator[tuple[int, bytes | None]]:
    name = f"{columns.image}.bytes" if columns.nested else columns.image
    try:
        for batch in file.iter_batches(_BATCH, row_groups=[group], columns=[name]):
            cells = batch.column(0).field("bytes") if columns.nested else batch.column(0)
            wanted = rows[(rows >= start) & (rows < start + len(cells))]
            yield from zip(wanted.tolist(), cells.take(wanted - start).to_pylist(), strict=True)
            start += len(cells)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(shard, error) from error
