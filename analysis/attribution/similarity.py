"""Structural similarity of attribution maps. Needs numpy and scipy."""

from __future__ import annotations

import numpy as np

from analysis.errors import InputError

SIGMA, REACH = 1.5, 5
"""The window: a Gaussian of 1.5 pixels, cut at 11 x 11 or at the map's shorter side."""
STABILIZERS = ((0.01 * 2) ** 2, (0.03 * 2) ** 2)
"""(K L)^2 of the paper for values in [-1, 1], so L = 2."""


def structural_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean structural similarity of each pair of maps (N, H, W) -> (N,) float64 in [-1, 1].

    Each map is divided by its largest magnitude first, because the scales of two models' maps
    mean nothing to each other; 1 means the same pattern, and NaN that a map is zero everywhere.
    Windows lie wholly inside the map. Raises :class:`InputError` for unequal shapes. Source: Wang,
    Bovik, Sheikh, Simoncelli, IEEE Transactions on Image Processing 13 (2004).
    """
    check_pair(first, second)
    x, y = (_scaled(np.asarray(maps, dtype=np.float64)) for maps in (first, second))
    window = _window(min(first.shape[1:]))
    mean_x, mean_y = _smoothed(x, window), _smoothed(y, window)
    var_x = _smoothed(x * x, window) - mean_x**2
    var_y = _smoothed(y * y, window) - mean_y**2
    both = _smoothed(x * y, window) - mean_x * mean_y
    c1, c2 = STABILIZERS
    likeness = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    scale = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return np.asarray((likeness / scale).mean(axis=(1, 2)))


def check_pair(first: np.ndarray, second: np.ndarray) -> None:
    """Raise :class:`InputError` unless both are maps (N, H, W) of one shape with pixels."""
    if first.shape != second.shape or first.ndim != 3 or 0 in first.shape:
        raise InputError(
            f"maps of shapes {first.shape} and {second.shape}",
            expected="two equal shapes (N, H, W) with at least one pixel",
        )


def _scaled(maps: np.ndarray) -> np.ndarray:
    largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(largest > 0, maps / largest, np.nan)


def _window(side: int) -> np.ndarray:
    """Weights along one axis; an even or small side gets the largest odd window that fits."""
    reach = min(REACH, (side - 1) // 2)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SIGMA) ** 2)
    return weights / weights.sum()


def _smoothed(maps: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Weighted mean in every window that lies inside: the window is separable."""
    for axis in (1, 2):
        views = np.lib.stride_tricks.sliding_window_view(maps, len(window), axis=axis)
        maps = views @ window
    return maps
