"""The command line's ``run`` and ``sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dashboard import terminal
from dashboard.cli_options import FileDevice, FileThreads, Quiet, TrustCode, use_threads
from dashboard.terminal_conditions import print_conditions, print_sweep
from dashboard.terminal_null import print_nulls

Experiment = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="The experiment, a TOML file; see docs/experiments.md."),
]


def run(
    experiment: Experiment,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study (default: the file's).")
    ] = None,
    trust_code: TrustCode = None,
    device: FileDevice = None,
    threads: FileThreads = None,
    quiet: Quiet = False,
) -> None:
    """Run a whole experiment: teacher, attack, students and controls, comparison.

    A run that is killed goes on where it stopped when the same command is given again; one that
    is finished is only printed.
    """
    from analysis.study.experiment import poison_report, run_experiment
    from analysis.study.experiment_file import read_experiment

    read = read_experiment(experiment, out=out, device=device, threads=threads)
    use_threads(threads)
    with terminal.stage_progress(quiet=quiet) as progress:
        study = run_experiment(read, trusted_code=trust_code or (), progress=progress)
    terminal.print_study(study)
    print_conditions(study)
    print_nulls(study)
    report = poison_report(study)
    for warning in () if report is None else report.warnings:
        print(f"! {warning}")
    print(f"\nopen it with:  {terminal.opening(study.path)}")


def sweep(
    experiment: Experiment,
    vary: Annotated[
        list[str],
        typer.Option(
            help="SECTION.KEY=VALUE,VALUE..; repeat for a grid. ';' where values hold ','."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the studies, of what they share and the table.")
    ],
    trust_code: TrustCode = None,
    device: FileDevice = None,
    threads: FileThreads = None,
    quiet: Quiet = False,
) -> None:
    """Run an experiment once per combination of values: a study each, one table.

    What combinations have in common is made once. A sweep that is killed goes on where it stopped
    when the same command is given again.

    Example:  distillscope sweep cifar10-backdoor.toml --vary attack.rate=0.005,0.01,0.05
    --vary attack.epsilon=4,8 --out studies/rates
    """
    from analysis.study.sweep import TABLE, parse_vary, plan_cells, run_sweep

    axes = parse_vary(vary)
    cells = plan_cells(experiment, axes, out, device=device, threads=threads)
    use_threads(threads)
    with terminal.stage_progress(quiet=quiet) as progress:
        rows = run_sweep(cells, out, trusted_code=trust_code or (), progress=progress)
    print_sweep(rows, list(axes))
    print(f"\n{out / TABLE} holds all columns; open all with:  {terminal.opening(out)}")


def register(app: typer.Typer) -> None:
    """Add both commands to ``app``."""
    app.command()(run)
    app.command()(sweep)
