"""Any two models of a study: what they answer alike, computed from what the study stores.

A study holds the measures of every student against the teacher. Those of two students are
computed when somebody asks for them, from stored answers and neighbors; no model is run.
"""

from __future__ import annotations

import numpy as np

from analysis.divergence.bootstrap import DRAWS, bootstrap_mean
from analysis.divergence.outputs import PairAnswers, answer_pair, compare_outputs
from analysis.embedding.neighbors import neighborhood_overlap
from analysis.errors import InputError, nearest
from analysis.records import CLEAN, TEACHER, Interval
from analysis.store import Study

_ALONE = ("attack_success_rate", "base_rate", "titg")


def check_left(study: Study, left: str) -> str:
    """Return ``left`` when it names a model of ``study``.

    Raises :class:`InputError` when it does not, naming the nearest.
    """
    if left not in study.models:
        raise InputError(f"no model {left!r} in {study.path}", remedy=nearest(left, study.models))
    return left


def answers_between(study: Study, left: str, student: str, condition: str = CLEAN) -> PairAnswers:
    """Compare both models' stored answers row by row, ``left`` in the teacher's place.

    Rows are those of :meth:`~analysis.store.study.Study.condition_ids`. Raises
    :class:`~analysis.errors.StudyError` where one of them was not measured.
    """
    return answer_pair(*(_logits(study, name, condition) for name in (left, student)))


def overlap_between(
    study: Study, left: str, student: str, condition: str = CLEAN
) -> np.ndarray | None:
    """Share of common nearest neighbors of each image (N,), or None where one has none stored."""
    found = [study.neighbors(name, condition) for name in (left, student)]
    if found[0] is None or found[1] is None:
        return None
    return neighborhood_overlap(found[0], found[1])


def measures_between(
    study: Study, left: str, student: str, condition: str = CLEAN
) -> dict[str, Interval | None]:
    """The headline measures of ``student`` with ``left`` in the teacher's place.

    Against the teacher they are the stored ones. What one model does alone (its accuracy, how often
    a trigger moves it) is the student's. Seed and draws are the study's own.
    """
    if left == TEACHER:
        return study.measures(student, condition)
    config = study.manifest.config
    drawn = {"seed": int(config.get("seed", 0)), "draws": int(config.get("draws", DRAWS))}
    first, second = (_logits(study, name, condition) for name in (left, student))
    compared = compare_outputs(first, second, _labels(study, condition), **drawn)
    measures = {name: item.value for name, item in compared.items()}
    overlap = overlap_between(study, left, student, condition)
    measures["mean_neighborhood_overlap"] = (
        None if overlap is None else bootstrap_mean(overlap, **drawn)
    )
    stored = study.measures(student, condition)
    return {**measures, **{name: stored[name] for name in _ALONE if name in stored}}


def _logits(study: Study, model: str, condition: str) -> np.ndarray:
    return study.array(f"logits/{model}/{condition}")


def _labels(study: Study, condition: str) -> np.ndarray | None:
    """Labels of the images that ``condition`` covers, or None."""
    if study.labels is None or condition == CLEAN:
        return study.labels
    row_of = {str(name): row for row, name in enumerate(study.sample_ids)}
    return study.labels[[row_of[str(name)] for name in study.condition_ids(condition)]]
