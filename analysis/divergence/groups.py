"""Groups of samples that the teacher sees as alike.

The representation of a sample is its place in the teacher's features. Groups in it are found where
the two models part most, so that a group is as small as what makes them part. The student's
features have no part in it: they decide its answer, and a group of samples that it answers alike
would part by itself wherever the teacher answers otherwise. Related: Kim et al., "Spotlight", 2021,
arXiv 2107.00758.
"""

from __future__ import annotations

import numpy as np

DIMENSIONS = 12
_ROUNDS = 12


def representation(features: np.ndarray, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Features (N, D) as places (N, at most ``dimensions``) float32.

    Brought to rows of length 1, centered, reduced to their first principal components and scaled
    to a total variance of 1.
    """
    values: np.ndarray = np.asarray(features, dtype=np.float32)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    values = values / np.where(length > 0, length, 1)
    values = values - values.mean(axis=0)
    axes = np.linalg.eigh((values.T @ values).astype(np.float64))[1][:, ::-1][:, :dimensions]
    placed = values @ axes.astype(np.float32)
    spread = float(np.sqrt((placed**2).sum(axis=1).mean()))
    return placed / spread if spread > 0 else placed


def fit_centers(
    points: np.ndarray, weights: np.ndarray, count: int, *, seed: int = 0
) -> np.ndarray:
    """At most ``count`` centers (C, F) of the ``points`` (N, F), by weighted k-means.

    ``weights`` (N,) positive: where the two models part, centers lie closer together. The start is
    k-means++ (Arthur and Vassilvitskii, 2007), seeded.
    """
    generator = np.random.default_rng(seed)
    centers = _spread_out(points, weights, min(count, len(points)), generator)
    for _ in range(_ROUNDS):
        nearest = assign(points, centers)
        mass = np.bincount(nearest, weights=weights, minlength=len(centers))
        one_hot = np.zeros((len(centers), len(points)), dtype=np.float32)
        one_hot[nearest, np.arange(len(points))] = weights
        moved = one_hot @ points / np.where(mass > 0, mass, 1)[:, None].astype(np.float32)
        centers = np.where((mass > 0)[:, None], moved, centers)
    return centers


def _spread_out(
    points: np.ndarray, weights: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    first = generator.choice(len(points), p=weights / weights.sum())
    chosen = [int(first)]
    nearest = ((points - points[first]) ** 2).sum(axis=1)
    for _ in range(count - 1):
        chance = nearest * weights
        if chance.sum() <= 0:  # every other point lies on a center
            break
        chosen.append(int(generator.choice(len(points), p=chance / chance.sum())))
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen]


def assign(points: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Index (N,) of the nearest of ``centers`` (C, F) to each of ``points`` (N, F)."""
    distances = (centers**2).sum(axis=1) - 2 * points @ centers.T
    return np.asarray(distances.argmin(axis=1))
