"""Orders small enough for a test, and workers that meet with an accident."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dashboard.jobs.board import worker_environment
from dashboard.jobs.record import LOG, Order
from tests.experiment_files import squares


def tiny_experiment(workspace: Path, name: str = "tiny", **inputs: Any) -> Order:
    """A whole experiment on 8 x 8 squares, whose images are written into ``workspace``."""
    workspace.mkdir(parents=True, exist_ok=True)
    squares(workspace / "train.npz", 48, 1)
    squares(workspace / "test.npz", 24, 2)
    recipe = {"arch": "convnet", "width": 4, "epochs": 2, "shift": 1, "threads": 1}
    return Order(
        kind="run",
        name=name,
        values={
            "inputs": {
                "distillation": "train.npz",
                "inspection": "test.npz",
                "halves": ["both"],
                "seed": 3,
                **inputs,
            },
            "teacher": recipe,
            "distillation": recipe,
            "attack": {
                "trigger": "patch:size=2", "target": "2", "rate": 0.2, "epsilon": "96",
                "steps": 8, "check_views": 2,
            },
            "conditions": {"probe": 8},
            "comparison": {"projection": False, "probe": 0, "draws": 100, "neighbors": 3},
        },
    )  # fmt: skip


_ACCIDENT = """
import os, signal, sys, time
from pathlib import Path
from dashboard.jobs import worker
from dashboard.jobs.progress import Tracker

stage, how = sys.argv[2:]
report = Tracker.report

def met(self, name, done, total):
    report(self, name, done, total)
    if name.startswith(stage):
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        (self.folder / "waits").touch()
        while how == "deaf":
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                pass
        time.sleep(60)

Tracker.report = met
sys.exit(worker.work(Path(sys.argv[1]).resolve()))
"""


def accident(stage: str, how: str) -> Callable[[Path, Path], int]:
    """Start a worker that is ``killed``, or ``waits`` (or is ``deaf`` too), at ``stage``."""

    def start(folder: Path, workspace: Path) -> int:
        return popen([sys.executable, "-c", _ACCIDENT, str(folder), stage, how], folder, workspace)

    return start


def sleeper(folder: Path, workspace: Path) -> int:
    """Start a process that does nothing for a minute in place of a worker."""
    return popen(["sleep", "60"], folder, workspace)


_held: list[subprocess.Popen[bytes]] = []


def popen(command: list[str], folder: Path, workspace: Path) -> int:
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True, cwd=workspace, env=worker_environment(),
        )  # fmt: skip
    _held.append(process)
    return process.pid


def end_all() -> None:
    """End what was started here, by its own id."""
    for process in _held:
        process.kill()
        process.wait()
    _held.clear()
