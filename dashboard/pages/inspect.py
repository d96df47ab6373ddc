"""Inspect: one image, what both models answer, which pixels, which neighbors; and many images."""

from __future__ import annotations

import dataclasses
from typing import Any

import streamlit as st

from dashboard import live
from dashboard.context import Export, View, held, write_selection
from dashboard.figures.tables import csv_text
from dashboard.guard import fragment
from dashboard.pages import inspect_answers as answers
from dashboard.pages import inspect_keep as keep
from dashboard.pages.inspect_look import NOW, current_row, look, probabilities, stored_logits
from dashboard.pages.inspect_neighbors import neighbors_section
from dashboard.pages.inspect_pixels import pixels_section
from dashboard.pages.inspect_selection import MANY, MODE, ONE, selection_part
from dashboard.pages.inspect_what_if import image_column
from dashboard.pages.overview import nothing_left


def show(view: View) -> None:
    """Draw the page."""
    if len(view.pair) == 0:
        nothing_left(view)
        return
    st.session_state.setdefault(NOW, {}).clear()
    if live.refusal(view.study, (view.left, view.selection.student)) is None:
        live.service().start()
    st.segmented_control(
        "Look at", (ONE, MANY), default=ONE, key=MODE, required=True, label_visibility="collapsed"
    )
    keep.keeping(view)
    if st.session_state[MODE] == MANY:
        selection_part(view)
    else:
        fragment(_image)(view)


def _image(view: View) -> None:
    """One image in three columns. A fragment: what is set here draws only this part anew."""
    view = dataclasses.replace(view, selection=held())
    write_selection()
    asking = live.Asking()
    shown = look(view, asking)
    st.session_state.setdefault(NOW, {})["sample"] = shown.sample
    left, middle, right = st.columns([5.6, 14, 6.4], gap="medium")
    with middle:
        above, below = st.container(), st.container()
    # In the order in which answers come, not from top to bottom: what is drawn is on the screen.
    with left:
        image_column(shown)
    with below:
        answers.answers_section(shown)
    with right:
        neighbors_section(shown)
    with above:
        pixels_section(shown)
    with right:
        answers.sweep_section(shown)
        answers.epochs_section(shown)
    asking.wait_for_answers("waiting")


def exports(view: View) -> list[Export]:
    """What the Save menu offers on this page."""
    # Files are made later, elsewhere, when the page may show another image: it writes that here.
    now: dict[str, Any] = st.session_state.get(NOW, {})
    st.session_state[NOW] = now

    def answers_csv() -> str:
        if "answers" in now:
            return csv_text(now["answers"])
        sample = str(view.all.sample_ids[current_row(view)[0]])
        models = (view.left, view.selection.student)
        left, right = (probabilities(stored_logits(view, model, sample)) for model in models)
        return csv_text(answers.answer_columns(left, right, view.class_names, view.sides))

    return [Export("Both models’ probabilities, CSV", "probabilities.csv", answers_csv)]
