"""The map of the tour: clean images, and the same with the trigger, in one frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.records import CLEAN, TRIGGER, Projection
from dashboard.components.pair_map.points import PairPoints, PointColors
from dashboard.figures.numbers import visible
from dashboard.loading import Pair


def trigger_points(
    pairs: tuple[Pair, Pair],
    projection: Projection,
    class_names: Sequence[str],
    target: str,
    noun: str,
) -> tuple[PairPoints, PointColors]:
    """Clean images and those with the trigger in one map, colored by what is the target class.

    ``pairs`` are the rows of both conditions, ``projection`` holds the places of both.
    """
    columns: dict[str, list[Any]] = {}
    rows = zip(projection.sample_ids, projection.conditions, strict=True)
    where = {(str(name), str(slug)): row for row, (name, slug) in enumerate(rows)}
    index = class_names.index(target) if target in class_names else -1
    for pair, slug in zip(pairs, (CLEAN, TRIGGER), strict=True):
        at = np.asarray(
            [where.get((str(name), slug), -1) for name in pair.sample_ids.tolist()], dtype=int
        )
        kept = pair.rows(np.flatnonzero(at >= 0))
        at = at[at >= 0]
        triggered = np.full(len(kept), slug == TRIGGER)
        of_target = kept.groups == index
        for name, values in (
            ("teacher_xy", projection.teacher[at]), ("student_xy", projection.student[at]),
            ("sample_ids", kept.sample_ids), ("teacher_answers", kept.teacher_answer),
            ("student_answers", kept.student_answer),
            ("teacher_probabilities", kept.teacher_confidence),
            ("student_probabilities", kept.student_confidence), ("kl", kept.kl),
            ("labels", kept.groups), ("has_trigger", triggered),
            ("category", np.where(triggered & ~of_target, 2, np.where(of_target, 1, 0))),
        ):  # fmt: skip
            columns.setdefault(name, []).append(np.asarray(values))
    whole: dict[str, Any] = {name: np.concatenate(parts) for name, parts in columns.items()}
    codes = whole.pop("category")
    names = tuple(visible(name, 24) for name in class_names)
    points = PairPoints(class_names=names, shape_names=("clean", f"with the {noun}"), **whole)
    legend = ("other classes", f"“{visible(target, 20)}”", f"other classes with the {noun}")
    slots = ("reference", index, "alarm") if index >= 0 else ("reference", "secondary", "alarm")
    return points, PointColors.categories(codes, legend, slots=slots, title="image")
