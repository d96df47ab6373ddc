"""Attribution maps of any two models of a study, from the stored ones. Knows no Streamlit.

A study stores the maps of every student beside the teacher. Those of two students are put together
from them: each student's own map, and where both explain the same class their difference.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.records import CLEAN, TEACHER, AttributionMaps
from analysis.store.study import Study


def maps_between(
    study: Study, left: str, student: str, condition: str = CLEAN
) -> dict[str, AttributionMaps]:
    """Stored maps under ``teacher`` (the left model's own), ``student`` and ``pair``.

    The three may cover different images. ``pair`` is left out where it cannot be told from what is
    stored: another method, or one whose map of a difference is not the difference of the maps.
    """
    own = study.attributions(student, condition)
    if left == TEACHER:
        return own
    other = study.attributions(left, condition)
    maps = {}
    if "student" in other:
        maps[TEACHER] = other["student"]
    if "student" in own:
        maps["student"] = own["student"]
    if len(maps) == 2 and _subtracts(own) and _alike(maps[TEACHER], maps["student"]):
        difference = _difference(maps[TEACHER], maps["student"])
        if difference is not None:
            maps["pair"] = difference
    return maps


def _subtracts(maps: dict[str, AttributionMaps]) -> bool:
    """Whether the stored pair's map is the student's minus the teacher's, as linear methods have.

    Read off the first image on which both explain the same class.
    """
    if set(maps) != {TEACHER, "student", "pair"}:
        return False
    teacher, student, pair = (maps[part] for part in (TEACHER, "student", "pair"))
    same = np.flatnonzero(teacher.explained_class == student.explained_class)
    if len(same) == 0:
        return False
    row = same[0]
    difference = student.values[row] - teacher.values[row]
    tolerance = 1e-4 * float(np.abs(difference).max())
    return bool(np.allclose(pair.values[row], difference, rtol=0, atol=max(tolerance, 1e-7)))


def _alike(first: AttributionMaps, second: AttributionMaps) -> bool:
    """Whether two maps were made in the same way, so that they may be subtracted."""
    names = ("method", "scalar", "baseline", "signed", "parameters")
    return all(getattr(first, name) == getattr(second, name) for name in names)


def _difference(left: AttributionMaps, right: AttributionMaps) -> AttributionMaps | None:
    """``right`` minus ``left`` on the images on which both explain the same class, or None."""
    row_of = {str(name): row for row, name in enumerate(left.sample_ids)}
    pairs = [
        (row_of[str(name)], row)
        for row, name in enumerate(right.sample_ids)
        if str(name) in row_of
        and left.explained_class[row_of[str(name)]] == right.explained_class[row]
    ]
    if not pairs:
        return None
    first, second = (np.asarray(rows) for rows in zip(*pairs, strict=True))
    return replace(
        right,
        model=f"{left.model} + {right.model}",
        sample_ids=np.asarray(right.sample_ids)[second],
        explained_class=np.asarray(right.explained_class)[second],
        values=np.asarray(right.values)[second] - np.asarray(left.values)[first],
        # How far the difference is complete does not follow from how far the two are.
        completeness_error=np.full(len(second), np.nan, dtype=np.float32),
    )
