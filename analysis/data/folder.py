"""Image folders: one sub-folder per class, or one flat folder without labels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from analysis.data.decoding import SUFFIXES, Fit
from analysis.data.imageset import check_text
from analysis.data.listing import SPLITS, Listing, Location, choose_split, natural_key
from analysis.errors import ImageSetError


def list_folder(location: Location) -> Listing:
    """List the images below a folder.

    Each sub-folder is a class, in natural order of the names; its images may lie deeper. A
    folder of images alone is unlabeled. With sub-folders ``train`` and ``test`` one of them has
    to be chosen. Hidden files, other files, and links that lead out of the folder are passed
    over. Sample ids are paths relative to the folder.
    """
    root = _chosen_root(location)
    below = _Tree(root)
    names = sorted((path.name for path in _folders(root)), key=natural_key)
    classes = {name: files for name in names if (files := below.images(root / name)) is not None}
    loose = below.images(root, deep=False) or []
    if classes and loose and any(classes.values()):
        raise ImageSetError(
            f"{loose[0].name!r} lies beside the class folders {', '.join(list(classes)[:3])}",
            expected="images inside class folders, or a flat folder of images",
            remedy="move it into its class folder, or away",
        )
    files = [path for group in classes.values() for path in group] or loose
    if not files:
        raise below.nothing(location)
    labels = [label for label, group in enumerate(classes.values()) for _ in group]
    return Listing(
        ids=[check_text("file name", path.relative_to(root).as_posix()) for path in files],
        labels=np.array(labels, dtype=np.int64) if labels else None,
        class_names=tuple(check_text("class folder", name) for name in classes) if labels else None,
        description=location.description,
        read=lambda rows, fit: _read(root, [files[row] for row in rows], fit),
    )


def _chosen_root(location: Location) -> Path:
    root = location.existing
    splits = {path.name.lower(): path for path in _folders(root)}
    named = {name: path for name, path in splits.items() if name in SPLITS}
    # One class may well be called "train"; both names, or nothing else, mean splits.
    if location.split or {"train", "test"} <= {*named} or (named and named == splits):
        return named[choose_split(location, named, "folder")]
    return root


def _read(root: Path, files: list[Path], fit: Fit) -> Iterator[tuple[str, np.ndarray]]:
    for path in files:
        where = repr(path.relative_to(root).as_posix())
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _unreadable(where, error) from error
        yield where, fit.decode(data, where)


class _Tree:
    """Looks for images below a root and remembers what it had to leave aside."""

    def __init__(self, root: Path) -> None:
        self.boundary = root.resolve()
        self.links_outside = 0

    def images(self, folder: Path, *, deep: bool = True) -> list[Path] | None:
        """Images in natural order; None for a folder that holds other things only."""
        found: list[Path] = []
        others = 0
        for path in _entries(folder):
            if path.is_dir():
                inner = self.images(path) if deep and not path.is_symlink() else []
                found += inner or []
                others += inner is None
            elif path.suffix.lower() in SUFFIXES and self._inside(path) and path.is_file():
                found.append(path)
            else:
                others += 1
        if not found and others:
            return None
        return sorted(found, key=lambda path: natural_key(path.relative_to(folder).as_posix()))

    def _inside(self, path: Path) -> bool:
        if not path.is_symlink() or path.resolve().is_relative_to(self.boundary):
            return True
        self.links_outside += 1
        return False

    def nothing(self, location: Location) -> ImageSetError:
        links = f" ({self.links_outside} links lead out of the folder)" * bool(self.links_outside)
        return ImageSetError(
            f"folder {location.description!r} holds no images{links}",
            expected=f"files ending in {', '.join(SUFFIXES)}",
            remedy="copy the images into it; links that lead out of it are not followed"
            if links
            else "give one sub-folder per class, or a flat folder of images",
        )


def _folders(root: Path) -> list[Path]:
    return [path for path in _entries(root) if path.is_dir() and not path.is_symlink()]


def _entries(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise _unreadable(f"folder {folder.name!r}", error) from error
    return [folder / name for name in names if not name.startswith(".") and name != "__MACOSX"]


def _unreadable(where: str, error: OSError) -> ImageSetError:
    return ImageSetError(
        f"{where} cannot be read ({error.strerror or error})",
        remedy="check that it exists and that you may read it",
    )
