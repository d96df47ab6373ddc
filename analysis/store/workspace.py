"""A workspace: a folder of studies. Studies are asked for by name, never by path."""

from __future__ import annotations

import dataclasses
import re
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
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Workspace:
    """The studies that lie directly below ``root``."""

    root: Path

    def names(self) -> tuple[str, ...]:
        """Names of the studies, in order; nothing of them is read."""
        return tuple(
            sorted(
                path.parent.name for path in self.root.glob(f"*/{MANIFEST}") if self._holds(path)
            )
        )

    def path(self, name: str) -> Path:
        """Folder of the study ``name``; :class:`~analysis.errors.StudyError` where none is.

        What has separators or leads out of the workspace, by a link too, is no study of it.
        """
        manifest = self.root / name / MANIFEST if _NAME.fullmatch(name) else None
        if manifest is None or not self._holds(manifest) or not manifest.is_file():
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
        if _NAME.fullmatch(path.name) is None:
            said = "The folder's name cannot stand in an address. Rename it: A-Z a-z 0-9 . _ -"
            return StudySummary(folder=path.name, problem=said)
        if not self._holds(path / MANIFEST):
            said = "It is a link that leads out of the workspace. Copy the study into it"
            return StudySummary(folder=path.name, problem=said)
        return read_summary(path)

    def _holds(self, manifest: Path) -> bool:
        folder = manifest.parent
        inside = folder.resolve().parent == self.root.resolve()
        return inside and _NAME.fullmatch(folder.name) is not None


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
