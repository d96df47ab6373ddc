"""A job's process: ``python -m dashboard.jobs.worker FOLDER`` runs the commands of one job.

It is started by a :class:`~dashboard.jobs.board.Board` in a session of its own and outlives the
server. Commands are made from the job's order anew, by the rules that the form obeys; nothing
that a file calls a command is run, and no user code is ever trusted.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from analysis.errors import DistillscopeError, InputError
from analysis.store.files import write_bytes
from dashboard import terminal
from dashboard.jobs.board import GRACE, Board
from dashboard.jobs.orders import Plan, plan_of
from dashboard.jobs.progress import Tracker
from dashboard.jobs.record import LOG, Job, read_job

_NICE = 5
"""The pages are to stay quick while a job computes."""
_CANCELLED = 130
_ERROR = ("error: ", "failed: ")


class Stopping:
    """Turns the first request to stop into ``KeyboardInterrupt``; ends the process when late."""

    def __init__(self) -> None:
        self.asked = False

    def install(self) -> None:
        """Listen; a server that was started in the background hands on deaf ears."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = True
            timer = threading.Timer(GRACE, _end_group)
            timer.daemon = True
            timer.start()
            raise KeyboardInterrupt


def _end_group() -> None:
    """End this process and all that it started, which are a group of their own."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(_CANCELLED)


def work(folder: Path) -> int:
    """Do the job in ``folder``, write down what became of it; return the exit status."""
    stopping = Stopping()
    stopping.install()
    board = Board(folder.parent.parent.parent)
    try:
        job = board.claim(folder.name)
    except DistillscopeError as error:
        terminal.fail(str(error))
        return 1
    if job is None:
        return 0
    with contextlib.suppress(OSError):
        # A worker that another one started is as nice already.
        os.nice(max(0, _NICE - os.nice(0)))
    outcome: dict[str, Any]
    try:
        outcome = {"state": "cancelled"} if job.stop_asked else _perform(board, job, stopping)
    except KeyboardInterrupt:
        outcome = {"state": "cancelled"}
    except DistillscopeError as error:
        terminal.fail(str(error))
        outcome = {"state": "failed", "message": str(error)}
    except Exception as error:
        outcome = {"state": "failed", "message": f"internal error, {type(error).__name__}: {error}"}
    board.finish(job.id, **outcome)
    return 0 if outcome["state"] == "done" else 1


def _perform(board: Board, job: Job, stopping: Stopping) -> dict[str, Any]:
    """Run the commands one after the other; return what to write into the record."""
    folder = board.folder(job.id)
    plan = plan_of(job.order, board.workspace)
    watch = functools.partial(_heed, board, job.id)
    with Tracker(folder, plan.parts, watch) as tracker, terminal.reporting_to(tracker.report):
        for name, text in plan.files.items():
            _write(board.workspace / name, text)
        for number, command in enumerate(plan.commands):
            tracker.command(number)
            status, said = _run(folder, plan, command)
            if stopping.asked or status == _CANCELLED:
                return {"state": "cancelled"}
            if status != 0:
                return {"state": "failed", "message": said or f"it ended with status {status}"}
    return {"state": "done", "study": plan.study}


def _heed(board: Board, job: str) -> None:
    """Stop where the record says that we are to: signals do not reach another machine."""
    found = read_job(board.folder(job))
    if found is not None and found.stop_asked is not None:
        os.kill(os.getpid(), signal.SIGINT)


def _write(path: Path, text: str) -> None:
    """Write a file of the job unless it is there; one that somebody changed is not replaced."""
    if not path.is_symlink() and not path.exists():
        write_bytes(path, text.encode())
    elif path.read_text(encoding="utf-8", errors="replace") != text:
        raise InputError(
            f"{path.name} was changed since the job was started",
            remedy=f"run it yourself: distillscope run {path.name}",
        )


def _run(folder: Path, plan: Plan, command: Sequence[str]) -> tuple[int, str]:
    """Run one command in this process; return its status and its last word on an error."""
    from dashboard.cli import run_command

    print(f"$ {plan.shown(command)}", flush=True)
    with _said(folder) as said:
        status = run_command(command)
        sys.stdout.flush()
        sys.stderr.flush()
    return status, said[-1] if said else ""


@contextlib.contextmanager
def _said(folder: Path) -> Iterator[list[str]]:
    """Collect the errors that are printed meanwhile, from the log that this process writes."""
    log = folder / LOG
    before = log.stat().st_size if log.exists() else 0
    said: list[str] = []
    yield said
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(before)
        for line in file.read().decode("utf-8", errors="replace").splitlines():
            for mark in _ERROR:
                if line.startswith(mark):
                    said.append(line.removeprefix(mark))


def main() -> None:
    """Do the job that the command line names."""
    sys.exit(work(Path(sys.argv[1]).resolve()))


if __name__ == "__main__":
    main()
