"""What the student is shown in place of the images that the teacher answered."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class Alteration(Protocol):
    """A change of a batch between teacher and student: the one's answer, the other's image."""

    def __call__(self, rows: Tensor, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Return what the student sees, (B, C, H, W) in [0, 1].

        ``rows`` (B,) int64 of the image set, ``pixels`` (B, C, H, W) float32 their augmented
        views; ``generator`` is seeded by epoch, so that a resumed run draws what an
        uninterrupted one draws.
        """

    def recipe(self) -> dict[str, Any]:
        """What decides the change, JSON-like; part of the run's identity."""
