"""Image sets: images, labels, sample ids and class names under one digest."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from analysis.digest import digest_array, digest_json, digest_strings
from analysis.errors import ImageSetError
from analysis.records import ImageSetCard

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Control characters, line separators, bidirectional overrides and lone surrogates: none can be
# shown, and each can make one name look like another.
_UNSHOWABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_DIGEST_ROWS = 1024


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSet:
    """Images with what is known of them; read-only and validated on construction.

    ``images`` (N, H, W, C) uint8 with C of 1 (gray) or 3 (RGB), in memory or memory-mapped;
    ``labels`` (N,) int64 or None; ``sample_ids`` (N,) unique strings ``<name>/<id>``;
    ``class_names`` or None; ``source`` says where the images came from, without directories.

    Raises :class:`~analysis.errors.ImageSetError` when any of this does not hold.
    """

    name: str
    images: np.ndarray
    sample_ids: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ImageSetError(
                f"image set name {self.name!r}",
                expected="1 to 64 of the characters A-Z a-z 0-9 . _ -",
            )
        check_text("source", self.source)
        _check_images(self.images)
        if self.class_names is not None:
            if len(self.class_names) == 0:
                raise ImageSetError("no class names", expected="one for each class, or None")
            names = tuple(check_text("class name", name) for name in self.class_names)
            object.__setattr__(self, "class_names", names)
        ids = _checked_ids(self.name, self.sample_ids, len(self.images))
        labels = _checked_labels(self.labels, len(self.images), self.class_names)
        for field, array in (("images", self.images), ("sample_ids", ids), ("labels", labels)):
            object.__setattr__(self, field, _read_only(array))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        _, height, width, channels = self.images.shape
        return height, width, channels

    @cached_property
    def pixels_digest(self) -> str:
        """Digest of the pixels alone, whatever they are called and however they are kept."""
        return digest_pixels(self.images)

    @cached_property
    def digest(self) -> str:
        """Digest of pixels, labels, sample ids and class names."""
        return digest_json(
            {
                "pixels": self.pixels_digest,
                "labels": None if self.labels is None else digest_array(self.labels),
                "sample_ids": digest_strings(self.sample_ids.tolist()),
                "class_names": self.class_names,
            }
        )

    @cached_property
    def _row_by_id(self) -> dict[str, int]:
        return {sample_id: row for row, sample_id in enumerate(self.sample_ids.tolist())}

    def batches(
        self, size: int, rows: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Hand out ``(rows, pixels)``: rows (B,) int64, pixels (B, C, H, W) float32 in [0, 1].

        Every image once and in order, or the given ``rows`` in the given order; the last batch
        may be smaller. Only one batch is copied at a time.
        """
        if size < 1:
            raise ImageSetError(f"batch size {size}", expected="at least 1")
        order = np.arange(len(self)) if rows is None else np.asarray(rows, dtype=np.int64)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            # A slice of a mapped file reads its pages in order, an index array one by one.
            chunk = self.images[start : start + size] if rows is None else self.images[chosen]
            pixels = to_pixels(chunk)
            _release_pages(self.images)
            yield chosen, pixels

    def rows(self, indices: np.ndarray | Sequence[int]) -> ImageSet:
        """Return the set of the given rows, in that order (their pixels are copied)."""
        chosen = np.asarray(indices, dtype=np.int64)
        if len(chosen) == 0:
            raise ImageSetError(f"no image of {self.name!r} is left", expected="at least one")
        return replace(
            self,
            images=np.asarray(self.images[chosen]),
            sample_ids=self.sample_ids[chosen],
            labels=None if self.labels is None else self.labels[chosen],
        )

    def take(self, limit: int, *, seed: int = 0) -> ImageSet:
        """Return at most ``limit`` images: a seeded random subset, in the order of this set.

        Random because sources are often sorted by class: the first images would show one only.
        """
        return self if limit >= len(self) else self.rows(subset_rows(len(self), limit, seed))

    def rows_of(self, sample_ids: Iterable[str]) -> np.ndarray:
        """Return the rows (M,) int64 of the given sample ids, in the given order.

        Raises :class:`~analysis.errors.ImageSetError` for an id that this set does not hold.
        """
        try:
            return np.array([self._row_by_id[str(key)] for key in sample_ids], dtype=np.int64)
        except KeyError as error:
            raise ImageSetError(
                f"sample id {error.args[0]!r} is not in image set {self.name!r}",
                remedy="use the image set that the ids were taken from",
            ) from None

    def renamed(self, name: str) -> ImageSet:
        """Return the same images under another set name; the sample ids follow."""
        ids = [f"{name}/{key.split('/', 1)[1]}" for key in self.sample_ids.tolist()]
        return replace(self, name=name, sample_ids=np.array(ids))

    def card(self) -> ImageSetCard:
        """Return what a study remembers of this set: everything but the pixels."""
        height, width, channels = self.image_shape
        return ImageSetCard(
            name=self.name,
            n=len(self),
            height=height,
            width=width,
            channels=channels,
            labeled=self.labels is not None,
            digest=self.digest,
            source=self.source,
        )


def to_pixels(images: np.ndarray) -> np.ndarray:
    """Turn images (N, H, W, C) uint8 into pixels (N, C, H, W) float32 in [0, 1]."""
    count, height, width, channels = images.shape
    pixels = np.empty((count, channels, height, width), dtype=np.float32)
    return np.divide(images.transpose(0, 3, 1, 2), np.float32(255), out=pixels)


def digest_pixels(images: np.ndarray) -> str:
    """Digest of images (N, H, W, C) uint8; memory stays flat when they are memory-mapped."""
    parts = []
    for start in range(0, len(images), _DIGEST_ROWS):
        parts.append(digest_array(images[start : start + _DIGEST_ROWS]))
        _release_pages(images)
    return digest_json({"shape": images.shape, "parts": parts})


def subset_rows(count: int, limit: int | None, seed: int) -> np.ndarray:
    """Choose at most ``limit`` of ``count`` rows, (M,) int64 ascending, the same for one seed."""
    if limit is not None and limit < 1:
        raise ImageSetError(f"limit {limit}", expected="at least 1 image")
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def unique_ids(ids: Sequence[str]) -> list[str]:
    """Give repeated ids an ordinal: ``a, a, a`` becomes ``a, a#2, a#3``; order is kept."""
    taken, count = set(ids), dict.fromkeys(ids, 0)
    result = []
    for key in ids:
        count[key] += 1
        fresh = key
        if count[key] > 1:
            while (fresh := f"{key}#{count[key]}") in taken:
                count[key] += 1
            taken.add(fresh)
        result.append(fresh)
    return result


def check_text(what: str, value: str) -> str:
    """Return ``value`` when it can be shown, else raise :class:`ImageSetError`.

    Markup passes, since text is escaped where it is shown; control characters do not.
    """
    if not isinstance(value, str) or _UNSHOWABLE.search(value):
        raise ImageSetError(
            f"{what} {value!r}",
            expected="text without control characters, in UTF-8",
            remedy="rename it",
        )
    return value


def _check_images(images: np.ndarray) -> None:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4:
        dtype, shape = getattr(images, "dtype", type(images).__name__), np.shape(images)
        raise ImageSetError(
            f"images of type {dtype} and shape {shape}", expected="uint8 of shape (N, H, W, C)"
        )
    if len(images) == 0:
        raise ImageSetError("no images", expected="at least one", remedy="check the source")
    if images.shape[3] not in (1, 3) or 0 in images.shape:
        raise ImageSetError(
            f"images of shape {images.shape}",
            expected="(N, H, W, C) with C = 1 (gray) or 3 (RGB) and no side of 0",
        )


def _checked_ids(name: str, sample_ids: np.ndarray, count: int) -> np.ndarray:
    ids = np.asarray(sample_ids, dtype=np.str_)
    if ids.shape != (count,):
        raise ImageSetError(f"{ids.size} sample ids for {count} images", expected="one per image")
    seen: set[str] = set()
    for key in ids.tolist():
        check_text("sample id", key)
        if not key.startswith(f"{name}/") or len(key) == len(name) + 1:
            raise ImageSetError(f"sample id {key!r}", expected=f"'{name}/' and an id")
        if key in seen:
            raise ImageSetError(f"sample id {key!r} occurs twice", expected="unique sample ids")
        seen.add(key)
    return ids


def _checked_labels(
    labels: np.ndarray | None, count: int, class_names: tuple[str, ...] | None
) -> np.ndarray | None:
    if labels is None:
        return None
    array = np.asarray(labels)
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise ImageSetError(
            f"labels of type {array.dtype} and shape {array.shape}",
            expected=f"integers of shape ({count},)",
        )
    classes = len(class_names) if class_names is not None else np.iinfo(np.int64).max
    wrong = np.flatnonzero((array < 0) | (array >= classes))
    if len(wrong):
        known = f"0 to {classes - 1}" if class_names is not None else "0 or more"
        raise ImageSetError(
            f"label {array[wrong[0]]} of image {wrong[0]}",
            expected=f"a class number, {known}",
            remedy="check the labels against the class names",
        )
    return array.astype(np.int64, copy=False)


def _read_only(array: np.ndarray | None) -> np.ndarray | None:
    if array is None or not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def _release_pages(images: np.ndarray) -> None:
    """Let go of the pages of a mapped file that were read.

    They would count as this process's memory, and grow with the number of images.
    """
    # Only of a read-only mapping: a copy-on-write one keeps its changes in those pages.
    mapping = getattr(images, "_mmap", None) if getattr(images, "mode", None) == "r" else None
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)
