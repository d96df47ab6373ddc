"""The command line's ``condition``: edits of the images as a condition of a study."""

from __future__ import annotations

from typing import Annotated

import typer

from analysis.store import Study
from dashboard import terminal, terminal_conditions
from dashboard.cli_options import Device, Quiet, StudyFolder, Threads, TrustCode, use_threads


def condition(
    study: StudyFolder,
    name: Annotated[str, typer.Option(help="What the condition is called.")],
    edit: Annotated[
        list[str],
        typer.Option(
            help="sticker, picture (file=PATH), blur, noise or jpeg[:key=value,..]; in order."
        ),
    ],
    trust_code: TrustCode = None,
    threads: Threads = 0,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Add a condition to a study: every image with the same edits, every model asked again.

    Example:  distillscope condition studies/first --name "Yellow note"
    --edit sticker:size=7,across=20,down=20 --edit jpeg:quality=40
    """
    from analysis.data.edits import check_edits, parse_edit

    Study.open(study)  # before torch is loaded: a wrong folder is answered at once
    edits = check_edits([parse_edit(text) for text in edit])
    from analysis.study.keeping import keep_condition

    use_threads(threads)
    with terminal.stage_progress(quiet=quiet) as progress:
        slug = keep_condition(
            study,
            name=name,
            edits=edits,
            trusted_code=trust_code or (),
            device=device,
            progress=progress,
        )
    opened = Study.open(study)
    terminal_conditions.print_conditions(opened)
    print(f"\n{name.strip()} is the condition {slug!r}: {opened.conditions[slug].n} images")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(condition)
