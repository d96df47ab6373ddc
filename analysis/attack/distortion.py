"""How far one image is from another: largest change, PSNR, SSIM. Needs numpy and scipy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from analysis.errors import InputError

_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Distortion:
    """The distance of N pairs of images.

    ``linf`` is the largest change of any pixel in 1/255, ``l2`` the mean length of the change in
    1/255; ``psnr`` (decibel) and ``ssim`` (at most 1) are means, higher is closer. ``psnr`` is
    over the pairs that differ, None when none does.
    """

    linf: int
    l2: float
    psnr: float | None
    ssim: float


def distortion(first: np.ndarray, second: np.ndarray) -> Distortion:
    """Measure pairs of images (N, H, W, C) uint8.

    Raises :class:`~analysis.errors.InputError` for unequal shapes or no pairs.
    """
    if first.shape != second.shape or first.ndim != 4 or 0 in first.shape:
        raise InputError(
            f"images of shapes {first.shape} and {second.shape}",
            expected="two equal shapes (N, H, W, C) with at least one image",
        )
    change = np.abs(first.astype(np.int64) - second)
    ratios = psnr(first, second)
    return Distortion(
        linf=int(change.max()),
        l2=float(np.sqrt((change**2).sum(axis=(1, 2, 3))).mean()),
        psnr=float(ratios[np.isfinite(ratios)].mean()) if np.isfinite(ratios).any() else None,
        ssim=float(ssim(first, second).mean()),
    )


def psnr(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each pair (N, H, W, C) uint8 -> (N,), decibel.

    10 log10(255^2 / mean squared change); infinite for equal images. Higher is closer.
    """
    squares = ((first.astype(np.float64) - second) ** 2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(255.0**2 / squares))


def ssim(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Structural similarity of each pair (N, H, W, C) uint8 -> (N,) in [-1, 1]; 1 is equal.

    Gaussian window of sigma 1.5 cut at 5 pixels, borders mirrored, mean over pixels and channels.
    Source: Wang, Bovik, Sheikh, Simoncelli, IEEE Trans. Image Processing 13 (2004), equation 13.
    """
    x, y = first.astype(np.float64), second.astype(np.float64)
    mean_x, mean_y = _blurred(x), _blurred(y)
    # Rounding may leave a variance a little below zero.
    var_x = np.maximum(_blurred(x * x) - mean_x**2, 0)
    var_y = np.maximum(_blurred(y * y) - mean_y**2, 0)
    both = _blurred(x * y) - mean_x * mean_y
    c1, c2 = (_K1 * 255) ** 2, (_K2 * 255) ** 2
    top = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    bottom = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return np.asarray((top / bottom).mean(axis=(1, 2, 3)))


def _blurred(values: np.ndarray) -> np.ndarray:
    return np.asarray(
        gaussian_filter(values, (0, _SIGMA, _SIGMA, 0), radius=(0, 5, 5, 0), mode="reflect")
    )
