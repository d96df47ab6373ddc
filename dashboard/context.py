"""What every page shares: the open study, the selection kept in the URL, the context bar."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from analysis.errors import DistillscopeError
from analysis.records import CLEAN, Projection
from analysis.store.study import Study
from dashboard import loading, messages
from dashboard.components.links import follow_links, parse_link
from dashboard.figures.numbers import count_of, markdown, thousands, visible
from dashboard.loading import Pair
from dashboard.selection import Lasso, Region, SavedSet, Selection, save_set
from dashboard.theme import Palette, palette

_HELD, _WRITTEN, _FOLLOWED, _NEXT = "selection", "selection_written", "followed", "next_page"


@dataclass(frozen=True, kw_only=True)
class View:
    """What a page shows: everything (``all``), what the cross-filter leaves (``pair``)."""

    study: Study
    selection: Selection
    all: Pair
    mask: np.ndarray
    pair: Pair
    projection: Projection | None
    colors: Palette

    @property
    def key(self) -> str:
        """Identity of what is shown, for caches."""
        return f"{self.study.digest}/{self.selection.filter_key}"

    def without(self, part: str) -> Pair:
        """The rows that the cross-filter leaves when its ``part`` (a field) is taken off."""
        if getattr(self.selection, part) is None:
            return self.pair
        off: dict[str, Any] = {part: None}
        selection = dataclasses.replace(self.selection, **off)
        mask, _ = _mask(
            self.study.digest, selection.filter_key,
            (selection, self.study, self.all, self.projection),
        )  # fmt: skip
        return self.all.rows(mask)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The study's class names."""
        return self.study.class_names


@dataclass(frozen=True, slots=True)
class Export:
    """Something the Save menu offers: a file made only when it is asked for."""

    label: str
    file_name: str
    make: Callable[[], str]


@st.cache_resource(max_entries=4, show_spinner=False)
def _study(path: str, stamp: tuple[int, int]) -> Study:
    return Study.open(path)


@st.cache_resource(max_entries=24, show_spinner=False)
def _pair(digest: str, student: str, condition: str, _study: Study) -> Pair:
    return loading.load_pair(_study, student, condition)


@st.cache_resource(max_entries=24, show_spinner=False)
def _mask(
    digest: str, filter_key: str, _view: tuple[Selection, Study, Pair, Projection | None]
) -> tuple[np.ndarray, tuple[str, ...]]:
    return loading.filter_mask(*_view)


def open_view() -> View:
    """Open the served study with the selection of the URL; errors as of the store."""
    path = loading.served_path()
    study = _study(str(path), loading.study_stamp(path))
    if not study.students:
        raise DistillscopeError(
            "this study has no students to compare", remedy="add one with: distillscope add"
        )
    selection, notes = _current(study)
    pair = _pair(study.digest, selection.student, selection.condition, study)
    projection = study.projection(selection.student) if selection.condition == CLEAN else None
    mask, more = _mask(study.digest, selection.filter_key, (selection, study, pair, projection))
    for note in (*notes, *more):
        messages.note(note)
    return View(
        study=study,
        selection=selection,
        all=pair,
        mask=mask,
        pair=pair if mask.all() else pair.rows(mask),
        projection=projection,
        colors=palette(st.context.theme.type),
    )


def _current(study: Study) -> tuple[Selection, tuple[str, ...]]:
    """The selection that holds now: the URL's where the user changed it, else the held one."""
    query = st.session_state.pop(_FOLLOWED, None) or st.query_params.to_dict()
    kept: Selection | None = st.session_state.get(_HELD)
    changed = bool(query) and query != st.session_state.get(_WRITTEN)
    source = query if kept is None or changed else kept.to_query()
    students = list(study.students)
    selection, notes = Selection.from_query(
        source, students=students, conditions=study.conditions, classes=len(study.class_names)
    )
    if kept is not None and not changed and kept.sample is not None:
        selection = dataclasses.replace(selection, sample=kept.sample)
    st.session_state[_HELD] = selection
    _write(selection)
    return selection, notes


def _write(selection: Selection) -> None:
    query = selection.to_query()
    if st.query_params.to_dict() != query:
        st.query_params.from_dict(query)
    st.session_state[_WRITTEN] = query


def held() -> Selection:
    """The selection as it stands now, with what was chosen during this run."""
    selection: Selection = st.session_state[_HELD]
    return selection


def choose(**changes: Any) -> None:
    """Change parts of the selection; for callbacks, which run before the page."""
    st.session_state[_HELD] = dataclasses.replace(held(), **changes)


def write_selection(**changes: Any) -> None:
    """Change parts of the selection while the page runs, which then draws on without a rerun."""
    choose(**changes)
    _write(held())


def go(path: str, **changes: Any) -> None:
    """Go to another page at once, with ``changes`` to the selection; ends this run."""
    choose(**changes)
    st.session_state[_NEXT] = path
    st.rerun()


def clear_filter() -> None:
    """Take the whole cross-filter off."""
    st.session_state[_HELD] = held().unfiltered()


def region_of(view: View, sample_ids: Iterable[str], lasso: Lasso | None) -> Region | None:
    """The shortest exact description of ``sample_ids``: ``lasso`` when it holds just these.

    None for no samples. Where the workspace cannot be written, ``lasso`` is taken as it is.
    """
    wanted = set(sample_ids)
    if not wanted:
        return None
    if lasso is not None:
        inside = loading.region_mask(lasso, view.study, view.all, view.projection)
        if set(view.all.sample_ids[inside & view.mask].tolist()) == wanted:
            return lasso
    try:
        return save_set(loading.workspace_of(view.study), sorted(wanted))
    except DistillscopeError as error:
        messages.note(str(error))
        return lasso


def context_bar(view: View, exports: list[Export]) -> None:
    """Draw the bar above every page: student, condition, filter, counts, Save."""
    with st.container(key="context_bar", horizontal=True, vertical_alignment="center", gap="small"):
        st.html(
            f'<span class="ds-label">Study</span> {messages.strong(view.study.name)}',
            width="content",
        )
        _student_picker(view)
        _condition_picker(view)
        _filter_chips(view)
        st.space("stretch")
        classes = count_of(len(view.class_names), "class", "classes")
        shown = thousands(len(view.pair))
        of = f" of {thousands(len(view.all))}" if view.selection.filtered else ""
        st.html(f'<span class="ds-label">{shown}{of} images · {classes}</span>', width="content")
        with st.popover("Save"):
            for export in exports:
                st.download_button(
                    export.label, export.make, file_name=export.file_name, mime="text/csv",
                    on_click="ignore", key=f"save_{export.file_name}", type="tertiary",
                )  # fmt: skip


def _student_picker(view: View) -> None:
    st.html(f'<span class="ds-label">Student</span> {messages.SQUARE}', width="content")
    students = list(view.study.students)
    if len(students) == 1:
        st.html(messages.strong(students[0]), width="content")
        return
    st.session_state["student_picker"] = view.selection.student
    st.selectbox(
        "Student", students, key="student_picker", label_visibility="collapsed", width=190,
        on_change=_student_chosen, args=(view,),
    )  # fmt: skip


def _student_chosen(view: View) -> None:
    changes: dict[str, Any] = {"student": st.session_state["student_picker"]}
    for name in ("within", "picked"):
        region = getattr(view.selection, name)
        if isinstance(region, Lasso) and region.side == "student":
            # The other student has another map: keep the images, not the polygon.
            inside = loading.region_mask(region, view.study, view.all, view.projection)
            kept = region_of(view, view.all.sample_ids[inside].tolist(), None)
            changes[name] = kept
    choose(**changes)


def _condition_picker(view: View) -> None:
    conditions = list(view.study.conditions)
    st.html('<span class="ds-label">Condition</span>', width="content")
    if len(conditions) == 1:
        only = view.study.conditions[conditions[0]]
        st.html(messages.strong(only.name), width="content")
        return
    st.session_state["condition_picker"] = view.selection.condition
    st.segmented_control(
        "Condition", conditions, key="condition_picker", label_visibility="collapsed",
        required=True, format_func=lambda slug: markdown(view.study.conditions[slug].name),
        on_change=lambda: choose(condition=st.session_state["condition_picker"]),
    )  # fmt: skip


def filter_parts(view: View) -> list[tuple[str, str, dict[str, Any]]]:
    """The active filters as (key, plain words, what takes it off)."""
    selection, names = view.selection, view.class_names
    parts: list[tuple[str, str, dict[str, Any]]] = []
    if selection.cell:
        teacher, student = (visible(names[index], 24) for index in selection.cell)
        words = f"teacher says {teacher}, student says {student}"
        parts.append(("cell", words, {"cell": None}))
    if selection.group is not None:
        kind = "label" if view.all.labels is not None else "teacher says"
        words = f"{kind} {visible(names[selection.group], 24)}"
        parts.append(("group", words, {"group": None}))
    if selection.differ:
        parts.append(("differ", "answers differ", {"differ": False}))
    if selection.within:
        where = (
            "selected images" if isinstance(selection.within, SavedSet)
            else f"inside the lasso on the {selection.within.side}’s map"
        )  # fmt: skip
        parts.append(("within", where, {"within": None}))
    return parts


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
        "Label" if labeled else "Teacher’s answer", range(len(names)), index=None,
        key="filter_group", placeholder="any class", format_func=lambda i: visible(names[i]),
        on_change=lambda: choose(group=st.session_state["filter_group"]),
    )  # fmt: skip
    if view.selection.filtered:
        st.button("Clear the filter", on_click=clear_filter, key="clear_filter_form")


def navigate(pages: dict[str, Any]) -> None:
    """Run the page that the address, a followed link or :func:`open_page` names."""
    follow_links(lambda address: _followed(address, pages))
    page = st.navigation(list(pages.values()), position="top")
    target = st.session_state.pop(_NEXT, None)
    if target in pages and pages[target].title != page.title:
        query = st.session_state.pop(_FOLLOWED, None) or held().to_query()
        st.switch_page(pages[target], query_params=query)
    page.run()


def _followed(address: str, pages: dict[str, Any]) -> None:
    parsed = parse_link(address, tuple(pages))
    if parsed:
        st.session_state[_NEXT], st.session_state[_FOLLOWED] = parsed


def open_page(path: str, **changes: Any) -> None:
    """Go to another page with ``changes`` to the selection; for callbacks."""
    choose(**changes)
    st.session_state[_NEXT] = path
