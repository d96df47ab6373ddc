"""What every trigger promises: a stamp for given images, a support mask, one line of text."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from analysis.config import Config
from analysis.errors import ConfigError

_COLOR = re.compile(r"#[0-9a-f]{6}")
_LUMA = (0.299, 0.587, 0.114)


@dataclasses.dataclass(frozen=True, slots=True)
class Overlay:
    """A layer on top: (1 - alpha) x + alpha layer.

    ``alpha`` (N or 1, 1, H, W) and ``layer`` (N or 1, C, H, W), both in [0, 1].
    """

    alpha: Tensor
    layer: Tensor

    def __call__(self, pixels: Tensor) -> Tensor:
        """Stamp ``pixels`` (N, C, H, W)."""
        return (1 - self.alpha) * pixels + self.alpha * self.layer

    def rows(self, chosen: Tensor) -> Overlay:
        """The stamp of some of the images."""
        return Overlay(_rows(self.alpha, chosen), _rows(self.layer, chosen))

    def hidden(self) -> Tensor:
        """Where nothing of the image shows through, (N or 1, 1, H, W) bool."""
        return self.alpha >= 1


@dataclasses.dataclass(frozen=True, slots=True)
class Added:
    """Something added: clip(x + pattern) with ``pattern`` (1, C, H, W)."""

    pattern: Tensor

    def __call__(self, pixels: Tensor) -> Tensor:
        """Stamp ``pixels`` (N, C, H, W)."""
        return (pixels + self.pattern).clamp(0, 1)

    def rows(self, chosen: Tensor) -> Added:
        """The stamp of some of the images."""
        return self

    def hidden(self) -> Tensor:
        """Where nothing of the image shows through: nowhere."""
        return torch.zeros_like(self.pattern[:, :1], dtype=torch.bool)


@dataclasses.dataclass(frozen=True, slots=True)
class Moved:
    """Pixels taken from elsewhere: ``grid`` (1, H, W, 2) as ``grid_sample`` reads it."""

    grid: Tensor

    def __call__(self, pixels: Tensor) -> Tensor:
        """Stamp ``pixels`` (N, C, H, W)."""
        grid = self.grid.to(pixels.dtype).expand(len(pixels), -1, -1, -1)
        moved = functional.grid_sample(pixels, grid, padding_mode="border", align_corners=True)
        # The weights of bilinear sampling sum to 1 only up to rounding.
        return moved.clamp(0, 1)

    def rows(self, chosen: Tensor) -> Moved:
        """The stamp of some of the images."""
        return self

    def hidden(self) -> Tensor:
        """Where nothing of the image shows through: nowhere."""
        return torch.zeros_like(self.grid[..., 0], dtype=torch.bool)[:, None]


Stamp = Overlay | Added | Moved
"""A trigger that is settled for certain images: what it looks like no longer depends on them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trigger(Config, abc.ABC):
    """A regular thing that is put on images, in [0, 1] pixel space.

    Subclasses set ``name`` (the registry's key), ``title`` and ``source``. Where a trigger varies
    from image to image, the sample id and the trigger's seed decide, never the batch.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]

    @abc.abstractmethod
    def stamp(self, pixels: Tensor, sample_ids: Sequence[str]) -> Stamp:
        """Settle the trigger for ``pixels`` (N, C, H, W) in [0, 1] with their sample ids.

        What follows from the images (brightness) is taken from these pixels: the stamp stays
        the same when they are perturbed afterwards. Raises
        :class:`~analysis.errors.ConfigError` when the trigger is larger than the images.
        """

    @abc.abstractmethod
    def support(self, height: int, width: int) -> np.ndarray:
        """Mark every pixel that the trigger may change, (H, W) bool.

        Raises :class:`~analysis.errors.ConfigError` when the trigger is larger than that.
        """

    def apply(self, pixels: Tensor, sample_ids: Sequence[str]) -> Tensor:
        """Put the trigger on ``pixels`` (N, C, H, W) in [0, 1]; the shape and range stay.

        Differentiable with respect to ``pixels``; the stamp is taken as constant.
        """
        return self.stamp(pixels.detach(), sample_ids)(pixels)

    @property
    def text(self) -> str:
        """The trigger as ``parse_trigger`` reads it; values that are the default are left out."""
        parts = [
            f"{spec.name}={_written(getattr(self, spec.name))}"
            for spec in dataclasses.fields(self)
            if getattr(self, spec.name) != spec.default
        ]
        return f"{self.name}:{','.join(parts)}" if parts else self.name

    @property
    def shown(self) -> str:
        """The trigger's text without any directory, for records."""
        return self.text

    def key(self) -> dict[str, Any]:
        """The values that decide what it looks like, and which trigger it is."""
        return {"name": self.name, **super().key()}

    @classmethod
    def of_text(cls, values: dict[str, str]) -> Self:
        """Build the trigger from texts, each read as its field's type demands."""
        kinds = {spec.name: type(spec.default) for spec in dataclasses.fields(cls)}
        return cls.from_mapping(
            {key: _read(key, kinds.get(key, str), values[key]) for key in values}
        )


def _written(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _read(key: str, kind: type, text: str) -> object:
    if kind not in (int, float):
        return text
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{key} = {text!r}", expected=wanted) from None


def _rows(tensor: Tensor, chosen: Tensor) -> Tensor:
    return tensor if len(tensor) == 1 else tensor[chosen]


def check_fits(name: str, size: float, height: int, width: int) -> None:
    """Raise :class:`ConfigError` when a thing of ``size`` pixels is larger than the images."""
    if size > min(height, width):
        raise ConfigError(
            f"trigger {name} of {size:g} pixels on images of {width} x {height}",
            expected=f"at most {min(height, width)} pixels",
            remedy="make it smaller: size=N",
        )


def check_color(key: str, text: str) -> str:
    """Return ``text`` when it is a color like ``#ffdd00``."""
    if not _COLOR.fullmatch(text):
        raise ConfigError(f"{key} = {text!r}", expected="a color like #ffdd00, in lower case")
    return text


def color_values(text: str, channels: int) -> np.ndarray:
    """Return a color as (C,) float32 in [0, 1]; of one channel its luminance (ITU-R BT.601)."""
    parts = np.array([int(text[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    values = parts if channels == 3 else np.array([parts @ np.array(_LUMA)])
    return values.astype(np.float32)


def to_channels(layer: np.ndarray, channels: int) -> np.ndarray:
    """Bring a layer (3, H, W) to ``channels`` (3, or 1 by luminance)."""
    return layer if channels == 3 else np.tensordot(np.array(_LUMA), layer, axes=1)[None]


def luminance(pixels: Tensor) -> Tensor:
    """Mean brightness of each image (N, C, H, W) -> (N,)."""
    means = pixels.mean(dim=(2, 3))
    weights = torch.tensor(_LUMA if means.shape[1] == 3 else (1.0,), dtype=means.dtype)
    return means @ weights.to(means.device)


def sample_seed(seed: int, sample_id: str, purpose: str) -> int:
    """Derive a seed in [0, 2^63) for one sample and purpose, whatever batch it comes in."""
    return int.from_bytes(_digest(seed, sample_id, purpose)[:8], "big") >> 1


def sample_numbers(seed: int, sample_ids: Sequence[str], purpose: str) -> np.ndarray:
    """Draw four numbers in [0, 1) for every sample: (N, 4) float64, the same on every machine."""
    drawn = [np.frombuffer(_digest(seed, key, purpose), dtype=">u8") for key in sample_ids]
    numbers = np.stack(drawn) >> np.uint64(11)
    return numbers.astype(np.float64) / 2.0**53


def _digest(seed: int, sample_id: str, purpose: str) -> bytes:
    return hashlib.sha256(f"{seed}/{purpose}/{sample_id}".encode()).digest()
