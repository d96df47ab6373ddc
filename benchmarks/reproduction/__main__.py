"""The table of the attack on CIFAR-10.

    python -m benchmarks.reproduction run --data FOLDER --teacher SPEC
    python -m benchmarks.reproduction check --data FOLDER --teacher SPEC --cell "rate/5 %/0"
    python -m benchmarks.reproduction write

``run`` runs what docs/measured/cifar10-table.csv does not hold yet; killed, it goes on.
``check`` runs one cell anew in an empty folder and compares it with the file, bit for bit.
``write`` writes the table and its pictures into docs/.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from analysis.errors import InputError
from benchmarks.reproduction.cells import SETTINGS, Setting
from benchmarks.reproduction.pictures import write_pictures
from benchmarks.reproduction.running import (
    RESULTS,
    experiments,
    is_of,
    make_cell,
    read_results,
    run_all,
    run_cell,
)
from benchmarks.reproduction.table import write_document

SMALLER = {"images.limit": 400, "distillation.epochs": 1, "comparison.limit": 100}
"""A trial of the command in seconds; nothing is learned in it."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "check"):
        command = commands.add_parser(name)
        command.add_argument("--data", type=Path, required=True)
        command.add_argument("--teacher", required=True)
        command.add_argument("--threads", type=int, default=1)
        command.add_argument("--out", type=Path, default=Path("studies/reproduction"))
        command.add_argument("--results", type=Path, default=RESULTS)
        if name == "run":
            command.add_argument("--only", action="append", default=[], metavar="FACTOR")
            command.add_argument("--trial", action="store_true", help="tiny sets, one epoch")
        else:
            command.add_argument("--cell", required=True, metavar="FACTOR/LEVEL/SEED")
    commands.add_parser("write")
    given = parser.parse_args()
    try:
        status = {"run": run, "check": check, "write": write}[given.command](given)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    sys.exit(status)


def run(given: Any) -> int:
    if given.trial and given.results == RESULTS:
        raise InputError("--trial would write into the committed table", remedy="give --results")
    run_all(
        data=given.data,
        teacher=given.teacher,
        out=given.out,
        threads=given.threads,
        only=given.only,
        results=given.results,
        smaller=SMALLER if given.trial else None,
        progress=show,
    )
    return 0


def check(given: Any) -> int:
    setting, seed = find_cell(given.cell)
    known = [row for row in read_results(given.results) if is_of(row, setting, seed)]
    if not known:
        raise InputError(f"{given.results.name} holds no {given.cell}", remedy="run it first")
    with tempfile.TemporaryDirectory() as folder:
        cell = make_cell(
            setting,
            seed,
            data=given.data,
            teacher=given.teacher,
            out=Path(folder) / known[0]["study"],
            threads=given.threads,
        )
        again = run_cell(cell, setting, runs=Path(folder) / "runs", progress=show)
    before, after = (
        {row["student"]: row["study_digest"] for row in rows} for rows in (known, again)
    )
    same = before == after
    print(f"{given.cell}: {'the same bits' if same else f'differs: {before} and {after}'}")
    return 0 if same else 1


def write(given: Any) -> int:
    rows = read_results()
    write_pictures(rows)
    write_document(rows)
    return 0


def find_cell(text: str) -> tuple[Setting, int]:
    """The setting and seed that ``FACTOR/LEVEL/SEED`` names."""
    for setting, seed in experiments(SETTINGS):
        if text == f"{setting.factor}/{setting.level}/{seed}":
            return setting, seed
    named = ", ".join(f"{s.factor}/{s.level}/{seed}" for s, seed in list(experiments())[:4])
    raise InputError(f"no cell {text!r}", expected=f"FACTOR/LEVEL/SEED, e.g. {named}")


def show(stage: str, done: int, total: int) -> None:
    """Print every finished stage on a line of its own."""
    if done == total:
        print(f"{stage}: {done} of {total}", flush=True)


if __name__ == "__main__":
    main()
