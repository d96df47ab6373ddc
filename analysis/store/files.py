"""Files that appear whole or not at all.

Everything is written under a temporary name in the target's folder and renamed. A full or
read-only disk becomes a :class:`~analysis.errors.StorageError`; the temporary file is removed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from analysis.errors import BusyError, StorageError

_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space and start again; finished work is kept"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and start again"),
    errno.EROFS: ("the file system is read-only", "choose another output folder"),
    errno.EACCES: ("permission denied", "choose another output folder"),
    errno.EPERM: ("permission denied", "choose another output folder"),
    errno.ENOTDIR: ("a part of the path is a file", "choose another output folder"),
    errno.EEXIST: ("a part of the path is a file", "choose another output folder"),
    errno.EISDIR: ("it is a folder", "choose another name"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
}


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the disk's refusals into a :class:`StorageError` that names ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        what, remedy = _REASONS[error.errno]
        raise StorageError(f"cannot write {path}: {what}", remedy=remedy) from error


def refuse_links(path: Path, root: Path) -> None:
    """Raise :class:`StorageError` where ``path``, or a folder between it and ``root``, is a link.

    A workspace may be a stranger's: what is written or deleted in it stays in it.
    """
    for part in (path, *path.parents):
        if part == root:
            return
        if part.is_symlink():
            raise StorageError(
                f"{part} is a link",
                expected="a file or folder of the workspace's own",
                remedy="delete it",
            )


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it on success, remove it on failure."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"
        try:
            yield temporary
            # A link is another name of a file that is on the disk already.
            if temporary.stat().st_nlink == 1:
                _sync(temporary)
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                temporary.unlink()


def _sync(path: Path) -> None:
    # Without it a power cut can leave the new name on an empty file.
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def held_file(path: Path, *, doing: str, wait: float) -> Iterator[None]:
    """Hold ``path``, a small file that many change, against other sessions and servers.

    Raises :class:`~analysis.errors.BusyError` when another one holds it for ``wait`` seconds;
    ``doing`` says at what, e.g. "saving a tag".
    """
    lock = path.with_suffix(".lock")
    with storage_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=wait):
                yield
        except Timeout as error:
            raise BusyError(f"another session is {doing}", remedy="try again") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path`` atomically; NaN is refused."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, text.encode() + b"\n")


def write_array(path: Path, array: np.ndarray) -> None:
    """Write ``array`` as ``.npy`` (format 1 or 2, never a pickle) atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target`` hold what ``source`` holds, by hard link where the disk allows it."""
    with atomic_path(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
