"""What a zoo came to, as CSV files that are committed: a table for each kind of step.

Rows are replaced by their key and written whole or not at all, so a run may be killed anywhere.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.store.files import held_file, write_bytes

Row = dict[str, Any]
TABLES: Mapping[str, tuple[str, ...]] = {
    "models": ("model",),
    "searches": ("student", "search"),
    "screenings": ("set",),
    "verdicts": ("student", "test"),
    "repairs": ("student", "remedy"),
    "cleansed": ("student",),
}
"""The tables, with the columns that tell their rows apart."""
_TEXTS = (
    *("model", "teacher", "data", "kind", "family", "architecture", "objective", "trigger"),
    *("target", "outcome", "student", "search", "classes", "censored", "flips", "set", "alarm"),
    *("test", "verdict"),
    *("verdict_with_set", "p_kind", "named", "remedy", "device"),
)
"""Columns that hold words, also where a word looks like a number: the sign "80"."""


@dataclass(frozen=True, slots=True)
class Results:
    """The tables of the zoo called ``zoo`` in ``folder``, a file each.

    Where several processes write, all hold the file ``lock`` while they do.
    """

    folder: Path
    zoo: str
    lock: Path | None = None

    def path(self, table: str) -> Path:
        """The file of ``table``."""
        return self.folder / f"zoo-{self.zoo}-{table}.csv"

    @property
    def pictures(self) -> Path:
        """The folder of the recovered triggers' pictures."""
        return self.folder / f"zoo-{self.zoo}"

    def rows(self, table: str) -> list[Row]:
        """The rows of ``table``; numbers where a field holds one, None where it is empty."""
        path = self.path(table)
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {key: _read(key, text) for key, text in row.items()} for row in csv.DictReader(file)
            ]

    def find(self, table: str, *key: str) -> Row | None:
        """The row of ``table`` with that key, or None."""
        columns = TABLES[table]
        return next(
            (row for row in self.rows(table) if tuple(row[c] for c in columns) == key), None
        )

    def put(self, table: str, new: Sequence[Row]) -> None:
        """Add rows, in place of those with the same key; the others keep their order."""
        columns = TABLES[table]
        keys = {tuple(row[c] for c in columns) for row in new}
        with self._held():
            kept = [row for row in self.rows(table) if tuple(row[c] for c in columns) not in keys]
            write_bytes(self.path(table), _text([*kept, *new]).encode())

    def sort(self, names: Sequence[str]) -> None:
        """Put the rows of all tables into the order of ``names``; others come last."""
        place = {name: number for number, name in enumerate(names)}
        for table, (column, *_) in TABLES.items():
            with self._held():
                rows = self.rows(table)
                rows.sort(key=lambda row: place.get(row[column], len(place)))
                if rows:
                    write_bytes(self.path(table), _text(rows).encode())

    def _held(self) -> contextlib.AbstractContextManager[None]:
        if self.lock is None:
            return contextlib.nullcontext()
        return held_file(self.lock, doing="writing the tables", wait=60)


def _text(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _read(key: str, text: str) -> Any:
    if text == "":
        return None
    if key in _TEXTS:
        return text
    return float(text) if any(mark in text for mark in ".einf") else int(text)
