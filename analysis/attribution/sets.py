"""Maps of many images: means, and where attribution and answers disagree.

Pure functions over records; ``rows`` are always rows of the record's own maps. Needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.errors import InputError
from analysis.records import AttributionMaps


@dataclass(frozen=True, kw_only=True)
class MeanMap:
    """Mean map (H, W) of ``n`` images, and the mean of its magnitude.

    Where both are large the images agree on the sign; where only ``magnitude`` is, the place
    matters to each image in its own way. ``completeness_error`` is the mean of the maps', or None
    where none is promised.
    """

    values: np.ndarray
    magnitude: np.ndarray
    n: int
    completeness_error: float | None


def rows_of(maps: AttributionMaps, sample_ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """Rows of ``maps`` whose samples are among ``sample_ids``; samples without a map are left out.

    Attribution covers a stated probe subset, so a selection is usually larger than its maps.
    """
    return np.flatnonzero(np.isin(np.asarray(maps.sample_ids).astype(str), np.asarray(sample_ids)))


def mean_map(
    maps: AttributionMaps, rows: np.ndarray | None = None, *, normalized: bool = False
) -> MeanMap:
    """Average the maps of ``rows`` (default: all).

    ``normalized`` gives every image the same mass first (its magnitudes then sum to 1; a map that
    is zero everywhere stays so), so that no single strong map decides. Raises
    :class:`InputError` when there is no row.
    """
    chosen = np.arange(len(maps.values)) if rows is None else np.asarray(rows)
    if len(chosen) == 0:
        raise InputError("no maps to average", remedy="select images that have maps")
    values = np.asarray(maps.values[chosen], dtype=np.float64)
    if normalized:
        mass = np.abs(values).sum(axis=(1, 2), keepdims=True)
        values = values / np.where(mass > 0, mass, 1.0)
    errors = np.asarray(maps.completeness_error[chosen], dtype=np.float64)
    known = errors[~np.isnan(errors)]
    return MeanMap(
        values=values.mean(axis=0),
        magnitude=np.abs(values).mean(axis=0),
        n=len(chosen),
        completeness_error=float(known.mean()) if len(known) else None,
    )


def disagreements(agreement: np.ndarray, same_answer: np.ndarray) -> dict[str, np.ndarray]:
    """Order rows by how far attribution and answers disagree with each other.

    ``same_answer_other_pixels``: rows with the same answer, least agreement of the maps first: the
    student is right, or wrong, for other reasons. ``other_answer_same_pixels``: rows with
    different answers, most agreement first: both look at the same and conclude differently. Rows
    whose agreement is NaN are in neither; ties keep their order.
    """
    if agreement.shape != same_answer.shape or same_answer.dtype != bool:
        raise InputError(
            f"answers of type {same_answer.dtype} and shape {same_answer.shape}",
            expected=f"bool of shape {agreement.shape}",
        )
    known = ~np.isnan(agreement)
    same, other = np.flatnonzero(known & same_answer), np.flatnonzero(known & ~same_answer)
    return {
        "same_answer_other_pixels": same[np.argsort(agreement[same], kind="stable")],
        "other_answer_same_pixels": other[np.argsort(-agreement[other], kind="stable")],
    }
