"""Unpacking a study that somebody handed on: nothing in the file is believed.

Sizes are limited as declared and as they turn out; every name has to be one that the manifest of
a study can name; every file has to have the digest that the manifest remembers. The study appears
whole, or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from analysis.config import Config, field
from analysis.errors import StudyError
from analysis.store.cache import Progress, silent
from analysis.store.files import refuse_links, storage_errors
from analysis.store.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Manifest,
    is_file_name,
    read_manifest,
)
from analysis.store.packing import CHUNK, file_names
from analysis.store.study import Study
from analysis.store.writer import writing

STAGE = "unpacking"
_DIRECTORY_BYTES = 256
"""What one file may take in the archive's directory; ours take half of it."""
_UNSUSPICIOUS = 256 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError,
    RecursionError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class UnpackConfig(Config):
    """How much a packed study may hold."""

    files: int = field(100_000, "most files that a packed study may hold", low=1)
    gib: float = field(16.0, "most GiB that a packed study may unpack to", low=0.001)
    ratio: float = field(100.0, "most bytes from one packed byte, above 256 MiB", low=1)

    def bytes_of(self, packed: int) -> int:
        """How many bytes a file of ``packed`` bytes may unpack to."""
        return int(min(self.gib * 2**30, max(_UNSUSPICIOUS, self.ratio * packed)))


def unpack_study(
    source: Path, folder: Path, *, config: UnpackConfig | None = None, progress: Progress = silent
) -> Study:
    """Write the study packed in ``source`` to ``folder``, which must be new or empty.

    Raises :class:`~analysis.errors.StudyError`, and leaves nothing behind, for everything that is
    not a packed study: other files, links, names that lead elsewhere, more than ``config`` allows,
    contents other than those that the manifest remembers.
    """
    folder = folder.resolve()
    _check_new(folder)
    with (
        _opened(source, config or UnpackConfig()) as (archive, entries),
        writing(folder),
        _staged(folder) as staging,
    ):
        _check_new(folder)
        _extract(archive, entries[MANIFEST], staging)
        manifest = read_manifest(staging)
        _check_complete(source, entries, manifest)
        names = sorted(file_names(manifest))
        for done, name in enumerate(names):
            progress(STAGE, done, len(names))
            if _extract(archive, entries[name], staging) != manifest.stored.get(name):
                raise StudyError(f"{name} in {source} is not what the study remembers")
        _check_digest(source, staging, manifest)
        progress(STAGE, len(names), len(names))
    return Study.open(folder)


def _check_new(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise StudyError(f"{folder} is not empty", remedy="choose another output folder")


@contextlib.contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A folder beside ``folder`` that takes its place on success and vanishes on failure."""
    staging = folder.parent / ".distillscope" / "staging" / folder.name
    refuse_links(staging, folder.parent)
    with storage_errors(folder):
        if staging.exists():  # left by a kill; the lock says nobody else is in it
            shutil.rmtree(staging)
        try:
            staging.mkdir(parents=True)
            yield staging
            if folder.exists():
                folder.rmdir()
            os.replace(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


class _ShortReads(io.BufferedReader):
    """A file that refuses to be read in large pieces: an archive's directory is read as one."""

    most = 0

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self.most + 1 if size is None or size < 0 else min(size, self.most + 1)
        data = super().read(wanted)
        if len(data) > self.most:
            raise StudyError(f"{self.name} holds too many files")
        return data


@contextlib.contextmanager
def _opened(
    source: Path, config: UnpackConfig
) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    """The archive ``source`` with its entries by name; what is wrong with it is said of it."""
    try:
        file = _ShortReads(io.FileIO(source))
    except OSError as error:
        raise StudyError(f"{source} cannot be read ({error.strerror})") from error
    file.most = max(CHUNK, config.files * _DIRECTORY_BYTES)
    try:
        with file, zipfile.ZipFile(file) as archive:
            yield archive, _entries(source, archive, config)
    except (*_DAMAGE, OSError) as error:
        # A damaged directory sends the reader to places that no file has.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise StudyError(
            f"{source} is damaged or no packed study ({type(error).__name__})",
            remedy="pack it again with: distillscope pack",
        ) from error


def _entries(
    source: Path, archive: zipfile.ZipFile, config: UnpackConfig
) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    taken: set[str] = set()
    for entry in archive.infolist():
        name = entry.orig_filename
        if reason := _refused(entry, taken):
            raise StudyError(
                f"{source} holds {name[:80]!r}, {reason}", expected="the files of a study alone"
            )
        taken.add(name.lower())
        entries[name] = entry
    if MANIFEST not in entries:
        raise StudyError(f"{source} is no packed study", expected=f"an archive with {MANIFEST}")
    total = sum(entry.file_size for entry in entries.values())
    most = config.bytes_of(source.stat().st_size)
    if total > most or entries[MANIFEST].file_size > MAX_MANIFEST_BYTES:
        raise StudyError(
            f"{source} would unpack to {total / 2**30:.2f} GiB",
            expected=f"at most {most / 2**30:.2f} GiB",
            remedy="if you trust it, raise --max-gib",
        )
    if len(entries) > config.files:
        raise StudyError(f"{source} holds {len(entries)} files", expected=f"at most {config.files}")
    return entries


def _refused(entry: zipfile.ZipInfo, taken: set[str]) -> str | None:
    """Why ``entry`` is not unpacked, or None."""
    name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
    if name != entry.filename or not (name == MANIFEST or is_file_name(name)):
        return "which is no file of a study"
    if name.lower() in taken:
        return "twice"
    if kind not in (0, stat.S_IFREG):
        return "which is a link or a device"
    if entry.flag_bits & 0x1:
        return "which is encrypted"
    return None if entry.compress_type in _METHODS else "packed in a way that is not read"


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> str:
    """Write ``entry`` into ``folder``; returns the digest of what was written."""
    target = folder / entry.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    state, size = hashlib.sha256(), 0
    with archive.open(entry) as packed, target.open("xb") as file:
        while chunk := packed.read(CHUNK):
            size += len(chunk)
            state.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())  # a power cut would leave whole names on empty files
    if size != entry.file_size:
        raise zipfile.BadZipFile(f"{entry.filename} has {size} bytes")
    return state.hexdigest()


def _check_complete(
    source: Path, entries: Mapping[str, zipfile.ZipInfo], manifest: Manifest
) -> None:
    named = {MANIFEST, *file_names(manifest)}
    for name in sorted(named ^ set(entries)):
        what = "names a file that it does not hold" if name in named else "holds an unnamed file"
        raise StudyError(f"{source} {what}: {name[:80]!r}", expected="a whole study")


def _check_digest(source: Path, folder: Path, manifest: Manifest) -> None:
    written = json.loads((folder / MANIFEST).read_text(encoding="utf-8")).get("digest")
    if written != manifest.digest():
        raise StudyError(f"the manifest in {source} does not have the digest that it states")
