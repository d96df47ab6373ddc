"""Training images in memory, in a seeded order that any epoch can be entered at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.data.imageset import ImageSet


@dataclass(frozen=True, slots=True)
class Batch:
    """``rows`` (B,) int64 of the image set, ``pixels`` (B, C, H, W) float32 in [0, 1], ``labels``
    (B,) int64 or None.
    """

    rows: Tensor
    pixels: Tensor
    labels: Tensor | None


class LoadedImages:
    """The pixels of an image set as one uint8 tensor, handed out in batches.

    A quarter of the memory of floats; the stored order (N, H, W, C) is the one in which
    convolutions are fastest.
    """

    def __init__(self, images: ImageSet, device: torch.device) -> None:
        self._pixels = torch.from_numpy(np.array(images.images)).to(device)
        labels = None if images.labels is None else torch.from_numpy(np.array(images.labels))
        self._labels = None if labels is None else labels.to(device)
        self._device = device

    def __len__(self) -> int:
        return len(self._pixels)

    def batch(self, rows: Tensor) -> Batch:
        """Return the images of ``rows`` (B,) int64."""
        there = rows.to(self._device)
        pixels = self._pixels[there].permute(0, 3, 1, 2).float().div_(255)
        return Batch(rows, pixels, None if self._labels is None else self._labels[there])

    def in_order(self, size: int) -> Iterator[Batch]:
        """Hand out all images in their own order, ``size`` at a time."""
        for rows in torch.arange(len(self)).split(size):
            yield self.batch(rows)

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Hand out all images once, in random order, in :func:`steps_per_epoch` even batches.

        Even, because a last batch of one image would spoil batch normalization.
        """
        order = torch.randperm(len(self), generator=generator)
        for rows in order.tensor_split(steps_per_epoch(len(self), size)):
            yield self.batch(rows)


def steps_per_epoch(count: int, size: int) -> int:
    """Number of batches of at most ``size`` that ``count`` images make."""
    return -(-count // size)


def epoch_seed(seed: int, epoch: int, purpose: str) -> int:
    """Derive the seed of one epoch's random numbers for one purpose, in [0, 2^63).

    No random state outlives an epoch, so a resumed run draws what an uninterrupted one draws.
    """
    text = f"{seed}/{epoch}/{purpose}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def epoch_generator(seed: int, epoch: int, purpose: str) -> torch.Generator:
    """Return a generator seeded by :func:`epoch_seed`."""
    return torch.Generator().manual_seed(epoch_seed(seed, epoch, purpose))
