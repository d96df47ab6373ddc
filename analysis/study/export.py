"""Export: all samples of a study as one table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from analysis.errors import InputError
from analysis.store import Study
from analysis.store.files import atomic_path

_NAMED = ("label", "answer", "teacher_answer")


def export_samples(study: Study, out: Path) -> int:
    """Write one row per sample x condition x model to ``out`` (.parquet or .csv).

    Class columns come twice: as index and, with ``_name``, as text. Returns the number of rows.
    Raises :class:`InputError` for another kind of file, and
    :class:`~analysis.errors.StorageError` when the disk refuses; ``out`` appears whole or not at
    all.
    """
    if out.suffix not in (".parquet", ".csv"):
        raise InputError(f"cannot export to {out.name!r}", expected="a .parquet or .csv file")
    rows = 0
    with atomic_path(out) as temporary:
        writer: pq.ParquetWriter | pyarrow.csv.CSVWriter | None = None
        try:
            for table in _tables(study):
                if writer is None:
                    writer = (
                        pq.ParquetWriter(temporary, table.schema, compression="zstd")
                        if out.suffix == ".parquet"
                        else pyarrow.csv.CSVWriter(temporary, table.schema)
                    )
                writer.write_table(table)
                rows += len(table)
        finally:
            if writer is not None:
                writer.close()
    return rows


def _tables(study: Study) -> Iterator[pa.Table]:
    names = pa.array(study.class_names)
    keys = [key.rsplit("/", 1) for key in study.manifest.samples]
    # A student added later may have columns that earlier ones were not measured in.
    schema = pa.unify_schemas([study.samples(*key).schema for key in keys])
    for model, condition in keys:
        table = pa.concat_tables(
            [schema.empty_table(), study.samples(model, condition)], promote_options="default"
        )
        for column in _NAMED:
            table = table.append_column(f"{column}_name", pc.take(names, table[column]))
        yield table.append_column("role", pa.array([study.models[model].role] * len(table)))
