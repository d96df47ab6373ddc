"""What the paired map draws: the points of a study, and how they are colored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.records import Projection
from dashboard.components.pair_map.points import PairPoints, PointColors
from dashboard.figures.numbers import visible
from dashboard.figures.sides import TEACHING, Sides
from dashboard.loading import Pair

COLORED_CLASSES = 20
_MOST_DIVERGENT = 10
_UNCOLORED = 1000


@dataclass(frozen=True, eq=False, slots=True)
class MapPoints:
    """Points for both maps, and ``rows``: which row of the pair each of the first points is.

    What follows those are clean images beneath, which are no rows of the pair.
    """

    points: PairPoints
    rows: np.ndarray

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values of the rows as values of all points, zero for what lies beneath."""
        beneath = np.zeros(len(self.points) - len(self.rows), dtype=values.dtype)
        return np.concatenate([values, beneath])

    def colors(self, own: PointColors) -> PointColors:
        """Colors of the rows as colors of all points; what lies beneath is pale anyway."""
        return replace(own, codes=self.spread(own.codes))


def map_points(
    pair: Pair,
    projection: Projection,
    class_names: Sequence[str],
    thumbnail_url: str | None,
    *,
    pictured: np.ndarray | None = None,
    triggered: bool = False,
    beneath: tuple[Pair, Projection] | None = None,
) -> MapPoints:
    """Join ``pair`` with the layouts by sample id; samples without a place are left out.

    ``pictured`` are the ids whose rows ``thumbnail_url`` counts, the layouts' own if left out.
    ``triggered`` images carry a trigger and are drawn as diamonds, hollow where they lie far from
    every clean image. ``beneath`` are the clean images among which they were placed.
    """
    ids = projection.sample_ids if pictured is None else pictured
    rows, own = _columns(pair, projection, ids)
    parts = [own] if beneath is None else [own, _columns(*beneath, ids)[1]]
    whole: dict[str, Any] = {
        name: None if own[name] is None else np.concatenate([part[name] for part in parts])
        for name in own
    }
    under = np.arange(len(whole["kl"])) >= len(rows)
    points = PairPoints(
        **whole,
        class_names=tuple(visible(name, 24) for name in class_names),
        has_trigger=~under if triggered else np.zeros(len(under), dtype=bool),
        backdrop=None if beneath is None else under,
        thumbnail_url=thumbnail_url,
    )
    return MapPoints(points, rows)


def _columns(
    pair: Pair, projection: Projection, pictured: np.ndarray
) -> tuple[np.ndarray, dict[str, Any]]:
    """Which rows of ``pair`` have a place, and what :class:`PairPoints` says of each."""
    at = _rows_among(projection.sample_ids, pair.sample_ids)
    rows = np.flatnonzero(at >= 0)
    kept, at = pair.rows(rows), at[rows]
    return rows, {
        "teacher_xy": np.asarray(projection.teacher)[at],
        "student_xy": np.asarray(projection.student)[at],
        "sample_ids": kept.sample_ids,
        "teacher_answers": kept.teacher_answer,
        "student_answers": kept.student_answer,
        "teacher_probabilities": kept.teacher_confidence,
        "student_probabilities": kept.student_confidence,
        "kl": kept.kl,
        "labels": kept.labels,
        "far": np.asarray(projection.far)[at],
        # Where there is no picture, a row that no picture has.
        "thumbnail_index": _rows_among(pictured, kept.sample_ids) % (len(pictured) + 1),
    }


def _rows_among(ids: np.ndarray, sample_ids: np.ndarray) -> np.ndarray:
    """Row in ``ids`` of each of ``sample_ids``, -1 for one that is not there."""
    place = {str(name): row for row, name in enumerate(ids)}
    return np.asarray([place.get(name, -1) for name in sample_ids.tolist()], dtype=np.int64)


def point_colors(
    pair: Pair, by: str, class_names: Sequence[str], *, sides: Sides = TEACHING
) -> PointColors:
    """Color the rows of ``pair`` by label, answer, divergence, overlap or flags.

    ``label`` without labels colors by the student's answer.
    """
    if by == "divergence":
        top = float(np.percentile(pair.kl, 99)) or 1.0
        return PointColors.ramp(
            pair.kl / top, title=f"{sides.kl}, nats", low="0", high=f"{top:.2g}+"
        )
    if by == "overlap":
        shared = np.full(len(pair), np.nan) if pair.overlap is None else pair.overlap
        return PointColors.ramp(
            1 - shared, title="nearest neighbors shared", low="all", high="none"
        )
    if by == "flags":
        return _flags(pair, sides)
    names = tuple(visible(name, 24) for name in class_names)
    labels = pair.labels
    if by == "label" and labels is not None:
        return PointColors.categories(
            labels, names, slots=class_slots(pair, len(names)), title="label"
        )
    return PointColors.categories(
        pair.student_answer,
        names,
        slots=class_slots(pair, len(names)),
        title=f"{sides.right}’s answer",
    )


def _flags(pair: Pair, sides: Sides) -> PointColors:
    if pair.teacher_correct is None or pair.student_correct is None:
        return PointColors.categories(
            (~pair.agree).astype(np.int64), ("same answer", "answers differ"),
            slots=("reference", "alarm"), title="flags",
        )  # fmt: skip
    values = np.where(
        pair.teacher_correct,
        np.where(pair.student_correct, 0, 2),
        np.where(pair.student_correct, 3, 1),
    )
    names = (
        "both right", "both wrong", f"only {sides.the_right} wrong", f"only {sides.the_left} wrong",
    )  # fmt: skip
    slots = ("reference", "text", "alarm", "teacher")
    return PointColors.categories(values, names, slots=slots, title="flags")


def class_slots(pair: Pair, classes: int) -> list[int]:
    """Color slot of each class: its index, or beyond 20 classes only the ten most divergent."""
    if classes <= COLORED_CLASSES:
        return list(range(classes))
    changed = np.bincount(pair.groups, weights=~pair.agree, minlength=classes)
    slots = [_UNCOLORED] * classes
    for slot, index in enumerate(np.argsort(-changed, kind="stable")[:_MOST_DIVERGENT].tolist()):
        slots[index] = slot
    return slots
