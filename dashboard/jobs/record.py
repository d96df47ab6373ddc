"""A job as a record, and the files in its folder ``<workspace>/.distillscope/jobs/<id>/``.

``job.json`` says what is to be run and what became of it; it is replaced atomically, under the
lock of the :class:`~dashboard.jobs.board.Board`. The worker alone writes ``heartbeat``,
``progress.json`` and ``log.txt``.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from analysis.store.files import write_json
from dashboard.jobs.process import Identity

State = Literal["queued", "running", "cancelled", "failed", "done"]
STATES: tuple[State, ...] = get_args(State)
OVER: tuple[State, ...] = ("cancelled", "failed", "done")
RESUMABLE: tuple[State, ...] = ("cancelled", "failed")
SCHEMA_VERSION = 1

RECORD, HEARTBEAT, PROGRESS, LOG = "job.json", "heartbeat", "progress.json", "log.txt"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What somebody wants done: a ``kind`` of form, the ``name`` of what comes out, the values.

    ``values`` are those of the form by its fields, JSON only. Commands are made of them anew
    whenever the job starts; a command that a file holds is never run.
    """

    kind: str
    name: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An order and what became of it. Times are seconds since 1970.

    ``stop_asked`` is when somebody asked a running job to stop; ``message`` why it failed, in
    one line; ``study`` the folder in the workspace that its result is in, where there is one.
    """

    id: str
    order: Order
    study: str | None = None
    state: State = "queued"
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    attempts: int = 0
    process: Identity | None = None
    stop_asked: float | None = None
    message: str = ""

    @property
    def over(self) -> bool:
        """Whether it is at an end, good or bad."""
        return self.state in OVER

    @property
    def resumable(self) -> bool:
        """Whether it can go on where it stopped."""
        return self.state in RESUMABLE

    def to_json(self) -> dict[str, Any]:
        """The job as a plain mapping."""
        return {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Job:
        """Read what :meth:`to_json` returned; ``ValueError`` for anything else."""
        values = {spec.name: data[spec.name] for spec in dataclasses.fields(cls)}
        if data.get("schema_version") != SCHEMA_VERSION or values["state"] not in STATES:
            raise ValueError("no job of this release")
        order = values["order"]
        values["order"] = Order(
            kind=str(order["kind"]), name=str(order["name"]), values=dict(order["values"])
        )
        if values["process"] is not None:
            values["process"] = Identity(**values["process"])
        for name in ("created", "started", "ended", "stop_asked"):
            if values[name] is not None:
                values[name] = float(values[name])
        return cls(**values)


def is_id(text: str) -> bool:
    """Whether ``text`` can be the id of a job, which names a folder."""
    return _ID.fullmatch(text) is not None


def read_job(folder: Path) -> Job | None:
    """The job in ``folder``, or None where there is none that can be read."""
    try:
        job = Job.from_json(json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return job if job.id == folder.name else None


def write_job(folder: Path, job: Job) -> None:
    """Replace the record of ``job``."""
    write_json(folder / RECORD, job.to_json())


def log_tail(folder: Path, lines: int = 12) -> Sequence[str]:
    """The last lines of the job's log, harmless characters only."""
    try:
        with (folder / LOG).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 400 * lines))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ()
    shown = ["".join(c if c.isprintable() else " " for c in line) for line in text.splitlines()]
    return tuple(line.rstrip() for line in shown if line.strip())[-lines:]
