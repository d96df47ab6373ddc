"""The training that a job is at, as its history tells it epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from analysis.distillation.history import EpochRecord, History
from analysis.errors import DistillscopeError

FILE = "history.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The epochs of one run so far; ``of`` says in which folder they were found."""

    of: str
    epochs: tuple[EpochRecord, ...]


def latest_training(workspace: Path, makes: Iterable[str], *, since: float) -> Training | None:
    """The run below the folders ``makes`` that finished an epoch last, at ``since`` or later."""
    found: list[tuple[float, Path]] = []
    for name in makes:
        folder = workspace / name
        if folder.suffix != ".run":
            continue
        for path in (folder / FILE, *folder.glob(f"*.run/{FILE}")):
            try:
                found.append((path.stat().st_mtime, path))
            except OSError:
                continue
    fresh = [entry for entry in found if entry[0] >= since]
    if not fresh:
        return None
    path = max(fresh)[1]
    try:
        history = History.read(path)
    except DistillscopeError:
        return None
    return Training(of=path.parent.name, epochs=history.epochs) if history.epochs else None
