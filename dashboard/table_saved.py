"""Filters that somebody gave a name, for every study of a workspace.

They lie in ``.distillscope/filters.json``. What is read is believed only as text: an entry that
is none is left out and said so, and an expression is checked where it is used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.errors import InputError, StorageError
from analysis.store.files import held_file, write_json
from dashboard.table_parse import MAX_EXPRESSION

MAX_NAME = 60
MAX_FILTERS = 100
MAX_BYTES = 1 << 20
WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class SavedFilter:
    """A filter with its name."""

    name: str
    expression: str


def load_filters(workspace: Path) -> tuple[tuple[SavedFilter, ...], str | None]:
    """The saved filters by name, and what was left out of the file, or None."""
    path = _path(workspace)
    try:
        found, left_out = _read(path)
    except FileNotFoundError:
        return (), None
    except (OSError, ValueError, RecursionError):
        return (), f"The saved filters cannot be read: {path.name} is damaged. Move it away."
    said = f"{left_out} entries of {path.name} are no filters and were left out."
    return found, said if left_out else None


def _read(path: Path) -> tuple[tuple[SavedFilter, ...], int]:
    """The filters in the file and how many entries are none; ``ValueError`` for another file."""
    if not path.is_file():
        if path.exists():
            raise ValueError("no file")
        raise FileNotFoundError
    if path.stat().st_size > MAX_BYTES:
        raise ValueError("too large")
    whole = json.loads(path.read_text(encoding="utf-8"))
    entries = whole.get("filters") if isinstance(whole, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no list of filters")
    by_name = {found.name: found for entry in entries if (found := _filter(entry)) is not None}
    kept = sorted(by_name.values(), key=lambda saved: saved.name.casefold())[:MAX_FILTERS]
    return tuple(kept), len(entries) - len(kept)


def _filter(entry: Any) -> SavedFilter | None:
    if not isinstance(entry, dict):
        return None
    name, expression = entry.get("name"), entry.get("expression")
    if not isinstance(name, str) or not isinstance(expression, str):
        return None
    usable = _usable(name, MAX_NAME) and _usable(expression, MAX_EXPRESSION)
    return SavedFilter(name, expression) if usable else None


def _usable(text: str, limit: int) -> bool:
    return 0 < len(text.strip()) <= len(text) <= limit and text.isprintable()


def keep_filter(workspace: Path, name: str, expression: str) -> None:
    """Save ``expression`` as ``name``, in place of one of that name.

    Raises :class:`InputError` for a name that is none, :class:`StorageError` where the workspace
    cannot be written.
    """
    name, expression = name.strip(), " ".join(expression.split())
    if not _usable(name, MAX_NAME):
        raise InputError(
            f"the name {name[:20]!r} cannot be used", expected=f"1 to {MAX_NAME} visible characters"
        )
    if not _usable(expression, MAX_EXPRESSION):
        raise InputError("there is no filter to save", remedy="type one first")
    with held_file(_path(workspace), doing="saving a filter", wait=WAIT_S):
        others = [saved for saved in _writable(workspace) if saved.name != name]
        if len(others) >= MAX_FILTERS:
            raise InputError(
                f"{MAX_FILTERS} filters are saved already", remedy="delete one that nobody needs"
            )
        _write(workspace, [*others, SavedFilter(name, expression)])


def drop_filter(workspace: Path, name: str) -> None:
    """Delete the filter of that name, if there is one."""
    with held_file(_path(workspace), doing="saving a filter", wait=WAIT_S):
        _write(workspace, [saved for saved in _writable(workspace) if saved.name != name])


def _writable(workspace: Path) -> tuple[SavedFilter, ...]:
    """What is in the file, which is never written over while it cannot be read."""
    found, said = load_filters(workspace)
    if not found and said is not None:
        raise StorageError(said)
    return found


def _write(workspace: Path, filters: Sequence[SavedFilter]) -> None:
    entries = [{"name": saved.name, "expression": saved.expression} for saved in filters]
    write_json(_path(workspace), {"filters": entries})


def _path(workspace: Path) -> Path:
    return workspace / ".distillscope" / "filters.json"
