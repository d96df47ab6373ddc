"""Bilinear resampling of one pixel at a time: the oracle of all warps."""

from __future__ import annotations

import numpy as np


def bilinear(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """The value (C,) of ``image`` (C, H, W) at a place; beyond the border that of the border."""
    height, width = image.shape[1:]
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    low, left = int(np.floor(y)), int(np.floor(x))
    high, right = min(low + 1, height - 1), min(left + 1, width - 1)
    a, b = y - low, x - left
    top = (1 - b) * image[:, low, left] + b * image[:, low, right]
    return (1 - a) * top + a * ((1 - b) * image[:, high, left] + b * image[:, high, right])


def moved(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """``image`` (C, H, W) with every pixel taken from ``flow`` (H, W, 2) (down, right) off it."""
    shown = np.empty(image.shape)
    for y, x in np.ndindex(image.shape[1:]):
        shown[:, y, x] = bilinear(image, y + flow[y, x, 0], x + flow[y, x, 1])
    return shown
