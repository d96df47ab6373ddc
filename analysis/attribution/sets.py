"""Maps of many images: means, agreement by group, and where attribution and answers disagree.

Pure functions over records; ``rows`` are always rows of the record's own maps. Needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, kw_only=True)
class GroupAgreement:
    """Agreement of the maps of one group: ``n`` images, mean, median and quartiles.

    Numbers are None for a group in which the measure is defined nowhere.
    """

    group: int
    n: int
    mean: float | None
    median: float | None
    low: float | None
    high: float | None


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


def mean_maps(
    maps: Mapping[str, AttributionMaps], rows: np.ndarray | None = None, *, normalized: bool = False
) -> dict[str, MeanMap]:
    """Average each of ``maps`` (teacher, student, pair) over the same ``rows``."""
    return {part: mean_map(record, rows, normalized=normalized) for part, record in maps.items()}


def agreement_by_group(
    agreement: np.ndarray, groups: np.ndarray, count: int
) -> list[GroupAgreement]:
    """Summarize agreement (N,) of each of ``count`` groups (N,): classes, slices, or all as one.

    Rows of a negative group belong to none, and rows whose agreement is NaN (a constant map) are
    not counted. Raises :class:`InputError` for unequal lengths.
    """
    if agreement.shape != groups.shape or agreement.ndim != 1:
        raise InputError(
            f"agreement of shape {agreement.shape} for groups of shape {groups.shape}",
            expected="one number per image",
        )
    found = []
    for group in range(count):
        values = agreement[(groups == group) & ~np.isnan(agreement)]
        numbers: dict[str, float | None] = dict.fromkeys(("mean", "median", "low", "high"))
        if len(values):
            low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
            numbers = {"mean": float(values.mean()), "median": median, "low": low, "high": high}
        found.append(GroupAgreement(group=group, n=len(values), **numbers))
    return found


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
