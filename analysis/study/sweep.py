"""A sweep: one experiment under all combinations of changed values, in one table."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.digest import digest_json
from analysis.errors import ConfigError, InputError
from analysis.records import CLEAN, PERTURBATION, TEACHER, TRIGGER, TRIGGER_PERTURBATION
from analysis.store import Progress, Study, silent
from analysis.store.files import write_bytes
from analysis.study.experiment import poison_report, run_experiment
from analysis.study.experiment_checks import check_experiment
from analysis.study.experiment_file import read_experiment
from analysis.study.experiment_settings import Experiment

TABLE = "sweep.csv"
_LONGEST_NAME = 80
_FIXED = ("name", "out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination: the values by key, and the experiment with them."""

    values: Mapping[str, Any]
    experiment: Experiment


def parse_vary(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Read ``SECTION.KEY=VALUE,VALUE..``; values that hold commas are separated by semicolons.

    Raises :class:`~analysis.errors.ConfigError` for what is not of that form, keys given twice
    and values given twice.
    """
    axes: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, listed = text.partition("=")
        key = key.strip()
        parts = [part.strip() for part in listed.split(";" if ";" in listed else ",")]
        if not equals or not key or not all(parts):
            raise ConfigError(f"--vary {text!r}", expected="SECTION.KEY=VALUE,VALUE")
        if key in axes or len(set(parts)) < len(parts):
            raise ConfigError(f"--vary {text!r}", expected="each key and each of its values once")
        if key in _FIXED:
            raise ConfigError(f"--vary {key}", expected="a key that decides the result")
        axes[key] = [_value(part) for part in parts]
    if not axes:
        raise ConfigError("nothing varies", remedy="add --vary SECTION.KEY=VALUE,VALUE")
    return axes


def plan_cells(
    path: str | Path,
    vary: Mapping[str, Sequence[Any]],
    out: str | Path,
    *,
    device: str | None = None,
    threads: int | None = None,
) -> list[Cell]:
    """Return the experiments of all combinations, the last key varying fastest.

    Raises :class:`~analysis.errors.ConfigError` when one of them is not valid.
    """
    cells = []
    for combination in itertools.product(*vary.values()):
        values = dict(zip(vary, combination, strict=True))
        folder = Path(out) / _folder_name(values)
        experiment = read_experiment(
            path, changes=values, out=folder, device=device, threads=threads
        )
        cells.append(Cell(values=values, experiment=experiment))
    return cells


def run_sweep(
    cells: Sequence[Cell],
    out: str | Path,
    *,
    trusted_code: Collection[str | Path] = (),
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Run every cell into a study below ``out``; return one row per cell and student.

    All cells share ``out/runs``: a teacher, poisoned set or student of equal inputs is made once.
    ``out/sweep.csv`` is written anew after each cell. A sweep that was killed goes on. Raises
    :class:`~analysis.errors.InputError`, naming the cell, before anything is written when one
    of them cannot be used.
    """
    folder = Path(out)
    for cell in cells:
        with _naming(cell):
            check_experiment(cell.experiment, trusted_code)
    rows: list[dict[str, Any]] = []
    for number, cell in enumerate(cells):
        progress("cells", number, len(cells))
        with _naming(cell):
            study = run_experiment(
                cell.experiment,
                runs=folder / "runs",
                trusted_code=trusted_code,
                progress=_numbered(progress, number, len(cells)),
            )
        rows += cell_rows(cell, study)
        write_bytes(folder / TABLE, table_text(rows).encode())
    progress("cells", len(cells), len(cells))
    return rows


@contextlib.contextmanager
def _naming(cell: Cell) -> Iterator[None]:
    """Let errors name the cell."""
    try:
        yield
    except InputError as error:
        named = ", ".join(f"{key} = {value}" for key, value in cell.values.items())
        raise InputError(
            f"with {named}: {error.what}", expected=error.expected, remedy=error.remedy
        ) from error


def cell_rows(cell: Cell, study: Study) -> list[dict[str, Any]]:
    """One row per student: shares in [0, 1], None where nothing was measured.

    ``attack_success_rate`` is with the trigger alone, ``base_rate`` the same without it, both on
    non-target images; ``teacher_*`` are the teacher's cells; ``flip_rate`` is the share of
    crafted images that fool the teacher, ``view_flip_rate`` that of augmented views of the poison.
    """
    report = poison_report(study)
    shared = {
        "teacher_accuracy": _measure(study, TEACHER, CLEAN, "accuracy"),
        "teacher_base_rate": _measure(study, TEACHER, TRIGGER, "base_rate"),
        **{
            f"teacher_{slug}": _measure(study, TEACHER, slug, "attack_success_rate")
            for slug in (TRIGGER, PERTURBATION, TRIGGER_PERTURBATION)
        },
        "flip_rate": None if report is None else report.flip_rate,
        "view_flip_rate": None if report is None else report.view_flip_rate,
        "poisoned": None if report is None else report.poisoned,
        "study": study.path.name,
    }
    plans = cell.experiment.students
    rows = []
    for name, model in study.students.items():
        success = study.measures(name, TRIGGER).get("attack_success_rate")
        own = {
            "student": name,
            "role": model.role,
            "half": plans[name].half if name in plans else None,
            "attack_success_rate": None if success is None else success.value,
            "attack_success_rate_low": None if success is None else success.low,
            "attack_success_rate_high": None if success is None else success.high,
            "base_rate": _measure(study, name, TRIGGER, "base_rate"),
            "accuracy": _measure(study, name, CLEAN, "accuracy"),
            "agreement": _measure(study, name, CLEAN, "agreement"),
        }
        rows.append({**cell.values, **own, **shared})
    return rows


def table_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as CSV; what was not measured is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _measure(study: Study, model: str, condition: str, key: str) -> float | None:
    value = study.measures(model, condition).get(key)
    return None if value is None else value.value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _folder_name(values: Mapping[str, Any]) -> str:
    parts = [f"{key.rpartition('.')[2]}-{value}" for key, value in values.items()]
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", "__".join(parts)).strip("._-")
    # What the characters of a file name cannot say, or say alike, a digest keeps apart.
    exact = all(re.fullmatch(r"[A-Za-z0-9.-]+", part) for part in parts)
    if exact and len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_LONGEST_NAME]}-{digest_json(dict(values))[:8]}"


def _numbered(progress: Progress, number: int, total: int) -> Progress:
    return lambda stage, done, of: progress(f"{number + 1}/{total} {stage}", done, of)
