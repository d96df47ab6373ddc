"""Sensitivity: how far a map moves when the image hardly does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from analysis.errors import InputError
from analysis.records import AttributionMaps

Explain = Callable[[np.ndarray], Mapping[str, AttributionMaps]]
"""Pixels (N, C, H, W) in [0, 1] -> their maps, by part; classes and seed must be fixed in it."""

RADIUS, DRAWS = 0.02, 4


def max_sensitivity(
    explain: Explain,
    pixels: np.ndarray,
    *,
    radius: float = RADIUS,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Largest relative change of each map under small noise -> {part: (N,)}, at least 0.

    max over ``draws`` of |map(x + e) - map(x)| / |map(x)| (Frobenius norms), e uniform in
    [-``radius``, ``radius``], kept in [0, 1]. Lower is better; 1 means that the map changed by as
    much as there is of it. NaN where a map is zero everywhere. Costs ``draws`` + 1 explanations.
    Source: Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019, arXiv 1901.09392 (max-sensitivity),
    normalized as in captum.
    """
    if not 0 < radius <= 1:
        raise InputError(f"radius {radius:g}", expected="above 0, at most 1")
    if draws < 1:
        raise InputError(f"{draws} draws", expected="at least 1")
    generator = np.random.default_rng(seed)
    own = {part: maps.values for part, maps in explain(pixels).items()}
    largest = {part: np.zeros(len(pixels)) for part in own}
    for _ in range(draws):
        noise = generator.uniform(-radius, radius, size=pixels.shape)
        near = np.clip(pixels + noise, 0, 1).astype(pixels.dtype)
        for part, maps in explain(near).items():
            largest[part] = np.maximum(largest[part], _relative_change(own[part], maps.values))
    return largest


def _relative_change(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    change, size = (
        np.sqrt((maps.astype(np.float64) ** 2).sum(axis=(1, 2)))
        for maps in (others - values, values)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(size > 0, change / size, np.nan)
