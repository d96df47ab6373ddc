"""Beam search for short conjunctions of simple statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.divergence.predicates import Predicate

LONGEST = 3
_WIDTH = 48

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""``score(members, hits) -> value``: how good groups of ``members`` rows are of which ``hits``
have the outcome; higher is better."""


@dataclass(frozen=True, slots=True)
class Conjunction:
    """The samples for which all of ``parts`` (indices of predicates) hold, with their score."""

    parts: tuple[int, ...]
    score: float


def search_conjunctions(
    predicates: Sequence[Predicate],
    rows: np.ndarray,
    outcome: np.ndarray,
    score: Score,
    *,
    fewest: int,
    width: int = _WIDTH,
) -> list[Conjunction]:
    """Conjunctions of up to :data:`LONGEST` predicates, the best ``score`` first.

    Only ``rows`` are looked at; ``outcome`` (len(rows),) bool. A conjunction holds for at least
    ``fewest`` of them, and a longer one is kept only if it scores higher than each shorter one that
    it was made from: a description says no more than it has to. ``width`` conjunctions of each
    length are extended.
    """
    masks = np.stack([predicate.mask[rows] for predicate in predicates]).astype(np.float32)
    variables = [predicate.variable for predicate in predicates]
    hits = outcome.astype(np.float32)
    singles = _scores(masks, hits, score, fewest)
    kept: dict[tuple[int, ...], float] = {
        (index,): value for index, value in enumerate(singles.tolist()) if np.isfinite(value)
    }
    frontier = _best(kept, width)
    for _ in range(LONGEST - 1):
        longer = _extended(frontier, kept, masks, hits, variables, score, fewest)
        kept |= longer
        frontier = _best(longer, width)
    order = sorted(kept.items(), key=lambda item: (-item[1], len(item[0]), item[0]))
    return [Conjunction(parts, value) for parts, value in order]


def _scores(masks: np.ndarray, hits: np.ndarray, score: Score, fewest: int) -> np.ndarray:
    members = masks.sum(axis=1)
    return np.where(members >= fewest, score(members, masks @ hits), -np.inf)


def _best(scored: dict[tuple[int, ...], float], width: int) -> list[tuple[int, ...]]:
    return sorted(scored, key=lambda parts: (-scored[parts], parts))[:width]


def _extended(
    frontier: list[tuple[int, ...]],
    known: dict[tuple[int, ...], float],
    masks: np.ndarray,
    hits: np.ndarray,
    variables: list[str],
    score: Score,
    fewest: int,
) -> dict[tuple[int, ...], float]:
    longer: dict[tuple[int, ...], float] = {}
    for parts in frontier:
        whole = masks[list(parts)].prod(axis=0)
        scores = _scores(masks * whole, hits, score, fewest)
        used = {variables[part] for part in parts}
        for index in np.flatnonzero(scores > known[parts]).tolist():
            if variables[index] in used:
                continue
            key = tuple(sorted((*parts, index)))
            shorter = (key[:at] + key[at + 1 :] for at in range(len(key)))
            if all(scores[index] > known.get(other, -np.inf) for other in shorter):
                longer[key] = float(scores[index])
    return longer
