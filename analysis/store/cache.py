"""The stage cache: every stage is computed once per content of its inputs.

A stage's key is the digest of its name, its integer version, the digests of its inputs and its
configuration. Device, threads, versions, times and paths are no part of it. A stage works in a
folder of its own (``<key>.partial``), which outlives a kill, so that a stage can resume from
what it left there; on success the folder is renamed to ``<key>``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from analysis.digest import digest_json
from analysis.errors import BusyError, StorageError
from analysis.store.files import storage_errors, write_json

Progress = Callable[[str, int, int], None]
"""Called as ``progress(stage, done, total)``; raising ``Cancelled`` from it stops the work."""

RESULT = "result.json"


def silent(stage: str, done: int, total: int) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True, slots=True)
class StageOutput:
    """What a finished stage left: files in ``path`` and a JSON ``record``."""

    stage: str
    key: str
    path: Path
    record: Mapping[str, Any]
    seconds: float

    def file(self, name: str) -> Path:
        """Path of the stage's file ``name``."""
        return self.path / name


@dataclass(frozen=True, slots=True)
class StageCache:
    """The finished stages under ``root`` (``<workspace>/.distillscope/cache``)."""

    root: Path

    def key(
        self, stage: str, *, version: int, inputs: Mapping[str, Any], config: Mapping[str, Any]
    ) -> str:
        """Identity of a stage's output."""
        return digest_json([stage, version, inputs, config])

    def find(self, stage: str, key: str) -> StageOutput | None:
        """Return the finished output of ``stage`` under ``key``, or None."""
        path = self.root / stage / key
        try:
            result = json.loads((path / RESULT).read_text())
        except (OSError, ValueError):
            return None
        return StageOutput(stage, key, path, result["record"], result["seconds"])

    def run(
        self,
        stage: str,
        work: Callable[[Path], Mapping[str, Any]],
        *,
        version: int,
        inputs: Mapping[str, Any],
        config: Mapping[str, Any] | None = None,
    ) -> StageOutput:
        """Return the stage's output, computing it with ``work(folder)`` when it is not there.

        ``work`` leaves its files in the folder it is given and returns a JSON record. When an
        earlier attempt was killed, the folder still holds what that attempt wrote. A second
        process that wants the same stage waits for the first and takes its result.
        """
        key = self.key(stage, version=version, inputs=inputs, config=config or {})
        if (found := self.find(stage, key)) is not None:
            return found
        with self._locked(stage, key):
            if (found := self.find(stage, key)) is not None:
                return found
            return self._compute(stage, key, work)

    def _compute(
        self, stage: str, key: str, work: Callable[[Path], Mapping[str, Any]]
    ) -> StageOutput:
        final = self.root / stage / key
        partial = final.with_name(f"{key}.partial")
        with storage_errors(partial):
            partial.mkdir(parents=True, exist_ok=True)
            started = time.perf_counter()
            record = dict(work(partial))
            seconds = time.perf_counter() - started
            write_json(partial / RESULT, {"record": record, "seconds": seconds})
            if final.exists():  # damaged: find() did not accept it
                shutil.rmtree(final)
            os.replace(partial, final)
        return StageOutput(stage, key, final, record, seconds)

    @contextlib.contextmanager
    def _locked(self, stage: str, key: str) -> Iterator[None]:
        folder = self.root / stage
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        # The lock file stays: a waiter may hold the name that a third process would make anew.
        with FileLock(folder / f"{key}.lock"):
            yield

    def size(self) -> int:
        """Bytes held by the cache, files that studies link to included."""
        return sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())

    def clear(self) -> int:
        """Delete every stage, finished or not; return the number of bytes that were held.

        Studies keep what they hold: their files are links or copies of their own. Raises
        :class:`~analysis.errors.BusyError` when a stage is running.
        """
        for path in self.root.glob("*/*.lock"):
            try:
                FileLock(path, timeout=0).acquire().lock.release()
            except Timeout as error:
                raise BusyError(
                    f"stage {path.parent.name!r} is being computed in {self.root.parent.parent}",
                    remedy="wait for it, or stop it",
                ) from error
        held = self.size()
        try:
            shutil.rmtree(self.root, ignore_errors=False)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise StorageError(f"cannot delete {self.root}: {error.strerror}") from error
        return held


def workspace_cache(workspace: Path) -> StageCache:
    """Return the stage cache that all studies of ``workspace`` share."""
    return StageCache(workspace / ".distillscope" / "cache")
