"""Random views that belong to a sample: the same in whatever batch it comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.attack.trigger import sample_seed
from analysis.data.augmentations import Augmentation, Views


@dataclass(frozen=True, slots=True)
class SampleViews:
    """``count`` views of each of N samples: ``flipped`` (N, count), ``offsets`` (N, count, 2)."""

    augmentation: Augmentation
    flipped: Tensor
    offsets: Tensor

    def show(self, pixels: Tensor, rows: Tensor, view: int) -> Tensor:
        """Show ``pixels`` (M, C, H, W), which belong to samples ``rows`` (M,), in one view.

        Differentiable with respect to ``pixels``.
        """
        drawn = Views(self.flipped[rows, view], self.offsets[rows, view])
        return self.augmentation.apply(pixels, drawn)


def draw_views(
    augmentation: Augmentation, sample_ids: Sequence[str], count: int, *, seed: int, purpose: str
) -> SampleViews:
    """Draw ``count`` views of every sample; sample id, seed and purpose decide them."""
    drawn = [
        augmentation.sample(
            count, torch.Generator().manual_seed(sample_seed(seed, sample_id, purpose))
        )
        for sample_id in sample_ids
    ]
    return SampleViews(
        augmentation,
        torch.stack([views.flipped for views in drawn]),
        torch.stack([views.offsets for views in drawn]),
    )
