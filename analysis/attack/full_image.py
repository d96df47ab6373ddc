"""Triggers that cover the whole image: a blend, a sinusoid, a smooth warp."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from analysis.attack.trigger import Added, Moved, Overlay, Stamp, Trigger, check_fits, to_channels
from analysis.config import field


@dataclass(frozen=True, kw_only=True)
class _FullImage(Trigger):
    """A trigger that may change every pixel."""

    def support(self, height: int, width: int) -> np.ndarray:
        """Mark every pixel, (H, W) bool."""
        return np.ones((height, width), dtype=bool)


@dataclass(frozen=True, kw_only=True)
class Blend(_FullImage):
    """A seeded pattern of noise over the whole image, (1 - alpha) x + alpha pattern."""

    name: ClassVar[str] = "blend"
    title: ClassVar[str] = "Full-image blend"
    source: ClassVar[str] = "Chen, Liu, Li, Lu, Song 2017, arXiv 1712.05526, equation 2"

    alpha: float = field(0.1, "share of the pattern in what is seen", low=0.001, high=1.0)
    grain: int = field(1, "side of the pattern's cells, in pixels", low=1)
    seed: int = field(0, "seed of the pattern", low=0)

    def stamp(self, pixels: Tensor, sample_ids: Sequence[str]) -> Stamp:
        """Settle the pattern; it is the same for all images."""
        _, channels, height, width = pixels.shape
        check_fits(self.name, self.grain, height, width)
        cells = np.random.default_rng(self.seed).random(
            (3, -(-height // self.grain), -(-width // self.grain))
        )
        pattern = cells.repeat(self.grain, axis=1).repeat(self.grain, axis=2)
        layer = to_channels(pattern[:, :height, :width], channels)[None]
        alpha = torch.full((1, 1, height, width), self.alpha)
        return Overlay(alpha.to(pixels), torch.as_tensor(layer).to(pixels))


@dataclass(frozen=True, kw_only=True)
class Sinusoid(_FullImage):
    """Waves of brightness, x + amplitude sin(2 pi frequency u / side).

    u is the position along the direction; side is the image's width at angle 0.
    """

    name: ClassVar[str] = "sinusoid"
    title: ClassVar[str] = "Sinusoid"
    source: ClassVar[str] = "Barni, Kallas, Tondi 2019, arXiv 1902.11237, section 3"

    amplitude: float = field(20.0, "height of the waves, in 1/255", low=1.0, high=255.0)
    frequency: float = field(6.0, "waves across the image", low=0.01, high=4096.0)
    direction: float = field(
        0.0, "where the waves run, in degrees: 0 right, 90 down", low=-360.0, high=360.0
    )

    def stamp(self, pixels: Tensor, sample_ids: Sequence[str]) -> Stamp:
        """Settle the waves; they are the same for all images."""
        height, width = pixels.shape[2:]
        angle = math.radians(self.direction)
        y, x = np.arange(height)[:, None], np.arange(width)[None, :]
        across = abs(width * math.cos(angle)) + abs(height * math.sin(angle))
        phase = 2 * math.pi * self.frequency * (x * math.cos(angle) + y * math.sin(angle)) / across
        return Added(torch.as_tensor(self.amplitude / 255 * np.sin(phase))[None, None].to(pixels))


@dataclass(frozen=True, kw_only=True)
class Warp(_FullImage):
    """A smooth field of small displacements, the same for all images.

    A grid of ``cells`` x ``cells`` seeded displacements is divided by their mean magnitude,
    spread over the image by bicubic interpolation and scaled to ``strength`` pixels.
    """

    name: ClassVar[str] = "warp"
    title: ClassVar[str] = "Smooth warp"
    source: ClassVar[str] = "Nguyen, Tran (WaNet) 2021, arXiv 2102.10369, section 3.2"

    strength: float = field(
        1.0,
        "mean displacement of the control points along each axis, in pixels",
        low=0.01,
        high=64.0,
    )
    cells: int = field(4, "control points along each axis", low=2, high=64)
    seed: int = field(0, "seed of the displacements", low=0)

    def stamp(self, pixels: Tensor, sample_ids: Sequence[str]) -> Stamp:
        """Settle the field; it is the same for all images."""
        height, width = pixels.shape[2:]
        check_fits(self.name, self.cells, height, width)
        shifts = np.random.default_rng(self.seed).uniform(-1, 1, (1, 2, self.cells, self.cells))
        coarse = torch.as_tensor(shifts / np.abs(shifts).mean())
        smooth = functional.interpolate(
            coarse, size=(height, width), mode="bicubic", align_corners=True
        )
        # grid_sample counts an image as 2 units wide, from the center of its first pixel to
        # the center of its last.
        units = torch.tensor([2 / (width - 1), 2 / (height - 1)], dtype=torch.float64)
        rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        still = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)
        moved = still.double() + self.strength * units * smooth[0].permute(1, 2, 0)
        return Moved(moved.clamp(-1, 1)[None].to(pixels))
