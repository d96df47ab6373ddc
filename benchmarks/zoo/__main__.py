"""The zoo: students of many teachers, honest and planted, and what the audit says of them.

    python -m benchmarks.zoo plan --zoo report
    python -m benchmarks.zoo run --zoo report --state FOLDER [--data FOLDER] [--only TEACHER]
                                 [--seconds N] [--workers N] [--device cuda]
    python -m benchmarks.zoo cleanse --zoo report --state FOLDER [as run]
    python -m benchmarks.zoo status --zoo report
    python -m benchmarks.zoo report --zoo report

``plan`` prints teachers, students and about what is left to compute. ``run`` does it, step by
step, into docs/measured/zoo-*.csv; killed, or out of its seconds, it goes on when called again.
``cleanse`` runs Neural Cleanse with its own schedule on the students whose weights are there.
``status`` says what is done, ``report`` writes the section of docs/audit.md and its pictures.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from analysis.errors import InputError
from benchmarks.zoo.cleansing import cleanse_zoo
from benchmarks.zoo.document import write_report
from benchmarks.zoo.judging import judge
from benchmarks.zoo.method import ROOT, noted_method
from benchmarks.zoo.plan import OURS, Zoo, read_zoo, zoo_names
from benchmarks.zoo.results import Results
from benchmarks.zoo.running import chosen_teachers, run_zoo
from benchmarks.zoo.steps import estimate, is_done, steps
from benchmarks.zoo.trial import smaller

MEASURED = ROOT / "docs" / "measured"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("plan", "run", "cleanse", "status", "report"):
        command = commands.add_parser(name)
        command.add_argument("--zoo", default="report", help=", ".join(zoo_names()))
        command.add_argument("--results", type=Path, default=MEASURED)
        command.add_argument("--only", action="append", default=[], metavar="TEACHER")
        if name in ("run", "cleanse"):
            command.add_argument("--state", type=Path, help="default: build/zoo-NAME")
            command.add_argument("--data", type=Path, help="folder of CIFAR-10 and its teacher")
            command.add_argument("--seconds", type=float, default=float("inf"))
            command.add_argument("--workers", type=int, default=1, help="processes, of one thread")
            command.add_argument("--device", default="cpu", help="where networks run: cpu, cuda")
        if name == "run":
            command.add_argument("--trial", action="store_true", help="tiny: nothing is learnt")
    given = parser.parse_args()
    try:
        status = _COMMANDS[given.command](read_zoo(given.zoo), given)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        status = 130
    sys.exit(status)


def plan(zoo: Zoo, given: Any) -> int:
    """Print what the zoo consists of and what is left to do."""
    results, whole = Results(given.results, zoo.name), 0.0
    for teacher in chosen_teachers(zoo, given.only):
        kinds = Counter(student.kind for student in teacher.students)
        families = Counter(student.family for student in teacher.of_kind("planted"))
        left = [s for s in steps(zoo, teacher, results) if not is_done(s, results, zoo)]
        seconds = estimate(teacher, left)
        whole += seconds
        print(
            f"{teacher.name}: {teacher.architecture} (width {teacher.width}) on {teacher.data}; "
            f"{kinds['honest']} honest, {kinds['foreign']} with a foreign recipe, "
            f"{kinds['planted']} planted ({', '.join(f'{n} {f}' for f, n in families.items())}); "
            f"{len(left)} steps left, about {seconds:,.0f} processor seconds"
        )
    print(f"in all about {whole:,.0f} processor seconds on one thread")
    return 0


def run(zoo: Zoo, given: Any) -> int:
    if given.trial:
        if given.results == MEASURED:
            raise InputError("--trial would write into docs/measured", remedy="give --results")
        zoo = smaller(zoo)
    return _told(run_zoo(zoo, **_how(zoo, given)))


def cleanse(zoo: Zoo, given: Any) -> int:
    """Run Neural Cleanse as published on what was audited."""
    return _told(cleanse_zoo(zoo, **_how(zoo, given)))


def _how(zoo: Zoo, given: Any) -> dict[str, Any]:
    """What both commands that compute are told."""
    return {
        "state": given.state or ROOT / "build" / f"zoo-{zoo.name}",
        "results": Results(given.results, zoo.name),
        "data": given.data,
        "only": given.only,
        "seconds": given.seconds,
        "device": given.device,
        "workers": given.workers,
        "progress": show,
    }


def _told(finished: bool) -> int:
    print("finished" if finished else "out of seconds; the same command goes on", flush=True)
    return 0


def status(zoo: Zoo, given: Any) -> int:
    """Print what is done, teacher by teacher."""
    results = Results(given.results, zoo.name)
    noted, judged = noted_method(given.results, zoo), judge(zoo, results)
    print("not begun" if noted is None else f"method: commit {noted.commit}")
    for teacher in chosen_teachers(zoo, given.only):
        own = [one for one in judged.students if one.model["teacher"] == teacher.name]
        todo = list(steps(zoo, teacher, results))
        done = sum(is_done(step, results, zoo) for step in todo)
        print(
            f"{teacher.name}: {len(own)} of {len(teacher.students)} students made, "
            f"{sum(OURS in one.tests for one in own)} audited; {done} of {len(todo)} steps"
        )
    return 0


def report(zoo: Zoo, given: Any) -> int:
    write_report(zoo, Results(given.results, zoo.name))
    return 0


def show(stage: str, done: int, total: int) -> None:
    """Print every finished step on a line of its own."""
    if done == total:
        print(stage, flush=True)


_COMMANDS = {"plan": plan, "run": run, "cleanse": cleanse, "status": status, "report": report}

if __name__ == "__main__":
    main()
