"""Normalization: per-channel mean and standard deviation, kept inside the model handle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch

from analysis.errors import SpecError, nearest


@dataclass(frozen=True)
class Normalization:
    """``(pixels - mean) / std`` per channel, for pixels in [0, 1]; empty means none.

    Raises :class:`SpecError` unless both have the same length, all is finite and std positive.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        mean, std = tuple(map(float, self.mean)), tuple(map(float, self.std))
        if (
            len(mean) != len(std)
            or not all(map(math.isfinite, mean + std))
            or min(std, default=1) <= 0
        ):
            raise SpecError(
                f"normalization with mean {mean} and std {std}",
                expected="as many finite means as positive standard deviations",
            )
        identity = not any(mean) and all(value == 1 for value in std)
        object.__setattr__(self, "mean", () if identity else mean)
        object.__setattr__(self, "std", () if identity else std)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``imagenet``, ``cifar10``, ``none`` or ``m1:m2:m3/s1:s2:s3``."""
        if text in PRESETS:
            return cls(*PRESETS[text])
        mean, slash, std = text.partition("/")
        if not slash:
            raise SpecError(
                f"normalize={text}",
                expected="imagenet, cifar10, none or m1:m2:m3/s1:s2:s3",
                remedy=nearest(text, PRESETS),
            )
        return cls(_numbers(mean, text), _numbers(std, text))

    @property
    def text(self) -> str:
        """The form that :meth:`parse` reads: a preset's name where one fits."""
        for name, values in PRESETS.items():
            if values == (self.mean, self.std):
                return name
        return "/".join(":".join(map(repr, part)) for part in (self.mean, self.std))

    def check_channels(self, channels: int) -> None:
        """Raise :class:`SpecError` when this cannot be applied to images of ``channels``."""
        if self.mean and len(self.mean) != channels:
            raise SpecError(
                f"normalize={self.text} is for {len(self.mean)} channels",
                expected=f"{channels}, as the model takes",
                remedy="write normalize=none or normalize=mean/std with one value per channel",
            )

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalize pixels (N, C, H, W); differentiable."""
        if not self.mean:
            return pixels
        mean = pixels.new_tensor(self.mean).view(1, -1, 1, 1)
        std = pixels.new_tensor(self.std).view(1, -1, 1, 1)
        return (pixels - mean) / std


PRESETS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "none": ((), ()),
}


def _numbers(text: str, whole: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(":"))
    except ValueError:
        raise SpecError(
            f"normalize={whole}", expected="numbers, e.g. 0.5:0.5:0.5/0.25:0.25:0.25"
        ) from None
