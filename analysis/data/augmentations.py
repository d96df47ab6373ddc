"""Augmentations: random flips and shifts of a batch, seeded and differentiable."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from analysis.config import Config, field
from analysis.errors import ConfigError


@dataclass(frozen=True)
class Views:
    """What was drawn for a batch.

    ``flipped`` (N,) bool; ``offsets`` (N, 2) int64: by how many rows down and columns to the
    right each image moves.
    """

    flipped: torch.Tensor
    offsets: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Augmentation(Config):
    """Mirror images left to right, each with probability 1/2, then shift them by whole pixels.

    Shifts are uniform in [-shift, shift] along both axes. Source: Lee et al., "Deeply-supervised
    nets", AISTATS 2015; He et al., "Deep residual learning", arXiv 1512.03385, section 4.2.
    """

    flip: bool = field(True, "mirror half of the images left to right")
    shift: int = field(4, "largest shift along each axis, in pixels", low=0, high=1024)
    padding: str = field("zeros", "what moves in at the border", choices=("zeros", "reflect"))

    def sample(self, count: int, generator: torch.Generator) -> Views:
        """Draw the views of ``count`` images; the same generator state gives the same views."""
        # Both are drawn always, so that switching one off leaves the draws of the other alone.
        flipped = torch.rand(count, generator=generator, device=generator.device) < 0.5
        drawn = torch.rand((count, 2), generator=generator, device=generator.device)
        offsets = (drawn * (2 * self.shift + 1)).long() - self.shift
        return Views(flipped & self.flip, offsets)

    def apply(self, pixels: torch.Tensor, views: Views) -> torch.Tensor:
        """Return the drawn views of ``pixels`` (N, C, H, W), in the same shape.

        Differentiable with respect to ``pixels``. Raises :class:`~analysis.errors.ConfigError`
        when the shift is as large as the images.
        """
        if not self.flip and not self.shift:
            return pixels
        count, channels, height, width = pixels.shape
        if self.shift >= min(height, width):
            raise ConfigError(
                f"shift = {self.shift} on images of {width} x {height} pixels",
                expected="less than a side of the images",
            )
        offsets = views.offsets.to(pixels.device)
        rows, rows_inside = self._sources(height, offsets[:, 0])
        columns, columns_inside = self._sources(width, offsets[:, 1])
        flipped = views.flipped.to(pixels.device)[:, None]
        columns = torch.where(flipped, width - 1 - columns, columns)
        # One gather moves every image by its own shift; a loop over shifts would copy 81 times.
        source = (rows[:, :, None] * width + columns[:, None, :]).reshape(count, 1, height * width)
        moved = pixels.reshape(count, channels, -1).gather(2, source.expand(-1, channels, -1))
        moved = moved.reshape(count, channels, height, width)
        if self.padding == "reflect" or not self.shift:
            return moved
        inside = rows_inside[:, None, :, None] & columns_inside[:, None, None, :]
        return moved * inside

    def __call__(self, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return random views of ``pixels`` (N, C, H, W)."""
        return self.apply(pixels, self.sample(len(pixels), generator))

    def _sources(self, side: int, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Where each position is taken from, (N, side), and whether that lies inside."""
        wanted = torch.arange(side, device=offsets.device)[None, :] - offsets[:, None]
        inside = (wanted >= 0) & (wanted < side)
        reflected = (side - 1) - ((side - 1) - wanted.abs()).abs()
        return reflected, inside
