"""All jobs of a workspace: hand one in, stop it, let it go on; whoever looks keeps the queue going.

Any number of servers and workers may share a board. Every change is made under one file lock, so
that no job is started twice; a worker that is gone is noticed by whoever looks next.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from analysis.errors import BusyError, InputError, StorageError
from analysis.store.files import refuse_links, storage_errors, write_json
from dashboard.jobs.process import Identity, identity_of, this_process
from dashboard.jobs.record import HEARTBEAT, LOG, RECORD, Job, Order, is_id, read_job, write_job

AT_ONCE = 1
MOST_AT_ONCE = 16
GRACE = 15.0
"""Seconds that a worker has to stop of its own accord."""
SILENCE = 60.0
"""Seconds without a heartbeat after which a worker of another machine counts as gone."""
_LOCK, _SETTINGS = ".lock", "settings.json"
_PATIENCE = 10.0
"""Seconds to wait for the lock, which is never held for long."""
_ROOT = Path(__file__).parent.parent.parent

GONE = "the worker ended without a word: it was killed, or memory ran out"

Start = Callable[[Path, Path], int]


def jobs_folder(workspace: Path) -> Path:
    """Where the jobs of ``workspace`` are."""
    return workspace / ".distillscope" / "jobs"


class Board:
    """The jobs in ``workspace``, a folder of studies.

    ``start`` starts a worker on a job's folder and returns its process id.
    """

    def __init__(self, workspace: Path, *, start: Start | None = None):
        self.workspace = workspace.resolve()
        self.root = jobs_folder(self.workspace)
        self._start = start or start_worker

    def folder(self, job: str) -> Path:
        """The folder of a job; :class:`InputError` for what can be no job."""
        if not is_id(job):
            raise InputError(f"job {job!r}", expected="an id from the list of jobs")
        return self.root / job

    def jobs(self) -> list[Job]:
        """All jobs that can be read, the newest first."""
        try:
            names = [path for path in self.root.iterdir() if is_id(path.name)]
        except OSError:
            return []
        found = [job for path in names if (job := read_job(path)) is not None]
        return sorted(found, key=lambda job: (job.created, job.id), reverse=True)

    def find(self, job: str) -> Job:
        """The job called ``job``; :class:`InputError` where there is none."""
        found = read_job(self.folder(job))
        if found is None:
            raise InputError(f"there is no job {job!r}", remedy="it may have been removed")
        return found

    @property
    def at_once(self) -> int:
        """How many jobs run at a time."""
        try:
            value = json.loads((self.root / _SETTINGS).read_text())["at_once"]
        except (OSError, ValueError, KeyError, TypeError):
            return AT_ONCE
        whole = isinstance(value, int) and not isinstance(value, bool)
        return min(max(value, 1), MOST_AT_ONCE) if whole else AT_ONCE

    def set_at_once(self, count: int) -> None:
        """Let ``count`` jobs run at a time."""
        if not 1 <= count <= MOST_AT_ONCE:
            raise InputError(f"{count} jobs at a time", expected=f"from 1 to {MOST_AT_ONCE}")
        with self._locked():
            write_json(self.root / _SETTINGS, {"at_once": count})
            self._start_next()

    def submit(self, order: Order, *, study: str | None = None) -> Job:
        """Queue ``order``, and start it where nothing else runs."""
        with self._locked():
            now = time.time()
            stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
            job = Job(id=f"{stamp}-{secrets.token_hex(3)}", order=order, study=study, created=now)
            write_job(self.root / job.id, job)
            self._start_next()
            return self.find(job.id)

    def cancel(self, job: str) -> Job:
        """Stop a job: a queued one at once, a running one when its worker has heard of it."""
        with self._locked():
            found = self.find(job)
            if found.state == "queued":
                self._change(found, state="cancelled", ended=time.time())
            elif found.state == "running" and found.stop_asked is None:
                self._change(found, stop_asked=time.time())
                if found.process is not None:
                    found.process.signal_group(signal.SIGINT)
            self._settle()
            self._start_next()
            return self.find(job)

    def resume(self, job: str) -> Job:
        """Queue a job again that was cancelled or failed; finished stages are not repeated."""
        with self._locked():
            found = self.find(job)
            if not found.resumable:
                raise BusyError(
                    f"the job is {found.state}", expected="one that was cancelled or that failed"
                )
            self._change(
                found, state="queued", started=None, ended=None, process=None, stop_asked=None,
                message="",
            )  # fmt: skip
            self._start_next()
            return self.find(job)

    def remove(self, job: str) -> None:
        """Drop a job that is over from the list; what it made stays."""
        with self._locked():
            found = self.find(job)
            if not found.over:
                raise BusyError(f"the job is {found.state}", remedy="cancel it first")
            shutil.rmtree(self.root / job, ignore_errors=True)

    def tend(self) -> list[Job]:
        """Settle what became of workers that are gone, start what may start; return all jobs.

        Who may not write there, or finds the jobs held, only looks.
        """
        if self.root.is_dir():
            with contextlib.suppress(StorageError, BusyError), self._locked():
                self._settle()
                self._start_next()
        return self.jobs()

    # --- for the worker -------------------------------------------------------------------

    def claim(self, job: str) -> Job | None:
        """Take a job for this process; None where it is another's, or has no turn."""
        me = this_process()
        with self._locked():
            found = self.find(job)
            if found.state == "running" and found.process == me:
                return found
            # Its starter was killed before it could say who does the job.
            if found.state != "queued" or not self._free():
                return None
            return self._began(found, me)

    def finish(self, job: str, **outcome: Any) -> Job:
        """Write down what became of this process's job, and let the next one start."""
        with self._locked():
            found = self.find(job)
            if found.process == this_process() and not found.over:
                found = self._change(found, ended=time.time(), process=None, **outcome)
            self._start_next()
            return found

    # --- under the lock -------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock = FileLock(self.root / _LOCK, timeout=_PATIENCE)
        with storage_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout:
                raise BusyError(
                    f"the jobs in {self.root} are held by another process",
                    remedy="wait for it, or end it",
                ) from None
        try:
            yield
        finally:
            lock.release()

    def _change(self, job: Job, **changes: Any) -> Job:
        changed = dataclasses.replace(job, **changes)
        write_job(self.root / job.id, changed)
        return changed

    def _began(self, job: Job, process: Identity) -> Job:
        return self._change(
            job, state="running", started=time.time(), attempts=job.attempts + 1, process=process
        )

    def _settle(self) -> None:
        for job in self.jobs():
            if job.state != "running" or self._at_work(job):
                continue
            end: dict[str, Any] = {"ended": time.time(), "process": None}
            if job.stop_asked is not None:
                self._change(job, state="cancelled", **end)
            else:
                self._change(job, state="failed", message=GONE, **end)

    def _at_work(self, job: Job) -> bool:
        """Whether the worker of a running job is there; one that does not stop is ended."""
        process = job.process
        if process is None:
            return False
        if not process.here:
            return silence(self.root / job.id) < SILENCE
        late = job.stop_asked is not None and time.time() - job.stop_asked > GRACE
        if late and process.signal_group(signal.SIGKILL):
            return False
        return process.alive

    def _free(self) -> bool:
        return sum(job.state == "running" for job in self.jobs()) < self.at_once

    def _start_next(self) -> None:
        waiting = [job for job in reversed(self.jobs()) if job.state == "queued"]
        for job in waiting:
            if not self._free():
                return
            self._change(job)  # a disk that is full says so before a worker is there
            worker = identity_of(self._start(self.root / job.id, self.workspace))
            try:
                self._began(job, worker)
            except StorageError:
                worker.signal_group(signal.SIGKILL)
                raise


def silence(folder: Path) -> float:
    """Seconds since the worker of the job in ``folder`` gave a sign of life."""
    times = []
    for name in (HEARTBEAT, RECORD):
        with contextlib.suppress(OSError):
            times.append((folder / name).stat().st_mtime)
    return max(0.0, time.time() - max(times)) if times else float("inf")


def start_worker(folder: Path, workspace: Path) -> int:
    """Start a worker on the job in ``folder`` in a session of its own; return its process id.

    It outlives the server. What it prints goes to the job's log.
    """
    refuse_links(folder / LOG, workspace)
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            worker_command(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=workspace,
            env=worker_environment(),
        )
    _started[:] = [*(held for held in _started if held.poll() is None), process]
    return process.pid


def worker_command(folder: Path) -> Sequence[str]:
    """How a worker is started."""
    return (sys.executable, "-m", "dashboard.jobs.worker", str(folder))


def worker_environment() -> dict[str, str]:
    """The worker's environment: ours, with this very installation first."""
    # The working directory is the workspace; modules that lie there must not be ours.
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    known = [os.path.abspath(part) for part in given if part]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(_ROOT), *known]),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }


_started: list[subprocess.Popen[bytes]] = []
"""Workers that this process started and that were at work when it last looked."""
