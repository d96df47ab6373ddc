"""What checks of a map found. Needs numpy alone, so that screens can read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["deletion", "insertion"]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The explained number while pixels are hidden (deletion) or shown again (insertion).

    ``shares`` (S,) of the pixels from 0 to 1; ``values`` (N, S) in the order of the map, the
    largest values first; ``random`` (R, N, S) in random orders: what any map would give. A faithful
    map makes a deletion curve fall and an insertion curve rise early.
    """

    kind: Kind
    shares: np.ndarray
    values: np.ndarray
    random: np.ndarray

    @property
    def area(self) -> np.ndarray:
        """Area under each curve (N,): the mean number on the way; lower is better in deletion."""
        return np.asarray(np.trapezoid(self.values, self.shares, axis=-1))

    @property
    def random_area(self) -> np.ndarray:
        """Areas (R, N) of the random orders."""
        return np.asarray(np.trapezoid(self.random, self.shares, axis=-1))

    @property
    def p_values(self) -> np.ndarray:
        """(1 + random orders at least as good) / (1 + random orders), (N,)."""
        sign = 1 if self.kind == "insertion" else -1
        as_good = sign * self.random_area >= sign * self.area
        return np.asarray((1 + as_good.sum(axis=0)) / (1 + len(self.random)))


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """What was found about N maps.

    ``infidelity`` (N,) in [0, 1], lower is better; ``moved_infidelity`` (R, N) is that of the same
    maps moved to random places. ``completeness_error`` (N,) is the maps' own, NaN where the method
    promises none.
    """

    deletion: Curves
    insertion: Curves
    infidelity: np.ndarray
    moved_infidelity: np.ndarray
    completeness_error: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """What one model answers while pixels are hidden; probabilities (N, K) float64.

    ``whole`` with nothing hidden, ``top`` without the map's strongest ``count`` pixels, ``random``
    (R, N, K) without as many pixels drawn at random.
    """

    count: int
    whole: np.ndarray
    top: np.ndarray
    random: np.ndarray

    def usual(self, row: int) -> tuple[int, float, int]:
        """Return what is answered without random pixels: the most frequent class, its mean
        probability, and in how many of the draws it was the answer.
        """
        answers = self.random[:, row].argmax(axis=1)
        counts = np.bincount(answers)
        usual = int(counts.argmax())
        return usual, float(self.random[:, row, usual].mean()), int(counts[usual])
