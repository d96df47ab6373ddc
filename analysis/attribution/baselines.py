"""What an image is compared with: the picture that says nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from analysis.attribution.catalog import BASELINE_DESCRIPTIONS
from analysis.errors import InputError, nearest

BLUR_SHARE = 1 / 8
"""Standard deviation of the blur as a share of the image's shorter side: 4 pixels of 32."""
_REACH = 3.0


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A way of making baselines; ``make`` maps pixels (N, C, H, W) to the same shape.

    ``parameters`` maps (H, W) to what a record states of it.
    """

    name: str
    description: str
    make: Callable[[torch.Tensor], torch.Tensor]
    parameters: Callable[[int, int], Mapping[str, Any]] = lambda height, width: {}


def blur_sigma(height: int, width: int) -> float:
    """Standard deviation, in pixels, of the blur of images of ``height`` x ``width``."""
    return min(height, width) * BLUR_SHARE


def blur(pixels: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur (N, C, H, W) with a Gaussian of ``sigma`` pixels, borders reflected.

    The Gaussian is cut at three standard deviations, or where reflection ends (one pixel short
    of the image's side), and normalized, so constant images stay as they are.
    """
    for axis in (2, 3):
        reach = min(math.ceil(_REACH * sigma), pixels.shape[axis] - 1)
        offsets = torch.arange(-reach, reach + 1, device=pixels.device, dtype=pixels.dtype)
        kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
        kernel = kernel / kernel.sum()
        channels = pixels.shape[1]
        shape = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
        padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        pixels = functional.conv2d(
            functional.pad(pixels, padding, mode="reflect"),
            kernel.view(shape).expand(channels, -1, -1, -1),
            groups=channels,
        )
    return pixels


def _blurred(pixels: torch.Tensor) -> torch.Tensor:
    return blur(pixels, blur_sigma(*pixels.shape[2:]))


def _mean(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.mean(dim=(2, 3), keepdim=True).expand_as(pixels).contiguous()


def _entry(name: str, make: Callable[[torch.Tensor], torch.Tensor], **how: Any) -> Baseline:
    return Baseline(name=name, description=BASELINE_DESCRIPTIONS[name], make=make, **how)


BASELINES: Mapping[str, Baseline] = {
    entry.name: entry
    for entry in (
        _entry(
            "blurred",
            _blurred,
            parameters=lambda height, width: {"sigma": blur_sigma(height, width)},
        ),
        _entry("mean", _mean),
        _entry("black", torch.zeros_like),
    )
}


def find_baseline(name: str) -> Baseline:
    """Return the baseline called ``name``; raises :class:`InputError` naming the nearest."""
    if name not in BASELINES:
        raise InputError(f"unknown baseline {name!r}", remedy=nearest(name, BASELINES))
    return BASELINES[name]
