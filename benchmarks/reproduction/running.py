"""Running cells of the table, and the file in which what they gave is committed."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.errors import InputError
from analysis.store import Progress, Study
from analysis.store.files import write_bytes
from analysis.study.experiment import run_experiment
from analysis.study.experiment_file import read_experiment
from analysis.study.sweep import TABLE, Cell, cell_rows, table_text
from benchmarks.reproduction.cells import SETTINGS, Setting

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "examples" / "cifar10-table.toml"
RESULTS = ROOT / "docs" / "measured" / "cifar10-table.csv"
FILES = {
    "images.distillation": "cifar10-train.parquet",
    "images.inspection": "cifar10-test.parquet",
}

Row = dict[str, Any]


def experiments(settings: Sequence[Setting] = SETTINGS) -> Iterator[tuple[Setting, int]]:
    """Every setting with every seed, in the order in which they are run."""
    for setting in settings:
        for seed in setting.seeds:
            yield setting, seed


def make_cell(
    setting: Setting,
    seed: int,
    *,
    data: Path,
    teacher: str,
    out: Path,
    threads: int,
    smaller: Mapping[str, Any] | None = None,
) -> Cell:
    """The experiment of ``setting`` with ``seed``; ``smaller`` changes settings for a trial.

    ``data`` is the folder of the two Parquet files, ``teacher`` a model spec.
    """
    values = setting.values(seed)
    changes = {
        **values,
        **{key: str((data / name).resolve()) for key, name in FILES.items()},
        "teacher.spec": teacher,
        "name": f"CIFAR-10, {setting.factor}: {setting.level}, seed {seed}",
        **({} if setting.controls else {"controls": {}}),
        **(smaller or {}),
    }
    experiment = read_experiment(EXPERIMENT, changes=changes, out=out, threads=threads)
    return Cell(values=values, experiment=experiment)


def folder_name(setting: Setting, seed: int) -> str:
    """What the study of a cell is called."""
    words = f"{setting.factor}-{setting.level}-seed-{seed}".lower()
    kept = "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in words)
    return kept.replace("__", "_").strip("_")


def run_cell(cell: Cell, setting: Setting, *, runs: Path, progress: Progress) -> list[Row]:
    """Run one cell, or go on with it; one row per student, shares in [0, 1].

    ``study_digest`` is of everything that was measured: the same on the same machine with the
    same number of threads. ``cpu_seconds`` are of this call alone.
    """
    started = time.process_time()
    study = run_experiment(cell.experiment, runs=runs, progress=progress)
    seconds = round(time.process_time() - started, 1)
    return [described(row, setting, study, seconds) for row in cell_rows(cell, study)]


def described(row: Row, setting: Setting, study: Study, seconds: float) -> Row:
    """A row of the sweep's table with what this table says beside."""
    counts = study.record("attack_n/trigger")
    return {
        "factor": setting.factor,
        "level": setting.level,
        **row,
        "n": counts,
        "study_digest": study.digest,
        "cpu_seconds": seconds,
    }


def read_results(path: Path = RESULTS) -> list[Row]:
    """The committed rows; numbers where a field holds one, None where it is empty."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: read_value(key, text) for key, text in row.items()}
            for row in csv.DictReader(file)
        ]


_TEXTS = ("factor", "level", "student", "role", "half", "study", "study_digest")


def read_value(key: str, text: str) -> Any:
    """A field of the file as it was before it was written."""
    if text == "":
        return None
    if key in _TEXTS or key.startswith(("attack.", "distillation.")):
        return text
    return float(text) if any(mark in text for mark in ".e") else int(text)


def is_of(row: Row, setting: Setting, seed: int) -> bool:
    """Whether ``row`` is one of ``setting`` with ``seed``."""
    key = (row["factor"], row["level"], int(row["seed"]))
    return key == (setting.factor, setting.level, seed)


def replaced(rows: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """``rows`` with those of the same cells replaced, in the order of the table."""
    cells = {(row["factor"], row["level"], int(row["seed"])) for row in new}
    kept = [r for r in rows if (r["factor"], r["level"], int(r["seed"])) not in cells]
    order = {(s.factor, s.level, seed): place for place, (s, seed) in enumerate(experiments())}
    merged = [*kept, *new]
    return sorted(
        merged, key=lambda row: order.get((row["factor"], row["level"], int(row["seed"])), 1_000)
    )


def write_results(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as CSV, whole or not at all."""
    write_bytes(path, table_text(rows).encode())


def run_all(
    *,
    data: Path,
    teacher: str,
    out: Path,
    threads: int,
    only: Sequence[str],
    results: Path,
    smaller: Mapping[str, Any] | None,
    progress: Progress,
) -> None:
    """Run every cell that ``results`` does not hold; write both tables after each.

    A run that was killed goes on. ``only`` names factors; empty means all.
    """
    rows = read_results(results)
    missing = [name for name in FILES.values() if not (data / name).is_file()]
    if missing:
        raise InputError(
            f"{data} has no {missing[0]}", expected="CIFAR-10 in the Hugging Face layout"
        )
    plan = [
        (setting, seed)
        for setting, seed in experiments()
        if (not only or setting.factor in only)
        and not any(is_of(row, setting, seed) for row in rows)
    ]
    for number, (setting, seed) in enumerate(plan):
        progress("cells", number, len(plan))
        cell = make_cell(
            setting,
            seed,
            data=data,
            teacher=teacher,
            out=out / folder_name(setting, seed),
            threads=threads,
            smaller=smaller,
        )
        made = run_cell(cell, setting, runs=out / "runs", progress=progress)
        rows = replaced(rows, made)
        write_results(rows, results)
        write_results(rows, out / TABLE)
    progress("cells", len(plan), len(plan))
