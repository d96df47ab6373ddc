"""Inspect: the clean images nearest to the shown one in both models' feature spaces."""

from __future__ import annotations

import dataclasses

import numpy as np
import streamlit as st

from analysis.live.requests import Near
from analysis.records import CLEAN, PENULTIMATE, Neighbors
from dashboard import messages, missing
from dashboard.bar import kept_images
from dashboard.components.links import link
from dashboard.figures.neighbors import neighbors_html
from dashboard.figures.numbers import escaped
from dashboard.figures.sentences import neighbors_line
from dashboard.pages.inspect_look import Look
from dashboard.selection import Selection

SHOWN = 6
_PATIENT = 0.1


def neighbors_section(look: Look) -> None:
    """Thumbnails of the nearest clean images, in the left model and in the student."""
    messages.section("Its nearest neighbors", "Closest clean images in feature space, Euclidean.")
    found, waiting = _found(look)
    names, clean = look.names, look.view.clean
    there = _clean_images(look)
    own = [names[look.answer(model)] for model in look.models]
    spaces = (
        (look.left, "ds-teacher", messages.CIRCLE, look.sides.the_left, clean.teacher_answer),
        (look.student, "ds-student", messages.SQUARE, look.sides.the_right, clean.student_answer),
    )
    for model, color, mark, where, answered in spaces:
        if (near := found.get(model)) is None:
            messages.empty("Not measured", missing.why_no_neighbors(look.view.study, f"in {where}"))
            continue
        samples, distances = near
        groups = answered if clean.labels is None else clean.labels
        class_of = dict(zip(clean.sample_ids.tolist(), groups.tolist(), strict=True))
        classes = [names[class_of[sample]] for sample in samples]
        stale = " class='ds-stale'" if waiting else ""
        st.html(
            f"<div{stale}>"
            f'<div class="ds-row"><span class="{color} ds-nowrap">{mark} in {escaped(where)}</span>'
            f'<span class="ds-sub">{neighbors_line(classes, own)}</span></div>'
            + neighbors_html(
                samples,
                classes,
                distances,
                lambda sample: look.view.picture(sample, CLEAN),
                lambda sample: link("inspect", dataclasses.replace(there, sample=sample)),
            )
            + "</div>"
        )
    kind = "labels" if clean.labels is not None else "the model’s own answers"
    st.html(f'<div class="ds-sub">Classes are {kind}; numbers are distances.</div>')


_Nearest = tuple[list[str], np.ndarray]


def _found(look: Look) -> tuple[dict[str, _Nearest], bool]:
    """{model: (ids, distances)} and whether these are still those of the unchanged image."""
    study = look.view.study
    stored = {model: near for model in look.models if (near := _stored(look, model)) is not None}
    measured = all(study.has_array(f"features/{m}/{CLEAN}/{PENULTIMATE}") for m in look.models)
    if not look.edits or look.pixels is None or not measured:
        return stored, False
    request = Near(
        **look.identity,
        models=tuple(dict.fromkeys(look.models)),
        image=look.pixels,
        count=min(SHOWN, len(study.sample_ids)),
    )
    asked = look.asking.ask(request, moment=_PATIENT)
    if asked.answer is None:
        return stored, True
    return {model: _named(look, asked.answer[model], 0) for model in look.models}, False


def _stored(look: Look, model: str) -> _Nearest | None:
    condition, study = look.view.selection.condition, look.view.study
    found = study.neighbors(model, condition)
    at = np.flatnonzero(study.condition_ids(condition) == look.sample)
    return None if found is None or len(at) == 0 else _named(look, found, int(at[0]))


def _named(look: Look, found: Neighbors, row: int) -> _Nearest:
    indices = np.asarray(found.indices[row][:SHOWN])
    ids = look.view.study.sample_ids
    return [str(ids[index]) for index in indices], np.asarray(found.distances[row][:SHOWN])


def _clean_images(look: Look) -> Selection:
    """The same images as they are clean."""
    chosen = look.view.selection
    if chosen.condition == CLEAN:
        return chosen
    return dataclasses.replace(chosen, condition=CLEAN, **kept_images(look.view))
