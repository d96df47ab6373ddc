"""What agreement of two maps chance would give. Needs numpy and scipy, no torch.

Is the agreement one of places? The second map is moved around the edges (and mirrored half of the
time), which keeps all its values and how they cluster but not where they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.attribution.agreement import Agreement, find_agreement
from analysis.errors import InputError

DRAWS = 99
"""Enough for p = 0.01."""


@dataclass(frozen=True)
class Chance:
    """Agreement (N,) of maps beside ``draws`` (D, N) of its null.

    ``measure`` says which direction is close. NaN where it is not defined.
    """

    measure: Agreement
    values: np.ndarray
    draws: np.ndarray

    @property
    def p_values(self) -> np.ndarray:
        """(1 + draws at least as close) / (1 + draws) for each pair of maps, (N,)."""
        sign = 1 if self.measure.direction == "higher_is_closer" else -1
        close = np.where(np.isnan(self.draws), False, sign * self.draws >= sign * self.values)
        found = (1 + close.sum(axis=0)) / (1 + len(self.draws))
        return np.where(np.isnan(self.values), np.nan, found)


def against_shifts(
    first: np.ndarray,
    second: np.ndarray,
    measure: str = "rank_correlation",
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Chance:
    """Compare maps (N, H, W) with ``second`` moved to random places, each map on its own.

    Moves are uniform over all but the identity. Raises :class:`InputError` for an unknown
    measure, unequal shapes, and maps of one pixel.
    """
    chosen = find_agreement(measure)
    values = chosen.function(first, second)
    _, height, width = second.shape
    if height * width < 2:
        raise InputError("maps of one pixel cannot be moved", expected="two pixels at least")
    generator = np.random.default_rng(seed)
    found = np.empty((_positive(draws), len(second)))
    for row in found:
        shifted = np.stack([moved(one, generator) for one in second])
        row[:] = chosen.function(first, shifted)
    return Chance(chosen, values, found)


def moved(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return a map (H, W) moved around the edges to a random other place, or mirrored as well."""
    height, width = values.shape
    mirrored = bool(generator.integers(2)) and width > 2
    # A mirrored map is already elsewhere, so it may stay; the other must not.
    step = int(generator.integers(0 if mirrored else 1, height * width))
    rolled = np.roll(values, divmod(step, width), axis=(0, 1))
    return rolled[:, ::-1] if mirrored else rolled


def _positive(draws: int) -> int:
    if draws < 1:
        raise InputError(f"{draws} draws", expected="at least 1")
    return draws
