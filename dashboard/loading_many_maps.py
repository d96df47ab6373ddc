"""Stored maps of many images at once: their means, and how alike the two models' maps are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.attribution.agreement import rank_correlation, top_overlap
from analysis.attribution.sets import MeanMap, disagreements, mean_map
from analysis.records import TEACHER, AttributionMaps
from dashboard.loading import Pair

PARTS = (TEACHER, "student", "pair")


@dataclass(frozen=True, kw_only=True)
class ManyMaps:
    """The images of a selection that have maps; every array has one row per image, (n,).

    ``rows`` are their rows in the selection's :class:`Pair`, ``selected`` how many images that
    has, ``means`` {part: mean map} over these images.
    """

    rows: np.ndarray
    selected: int
    means: Mapping[str, MeanMap]
    correlation: np.ndarray
    overlap: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


def many_maps(maps: Mapping[str, AttributionMaps], pair: Pair) -> ManyMaps | None:
    """Gather the maps of the images in ``pair`` of which there are all three; None for none."""
    if set(maps) != set(PARTS):
        return None
    row_of = {str(name): row for row, name in enumerate(pair.sample_ids.tolist())}
    places = {part: _places(record) for part, record in maps.items()}
    ids = [name for name in places["pair"] if name in row_of]
    ids = [name for name in ids if all(name in places[part] for part in PARTS)]
    if not ids:
        return None
    at = {part: np.asarray([places[part][name] for name in ids]) for part in PARTS}
    left, student = (np.asarray(maps[part].values)[at[part]] for part in (TEACHER, "student"))
    return ManyMaps(
        rows=np.asarray([row_of[name] for name in ids]),
        selected=len(pair),
        means={part: mean_map(maps[part], at[part]) for part in PARTS},
        correlation=rank_correlation(left, student),
        overlap=top_overlap(left, student),
    )


def _places(record: AttributionMaps) -> dict[str, int]:
    return {str(name): row for row, name in enumerate(record.sample_ids.tolist())}


def most_at_odds(found: ManyMaps, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Where pixels and answers disagree, as places in ``found``.

    First the images with one answer, by how little their maps are alike; then those with
    different answers, by how much they are.
    """
    orders = disagreements(found.correlation, pair.agree[found.rows])
    return orders["same_answer_other_pixels"], orders["other_answer_same_pixels"]
