"""Inspect: which maps are shown: the study's own, or those that the live worker computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st

from analysis.attribution.agreement import rank_correlation, top_overlap
from analysis.attribution.catalog import BASELINE_DESCRIPTIONS, METHOD_CARDS, find_card
from analysis.errors import DistillscopeError
from analysis.live.requests import Attribute, Checks, Explanation, Trust
from analysis.records import PENULTIMATE, TEACHER, AttributionMaps
from dashboard.pages.inspect_look import Look, stored_maps

_LAST = "inspect_maps"
OWN, LABEL = "own", "label"
PARTS = (TEACHER, "student", "pair")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How maps are made: method, baseline, the pair's number, the explained class."""

    method: str = "integrated_gradients"
    baseline: str = "blurred"
    scalar: str = "p_student_minus_teacher"
    explained: int | str = OWN
    over_image: bool = False


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Maps to show, or why there are none. ``request``: what the worker was or would be asked.

    ``waiting``: they are older than what is asked for.
    """

    explanation: Explanation | None = None
    request: Attribute | None = None
    waiting: bool = False
    error: DistillscopeError | None = None


def shown_maps(look: Look, choice: Choice) -> Shown:
    """The study's own maps where they are what was chosen, else what the worker answers.

    Where the worker cannot be asked they are the study's own, whatever was chosen.
    """
    usable = look.refused is None and look.pixels is not None
    request = _request(look, choice) if usable and not look.waiting else None
    if not usable:
        return Shown(explanation=_of_study(look))
    stored = _stored(look, choice)
    if stored is not None and set(stored.maps) == set(PARTS):
        return Shown(explanation=stored, request=request)
    if request is None:  # which class is explained follows from the answers
        return Shown(explanation=_last(look), waiting=True)
    asked = look.asking.ask(request, moment=0.1)
    if asked.answer is not None:
        st.session_state[_LAST] = (look.key, asked.answer)
        return Shown(explanation=asked.answer, request=request)
    if asked.error is not None:
        return Shown(request=request, error=asked.error)
    return Shown(explanation=_last(look), request=request, waiting=True)


def choice_of(maps: Mapping[str, AttributionMaps], choice: Choice) -> Choice:
    """How the study's own ``maps`` were made; what only draws them is as in ``choice``."""
    record = next(iter(maps.values()))
    return Choice(
        method=record.method if record.method in METHOD_CARDS else choice.method,
        baseline=(
            record.baseline if record.baseline in BASELINE_DESCRIPTIONS else Choice.baseline
        ),
        over_image=choice.over_image,
    )  # fmt: skip


def checks_of(look: Look, shown: Shown) -> tuple[Checks | None, DistillscopeError | None]:
    """How far the shown maps can be trusted; (None, None) while that is being found out."""
    if shown.request is None or shown.waiting:
        return None, None
    identity = {"study": shown.request.study, "version": shown.request.version}
    asked = look.asking.ask(Trust(**identity, asked=shown.request), moment=0.05)
    return asked.answer, asked.error


def explained_classes(look: Look, choice: Choice) -> tuple[int, int]:
    """The classes that the left model's and the student's maps explain."""
    labels = look.view.all.labels
    if choice.explained == LABEL and labels is not None:
        label = int(labels[look.row])
        return label, label
    if isinstance(choice.explained, int):
        return choice.explained, choice.explained
    return look.answer(look.left), look.answer(look.student)


def _request(look: Look, choice: Choice) -> Attribute:
    assert look.pixels is not None
    left, student = explained_classes(look, choice)
    return Attribute(
        **look.identity,
        left=look.left,
        student=look.student,
        image=look.pixels,
        sample_id=look.sample,
        method=choice.method,
        baseline=choice.baseline if find_card(choice.method).uses_baseline else None,
        scalar=choice.scalar,
        left_class=left,
        student_class=student,
        lasts=not look.edits,
    )


def _last(look: Look) -> Explanation | None:
    """The maps that were last shown of this image, else the stored ones."""
    held = st.session_state.get(_LAST)
    if held is not None and held[0] == look.key:
        found: Explanation = held[1]
        return found
    return _of_study(look)


def _stored(look: Look, choice: Choice) -> Explanation | None:
    """The study's own maps where they are what was chosen."""
    found = None if look.edits else _of_study(look)
    if found is None or choice.scalar != Choice.scalar:
        return None
    classes = dict(zip((TEACHER, "student"), explained_classes(look, choice), strict=True))
    for part, record in found.maps.items():
        same = record.method == choice.method and record.baseline in (choice.baseline, "none")
        wanted = classes.get(part, classes["student"])
        if not same or int(record.explained_class[0]) != wanted:
            return None
    return found


def _of_study(look: Look) -> Explanation | None:
    found = {part: _row(record, look.sample) for part, record in stored_maps(look.view).items()}
    maps = {part: found[part] for part in PARTS if found.get(part) is not None}
    whole = {part: record for part, record in maps.items() if record is not None}
    if not whole:
        return None
    agreement: dict[str, tuple[float, float] | None] = {}
    if TEACHER in whole and "student" in whole:
        pair = [whole[part].values for part in (TEACHER, "student")]
        for name, measure in (("rank_correlation", rank_correlation), ("top_overlap", top_overlap)):
            value = float(measure(*pair)[0])
            agreement[name] = (value, float("nan")) if np.isfinite(value) else None
    return Explanation(maps=whole, agreement=agreement)


def _row(record: AttributionMaps, sample: str) -> AttributionMaps | None:
    rows = np.flatnonzero(record.sample_ids == sample)[:1]
    if len(rows) == 0:
        return None
    return replace(
        record,
        sample_ids=np.asarray(record.sample_ids)[rows],
        explained_class=np.asarray(record.explained_class)[rows],
        values=np.asarray(record.values)[rows],
        completeness_error=np.asarray(record.completeness_error)[rows],
    )


def nearest_mapped(look: Look, maps: AttributionMaps) -> str | None:
    """Id of the image with maps that is nearest in the student's feature space."""
    study, condition = look.view.study, look.view.selection.condition
    key = f"features/{look.student}/{condition}/{PENULTIMATE}"
    ids = study.condition_ids(condition)
    own = np.flatnonzero(ids == look.sample)
    mapped = np.flatnonzero(np.isin(ids, maps.sample_ids))
    if not study.has_array(key) or len(own) == 0 or len(mapped) == 0:
        return None
    features = study.array(key)
    here = np.asarray(features[own[0]], dtype=np.float64)
    there = np.asarray(features[mapped], dtype=np.float64)
    there /= np.maximum(np.linalg.norm(there, axis=1, keepdims=True), 1e-12)
    return str(ids[mapped[int(np.argmax(there @ here))]])
