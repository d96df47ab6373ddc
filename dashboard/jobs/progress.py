"""How far a job is: its parts, the stages of each, items done, time left; one small file."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dashboard.jobs.record import HEARTBEAT, PROGRESS

BEAT = 1.0
"""Seconds between two signs of life."""
_MOST_STAGES = 400
_LEAST = 1.0
"""Seconds for which a stage must have run before its speed says anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a job that the user knows by name, as "Compare".

    It begins with the command of that number, or with a stage whose name begins with one of
    ``stages``, where there are some.
    """

    title: str
    command: int = 0
    stages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage as it was last reported; times are seconds since 1970.

    ``first`` of ``total`` items were done when it was first reported at ``began``: a stage that
    goes on where it stopped begins with some.
    """

    name: str
    part: int
    done: int
    total: int
    first: int
    began: float
    reported: float

    @property
    def finished(self) -> bool:
        """Whether nothing of it is left."""
        return self.done >= self.total

    def seconds_left(self) -> float | None:
        """How long the rest takes at the speed so far; None where that is not known yet."""
        took, items = self.reported - self.began, self.done - self.first
        if self.finished or items <= 0 or took < _LEAST:
            return None
        return took / items * (self.total - self.done)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The parts of a job, the part it is at (from 0), and the stages that were reported."""

    parts: tuple[str, ...] = ()
    at: int = 0
    stages: tuple[Stage, ...] = ()

    @property
    def current(self) -> Stage | None:
        """The stage that reported last."""
        return max(self.stages, key=lambda stage: stage.reported, default=None)


def read_progress(folder: Path) -> Progress:
    """The progress of the job in ``folder``; nothing where none was reported yet."""
    try:
        data = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
        stages = tuple(Stage(**stage) for stage in data["stages"])
        return Progress(parts=tuple(map(str, data["parts"])), at=int(data["at"]), stages=stages)
    except (OSError, ValueError, KeyError, TypeError):
        return Progress()


@dataclass
class Tracker:
    """Takes reports of stages, gives signs of life, keeps ``progress.json`` up to date.

    Use as a context manager around the work. ``watch`` is called at every sign of life, in a
    thread of its own.
    """

    folder: Path
    parts: Sequence[Part]
    watch: Callable[[], None] | None = None
    _at: int = 0
    _stages: dict[tuple[int, str], Stage] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)
    _changed: bool = True

    def __enter__(self) -> Tracker:
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._write()

    def command(self, number: int) -> None:
        """The command of that number begins, and with it the first of its parts."""
        self._go_to(row for row, part in enumerate(self.parts) if part.command == number)

    def report(self, stage: str, done: int, total: int) -> None:
        """Take what a stage reports; made to be called often."""
        now = time.time()
        with self._lock:
            here = self.parts[self._at].command if self.parts else 0
            # What a later part shares with an earlier one, as a control its images, is its own.
            begun = (
                row
                for row, part in enumerate(self.parts)
                if row >= self._at and part.command == here and stage.startswith(part.stages)
            )
            self._at = next(begun, self._at)
            known = self._stages.get((self._at, stage))
            # Shorter than before: another one of the same name, as every image set is rendered.
            if known is None or (known.finished and done < known.done):
                self._make_room()
                self._stages.pop((self._at, stage), None)
                known = Stage(
                    name=stage, part=self._at, done=done, total=total, first=done, began=now,
                    reported=now,
                )  # fmt: skip
            self._stages[self._at, stage] = replace(known, done=done, total=total, reported=now)
            self._changed = True

    def _make_room(self) -> None:
        while len(self._stages) >= _MOST_STAGES:
            del self._stages[next(iter(self._stages))]

    def _go_to(self, rows: Iterable[int]) -> None:
        with self._lock:
            self._at, self._changed = next(iter(rows), self._at), True

    def _beat(self) -> None:
        beat = self.folder / HEARTBEAT
        while True:
            beat.touch()
            self._write()
            if self.watch is not None:
                self.watch()
            if self._over.wait(BEAT):
                return

    def _write(self) -> None:
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            data: dict[str, Any] = {
                "parts": [part.title for part in self.parts],
                "at": self._at,
                "stages": [asdict(stage) for stage in self._stages.values()],
            }
        # Once a second and of no worth after a power cut: renamed, but not forced to the disk.
        temporary = self.folder / f".{PROGRESS}.tmp"
        temporary.unlink(missing_ok=True)  # a link in its place leads elsewhere
        temporary.write_text(json.dumps(data), encoding="utf-8")
        os.replace(temporary, self.folder / PROGRESS)
