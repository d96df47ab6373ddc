"""Superpixels: an image cut into patches of similar color. Needs numpy alone."""

from __future__ import annotations

import math

import numpy as np

from analysis.errors import InputError

ROUNDS = 10
COMPACTNESS = 0.5
"""How much one grid step counts against a difference of one in color: higher is squarer."""


def superpixels(image: np.ndarray, segments: int) -> np.ndarray:
    """Cut an image (C, H, W) in [0, 1] into about ``segments`` patches -> (H, W) int64 from 0.

    k-means over color and position, started from a regular grid, so the same image is always cut
    the same way. As in SLIC (Achanta et al., IEEE TPAMI 2012), distance is that of the colors and,
    weighted, of the places in grid steps; patches need not be connected. Raises
    :class:`InputError` for fewer than 2 segments, or more than there are pixels.
    """
    _, height, width = image.shape
    if not 2 <= segments <= height * width:
        raise InputError(
            f"{segments} superpixels of an image of {height}x{width}",
            expected=f"2 to {height * width}",
        )
    rows, columns = _grid(segments, height, width)
    at_row, at_column = np.mgrid[:height, :width]
    places = np.stack([(at_row + 0.5) * rows / height, (at_column + 0.5) * columns / width])
    # Division keeps the color term comparable whatever the number of channels.
    colors = np.asarray(image, dtype=np.float64) / math.sqrt(len(image))
    points = np.concatenate([colors, COMPACTNESS * places]).reshape(-1, height * width).T
    labels = (places[0].astype(int) * columns + places[1].astype(int)).ravel()
    for _ in range(ROUNDS):
        labels = np.unique(labels, return_inverse=True)[1]
        counts = np.bincount(labels)
        sums = [np.bincount(labels, weights=column) for column in points.T]
        centers = np.stack(sums, axis=1) / counts[:, None]
        labels = _closest(points, centers)
    return np.unique(labels, return_inverse=True)[1].reshape(height, width).astype(np.int64)


def _grid(segments: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of about ``segments`` cells that are nearly square, at least two cells."""
    rows = min(height, max(1, round(math.sqrt(segments * height / width))))
    columns = min(width, max(1, round(segments / rows)))
    if rows * columns == 1:
        return (2, 1) if height >= width else (1, 2)
    return rows, columns


def _closest(points: np.ndarray, centers: np.ndarray) -> np.ndarray:
    # |p - c|^2 without |p|^2, which decides nothing.
    return np.asarray(((centers**2).sum(axis=1) - 2 * points @ centers.T).argmin(axis=1))
