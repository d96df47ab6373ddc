"""A workspace: a folder of studies. Studies are asked for by name, never by path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from analysis.errors import StudyError, nearest
from analysis.store.manifest import MANIFEST

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

    def _holds(self, manifest: Path) -> bool:
        folder = manifest.parent
        inside = folder.resolve().parent == self.root.resolve()
        return inside and _NAME.fullmatch(folder.name) is not None
