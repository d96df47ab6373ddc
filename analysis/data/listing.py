"""What a source of images offers before any pixel is decoded."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from analysis.data.decoding import Fit
from analysis.errors import ImageSetError

SPLITS = ("train", "test", "val", "valid", "validation")
_BUILT_IN = re.compile(r"(?P<name>[a-z]+)(:(?P<split>[a-z]*))?(?P<options>(,[^,/\\]*)*)")
_WITH_SPLIT = re.compile(rf"(?P<path>.+):(?P<split>{'|'.join(SPLITS)})")

_MAX_IMAGES = 10_000_000

Read = Callable[[np.ndarray, Fit], Iterator[tuple[str, np.ndarray]]]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All rows of a source: cheap to know, with the pixels to be read on demand.

    ``ids`` are unique within the source; ``labels`` (N,) or None. ``read(rows, fit)`` yields for
    each row, in order, where it came from (for errors) and its pixels (H, W, C) uint8.
    """

    ids: Sequence[str]
    labels: np.ndarray | None
    class_names: tuple[str, ...] | None
    description: str
    read: Read


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where images are: ``path`` of a file or folder, or ``name`` of a built-in source."""

    text: str
    name: str | None = None
    path: Path | None = None
    split: str | None = None
    options: dict[str, str] = field(default_factory=dict)

    @property
    def existing(self) -> Path:
        """The path of a location that is no built-in source."""
        if self.path is None:
            raise ImageSetError(f"images {self.text!r}", expected="a file or folder")
        return self.path

    @property
    def description(self) -> str:
        """How the location is called, without any directory."""
        name = self.text if self.path is None else self.path.resolve().name
        return f"{name}:{self.split}" if self.path is not None and self.split else name


def locate(text: str, built_in: Collection[str]) -> Location:
    """Read ``NAME[:SPLIT][,KEY=VALUE..]`` or ``PATH[:SPLIT]``.

    A built-in name wins over a file of that name, which is reached as ``./NAME``. Raises
    :class:`~analysis.errors.ImageSetError` when nothing is there; similar names are suggested.
    """
    match = _BUILT_IN.fullmatch(text)
    if match and match["name"] in built_in:
        options = _options(text, match["options"])
        return Location(text=text, name=match["name"], split=match["split"], options=options)
    path, split = Path(text), None
    # os.path.exists also answers for names that the system refuses to look up.
    if not os.path.exists(text) and (parts := _WITH_SPLIT.fullmatch(text)):
        path, split = Path(parts["path"]), parts["split"]
    if not text or not os.path.exists(path):
        raise _missing(path, built_in)
    return Location(text=text, path=path, split=split)


def choose_split(location: Location, found: Collection[str], kind: str) -> str:
    """Return the split that was asked for, or the only one; never choose silently."""
    if location.split in found:
        return str(location.split)
    if location.split is None and len(found) == 1:
        return next(iter(found))
    names = " and ".join(sorted(found)) or "no splits"
    example = "test" if "test" in found or not found else min(found)
    asked = f"; {location.split!r} was asked for" if location.split else ""
    raise ImageSetError(
        f"{kind} {location.description!r} holds {names}{asked}",
        remedy=f"choose one: {location.path}:{example}" if found else "leave out the split",
    )


def row_ids(count: int, name: str) -> list[str]:
    """Name the rows of a source that has no better ids: zero-padded row numbers.

    Raises :class:`~analysis.errors.ImageSetError` for more rows than any real source holds: the
    number comes from the head of a file, which may claim anything.
    """
    if count > _MAX_IMAGES:
        raise ImageSetError(
            f"{name!r} claims {count:,} images", expected=f"at most {_MAX_IMAGES:,}"
        )
    return [f"{row:06d}" for row in range(count)]


def natural_key(text: str) -> tuple[object, ...]:
    """Sort key in which ``9`` comes before ``10``; the same on every platform."""
    parts = re.split(r"([0-9]+)", text)
    # Numbers are compared by length, then digit by digit: names may hold any number of digits.
    numbers = [part.lstrip("0") for part in parts[1::2]]
    measured = [(len(number), number) for number in numbers]
    return [*zip(parts[::2], [*measured, (0, "")], strict=True)], text


def _options(text: str, given: str) -> dict[str, str]:
    options = {}
    for part in filter(None, given.split(",")):
        key, equals, value = part.partition("=")
        if not equals or key in options:
            raise ImageSetError(f"option {part!r} in {text!r}", expected="KEY=VALUE, each key once")
        options[key] = value
    return options


def _missing(path: Path, built_in: Collection[str]) -> ImageSetError:
    folder = path.parent
    try:
        names = {entry.name: str(folder / entry.name) for entry in folder.iterdir()}
    except OSError:
        names = {}
    names.update({name: name for name in built_in})
    close = difflib.get_close_matches(path.name, list(names), n=1, cutoff=0.6)
    if close:
        remedy = f"Did you mean {names[close[0]]!r}?"
    elif not folder.exists():
        remedy = f"the folder {str(folder)!r} does not exist either"
    else:
        remedy = "check the spelling"
    return ImageSetError(
        f"images {str(path)!r} not found",
        expected=f"an image folder, a .parquet or .npz file, or {' or '.join(sorted(built_in))}",
        remedy=remedy,
    )
