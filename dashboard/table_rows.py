"""Rows of a table by DuckDB: those that a filter leaves, those of one page in an order.

A database of its own for each question, in memory: the table is handed over, then files,
extensions and settings are locked. One thread, 256 MB, nothing on disk, two seconds.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from analysis.errors import InputError
from dashboard.table import COLUMNS, Kind
from dashboard.table_database import SAMPLES, opened
from dashboard.table_filter import check_filter

if TYPE_CHECKING:
    import duckdb

LIMIT_S = 2.0
LOOKED_AT = 32_768
"""Characters that a pattern is held against between two looks at the clock, about."""

_ROW = "__row"


def kinds_of(table: pa.Table) -> dict[str, Kind]:
    """The table's columns with their kinds, as a filter sees them."""
    return {name: COLUMNS[name].kind for name in table.column_names}


def rows_where(table: pa.Table, expression: str, *, limit_s: float = LIMIT_S) -> np.ndarray:
    """Which rows ``expression`` leaves, (N,) bool; where it is null the row is left out.

    Raises :class:`InputError` for an expression that is no filter, fails or takes too long.
    """
    checked = check_filter(expression, kinds_of(table))
    rows = _chunk(table) if checked.searches else None
    with _database(table, rows) as base:
        found = _ask(base, f'SELECT "{_ROW}" FROM {SAMPLES} WHERE {checked.sql}', limit_s)
    mask = np.zeros(table.num_rows, dtype=bool)
    mask[found] = True
    return mask


def ordered_rows(
    table: pa.Table,
    mask: np.ndarray,
    *,
    by: str,
    descending: bool = False,
    start: int = 0,
    count: int | None = None,
) -> np.ndarray:
    """Rows of ``mask`` (N,) ordered by the column ``by``, ``count`` of them from ``start``.

    Nulls come last, equal values in the table's order.
    """
    if by not in table.column_names:
        raise InputError(f"the table has no column {by!r}", expected=", ".join(table.column_names))
    kept = table.select([by]).append_column("__kept", pa.array(mask))
    order = f'"{by}" {"DESC" if descending else "ASC"} NULLS LAST, "{_ROW}"'
    some = "" if count is None else f" LIMIT {int(count)} OFFSET {int(start)}"
    with _database(kept) as base:
        sql = f'SELECT "{_ROW}" FROM {SAMPLES} WHERE "__kept" ORDER BY {order}{some}'
        return _ask(base, sql, 10 * LIMIT_S)


def _database(table: pa.Table, chunk: int | None = None) -> duckdb.DuckDBPyConnection:
    numbered = table.append_column(_ROW, pa.array(np.arange(table.num_rows, dtype=np.int32)))
    if chunk is not None:
        batches = numbered.to_batches(max_chunksize=chunk)
        numbered = pa.Table.from_batches(batches, schema=numbered.schema)
    return opened(numbered)


def _ask(base: duckdb.DuckDBPyConnection, sql: str, limit_s: float) -> np.ndarray:
    import duckdb

    timer = threading.Timer(limit_s, base.interrupt)
    timer.start()
    try:
        return np.asarray(base.execute(sql).fetchnumpy()[_ROW], dtype=np.int64)
    except duckdb.InterruptException as error:
        raise InputError(
            f"the filter took longer than {limit_s:g} s", remedy="make it simpler"
        ) from error
    except duckdb.Error as error:
        said = str(error).splitlines()[0].rpartition("Error: ")[2][:120]
        raise InputError(f"the filter cannot be computed: {said}") from error
    finally:
        timer.cancel()


def _chunk(table: pa.Table) -> int:
    """Rows at a time so that no pattern works long between two looks at the clock."""
    import pyarrow.compute as pc

    longest = 1
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            column = pa.chunked_array([chunk.dictionary for chunk in column.chunks])
        if pa.types.is_string(column.type) and len(column):
            longest = max(longest, pc.max(pc.binary_length(column)).as_py() or 1)
    return int(np.clip(LOOKED_AT // longest, 8, 2048))
