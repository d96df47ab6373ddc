"""A study as one file to hand on: a zip of the manifest and of every file that it names.

The same study gives the same bytes, whenever and wherever it is packed. What no manifest names
stays behind, and so do the paths of this machine: provenance keeps the file names alone, anywhere
else a path is a reason to refuse, because the study's digest covers it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from analysis.errors import StudyError
from analysis.store.cache import Progress, silent
from analysis.store.files import atomic_path
from analysis.store.manifest import MANIFEST, Manifest
from analysis.store.study import Study

STAGE = "packing"
CHUNK = 1 << 20
_SINCE = (1980, 1, 1, 0, 0, 0)
_REGULAR = 0o100644 << 16
_PATH = re.compile(
    r"(?<![^\s=,;:'\"(])(?:file://\S+|[A-Za-z]:[\\/]\S+|\\\\\S+|~?/[^\s/,;'\"]+/[^\s,;'\"]+)"
)


def pack_study(study: Study, out: Path, *, progress: Progress = silent) -> Path:
    """Write ``study`` to the zip file ``out``, whole or not at all.

    Raises :class:`~analysis.errors.StudyError` when a file of the study is missing or is not what
    the manifest remembers, and when something that the digest covers names a path of this machine.
    """
    manifest = portable(study.manifest)
    names = sorted(file_names(manifest))
    with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        text = json.dumps(manifest.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
        archive.writestr(_entry(MANIFEST), text.encode() + b"\n", zipfile.ZIP_DEFLATED)
        for done, name in enumerate(names):
            progress(STAGE, done, len(names))
            _copy_in(archive, study, name)
        progress(STAGE, len(names), len(names))
    return out


def file_names(manifest: Manifest) -> set[str]:
    """Names of all files of a study but the manifest's, relative to its folder."""
    parts = (manifest.arrays, manifest.samples, manifest.weights, manifest.thumbnails)
    return {name for part in parts for name in part.values()}


def portable(manifest: Manifest) -> Manifest:
    """``manifest`` without a path of this machine; its digest stays as it was.

    Raises :class:`~analysis.errors.StudyError` for a path outside the provenance.
    """
    content = {k: v for k, v in manifest.to_json().items() if k != "provenance"}
    for key, text in _strings(content, ""):
        if (found := next(_machine_paths(text), None)) is not None:
            raise StudyError(
                f"{key} of the study names the path {found[:120]!r}",
                expected="a study without a path of this machine",
                remedy="compute it again with the file named by a relative path",
            )
    return dataclasses.replace(manifest, provenance=_scrubbed(manifest.provenance))


def _entry(name: str) -> zipfile.ZipInfo:
    # Fixed times and rights: the archive says nothing about who packed it, and when.
    entry = zipfile.ZipInfo(name, _SINCE)
    entry.external_attr = _REGULAR
    entry.create_system = 3
    return entry


def _copy_in(archive: zipfile.ZipFile, study: Study, name: str) -> None:
    source, state = study.file(name), hashlib.sha256()
    entry = _entry(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.file_size = source.stat().st_size
    with source.open("rb") as file, archive.open(entry, "w") as target:
        while chunk := file.read(CHUNK):
            state.update(chunk)
            target.write(chunk)
    if state.hexdigest() != study.manifest.stored.get(name):
        raise StudyError(f"{source} is not what was computed", remedy="compute the study again")


def _strings(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every string in a JSON value, keys included, with the way that leads to it."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _strings(name, key)
            yield from _strings(item, f"{key}.{name}" if key else name)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item, key)


def _machine_paths(text: str) -> Iterator[str]:
    """The paths in ``text`` that lead somewhere on this machine.

    A name like ``/m/0cmf2`` looks like a path and is none here: there is no such folder.
    """
    for match in _PATH.finditer(text):
        path = match[0]
        top = path.split("/", 2)
        if not path.startswith("/") or Path("/", top[1]).is_dir():
            yield path


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return _PATH.sub(lambda match: PureWindowsPath(match[0]).name or "file", value)
    if isinstance(value, Mapping):
        return {_scrubbed(key): _scrubbed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(item) for item in value]
    return value
