"""Where in depth two models part: each student layer against its best match in the teacher.

Everything is read off layer x layer similarities (T, S) and their null draws (P, T, S).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LOST = 0.25
"""Two part under a condition where a layer loses so much of its clean similarity; for display."""
HALF = 0.5
"""Two part in depth where a layer has less than this share of the best before it; for display."""
OUTLIERS = 0.1
"""CKA that moves by so much without 1 % of the images rests on these; for display."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Profile:
    """Best matches of the student's layers: ``best`` (S,) teacher layers, -1 where not measured.

    ``values`` (S,) are their similarities, NaN where not measured; ``null`` (P, S) the best
    matches of the null draws, which have to be compared with, as the best of several layers is
    high by chance too.
    """

    best: np.ndarray
    values: np.ndarray
    null: np.ndarray

    @property
    def chance(self) -> np.ndarray:
        """Mean of the null (S,)."""
        return np.asarray(self.null.mean(axis=0))

    @property
    def corrected(self) -> np.ndarray:
        """Similarity (S,) beyond chance: 0 is the null, 1 the same layer."""
        return np.asarray((self.values - self.chance) / (1 - self.chance))

    @property
    def beyond_null(self) -> np.ndarray:
        """Whether each value (S,) is above all null draws."""
        return np.asarray(self.values > self.null.max(axis=0))


def best_matches(values: np.ndarray, null: np.ndarray) -> Profile:
    """Find every student layer's most similar teacher layer.

    ``values`` (T, S) are similarities, ``null`` (P, T, S) their null draws; NaN is not measured.
    A draw's best match may be another teacher layer than the one that is found. Equal values are
    resolved in favor of the earlier layer.
    """
    known = np.isfinite(values)
    filled = np.where(known, values, -np.inf)
    best = np.where(known.any(axis=0), filled.argmax(axis=0), -1)
    draws = np.where(np.isfinite(null), null, -np.inf).max(axis=1)
    return Profile(
        best=best,
        values=np.where(best >= 0, filled.max(axis=0), np.nan),
        null=np.where(best >= 0, draws, np.nan),
    )


def parted_from(profile: Profile, clean: Profile | None = None) -> int | None:
    """The student layer from which on, to the last, the two part; None when they do not.

    Against the profile of the same layers on ``clean`` images a layer counts as parted where it
    loses more than ``LOST`` of its similarity beyond chance; without one, where it has less than
    ``HALF`` of the best layer before it. Layers that were not measured count as parted with the
    ones around them.
    """
    own = profile.corrected
    if clean is None:
        before = np.maximum.accumulate(np.nan_to_num(own, nan=-np.inf))
        parted = own < HALF * before
    else:
        parted = own < (1 - LOST) * clean.corrected
    parted |= ~profile.beyond_null & np.isfinite(own)
    unknown = ~np.isfinite(own)
    start = len(own)
    while start > 0 and (parted[start - 1] or unknown[start - 1]):
        start -= 1
    return start if parted[start:].any() else None


def distant_matches(first: Profile, second: Profile, layers: int) -> list[int]:
    """Student layers whose best matches by two measures lie far apart in the teacher.

    Far is more than a sixth of the teacher's ``layers``, and more than one.
    """
    far = max(1, layers // 6)
    both = (first.best >= 0) & (second.best >= 0)
    return np.flatnonzero(both & (np.abs(first.best - second.best) > far)).tolist()


def below_all(values: np.ndarray, references: Sequence[np.ndarray]) -> np.ndarray:
    """Whether each value (S,) is below those of all ``references``; False without any."""
    if not references:
        return np.zeros(len(values), dtype=bool)
    return np.asarray(values < np.min(references, axis=0))
