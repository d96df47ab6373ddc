"""Writing a study: add files named by content, then replace the manifest.

One writer at a time holds an OS file lock in the workspace; it dies with its process, so a kill
never leaves a study locked. A new study appears with its manifest, whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from analysis.digest import digest_file
from analysis.errors import BusyError, StudyError
from analysis.store.files import atomic_path, link_or_copy, refuse_links, storage_errors
from analysis.store.manifest import MANIFEST, Manifest
from analysis.store.study import Study


@contextlib.contextmanager
def writing(folder: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the write lock of the study in ``folder``.

    Raises :class:`~analysis.errors.BusyError`, naming the holder, when another process still
    holds it after ``wait`` seconds.
    """
    folder = folder.resolve()
    locks = folder.parent / ".distillscope" / "locks"
    lock, owner = locks / f"{folder.name}.lock", locks / f"{folder.name}.owner"
    for path in (lock, owner):
        refuse_links(path, folder.parent)
    with storage_errors(locks):
        locks.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=wait):
            started = datetime.now(UTC).isoformat(timespec="seconds")
            owner.write_text(json.dumps({"pid": os.getpid(), "since": started}))
            try:
                yield
            finally:
                owner.unlink(missing_ok=True)
    except Timeout as error:
        raise BusyError(
            f"{folder} is being written by {_owner(owner)}", remedy="wait for it, or stop it"
        ) from error


@contextlib.contextmanager
def holding_workspace(workspace: Path) -> Iterator[None]:
    """Hold the write lock of every study that was ever written in ``workspace``.

    Raises :class:`~analysis.errors.BusyError`, naming the holder, when one is being written.
    """
    with contextlib.ExitStack() as held:
        for lock in sorted((workspace / ".distillscope" / "locks").glob("*.lock")):
            held.enter_context(writing(workspace / lock.stem))
        yield


def _owner(path: Path) -> str:
    try:
        data = json.loads(path.read_text())
        return f"process {data['pid']} since {data['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


class StudyWriter:
    """Collects the files of a study and publishes them with their manifest.

    Use inside :func:`writing`. Nothing is visible to readers before :meth:`publish`.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._new = not (folder / MANIFEST).exists()
        if self._new and folder.exists() and any(folder.iterdir()):
            raise StudyError(
                f"{folder} is not empty and is not a study", remedy="choose another output folder"
            )
        self._whole = folder.resolve()
        self._root = folder
        if self._new:
            self._root = self._whole.parent / ".distillscope" / "staging" / self._whole.name
            refuse_links(self._root, self._whole.parent)
            if self._root.exists():  # left by a kill; the lock says nobody else is in it
                shutil.rmtree(self._root)
        self.arrays: dict[str, str] = {}
        self.samples: dict[str, str] = {}
        self.weights: dict[str, str] = {}
        self.thumbnails: dict[str, str] = {}
        self.stored: dict[str, str] = {}
        self.records: dict[str, Any] = {}

    def put_array(self, key: str, source: Path) -> None:
        """Store the ``.npy`` file ``source`` as array ``key``."""
        self.arrays[key] = self._put(source, "arrays", ".npy")

    def put_weights(self, model: str, source: Path) -> None:
        """Store the safetensors file ``source`` as the weights of ``model``."""
        self.weights[model] = self._put(source, "models", ".safetensors")

    def put_thumbnails(self, condition: str, source: Path) -> None:
        """Store the Parquet file ``source`` as the thumbnails of ``condition``."""
        self.thumbnails[condition] = self._put(source, "thumbnails", ".parquet")

    def _put(self, source: Path, folder: str, suffix: str) -> str:
        digest = digest_file(source)
        name = f"{folder}/{digest}{suffix}"
        if not (self._root / name).exists():
            link_or_copy(source, self._root / name)
        self.stored[name] = digest
        return name

    def put_samples(self, model: str, condition: str, table: pa.Table) -> None:
        """Store ``table`` as the per-sample rows of ``model`` on ``condition``."""
        name = f"samples/{model}/{condition}.parquet"
        with atomic_path(self._root / name) as temporary:
            pq.write_table(table, temporary, compression="zstd")
        self.samples[f"{model}/{condition}"] = name
        self.stored[name] = digest_file(self._root / name)

    def publish(self, manifest: Manifest) -> Study:
        """Write ``manifest`` with this writer's files and records; return the study."""
        whole = dataclasses.replace(
            manifest,
            arrays={**manifest.arrays, **self.arrays},
            samples={**manifest.samples, **self.samples},
            weights={**manifest.weights, **self.weights},
            thumbnails={**manifest.thumbnails, **self.thumbnails},
            stored={**manifest.stored, **self.stored},
            records={**manifest.records, **self.records},
        )
        whole.write(self._root)
        if self._new:
            with storage_errors(self.folder):
                self._whole.parent.mkdir(parents=True, exist_ok=True)
                if self._whole.exists():
                    self._whole.rmdir()
                os.replace(self._root, self._whole)
                self._new, self._root = False, self.folder
        return Study(self.folder, whole)


def delete_orphans(folder: Path, manifest: Manifest) -> int:
    """Delete files in the study ``folder`` that ``manifest`` does not name; return their bytes."""
    parts: tuple[Mapping[str, str], ...] = (
        manifest.arrays, manifest.samples, manifest.weights, manifest.thumbnails,
    )  # fmt: skip
    named = {name for part in parts for name in part.values()}
    freed = 0
    for top in ("arrays", "samples", "models", "thumbnails"):
        if (folder / top).is_symlink():  # what it leads to is not the study's
            continue
        for path in sorted((folder / top).rglob("*")):
            if path.is_file() and path.relative_to(folder).as_posix() not in named:
                freed += path.stat().st_size
                path.unlink()
    return freed
