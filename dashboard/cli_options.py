"""Options that several commands take, each with one meaning and one help text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from analysis.errors import ConfigError

StudyFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the study.")]
TrustCode = Annotated[
    list[Path] | None,
    typer.Option(help="Allow this Python file to run, for specs like FILE.py:factory@WEIGHTS."),
]
Threads = Annotated[int, typer.Option(help="CPU threads; 0 leaves it to torch.", min=0)]
FileThreads = Annotated[
    int | None,
    typer.Option(help="CPU threads; 0 leaves it to torch (default: the file's).", min=0),
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps.")]
FileDevice = Annotated[
    str | None,
    typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps (default: the file's)."),
]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn.", min=0)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a pipeline.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]


def read_settings(settings: Sequence[str] | None) -> dict[str, Any]:
    """Read ``KEY=VALUE`` settings; a value is JSON where it can be read so, else a text.

    Raises :class:`ConfigError` for what is no such pair.
    """
    values: dict[str, Any] = {}
    for text in settings or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text!r}", expected="KEY=VALUE")
        try:
            values[key.strip()] = json.loads(value)
        except ValueError:
            values[key.strip()] = value
    return values


def use_threads(threads: int | None) -> None:
    """Let torch compute on ``threads`` CPU threads; 0 or None leaves the choice to it."""
    if threads:
        import torch

        torch.set_num_threads(threads)
