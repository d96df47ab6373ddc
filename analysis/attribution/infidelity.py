"""Infidelity: does a map's mass on a patch say how far the number moves when the patch goes?"""

from __future__ import annotations

import numpy as np


def random_squares(
    height: int, width: int, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw ``count`` squares of an eighth to a half of the shorter side -> bool (count, H, W)."""
    shorter = min(height, width)
    sides = generator.integers(max(1, shorter // 8), max(1, shorter // 2) + 1, size=count)
    squares = np.zeros((count, height, width), dtype=bool)
    for square, side in zip(squares, sides, strict=True):
        top, left = (int(generator.integers(0, s - side + 1)) for s in (height, width))
        square[top : top + side, left : left + side] = True
    return squares


def relative_infidelity(masses: np.ndarray, falls: np.ndarray) -> np.ndarray:
    """How badly masses (.., M) predict by how much the number fell (.., M) -> (..,) in [0, 1].

    mean (b mass - fall)^2 / mean fall^2 with the best b >= 0: 0 means proportional, 1 that the map
    tells nothing or the opposite. NaN where the number never moves. Source: Yeh, Hsieh, Suggala,
    Inouye, Ravikumar 2019, arXiv 1901.09392 (infidelity, for removed squares, at the best
    scale of the map), as a share of what a map of zeros would have.
    """
    products = (masses * falls).sum(axis=-1)
    squares = (masses**2).sum(axis=-1) * (falls**2).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        explained = np.where(products > 0, products**2 / squares, 0.0)
    moves = (falls**2).sum(axis=-1) > 0
    return np.asarray(np.where(moves, np.clip(1 - explained, 0, 1), np.nan))
