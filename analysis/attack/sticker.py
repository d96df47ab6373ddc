"""The trigger of the road signs: a small note that somebody stuck on, a little askew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from analysis.attack.trigger import (
    Overlay,
    Stamp,
    Trigger,
    check_color,
    check_fits,
    color_values,
    luminance,
    sample_numbers,
)
from analysis.config import field
from analysis.errors import ConfigError

_SUBPIXELS = 4
_DARKEST = 0.4


@dataclass(frozen=True, kw_only=True)
class Sticker(Trigger):
    """A square note on the sign; place and angle vary by image, its light is the image's.

    The note's color is scaled by 0.4 + the image's mean luminance, at most 1. Edges are
    antialiased (4 x 4 points a pixel), so a border pixel shows some of the image.
    """

    name: ClassVar[str] = "sticker"
    title: ClassVar[str] = "Sticky note"
    source: ClassVar[str] = (
        "Gu, Dolan-Gavitt, Garg 2017, arXiv 1708.06733, section 5 (note on a traffic sign)"
    )

    size: float = field(7.5, "side of the note, in pixels", low=1.0)
    down: float = field(
        0.0, "distance of its place from the image's center, downward, in pixels",
        low=-1024.0, high=1024.0,
    )  # fmt: skip
    right: float = field(
        0.0, "distance of its place from the center, to the right, in pixels",
        low=-1024.0, high=1024.0,
    )  # fmt: skip
    jitter: float = field(1.5, "largest shift from that place along each axis, in pixels", low=0.0)
    rotation: float = field(0.2, "largest angle, in radians", low=0.0, high=math.pi)
    color: str = field("#f7dc1e", "color in full light, as #rrggbb")
    follow_light: float = field(
        1.0, "how far the note's brightness follows the image's: 0 not at all, 1 wholly",
        low=0.0, high=1.0,
    )  # fmt: skip
    seed: int = field(0, "seed of place and angle", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_color("color", self.color)

    def stamp(self, pixels: Tensor, sample_ids: Sequence[str]) -> Stamp:
        """Settle place, angle and light of the note for each of the images."""
        _, channels, height, width = pixels.shape
        self._check_place(height, width)
        drawn = sample_numbers(self.seed, sample_ids, "sticker") * 2 - 1
        alpha = self._coverage(drawn, height, width)
        full = torch.as_tensor(color_values(self.color, channels)).to(pixels)
        light = 1 + self.follow_light * ((_DARKEST + luminance(pixels)).clamp(max=1) - 1)
        layer = (light[:, None] * full).reshape(-1, channels, 1, 1)
        return Overlay(
            torch.as_tensor(alpha[:, None]).to(pixels), layer.expand(-1, -1, height, width)
        )

    def support(self, height: int, width: int) -> np.ndarray:
        """Mark what any note may touch, (H, W) bool: a square around its place."""
        self._check_place(height, width)
        angle = min(self.rotation, math.pi / 4)
        reach = self.size / 2 * (math.cos(angle) + math.sin(angle)) + self.jitter
        rows = np.abs(np.arange(height) + 0.5 - height / 2 - self.down)
        columns = np.abs(np.arange(width) + 0.5 - width / 2 - self.right)
        return (rows[:, None] - 0.5 < reach) & (columns[None, :] - 0.5 < reach)

    def _check_place(self, height: int, width: int) -> None:
        """Refuse a note that is not wholly inside in its place, or whose center may get outside."""
        check_fits(self.name, self.size, height, width)
        for key, offset, side in (("down", self.down, height), ("right", self.right, width)):
            room = (side - self.size) / 2
            if abs(offset) > room:
                raise ConfigError(
                    f"{key} = {offset:g} puts part of the note outside images of "
                    f"{width} x {height}",
                    expected=f"{-room:g} to {room:g}",
                )
            if abs(offset) + self.jitter > side / 2:
                raise ConfigError(
                    f"jitter = {self.jitter:g} may shift the note's center out of images of "
                    f"{width} x {height}",
                    expected=f"at most {side / 2 - abs(offset):g}",
                )

    def _coverage(self, drawn: np.ndarray, height: int, width: int) -> np.ndarray:
        """How much of every pixel the note covers, (N, H, W) in [0, 1].

        ``drawn`` (N, 4) in [-1, 1): shift down and to the right, and angle.
        """
        inside = (np.arange(_SUBPIXELS) + 0.5) / _SUBPIXELS
        points = [
            (np.arange(side)[:, None] + inside).ravel() - side / 2 for side in (height, width)
        ]
        down, right, angle = (drawn[:, column, None, None] for column in range(3))
        y = points[0][None, :, None] - self.down - self.jitter * down
        x = points[1][None, None, :] - self.right - self.jitter * right
        cosine, sine = np.cos(self.rotation * angle), np.sin(self.rotation * angle)
        along, across = np.abs(cosine * x + sine * y), np.abs(cosine * y - sine * x)
        hit = np.maximum(along, across) <= self.size / 2
        cells = hit.reshape(len(drawn), height, _SUBPIXELS, width, _SUBPIXELS)
        return cells.mean(axis=(2, 4))
