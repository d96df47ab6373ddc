"""Tour: six steps, eight with an audit: a sentence bound to its numbers, and a figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import streamlit as st

from analysis.records import CLEAN, TRIGGER
from analysis.store.study import Study
from dashboard import messages
from dashboard.bar import kept_images
from dashboard.components.links import link
from dashboard.context import Export, View, choose, clear_filter, held, open_page
from dashboard.figures.numbers import visible
from dashboard.figures.tables import csv_text
from dashboard.figures.tour import Claim, Step
from dashboard.figures.tour_audit import steps_of
from dashboard.figures.tour_tables import tour_cells
from dashboard.loading_tour import TourNumbers, siblings_of, tour_numbers
from dashboard.pages.tour_steps import FIGURES

_SIBLING = "tour_sibling"


def available(study: Study) -> bool:
    """Whether the study shows its images with a trigger."""
    return TRIGGER in study.conditions


@st.cache_resource(max_entries=16, show_spinner=False)
def _numbers(version: str, subject: str, sibling: str | None, _study: Study) -> TourNumbers:
    return tour_numbers(_study, subject, sibling)


def show(view: View) -> None:
    """Draw the page."""
    if not available(view.study):
        messages.empty(
            "This study shows no images with a trigger",
            "Compare with --trigger and --target to take the tour.",
        )
        return
    left, right = st.columns([1, 4.2], gap="large")
    with left:
        sibling = _sibling(view)
        numbers = _numbers(view.version, view.selection.student, sibling, view.study)
        steps = steps_of(numbers)
        claims = [claim(numbers) for _, claim in steps]
        step = min(max(view.selection.step or 1, 1), len(steps))
        st.html(_list(steps, claims, step))
    with right:
        claim = claims[step - 1]
        st.html(f'<div class="ds-finding">{claim.text}.</div>')
        if claim.note:
            st.html(f'<div class="ds-sub">{claim.note}</div>')
        if view.selection.filtered:
            messages.note("The tour is about all images; the filter is left out here.")
        _about_the_teacher(view)
        FIGURES[step - 1](view, numbers)
    _foot(view, steps, step)


def _sibling(view: View) -> str | None:
    """The student beside the subject; the user may choose where there are several."""
    known = siblings_of(view.study, view.selection.student)
    if len(known) < 2:
        return known[0] if known else None
    if st.session_state.get(_SIBLING) not in known:
        st.session_state[_SIBLING] = known[0]
    st.html('<span class="ds-label">Its sibling</span>')
    chosen: str = st.selectbox(
        "Its sibling", known, key=_SIBLING, label_visibility="collapsed",
        format_func=lambda name: visible(name),
    )  # fmt: skip
    return chosen


def _list(steps: Sequence[Step], claims: list[Claim], step: int) -> str:
    """The steps with their short forms, as links."""
    items = []
    for at, ((title, _), claim) in enumerate(zip(steps, claims, strict=True), start=1):
        kind = "ds-here" if at == step else "ds-done" if at < step else ""
        address = link("tour", dataclasses.replace(held(), step=at))
        items.append(
            f'<a class="ds-link {kind}" href="{address}" target="_self"><b>{at}</b>'
            f'<span class="ds-title">{title}</span><span class="ds-sub">{claim.short}</span></a>'
        )
    return (
        f'<div class="ds-label" style="margin-bottom:6px">Five minutes, {len(items)} steps</div>'
        f'<div class="ds-steps">{"".join(items)}</div>'
    )


def _about_the_teacher(view: View) -> None:
    if not view.sides.against_teacher:
        messages.note("The tour compares with the teacher, whatever stands on the left.")


def _foot(view: View, steps: Sequence[Step], step: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="tour_foot"):
        st.html(
            f'<span class="ds-sub">Step {step} of {len(steps)}. Every number is computed from this '
            "study; a sentence that does not hold says so.</span>",
            width="stretch",
        )
        if step > 1:
            st.button(
                steps[step - 2][0], icon=":material/arrow_back:", key="tour_previous",
                on_click=choose, kwargs={"step": step - 1},
            )  # fmt: skip
        st.button(
            "Open these images in Map", key="tour_to_map", on_click=_to_map,
            args=(view, CLEAN if step == 2 else TRIGGER),
        )  # fmt: skip
        if step < len(steps):
            st.button(
                steps[step][0], icon=":material/arrow_forward:", icon_position="right",
                type="primary", key="tour_next", on_click=choose, kwargs={"step": step + 1},
            )  # fmt: skip


def _to_map(view: View, condition: str) -> None:
    """Show all images in Map, which are what the tour is about; for callbacks."""
    everything = dataclasses.replace(view, selection=view.selection.unfiltered())
    open_page("map", condition=condition, **kept_images(everything))
    clear_filter()


def exports(view: View) -> list[Export]:
    """What the Save menu offers on this page."""
    if not available(view.study):
        return []

    def cells_csv() -> str:
        sibling = st.session_state.get(_SIBLING)
        known = siblings_of(view.study, view.selection.student)
        sibling = sibling if sibling in known else next(iter(known), None)
        numbers = _numbers(view.version, view.selection.student, sibling, view.study)
        table: dict[str, list[object]] = {
            name: [] for name in ("model", "condition", "target_rate", "low", "high")
        }
        for row in tour_cells(numbers):
            for slug in view.study.conditions:
                rate = row.rate.get(slug)
                if rate is not None:
                    cells = (row.name, slug, rate.value, rate.low, rate.high)
                    for name, cell in zip(table, cells, strict=True):
                        table[name].append(cell)
        return csv_text(table)

    return [Export("Four cells, CSV", f"{view.selection.student}-cells.csv", cells_csv)]
