"""Inspect: which maps are shown: the study's own, or those that the live worker computes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st

from analysis.attribution.agreement import rank_correlation, top_overlap
from analysis.errors import DistillscopeError
from analysis.live.requests import Attribute, Catalog, Explanation, MethodCard
from analysis.records import TEACHER, AttributionMaps
from dashboard.pages.inspect_look import Look, stored_maps

_LAST = "inspect_maps"
OWN = "own"
PARTS = (TEACHER, "student", "pair")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How maps are made: method, baseline, the pair's number, the explained class (or own)."""

    method: str = "integrated_gradients"
    baseline: str = "blurred"
    scalar: str = "p_student_minus_teacher"
    explained: int | str = OWN
    over_image: bool = False


def chosen_maps(
    look: Look, choice: Choice, catalog: Catalog | None
) -> tuple[Explanation | None, bool, DistillscopeError | None]:
    """Maps to show, whether they are older than what is asked for, why there are none."""
    stored = _stored(look, choice)
    if stored is not None:
        return stored, False, None
    if look.refused or look.pixels is None:
        return None, False, None
    if look.waiting:  # which class is explained follows from the answers
        return _last(look), True, None
    card = card_of(catalog, choice.method)
    own = choice.explained == OWN
    request = Attribute(
        **look.identity,
        left=look.left,
        student=look.student,
        image=look.pixels,
        sample_id=look.sample,
        method=choice.method,
        baseline=choice.baseline if card is None or card.uses_baseline else None,
        scalar=choice.scalar,
        left_class=look.answer(look.left) if own else int(choice.explained),
        student_class=look.answer(look.student) if own else int(choice.explained),
    )
    asked = look.asking.ask(request, moment=0.1)
    if asked.answer is not None:
        st.session_state[_LAST] = (look.models, look.sample, asked.answer)
        return asked.answer, False, None
    if asked.error is not None:
        return None, False, asked.error
    return _last(look), True, None


def _last(look: Look) -> Explanation | None:
    """The maps that were last shown of this image, else the stored ones."""
    held = st.session_state.get(_LAST)
    if held is not None and held[:2] == (look.models, look.sample):
        return held[2]
    return _of_study(look)


def _stored(look: Look, choice: Choice) -> Explanation | None:
    """The study's own maps where they are what was chosen."""
    found = None if look.edits else _of_study(look)
    if found is None or choice.scalar != Choice.scalar:
        return None
    record = found.maps["pair"]
    same = record.method == choice.method and record.baseline in (choice.baseline, "none")
    if not same:
        return None
    wanted = choice.explained
    for part, model in ((TEACHER, look.left), ("student", look.student)):
        of_class = look.answer(model) if wanted == OWN else int(wanted)
        if int(found.maps[part].explained_class[0]) != of_class:
            return None
    return found


def _of_study(look: Look) -> Explanation | None:
    maps = stored_maps(look.view)
    if set(maps) != set(PARTS) or look.left != TEACHER:
        return None
    chosen = {part: _row(record, look.sample) for part, record in maps.items()}
    if any(record is None for record in chosen.values()):
        return None
    whole = {part: record for part, record in chosen.items() if record is not None}
    measures = {"rank_correlation": rank_correlation, "top_overlap": top_overlap}
    pair = [whole[part].values for part in (TEACHER, "student")]
    values = {name: float(measure(*pair)[0]) for name, measure in measures.items()}
    agreement = {key: value if np.isfinite(value) else None for key, value in values.items()}
    return Explanation(maps={part: whole[part] for part in PARTS}, agreement=agreement)


def _row(record: AttributionMaps, sample: str) -> AttributionMaps | None:
    rows = np.flatnonzero(record.sample_ids == sample)
    if len(rows) == 0:
        return None
    return AttributionMaps(
        method=record.method, model=record.model, scalar=record.scalar, baseline=record.baseline,
        sample_ids=np.asarray(record.sample_ids)[rows[:1]],
        explained_class=np.asarray(record.explained_class)[rows[:1]],
        values=np.asarray(record.values)[rows[:1]], signed=record.signed,
        completeness_error=np.asarray(record.completeness_error)[rows[:1]],
        parameters=record.parameters,
    )  # fmt: skip


def card_of(catalog: Catalog | None, name: str) -> MethodCard | None:
    """The method's entry in the worker's catalog; None while there is no catalog."""
    if catalog is None:
        return None
    return next((card for card in catalog.methods if card.name == name), None)


def nearest_mapped(look: Look, maps: AttributionMaps) -> str | None:
    """Id of the image with maps that is nearest in the student's feature space."""
    study, condition = look.view.study, look.view.selection.condition
    key = f"features/{look.student}/{condition}/penultimate"
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
