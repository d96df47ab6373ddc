"""Steps that a page starts and waits for: a command of ours in a process of its own.

The server stays free of torch, and a step that fails or is cancelled leaves the study as it was.
Equal commands are one step, whoever started them.
"""

from __future__ import annotations

import atexit
import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from dashboard.terminal import PROGRESS_VARIABLE

_PROGRESS = re.compile(r"(?P<stage>.+): (?P<done>\d+) of (?P<total>\d+)")
_ERROR = "error: "
GRACE = 15.0
"""Seconds that a command has to stop of its own accord."""


@dataclass(slots=True)
class Step:
    """One command under way or finished; ``stage``, ``done``, ``total`` are its last report."""

    process: subprocess.Popen[str]
    stage: str = "starting"
    done: int = 0
    total: int = 0
    message: str = ""
    stopping: bool = False
    reader: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        assert self.process.stderr is not None
        self.reader = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        self.reader.start()

    def _read(self, lines: TextIO) -> None:
        for line in lines:
            text = line.strip()
            if match := _PROGRESS.fullmatch(text):
                self.stage = match["stage"]
                self.done, self.total = int(match["done"]), int(match["total"])
            elif text:
                self.message = text.removeprefix(_ERROR)

    @property
    def running(self) -> bool:
        """Whether the command is still at work."""
        return self.process.poll() is None

    @property
    def failed(self) -> str | None:
        """Why the command failed, in its own words; None while it runs and when it succeeded."""
        if self.running or self.process.returncode == 0:
            return None
        self.reader.join(timeout=2)
        return self.message or f"the command ended with status {self.process.returncode}"

    def cancel(self) -> None:
        """Have the command stop, and end it when it is late; finished stages are kept."""
        # Not SIGINT: a server that was started in the background hands on that it is ignored.
        if self.running and not self.stopping:
            self.stopping = True
            self.process.terminate()
            threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()


_STEPS: dict[tuple[str, ...], Step] = {}


def start(arguments: Sequence[str]) -> Step:
    """Start ``distillscope ARGUMENTS``, unless that very command is running."""
    key = tuple(arguments)
    if key not in _STEPS or not _STEPS[key].running:
        process = subprocess.Popen(
            [sys.executable, "-m", "dashboard.cli", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env={**os.environ, PROGRESS_VARIABLE: "all"},
        )
        _STEPS[key] = Step(process)
    return _STEPS[key]


def find(arguments: Sequence[str]) -> Step | None:
    """The step that was started with ``arguments``, running or finished, or None."""
    return _STEPS.get(tuple(arguments))


def forget(arguments: Sequence[str]) -> None:
    """Drop a finished step, so that it may be started again."""
    step = _STEPS.get(tuple(arguments))
    if step is not None and not step.running:
        del _STEPS[tuple(arguments)]


@atexit.register
def _stop_all() -> None:
    for step in _STEPS.values():
        if step.running:
            step.process.terminate()
