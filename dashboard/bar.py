"""The bar above every page: both models, condition, cross-filter, counts, Save."""

from __future__ import annotations

from typing import Any

import streamlit as st

from analysis.records import TEACHER
from analysis.store.workspace import Workspace
from dashboard import loading, messages
from dashboard.context import (
    View,
    choose,
    choose_study,
    clear_filter,
    name_in_workspace,
    region_of,
)
from dashboard.figures.numbers import count_of, markdown, thousands, visible
from dashboard.filter_form import expression_form
from dashboard.loading_slices import slice_words
from dashboard.selection import Lasso, SavedSet, SliceSet

BOTH = ("teacher", "student")
_SIDE_BY_SIDE = 4
"""More conditions than this do not fit into the bar beside one another."""


def context_bar(view: View) -> Any:
    """Draw the bar above every page: both models, condition, filter, counts.

    Returns the place of the Save menu, which is filled once the page has shown its figures.
    """
    with st.container(key="context_bar", horizontal=True, vertical_alignment="center", gap="small"):
        _study_picker(view)
        _student_picker(view)
        _condition_picker(view)
        _filter_chips(view)
        st.space("stretch")
        classes = count_of(len(view.class_names), "class", "classes")
        shown = thousands(len(view.pair))
        of = f" of {thousands(len(view.all))}" if view.selection.filtered else ""
        st.html(
            f'<span class="ds-label">{shown}{of} images<span class="ds-classes"> · {classes}</span>'
            "</span>",
            width="content",
        )
        return st.container(width="content")


def _study_picker(view: View) -> None:
    """The study's name, or a choice of all studies of the workspace."""
    label = '<span class="ds-label ds-spare">Study</span>'
    here = name_in_workspace(view.study)
    names = Workspace(loading.workspace_path()).beside(here)
    if here not in names or len(names) == 1:
        st.html(f"{label} {messages.strong(view.study.name)}", width="content")
        return
    st.html(label, width="content")
    st.session_state["study_picker"] = here
    st.selectbox(
        "Study", names, key="study_picker", label_visibility="collapsed", width=170,
        on_change=_study_chosen,
    )  # fmt: skip


def _study_chosen() -> None:
    choose_study(st.session_state["study_picker"])


def _student_picker(view: View) -> None:
    st.html(f'<span class="ds-label ds-spare">Student</span> {messages.SQUARE}', width="content")
    students = list(view.study.students)
    if len(students) == 1 and not lefts_of(view):
        st.html(messages.strong(students[0]), width="content")
        return
    st.session_state["student_picker"] = view.selection.student
    st.selectbox(
        "Student", students, key="student_picker", label_visibility="collapsed", width=140,
        on_change=_student_chosen, args=(view,),
    )  # fmt: skip
    _left_picker(view)


def lefts_of(view: View) -> list[str]:
    """The models besides the teacher that the student may be compared with, in order."""
    known = [name for name, model in view.study.models.items()
             if model.listed or model.role == "reference" or name == view.left]  # fmt: skip
    return [name for name in known if name not in (TEACHER, view.selection.student)]


def _left_picker(view: View) -> None:
    """What the student is compared with: the teacher, or any other model."""
    lefts = lefts_of(view)
    if not lefts:
        return
    st.html(f'<span class="ds-label">vs</span> {messages.CIRCLE}', width="content")
    st.session_state["left_picker"] = view.left
    st.selectbox(
        "Against", [TEACHER, *lefts], key="left_picker", label_visibility="collapsed", width=112,
        on_change=_left_chosen, args=(view,),
    )  # fmt: skip


def _left_chosen(view: View) -> None:
    kept = kept_images(view, sides=_moved(view, "teacher"))
    choose(left=st.session_state["left_picker"], layer=None, **kept)


def _student_chosen(view: View) -> None:
    chosen = st.session_state["student_picker"]
    if chosen != view.left:
        kept = kept_images(view, sides=_moved(view, "student"))
        choose(student=chosen, layer=None, **kept)
        return
    # Nobody is compared with itself: the two change places, as far as both may.
    listed = view.left in view.study.students
    left = view.selection.student if listed else TEACHER
    kept = kept_images(view)
    choose(student=chosen, left=left, layer=None, **kept)


def _moved(view: View, side: str) -> tuple[str, ...]:
    """The maps that change with one model: a map of single layers goes as a whole."""
    return (side,) if view.selection.layer is None else BOTH


def _condition_chosen(view: View) -> None:
    kept = kept_images(view)
    choose(condition=st.session_state["condition_picker"], **kept)


def kept_images(view: View, sides: tuple[str, ...] = BOTH) -> dict[str, Any]:
    """Lassos on maps that are about to change: keep their images, not the polygon."""
    kept: dict[str, Any] = {}
    for name in ("within", "picked"):
        region = getattr(view.selection, name)
        if isinstance(region, Lasso) and region.side in sides:
            inside = loading.region_mask(region, view.study, view.all, view.projection)
            kept[name] = region_of(view, view.all.sample_ids[inside].tolist(), None)
    return kept


def _condition_picker(view: View) -> None:
    conditions = list(view.study.conditions)
    st.html('<span class="ds-label ds-spare">Condition</span>', width="content")
    if len(conditions) == 1:
        only = view.study.conditions[conditions[0]]
        st.html(messages.strong(only.name), width="content")
        return
    st.session_state["condition_picker"] = view.selection.condition
    if len(conditions) > _SIDE_BY_SIDE:
        st.selectbox(
            "Condition", conditions, key="condition_picker", label_visibility="collapsed",
            width=210, format_func=lambda slug: visible(view.study.conditions[slug].name, 40),
            on_change=_condition_chosen, args=(view,),
        )  # fmt: skip
        return
    st.segmented_control(
        "Condition", conditions, key="condition_picker", label_visibility="collapsed",
        required=True, format_func=lambda slug: markdown(view.study.conditions[slug].name),
        on_change=_condition_chosen,
        args=(view,),
    )  # fmt: skip


def filter_parts(view: View) -> list[tuple[str, str, dict[str, Any]]]:
    """The active filters as (key, plain words, what takes it off)."""
    selection, names = view.selection, view.class_names
    parts: list[tuple[str, str, dict[str, Any]]] = []
    if selection.cell:
        first, second = (visible(names[index], 24) for index in selection.cell)
        words = f"{view.sides.left} says {first}, {view.sides.right} says {second}"
        parts.append(("cell", words, {"cell": None}))
    if selection.group is not None:
        kind = "label" if view.all.labels is not None else f"{view.sides.left} says"
        words = f"{kind} {visible(names[selection.group], 24)}"
        parts.append(("group", words, {"group": None}))
    if selection.differ:
        parts.append(("differ", "answers differ", {"differ": False}))
    if selection.within:
        where = (
            slice_words(view.study, selection.within.id)
            if isinstance(selection.within, SliceSet)
            else "selected images" if isinstance(selection.within, SavedSet)
            else f"inside the lasso on {_owner(view, selection.within)}’s map"
        )  # fmt: skip
        parts.append(("within", where, {"within": None}))
    if selection.where:
        parts.append(("where", selection.where, {"where": None}))
    return parts


def _owner(view: View, lasso: Lasso) -> str:
    sides = view.sides
    return sides.the_left if lasso.side == "teacher" else sides.the_right


def _filter_chips(view: View) -> None:
    for key, words, off in filter_parts(view):
        st.button(
            f"{markdown(words, 80)} ✕", key=f"chip_{key}", help="Take this filter off",
            on_click=choose, kwargs=off,
        )  # fmt: skip
    with st.popover("+ Filter", type="tertiary", key="add_filter"):
        _filter_form(view)


def _filter_form(view: View) -> None:
    names = view.class_names
    st.session_state["filter_differ"] = view.selection.differ
    st.toggle(
        "Only images that the two answer differently", key="filter_differ",
        on_change=lambda: choose(differ=st.session_state["filter_differ"]),
    )  # fmt: skip
    labeled = view.all.labels is not None
    st.session_state["filter_group"] = view.selection.group
    st.selectbox(
        "Label" if labeled else f"Answer of {markdown(view.sides.the_left)}",
        range(len(names)), index=None, key="filter_group", placeholder="any class",
        format_func=lambda i: visible(names[i]),
        on_change=lambda: choose(group=st.session_state["filter_group"]),
    )  # fmt: skip
    expression_form(view)
    if view.selection.filtered:
        st.button("Clear the filter", on_click=clear_filter, key="clear_filter_form")
