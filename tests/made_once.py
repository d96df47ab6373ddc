"""Models and studies that many tests read: made once in a run, by the process that comes first.

A run is one call of pytest with all its workers; ``make test``, which calls it twice, names a
folder for both in ``DISTILLSCOPE_TEST_MADE`` (an absolute path).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = "DISTILLSCOPE_TEST_MADE"


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder ``name`` of this run, which ``make`` has filled; not to be written to.

    Other processes wait meanwhile. What a killed one left half-made is made again.
    """
    root = _folder_of_the_run(factory)
    root.mkdir(parents=True, exist_ok=True)
    folder, done = root / name, root / f"{name}.done"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def own_copy(factory: pytest.TempPathFactory, made: Path) -> Path:
    """A copy of the folder ``made`` that belongs to this process."""
    return Path(shutil.copytree(made, factory.mktemp(made.name) / made.name))


def _folder_of_the_run(factory: pytest.TempPathFactory) -> Path:
    if named := os.environ.get(FOLDER):
        return Path(named)
    own = factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "made-once"
