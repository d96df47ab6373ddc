"""The command line's ``report``: a comparison as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from analysis.errors import InputError
from analysis.records import CLEAN, TEACHER
from analysis.store import Study
from dashboard.cli_options import StudyFolder


def report(
    study: StudyFolder,
    out: Annotated[Path, typer.Option(help="Where to write: an .html file.")],
    student: Annotated[
        str | None, typer.Option(metavar="NAME", help="The student (default: the first).")
    ] = None,
    left: Annotated[
        str, typer.Option(metavar="NAME", help="What it is compared with: any model of the study.")
    ] = TEACHER,
    condition: Annotated[
        str, typer.Option(metavar="SLUG", help="How the images are presented.")
    ] = CLEAN,
    megabytes: Annotated[
        float, typer.Option(help="Largest size of the file; images that do not fit are sampled.")
    ] = 8.0,
    seed: Annotated[int, typer.Option(help="Seed of what is sampled.", min=0)] = 0,
) -> None:
    """Write a comparison as one HTML file that opens without a server and without a network.

    Example:  distillscope report studies/first --student small --out first.html
    """
    from dashboard.comparison import Comparison
    from dashboard.report import ReportConfig, write_report

    opened = Study.open(study)
    if out.suffix not in (".html", ".htm"):
        raise InputError(f"cannot write a report to {out.name!r}", expected="an .html file")
    config = ReportConfig(megabytes=megabytes, seed=seed)
    chosen = Comparison.of(opened, student=student, left=left, condition=condition)
    write_report(chosen, out, config)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(report)
