"""From a study to a student's epochs: one row per checkpoint. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.records import TEACHER, Interval
from analysis.store.study import Study

Measures = Mapping[str, Interval | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """One checkpoint: its model's name, its epoch, and its measures by condition."""

    model: str
    epoch: int
    measures: Mapping[str, Measures]

    def get(self, measure: str, condition: str) -> Interval | None:
        """One measure on ``condition``, or None where it was not measured."""
        return self.measures.get(condition, {}).get(measure)


def epoch_rows(study: Study, student: str) -> list[EpochRow]:
    """The checkpoints of ``student`` that say their epoch, by epoch; of two the last counts."""
    rows = {
        model.epoch: EpochRow(
            model=model.name,
            epoch=model.epoch,
            measures={slug: study.measures(model.name, slug) for slug in study.conditions},
        )
        for model in study.timeline(student)
        if model.epoch is not None
    }
    return [rows[epoch] for epoch in sorted(rows)]


def filmed_students(study: Study) -> list[str]:
    """The listed students that have checkpoints, in the study's order."""
    return [name for name in study.students if epoch_rows(study, name)]


def common_frame(study: Study, models: Sequence[str]) -> tuple[float, float, float, float] | None:
    """Left, right, bottom and top of the layouts of teacher and ``models`` together, or None."""
    keys = [f"layout/{name}" for name in (TEACHER, *models)]
    layouts = [np.asarray(study.array(key)) for key in keys if study.has_array(key)]
    layouts = [layout for layout in layouts if len(layout)]
    if not layouts:
        return None
    low = np.min([layout.min(axis=0) for layout in layouts], axis=0)
    high = np.max([layout.max(axis=0) for layout in layouts], axis=0)
    return float(low[0]), float(high[0]), float(low[1]), float(high[1])
