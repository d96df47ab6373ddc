"""The command line's ``pack`` and ``unpack``: a study as one file to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from analysis.errors import InputError
from analysis.store import Study, UnpackConfig, pack_study, unpack_study
from dashboard import terminal
from dashboard.cli_options import Quiet, StudyFolder


def pack(
    study: StudyFolder,
    out: Annotated[Path, typer.Option(help="Where to write: a .zip file.")],
    quiet: Quiet = False,
) -> None:
    """Pack a study into one file to hand on; it holds no path of this machine.

    Example:  distillscope pack studies/first --out first.zip
    """
    opened = Study.open(study)
    if out.suffix != ".zip":
        raise InputError(f"cannot pack into {out.name!r}", expected="a .zip file")
    with terminal.stage_progress(quiet=quiet) as progress:
        pack_study(opened, out, progress=progress)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, study {opened.digest}")


def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `pack` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder of the study: new, or empty.")],
    max_gib: Annotated[
        float, typer.Option(help="Refuse a study that is larger.", min=0.001)
    ] = UnpackConfig().gib,
    quiet: Quiet = False,
) -> None:
    """Unpack a study; every file in it is checked, and nothing else is accepted."""
    config = UnpackConfig(gib=max_gib)
    with terminal.stage_progress(quiet=quiet) as progress:
        opened = unpack_study(file, out, config=config, progress=progress)
    print(f"{out}: study {opened.digest}")
    print(f"\nopen it with:  {terminal.opening(out)}")


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(pack)
    app.command()(unpack)
