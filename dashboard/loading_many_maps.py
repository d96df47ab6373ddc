"""Stored maps of many images at once: their means, and how alike the two models' maps are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.attribution.agreement import rank_correlation, top_overlap
from analysis.records import TEACHER, AttributionMaps
from dashboard.loading import Pair

PARTS = (TEACHER, "student", "pair")


@dataclass(frozen=True, kw_only=True)
class ManyMaps:
    """The images of a selection that have maps; every array has one row per image, (n,).

    ``rows`` are their rows in the selection's :class:`Pair`, ``selected`` how many images that
    has. ``mean`` and ``magnitude`` are {part: (H, W)} over these images.
    """

    rows: np.ndarray
    selected: int
    mean: Mapping[str, np.ndarray]
    magnitude: Mapping[str, np.ndarray]
    correlation: np.ndarray
    overlap: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


def many_maps(maps: Mapping[str, AttributionMaps], pair: Pair) -> ManyMaps | None:
    """Gather the maps of the images in ``pair``; None where no image has maps."""
    if set(maps) != set(PARTS):
        return None
    row_of = {str(name): row for row, name in enumerate(pair.sample_ids.tolist())}
    ids = [str(name) for name in maps["pair"].sample_ids.tolist()]
    at = np.asarray([index for index, name in enumerate(ids) if name in row_of], dtype=np.int64)
    if len(at) == 0:
        return None
    values = {part: np.asarray(maps[part].values)[at].astype(np.float64) for part in PARTS}
    left, student = values[TEACHER], values["student"]
    return ManyMaps(
        rows=np.asarray([row_of[ids[index]] for index in at]),
        selected=len(pair),
        mean={part: found.mean(axis=0) for part, found in values.items()},
        magnitude={part: np.abs(found).mean(axis=0) for part, found in values.items()},
        correlation=rank_correlation(left, student),
        overlap=top_overlap(left, student),
    )


def most_at_odds(found: ManyMaps, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Where pixels and answers disagree, as places in ``found``.

    First the images with one answer, by how little their maps are alike; then those with
    different answers, by how much they are. Maps that rank nothing come last.
    """
    agree = pair.agree[found.rows]
    alike = np.nan_to_num(found.correlation, nan=2.0)
    same = np.flatnonzero(agree)
    other = np.flatnonzero(~agree)
    unlike = np.nan_to_num(found.correlation, nan=-2.0)
    return same[np.argsort(alike[same], kind="stable")], other[
        np.argsort(-unlike[other], kind="stable")
    ]
