"""NumPy archives: arrays of images and labels in one ``.npz`` file."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from analysis.data.decoding import Fit
from analysis.data.imageset import ImageSet, unique_ids
from analysis.data.listing import Listing, Location, choose_split, row_ids
from analysis.errors import ImageSetError
from analysis.store.files import atomic_path

_IMAGE_KEYS = ("images", "image", "x", "data", "pixels")
_LABEL_KEYS = ("labels", "label", "y", "targets", "target")
_ROWS = 256
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, MemoryError, RuntimeError,
)  # fmt: skip


def list_npz(location: Location) -> Listing:
    """List an ``.npz`` archive.

    Images under ``images``, ``x`` or ``data`` (also ``x_test``, ``test_images`` and the like:
    with several splits one has to be chosen, ``file.npz:test``): (N, H, W), (N, H, W, C) or
    (N, C, H, W), uint8, or floats in [0, 1]. Labels under ``labels`` or ``y``, optionally
    ``class_names`` and ``ids``. Archives are read without pickle.
    """
    path = location.existing
    with _Archive(path) as archive:
        split = _chosen_split(archive.keys, location)
        member = archive.first(_variants(_IMAGE_KEYS, split), needed=True)
        count, axes = _image_shape(archive, member)
        labels = _labels(archive, split, count)
        names = archive.texts(archive.first(("class_names", "classes")))
        ids = archive.texts(archive.first(_variants(("ids",), split)))
    if ids is not None and len(ids) != count:
        raise ImageSetError(f"{len(ids)} ids for {count} images in {path.name!r}")
    return Listing(
        ids=unique_ids(ids) if ids is not None else row_ids(count, path.name),
        labels=labels,
        class_names=tuple(names) if names is not None else None,
        description=location.description,
        read=lambda rows, fit: _read(path, member, axes, rows, fit),
    )


def write_npz(images: ImageSet, path: Path) -> None:
    """Write an image set as an ``.npz`` archive, from which it can be loaded unchanged.

    Loaded under the same name it has the same digest. The file appears only when it is complete.
    Raises :class:`~analysis.errors.StorageError` when the disk refuses.
    """
    prefix = len(images.name) + 1
    arrays: dict[str, np.ndarray] = {
        "images": images.images,
        "ids": np.array([key[prefix:] for key in images.sample_ids.tolist()]),
    }
    if images.labels is not None:
        arrays["labels"] = images.labels
    if images.class_names is not None:
        arrays["class_names"] = np.array(images.class_names, dtype=np.str_)
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _variants(keys: tuple[str, ...], split: str) -> tuple[str, ...]:
    if not split:
        return keys
    return tuple(name for key in keys for name in (f"{key}_{split}", f"{split}_{key}"))


def _chosen_split(keys: tuple[str, ...], location: Location) -> str:
    """The split whose images are wanted; empty when the archive is not split."""
    lower = {key.lower() for key in keys}
    if location.split is None and lower & set(_IMAGE_KEYS):
        return ""
    splits = ("train", "test", "val", "valid")
    found = [split for split in splits if lower & set(_variants(_IMAGE_KEYS, split))]
    if not found and location.split is None:
        return ""
    return choose_split(location, found, "archive")


def _labels(archive: _Archive, split: str, count: int) -> np.ndarray | None:
    member = archive.first(_variants(_LABEL_KEYS, split))
    if member is None:
        return None
    labels = archive.whole(member)
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ImageSetError(
            f"{member!r} in {archive.name!r} is {labels.dtype} of shape {labels.shape}",
            expected=f"one class number for each of the {count} images",
        )
    return labels.astype(np.int64)


class _Archive:
    """An ``.npz`` file whose arrays are looked at before they are read."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            self._zip = zipfile.ZipFile(path)
            self._bytes = path.stat().st_size
        except (zipfile.BadZipFile, OSError) as error:
            raise self.damaged(error) from error
        names = self._zip.namelist()
        self.keys = tuple(name.removesuffix(".npy") for name in names if name.endswith(".npy"))

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def damaged(self, error: Exception | str) -> ImageSetError:
        """The error for an archive that cannot be read."""
        return ImageSetError(
            f"{self.name!r} cannot be read ({error})",
            expected="an .npz archive",
            remedy="write it again with numpy.savez",
        )

    def first(self, keys: tuple[str, ...], *, needed: bool = False) -> Any:
        """The member that has the first of these names, whatever its case."""
        by_lower = {key.lower(): key for key in self.keys}
        member = next((by_lower[key] for key in keys if key in by_lower), None)
        if member is None and needed:
            raise ImageSetError(
                f"{self.name!r} holds {', '.join(self.keys) or 'no arrays'}",
                expected=f"images under {', '.join(map(repr, keys))}",
            )
        return member

    def header(self, member: str) -> tuple[IO[bytes], tuple[int, ...], bool, np.dtype[Any]]:
        """Open one array: the file behind its header, shape, Fortran order, dtype."""
        try:
            file = self._zip.open(f"{member}.npy")
            old = np.lib.format.read_magic(file) == (1, 0)
            read = (
                np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read(file)
        except _UNREADABLE as error:
            raise self.damaged(error) from error
        # Deflate packs at most 1032 to 1: a longer array cannot be inside.
        if math.prod(shape) * dtype.itemsize > 1032 * self._bytes:
            raise self.damaged(f"{member!r} claims the shape {shape}")
        if dtype.hasobject:
            raise ImageSetError(
                f"{member!r} in {self.name!r} holds Python objects",
                expected="numbers or text; a pickle could execute code",
                remedy="save it with a plain dtype",
            )
        return file, shape, fortran, dtype

    def whole(self, member: str) -> np.ndarray:
        """Read one array at once."""
        self.header(member)[0].close()
        try:
            with self._zip.open(f"{member}.npy") as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except _UNREADABLE as error:
            raise self.damaged(error) from error

    def texts(self, member: str | None) -> list[str] | None:
        """Read an array of strings; None where there is none."""
        if member is None:
            return None
        array = self.whole(member)
        if array.ndim != 1 or array.dtype.kind not in "US":
            raise ImageSetError(
                f"{member!r} in {self.name!r} is {array.dtype} of shape {array.shape}",
                expected="a row of strings",
            )
        if array.dtype.kind == "S":
            return [text.decode("utf-8", "replace") for text in array.tolist()]
        return array.tolist()

    def slabs(self, member: str) -> Iterator[np.ndarray]:
        """Read one array in pieces along its first axis."""
        file, shape, fortran, dtype = self.header(member)
        with file:
            if fortran:
                yield self.whole(member)
                return
            row_bytes = math.prod(shape[1:]) * dtype.itemsize
            for start in range(0, shape[0], _ROWS):
                rows = min(_ROWS, shape[0] - start)
                yield np.frombuffer(self._take(file, rows * row_bytes), dtype).reshape(
                    rows, *shape[1:]
                )

    def _take(self, file: IO[bytes], count: int) -> bytes:
        try:
            data = file.read(count)
        except _UNREADABLE as error:
            raise self.damaged(error) from error
        if len(data) != count:
            raise self.damaged("an array ends too early")
        return data


def _image_shape(archive: _Archive, member: str) -> tuple[int, tuple[int, ...]]:
    """Number of images, and the order of axes that makes (N, H, W, C) of the array."""
    file, shape, _, dtype = archive.header(member)
    file.close()
    if dtype != np.uint8 and dtype.kind != "f":
        raise ImageSetError(
            f"{member!r} in {archive.name!r} is of type {dtype}",
            expected="uint8, or floats in [0, 1]",
            remedy="convert it: images.astype('uint8')",
        )
    if len(shape) not in (3, 4) or 0 in shape or not _axes(shape):
        raise ImageSetError(
            f"{member!r} in {archive.name!r} has the shape {shape}",
            expected="(N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1, 3 or 4 and no 0",
        )
    return shape[0], _axes(shape)


def _axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 3:
        return (0, 1, 2)
    if shape[3] in (1, 3, 4):
        return (0, 1, 2, 3)
    return (0, 2, 3, 1) if shape[1] in (1, 3, 4) else ()


def _read(
    path: Path, member: str, axes: tuple[int, ...], rows: np.ndarray, fit: Fit
) -> Iterator[tuple[str, np.ndarray]]:
    """Read the given rows (ascending), a piece of the archive at a time."""
    with _Archive(path) as archive:
        start = 0
        for slab in archive.slabs(member):
            wanted = rows[(rows >= start) & (rows < start + len(slab))]
            chosen = slab[wanted - start].transpose(axes)
            chosen = chosen[..., None] if chosen.ndim == 3 else chosen
            for row, image in zip(wanted.tolist(), chosen, strict=True):
                where = f"{archive.name!r}, image {row}"
                yield where, fit.array(_as_uint8(image, where))
            start += len(slab)
            if start > rows[-1]:
                return


def _as_uint8(image: np.ndarray, where: str) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    # NaN compares false with everything, so it is found here too.
    wrong = image[~((image >= 0) & (image <= 1))]
    if wrong.size:
        raise ImageSetError(
            f"{where} holds the value {float(wrong[0]):g}",
            expected="uint8, or floats in [0, 1]",
            remedy="scale the pixels, and remove images with NaN",
        )
    return np.rint(image * 255).astype(np.uint8)
