"""Models of a trigger: what a search for one may put on an image, one registry.

A small mask is the right guess for a sticker and the wrong one for a wave over the whole image,
so there are several. Each has one size, the number that the search makes small; a planted
trigger shows as a class that needs less of it than the same class of honest students.

Parameters are tensors of about unit scale, whatever they stand for, so that one learning rate
serves all; their first axis is the class, so that all classes are searched at once.
A new family is a subclass of :class:`Family` and a line in :data:`FAMILIES`.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from analysis.errors import InputError, nearest

Parameters = dict[str, Tensor]
Shape = tuple[int, int, int]
STRENGTH = "strength"
"""The key of what :meth:`Family.scaled` adds to the parameters."""


class Family(abc.ABC):
    """One kind of trigger.

    ``unit`` says what :meth:`size` counts. A search starts large and shrinks; a class whose size
    stays above ``bound`` (a function of the images' shape) is given up.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str]
    source: ClassVar[str]

    @abc.abstractmethod
    def start(self, classes: int, shape: Shape, generator: torch.Generator) -> Parameters:
        """Draw parameters for ``classes`` triggers on images of ``shape`` (C, H, W)."""

    @abc.abstractmethod
    def apply(self, parameters: Parameters, pixels: Tensor) -> Tensor:
        """Put trigger k on pixels[k]: (K, B, C, H, W) in [0, 1] to the same; differentiable."""

    @abc.abstractmethod
    def size(self, parameters: Parameters, shape: Shape) -> Tensor:
        """The size of each trigger (K,) above 0, in :attr:`unit`; differentiable."""

    @abc.abstractmethod
    def bound(self, shape: Shape) -> float:
        """The size above which a trigger is no small one, in :attr:`unit`."""

    def scaled(self, parameters: Parameters, factor: Tensor) -> Parameters:
        """The same triggers with their strength times ``factor`` (K,), within their limits."""
        return {**parameters, STRENGTH: factor}

    @abc.abstractmethod
    def parts(self, parameters: Parameters, shape: Shape) -> dict[str, np.ndarray]:
        """What there is to show of each trigger, channels last, one row per class."""


class Mask(Family):
    """A small mask with a pattern, (1 - m) x + m p; its size is the sum of the mask."""

    name = "mask"
    title = "Patch: mask and pattern"
    unit = "pixels"
    source = "Wang et al. 2019, Neural Cleanse, equation 2"

    def start(self, classes: int, shape: Shape, generator: torch.Generator) -> Parameters:
        """Draw a faint mask over the whole image and a pattern of noise."""
        channels, height, width = shape
        noise = torch.randn(classes, 1, height, width, generator=generator)
        pattern = torch.randn(classes, channels, height, width, generator=generator)
        return {"mask": 0.3 * noise - 1.0, "pattern": pattern}

    def apply(self, parameters: Parameters, pixels: Tensor) -> Tensor:
        """Blend the pattern in where the mask is."""
        mask, pattern = self.masks(parameters), torch.sigmoid(2 * parameters["pattern"])
        return pixels + mask[:, None] * (pattern[:, None] - pixels)

    def masks(self, parameters: Parameters) -> Tensor:
        """The masks (K, 1, H, W) in [0, 1]; at most wholly opaque, however strong."""
        return _strengthened(parameters, torch.sigmoid(2 * parameters["mask"])).clamp(max=1)

    def size(self, parameters: Parameters, shape: Shape) -> Tensor:
        """Sum of the mask over all pixels."""
        return self.masks(parameters).sum(dim=(1, 2, 3))

    def bound(self, shape: Shape) -> float:
        """A quarter of the image."""
        return shape[1] * shape[2] / 4

    def parts(self, parameters: Parameters, shape: Shape) -> dict[str, np.ndarray]:
        """``mask`` (K, H, W) and ``pattern`` (K, H, W, C), both in [0, 1]."""
        mask, pattern = self.masks(parameters), torch.sigmoid(2 * parameters["pattern"])
        return {"mask": _numpy(mask[:, 0]), "pattern": _numpy(pattern.movedim(1, -1))}


class Coarse(Mask):
    """A mask with a pattern, neither with any detail; its size is the sum of the mask.

    What is planted is often a thing: a note, a logo, a picture. A pattern without detail can be
    one, but not the fine noise that moves every classifier from a small area; so classes that
    nobody planted need larger areas than with :class:`Mask`, and a planted one does not.
    """

    name = "coarse"
    title = "Picture: coarse mask and pattern"
    source = "this project's; equation 2 of Wang et al. 2019, both on a grid of 8 x 8"

    CELLS = 8

    def start(self, classes: int, shape: Shape, generator: torch.Generator) -> Parameters:
        """Draw a faint mask over the whole image and a pattern of few patches of color."""
        return super().start(classes, (shape[0], self.CELLS, self.CELLS), generator)

    def apply(self, parameters: Parameters, pixels: Tensor) -> Tensor:
        """Blend the pattern in where the mask is."""
        return super().apply(self._spread(parameters, pixels.shape[3:]), pixels)

    def size(self, parameters: Parameters, shape: Shape) -> Tensor:
        """Sum of the mask over all pixels."""
        return super().size(self._spread(parameters, shape[1:]), shape)

    def bound(self, shape: Shape) -> float:
        """Half of the image."""
        return shape[1] * shape[2] / 2

    def parts(self, parameters: Parameters, shape: Shape) -> dict[str, np.ndarray]:
        """``mask`` (K, H, W) and ``pattern`` (K, H, W, C), both in [0, 1]."""
        return super().parts(self._spread(parameters, shape[1:]), shape)

    @staticmethod
    def _spread(parameters: Parameters, sides: Sequence[int]) -> Parameters:
        """The same on the pixels of an image."""
        height, width = sides
        grids = {
            key: functional.interpolate(
                parameters[key], size=(height, width), mode="bilinear", align_corners=False
            )
            for key in ("mask", "pattern")
        }
        return {**parameters, **grids}


class _Additive(Family):
    """A pattern that is added to the whole image, within ``LIMIT`` at every pixel."""

    LIMIT: ClassVar[float] = 64 / 255

    @abc.abstractmethod
    def raw(self, parameters: Parameters, shape: Shape) -> Tensor:
        """The pattern (K, C, H, W) before it is limited."""

    def delta(self, parameters: Parameters, shape: Shape) -> Tensor:
        """The pattern (K, C, H, W), within the limit."""
        raw = _strengthened(parameters, self.raw(parameters, shape))
        return self.LIMIT * torch.tanh(raw / self.LIMIT)

    def apply(self, parameters: Parameters, pixels: Tensor) -> Tensor:
        """Add the pattern; what leaves [0, 1] is cut off."""
        channels, height, width = pixels.shape[2:]
        added = pixels + self.delta(parameters, (channels, height, width))[:, None]
        return added.clamp(0, 1)

    def parts(self, parameters: Parameters, shape: Shape) -> dict[str, np.ndarray]:
        """``delta`` (K, H, W, C), what is added."""
        return {"delta": _numpy(self.delta(parameters, shape).movedim(1, -1))}


class Spatial(_Additive):
    """A smooth pattern added to the whole image; its size is its root mean square."""

    name = "spatial"
    title = "Full image, smooth pattern"
    unit = "1/255, root mean square"
    source = "Chen et al. 2017, arXiv 1712.05526 (blends), as an additive pattern"

    CELLS, STEP = 8, 12 / 255

    def start(self, classes: int, shape: Shape, generator: torch.Generator) -> Parameters:
        """Draw a coarse grid of small values."""
        size = (classes, shape[0], self.CELLS, self.CELLS)
        return {"grid": torch.randn(size, generator=generator)}

    def raw(self, parameters: Parameters, shape: Shape) -> Tensor:
        """Spread the grid over the image."""
        return functional.interpolate(
            self.STEP * parameters["grid"], size=shape[1:], mode="bilinear", align_corners=False
        )

    def size(self, parameters: Parameters, shape: Shape) -> Tensor:
        """Root mean square of what is added, in 1/255."""
        squares = self.delta(parameters, shape).square().mean(dim=(1, 2, 3))
        return 255 * (squares + 1e-12).sqrt()

    def bound(self, shape: Shape) -> float:
        """Three quarters of the limit."""
        return 255 * self.LIMIT * 3 / 4


class Frequency(_Additive):
    """A few waves added to the whole image; its size is the sum of their amplitudes."""

    name = "frequency"
    title = "Full image, few waves"
    unit = "1/255, sum of amplitudes"
    source = "Barni et al. 2019, arXiv 1902.11237; Zeng et al. 2021, arXiv 2104.03413 (DCT)"

    HIGHEST, STEP = 16, 2 / 255

    def start(self, classes: int, shape: Shape, generator: torch.Generator) -> Parameters:
        """Draw small amplitudes of all waves."""
        rows, columns = (min(self.HIGHEST, side) for side in shape[1:])
        size = (classes, shape[0], rows, columns)
        return {"waves": torch.randn(size, generator=generator)}

    def raw(self, parameters: Parameters, shape: Shape) -> Tensor:
        """Add up the waves, products of cosines along both axes."""
        waves = self.STEP * parameters["waves"]
        down = cosines(shape[1], waves.shape[2]).to(waves)
        right = cosines(shape[2], waves.shape[3]).to(waves)
        return down.T @ waves @ right

    def size(self, parameters: Parameters, shape: Shape) -> Tensor:
        """Sum of |amplitude| over all waves, mean of the channels, in 1/255."""
        waves = _strengthened(parameters, self.STEP * parameters["waves"])
        return 255 * waves.abs().sum(dim=(1, 2, 3)) / shape[0] + 1e-6

    def bound(self, shape: Shape) -> float:
        """Eight times the limit of the pattern."""
        return 255 * self.LIMIT * 8


class Warp(Family):
    """A smooth field of small displacements; its size is their root mean square."""

    name = "warp"
    title = "Smooth warp"
    unit = "pixels, root mean square"
    source = "Nguyen, Tran (WaNet) 2021, arXiv 2102.10369, section 3.2"

    CELLS, SHARE = 4, 1 / 8

    def start(self, classes: int, shape: Shape, generator: torch.Generator) -> Parameters:
        """Draw a coarse grid of displacements of about half a pixel."""
        size = (classes, 2, self.CELLS, self.CELLS)
        return {"grid": 0.5 * torch.randn(size, generator=generator)}

    def flow(self, parameters: Parameters, shape: Shape) -> Tensor:
        """Displacements (K, 2, H, W) as (down, right) in pixels, at most an eighth of a side."""
        grid = _strengthened(parameters, parameters["grid"])
        limit = self.SHARE * max(shape[1:])
        smooth = functional.interpolate(grid, size=shape[1:], mode="bicubic", align_corners=True)
        return limit * torch.tanh(smooth / limit)

    def apply(self, parameters: Parameters, pixels: Tensor) -> Tensor:
        """Take every pixel from where the field points to, between four pixels bilinearly."""
        classes, batch, channels, height, width = pixels.shape
        flow = self.flow(parameters, (channels, height, width))
        # grid_sample counts an image as 2 units from the center of its first pixel to the last.
        rows = torch.linspace(-1, 1, height).to(flow).view(-1, 1)
        columns = torch.linspace(-1, 1, width).to(flow).view(1, -1)
        x = columns + 2 * flow[:, 1] / max(1, width - 1)
        y = rows + 2 * flow[:, 0] / max(1, height - 1)
        # One flow serves all images of a class: they are channels of one picture.
        moved = functional.grid_sample(
            pixels.reshape(classes, batch * channels, height, width),
            torch.stack([x, y], dim=-1),
            mode="bilinear",
            padding_mode="border",
            align_corners=True,
        )
        return moved.view(pixels.shape)

    def size(self, parameters: Parameters, shape: Shape) -> Tensor:
        """Root mean square length of the displacements, in pixels."""
        squares = self.flow(parameters, shape).square().sum(dim=1).mean(dim=(1, 2))
        return (squares + 1e-12).sqrt()

    def bound(self, shape: Shape) -> float:
        """A sixteenth of the side."""
        return max(shape[1:]) / 16

    def parts(self, parameters: Parameters, shape: Shape) -> dict[str, np.ndarray]:
        """``flow`` (K, H, W, 2): where each pixel is taken from, (down, right)."""
        return {"flow": _numpy(self.flow(parameters, shape).movedim(1, -1))}


FAMILIES: Mapping[str, Family] = {
    kind.name: kind for kind in (Mask(), Coarse(), Spatial(), Frequency(), Warp())
}


def find_family(name: str) -> Family:
    """Return the family called ``name``; the nearest is named when there is none."""
    if name not in FAMILIES:
        raise InputError(f"trigger model {name!r}", remedy=nearest(name, FAMILIES))
    return FAMILIES[name]


def cosines(side: int, count: int) -> Tensor:
    """Return the first ``count`` cosines (count, side) of amplitude 1 at the pixels' centers."""
    centers = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    return torch.cos(math.pi * torch.arange(count, dtype=torch.float64)[:, None] * centers).float()


def _strengthened(parameters: Parameters, values: Tensor) -> Tensor:
    strength = parameters.get(STRENGTH)
    return values if strength is None else values * strength.view(-1, 1, 1, 1)


def _numpy(values: Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.detach().cpu().float().numpy())
