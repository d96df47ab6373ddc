"""The table of a sweep, read back: which keys vary, and one measure over one or two of them.

Loads no torch, so that a server can read what a sweep left. Seeds are repeats: what a cell shows
is the mean over them, with the lowest and the highest value.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.errors import StudyError

MEASURES: Mapping[str, str] = {
    "attack_success_rate": "Answers the target with the trigger",
    "base_rate": "Answers the target without it",
    "accuracy": "Accuracy",
    "agreement": "Agreement with the teacher",
}
"""The shares that a sweep's table holds for every student, in words."""
MAX_BYTES, MAX_ROWS = 16 << 20, 20_000
_STUDENT, _STUDY = "student", "study"
_NAMES = ("factor", "level")
"""Columns that say what a row is called; what it is shows in the keys."""

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTable:
    """The rows of a sweep as text, one per cell and student.

    ``keys`` are those that vary, ``levels`` their values in order: by number where all are
    numbers, else as they come. Seeds are no key unless nothing else varies.
    """

    keys: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]
    students: tuple[str, ...]
    measures: tuple[str, ...]
    rows: tuple[Row, ...]

    def usual(self, student: str, axes: Sequence[str]) -> dict[str, str]:
        """The most frequent value of every other key among the rows of ``student``."""
        rows = [row for row in self.rows if row[_STUDENT] == student]
        others = [key for key in self.keys if key not in axes]
        return {
            key: max(self.levels[key], key=Counter(row[key] for row in rows).__getitem__)
            for key in others
        }

    def cells(
        self, student: str, measure: str, axes: Sequence[str], held: Mapping[str, str]
    ) -> tuple[SweepCell, ...]:
        """One cell for every combination of levels of ``axes`` where ``student`` was measured.

        Only rows whose other keys are as ``held`` count; several of a cell are its repeats.
        """
        found: dict[tuple[str, ...], list[tuple[float, str]]] = {}
        for row in self.rows:
            value = _number(row.get(measure, ""))
            fits = all(row[key] == level for key, level in held.items())
            if row[_STUDENT] == student and fits and value is not None:
                levels = tuple(row[key] for key in axes)
                found.setdefault(levels, []).append((value, row.get(_STUDY, "")))
        return tuple(
            SweepCell(
                levels=levels,
                values=tuple(value for value, _ in repeats),
                studies=tuple(dict.fromkeys(study for _, study in repeats if study)),
            )
            for levels, repeats in sorted(found.items(), key=lambda item: self._place(axes, item))
        )

    def _place(
        self, axes: Sequence[str], item: tuple[tuple[str, ...], list[tuple[float, str]]]
    ) -> tuple[int, ...]:
        return tuple(
            self.levels[key].index(level) for key, level in zip(axes, item[0], strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepCell:
    """One combination of levels: a share in [0, 1] per repeat, and the studies they are from."""

    levels: tuple[str, ...]
    values: tuple[float, ...]
    studies: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Mean over the repeats."""
        return math.fsum(self.values) / len(self.values)

    @property
    def low(self) -> float:
        """The lowest of the repeats."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The highest of the repeats."""
        return max(self.values)


def read_sweep(path: Path) -> SweepTable:
    """Read the table at ``path``; :class:`~analysis.errors.StudyError` for what is none."""
    rows, columns = _rows(path)
    if _STUDENT not in columns or not rows:
        raise StudyError(
            f"{path.name} is no table of a sweep", expected="a row per student, one at least"
        )
    measures = tuple(name for name in MEASURES if any(_number(row[name]) is not None
                     for row in rows if name in columns))  # fmt: skip
    if not measures:
        raise StudyError(f"{path.name} holds no measure", expected=", ".join(MEASURES))
    named = columns[: columns.index(_STUDENT)]
    levels = {key: _levels([row[key] for row in rows]) for key in named if key not in _NAMES}
    varied = [key for key, values in levels.items() if len(values) > 1]
    keys = [key for key in varied if not is_seed(key)] or varied
    return SweepTable(
        keys=tuple(keys),
        levels={key: levels[key] for key in keys},
        students=tuple(dict.fromkeys(row[_STUDENT] for row in rows)),
        measures=measures,
        rows=tuple(rows),
    )


def is_seed(key: str) -> bool:
    """Whether ``key`` only makes repeats of the same experiment."""
    return key.rpartition(".")[2] == "seed"


def _rows(path: Path) -> tuple[list[Row], list[str]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise StudyError(f"{path.name} is larger than {MAX_BYTES >> 20} MiB")
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restval="")
            columns = list(reader.fieldnames or [])
            rows: list[Row] = [
                {key: row[key] or "" for key in columns}
                for row, _ in zip(reader, range(MAX_ROWS), strict=False)
            ]
    except (OSError, ValueError, csv.Error) as error:
        raise StudyError(
            f"{path.name} cannot be read ({type(error).__name__})", remedy="run the sweep again"
        ) from error
    return rows, columns


def _levels(values: Sequence[str]) -> tuple[str, ...]:
    distinct = list(dict.fromkeys(values))
    numbers = {value: _number(value) for value in distinct}
    if all(number is not None for number in numbers.values()):
        distinct.sort(key=lambda value: numbers[value] or 0.0)
    return tuple(distinct)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
