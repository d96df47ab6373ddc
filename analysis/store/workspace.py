"""A workspace: a folder of studies. Studies are asked for by name, never by path."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from analysis.errors import InputError, StudyError, nearest
from analysis.store.manifest import MANIFEST
from analysis.store.summary import StudySummary, read_summary
from analysis.store.tags import add_tag, load_tags, remove_tag

SWEEP = "sweep.csv"
"""The table that a sweep leaves in its folder."""
HERE = "."
"""The workspace itself, as the folder of a sweep."""
_LONGEST = 255
"""Bytes that a file system takes for a name."""


def is_name(text: str) -> bool:
    """Whether a study's folder may be called so: one visible name on every system."""
    visible = text.isprintable() and text == text.strip() and not text.startswith(".")
    return visible and not set(text) & set("/\\") and 0 < len(text.encode()) <= _LONGEST


@dataclass(frozen=True, slots=True)
class Workspace:
    """The studies that lie directly below ``root``, and those of sweeps one folder deeper.

    The latter are called ``FOLDER/NAME`` and are not listed among the others.
    """

    root: Path

    def names(self, folder: str = HERE) -> tuple[str, ...]:
        """Names of the studies, or of those in the ``folder`` of a sweep, in order.

        Nothing of them is read.
        """
        root = self._folder(folder)
        found = () if root is None else root.glob(f"*/{MANIFEST}")
        before = "" if folder == HERE else f"{folder}/"
        return tuple(sorted(f"{before}{path.parent.name}" for path in found if _holds(root, path)))

    def beside(self, name: str) -> tuple[str, ...]:
        """Names of the studies that stand beside the study ``name``, itself among them."""
        return self.names(name.rpartition("/")[0] or HERE)

    def name_of(self, study: Path) -> str:
        """What the study in the folder ``study`` is called here."""
        try:
            return study.relative_to(self.root).as_posix()
        except ValueError:
            return study.name

    def path(self, name: str) -> Path:
        """Folder of the study ``name``; :class:`~analysis.errors.StudyError` where none is.

        What leads out of the workspace, by a link too, is no study of it.
        """
        folder, deeper, last = name.rpartition("/")
        root = self._folder(folder if deeper else HERE) if is_name(last) else None
        manifest = None if root is None else root / last / MANIFEST
        if manifest is None or not _holds(root, manifest) or not _is_file(manifest):
            shown = name if len(name) <= 80 else f"{name[:80]}.."
            known = self.names()
            raise StudyError(
                f"there is no study {shown!r} in {self.root.name}",
                remedy=nearest(shown, known) if known else "make one with: distillscope compare",
            )
        return manifest.parent

    def summaries(self) -> tuple[StudySummary, ...]:
        """One entry per visible folder with a manifest, the newest first, with its tags.

        What cannot be opened says why; it never keeps the others from being listed.
        """
        tags, _ = load_tags(self.root)
        found = [
            dataclasses.replace(summary, tags=tags.get(summary.folder, ()))
            for summary in map(self._summary, _children(self.root, MANIFEST))
        ]
        return tuple(sorted(found, key=lambda summary: summary.created, reverse=True))

    def tag(self, name: str, tag: str) -> None:
        """Put ``tag`` on the study ``name``; raises as :meth:`path` and :func:`add_tag`."""
        add_tag(self.root, self.path(name).name, tag)

    def untag(self, name: str, tag: str) -> None:
        """Take ``tag`` off ``name``, which need not be there any more."""
        remove_tag(self.root, name, tag)

    def sweeps(self) -> tuple[str, ...]:
        """Folders that hold the table of a sweep: :data:`HERE`, and sub-folders by name."""
        inside = tuple(path.name for path in _children(self.root, SWEEP))
        return (HERE, *inside) if _is_file(self.root / SWEEP) else inside

    def sweep_table(self, folder: str) -> Path:
        """The table of the sweep in ``folder``; :class:`InputError` where there is none."""
        if folder not in self.sweeps():
            raise InputError(f"there is no sweep in {folder[:80]!r}", remedy="run one: sweep")
        return self.root / folder / SWEEP

    def _summary(self, path: Path) -> StudySummary:
        if not is_name(path.name):
            said = (
                "The folder's name cannot stand in an address. Rename it: visible characters, "
                "no \\, no space at an end"
            )
            return StudySummary(folder=path.name, problem=said)
        if not _holds(self.root, path / MANIFEST):
            said = "It is a link that leads out of the workspace. Copy the study into it"
            return StudySummary(folder=path.name, problem=said)
        return read_summary(path)

    def _folder(self, folder: str) -> Path | None:
        """The workspace itself, or the folder of a sweep that really lies in it."""
        if folder == HERE:
            return self.root
        known = is_name(folder) and _is_file(self.root / folder / SWEEP)
        return self.root / folder if known and _inside(self.root, self.root / folder) else None


def _holds(root: Path | None, manifest: Path) -> bool:
    """Whether a manifest lies in a study's folder in ``root``."""
    folder = manifest.parent
    return root is not None and is_name(folder.name) and _inside(root, folder)


def _inside(root: Path, folder: Path) -> bool:
    try:
        return folder.resolve().parent == root.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return False


def _children(root: Path, file: str) -> list[Path]:
    """The sub-folders of ``root`` that are not hidden and hold ``file``, by name."""
    try:
        found = [path for path in root.iterdir() if not path.name.startswith(".")]
    except OSError:
        return []
    return sorted((path for path in found if _is_file(path / file)), key=lambda path: path.name)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
