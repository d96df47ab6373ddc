"""Gathering decoded images into one array, in memory or in a memory-mapped file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from analysis.data.decoding import refusing_bombs
from analysis.errors import ImageSetError
from analysis.store import Progress
from analysis.store.files import atomic_path

_EVERY = 256

Images = Iterable[tuple[str, np.ndarray]]


def gather(
    images: Images, count: int, *, workdir: Path | None = None, progress: Progress | None = None
) -> np.ndarray:
    """Gather ``count`` images ``(where, (H, W, C) uint8)`` of one shape into (N, H, W, C).

    With ``workdir`` they are streamed into ``workdir/images.npy``, which appears only when it is
    complete, and the array is a read-only map of that file: memory stays flat. Raises
    :class:`~analysis.errors.ImageSetError` for images of different shapes and
    :class:`~analysis.errors.StorageError` when the disk refuses.
    """
    with refusing_bombs():
        stream = _watched(_same_shape(images), count, progress)
        if workdir is None:
            return _in_memory(stream, count)
        target = workdir / "images.npy"
        with atomic_path(target) as partial, partial.open("wb") as file:
            _write(stream, count, file)
    return np.load(target, mmap_mode="r", allow_pickle=False)


def _same_shape(images: Images) -> Iterator[np.ndarray]:
    first: tuple[str, tuple[int, ...]] | None = None
    for where, image in images:
        first = first or (where, image.shape)
        if image.shape != first[1]:
            raise ImageSetError(
                f"{first[0]} is {_size(first[1])} and {where} is {_size(image.shape)}",
                expected="images of one size",
                remedy="resize them all: --size 32",
            )
        yield image


def _size(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{width} x {height} pixels{' (gray)' if channels == 1 else ''}"


def _watched(
    images: Iterator[np.ndarray], count: int, progress: Progress | None
) -> Iterator[np.ndarray]:
    done = 0
    for done, image in enumerate(images, start=1):
        yield image
        if progress is not None and (done % _EVERY == 0 or done == count):
            progress("images", done, count)
    if done != count:
        raise ImageSetError(f"the source promised {count} images and holds {done}")


def _in_memory(images: Iterator[np.ndarray], count: int) -> np.ndarray:
    result: np.ndarray | None = None
    for row, image in enumerate(images):
        if result is None:
            result = _allocated((count, *image.shape))
        result[row] = image
    assert result is not None, "a listing holds at least one image"
    return result


def _allocated(shape: tuple[int, ...]) -> np.ndarray:
    try:
        return np.empty(shape, dtype=np.uint8)
    except MemoryError:
        raise ImageSetError(
            f"{shape[0]} images of {_size(shape[1:])} do not fit into memory",
            remedy="resize them: --size 32, or take fewer: --limit 1000",
        ) from None


def _write(images: Iterator[np.ndarray], count: int, file: BinaryIO) -> None:
    # Plain writes rather than a mapped file: on a full disk those fail, a map kills the process.
    for row, image in enumerate(images):
        if row == 0:
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, *image.shape)}
            np.lib.format.write_array_header_1_0(file, header)
        file.write(image.tobytes())
