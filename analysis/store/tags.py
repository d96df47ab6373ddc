"""Tags: words that somebody put on the studies of a workspace, to find them again.

They lie in ``.distillscope/tags.json`` by the studies' folder names, outside the studies, whose
digests they do not touch. What is read is believed only as text: an entry that is none is left
out, and a file that is none at all is never written over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.errors import InputError, StorageError
from analysis.store.files import held_file, write_json

MAX_TAG = 40
MAX_TAGS = 20
"""Tags of one study."""
MAX_BYTES = 4 << 20
_WAIT_S = 5.0

Tags = Mapping[str, tuple[str, ...]]


def load_tags(workspace: Path) -> tuple[Tags, str | None]:
    """The tags by study, and what is wrong with the file, or None."""
    path = _path(workspace)
    try:
        if not path.exists():
            return {}, None
        return _read(path), None
    except (OSError, ValueError, RecursionError):
        return {}, f"The tags cannot be read: {path.name} is damaged. Move it away."


def _read(path: Path) -> Tags:
    """What is in the file; ``ValueError`` for another file."""
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise ValueError("no file of tags")
    whole = json.loads(path.read_text(encoding="utf-8"))
    entries = whole.get("tags") if isinstance(whole, dict) else None
    if not isinstance(entries, dict):
        raise ValueError("no tags by study")
    return {name: found for name, value in entries.items() if (found := _tags(value))}


def _tags(value: Any) -> tuple[str, ...]:
    words = value if isinstance(value, list) else []
    usable = {word for word in words if isinstance(word, str) and _usable(word)}
    return tuple(sorted(usable, key=_order)[:MAX_TAGS])


def _usable(word: str) -> bool:
    return 0 < len(word) <= MAX_TAG and word == word.strip() and word.isprintable()


def _order(word: str) -> tuple[str, str]:
    return word.casefold(), word


def add_tag(workspace: Path, study: str, tag: str) -> None:
    """Put ``tag`` on ``study``; nothing changes where it is there already.

    Raises :class:`InputError` for a tag that is none, or one too many;
    :class:`~analysis.errors.StorageError` where the workspace cannot be written.
    """
    tag = " ".join(tag.split())
    if not _usable(tag):
        raise InputError(f"tag {tag[:60]!r}", expected=f"1 to {MAX_TAG} visible characters")
    with held_file(_path(workspace), doing="saving a tag", wait=_WAIT_S):
        tags = _writable(workspace)
        there = tags.get(study, ())
        if tag in there:
            return
        if len(there) >= MAX_TAGS:
            raise InputError(
                f"{study!r} carries {MAX_TAGS} tags already", remedy="remove one that nobody needs"
            )
        _write(workspace, {**tags, study: (*there, tag)})


def remove_tag(workspace: Path, study: str, tag: str) -> None:
    """Take ``tag`` off ``study``, if it is there."""
    with held_file(_path(workspace), doing="saving a tag", wait=_WAIT_S):
        tags = _writable(workspace)
        kept = tuple(word for word in tags.get(study, ()) if word != tag)
        _write(workspace, {**tags, study: kept})


def _writable(workspace: Path) -> Tags:
    tags, said = load_tags(workspace)
    if said is not None:
        raise StorageError(said)
    return tags


def _write(workspace: Path, tags: Tags) -> None:
    entries = {name: sorted(words, key=_order) for name, words in sorted(tags.items()) if words}
    write_json(_path(workspace), {"tags": entries})


def _path(workspace: Path) -> Path:
    return workspace / ".distillscope" / "tags.json"
