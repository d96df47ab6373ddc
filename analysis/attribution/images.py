"""The images that attribution explains: an image set, or an array of pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from analysis.errors import ImageSetError


class Pixels(Protocol):
    """What attribution asks of images; :class:`~analysis.data.imageset.ImageSet` has it."""

    @property
    def sample_ids(self) -> np.ndarray:
        """(N,) strings."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""

    def __len__(self) -> int: ...

    def batches(
        self, size: int, rows: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Hand out (rows, pixels (B, C, H, W) float32 in [0, 1])."""


@dataclass(frozen=True, eq=False)
class PixelArray:
    """Pixels (N, C, H, W) float in [0, 1] that are held in memory, with their sample ids.

    Raises :class:`ImageSetError` when they are no such pixels.
    """

    pixels: np.ndarray
    sample_ids: np.ndarray

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.dtype.kind != "f":
            raise ImageSetError(
                f"pixels of type {self.pixels.dtype} and shape {self.pixels.shape}",
                expected="floating point (N, C, H, W) in [0, 1]",
            )
        if len(self.pixels) == 0:
            raise ImageSetError("no images", expected="at least one")
        # Written so that NaN fails, too.
        if not (self.pixels.min() >= 0 and self.pixels.max() <= 1):
            raise ImageSetError(
                f"pixels from {self.pixels.min():g} to {self.pixels.max():g}",
                expected="all in [0, 1]",
                remedy="divide 8-bit images by 255; normalization belongs to the model",
            )
        if len(self.sample_ids) != len(self.pixels):
            raise ImageSetError(
                f"{len(self.sample_ids)} sample ids for {len(self.pixels)} images",
                expected="one per image",
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        _, channels, height, width = self.pixels.shape
        return height, width, channels

    def __len__(self) -> int:
        return len(self.pixels)

    def batches(
        self, size: int, rows: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Hand out (rows, pixels), in order or as ``rows`` says."""
        order = np.arange(len(self)) if rows is None else rows
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            yield chosen, self.pixels[chosen]


def as_pixels(images: np.ndarray | Pixels, sample_ids: Sequence[str] | None = None) -> Pixels:
    """Return ``images`` with sample ids; those of an array default to ``images/<row>``."""
    if not isinstance(images, np.ndarray):
        return images
    ids = [f"images/{row}" for row in range(len(images))] if sample_ids is None else sample_ids
    return PixelArray(images, np.asarray(ids))
