"""The list of studies: search, tags, and what is ticked for side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import streamlit as st

from analysis.errors import DistillscopeError
from analysis.store.tags import MAX_TAG
from analysis.store.workspace import Workspace
from dashboard import messages
from dashboard.figures.numbers import count_of, markdown
from dashboard.figures.runs import run_row, runs_head
from dashboard.loading_runs import Run, all_tags, chosen, offer_pictures
from dashboard.theme import palette

PAGE = 20
"""Studies that are listed at once."""
_SEARCH, _TAGS, _COUNT, _ERROR, _NEW = (
    "runs_search", "runs_tags", "runs_count", "runs_error", "runs_new_tag",
)  # fmt: skip
_PICKED = "runs_picked"


def picked_runs(runs: Iterable[Run]) -> list[Run]:
    """The usable runs that are ticked, in the order of the list."""
    picked = st.session_state.get(_PICKED, frozenset())
    return [run for run in runs if run.summary.folder in picked and run.summary.usable]


def show_list(workspace: Workspace, runs: Sequence[Run]) -> None:
    """Draw the search, what can be done with the ticked ones, and the list."""
    if not runs:
        messages.empty(
            "No studies here yet",
            "Make one in the Lab, or in a terminal: distillscope compare --out "
            f"{workspace.root.name}/NAME",
        )
        return
    words, tags = _search(runs)
    _picked(workspace, picked_runs(runs))
    if (error := st.session_state.pop(_ERROR, None)) is not None:
        messages.refused(error.what, error.expected, error.remedy)
    found = chosen(runs, words, tags)
    if not found:
        messages.empty(
            "No study matches", f"Of {count_of(len(runs), 'study', 'studies')}. Change the search."
        )
        return
    colors = palette(st.context.theme.type)
    listed = found[: st.session_state.get(_COUNT, PAGE)]
    offer_pictures(workspace, listed)
    with st.container(key="runs_list", gap=None):
        _line(None, runs_head())
        for run in listed:
            _line(run, run_row(run, colors))
    _more(len(found))


def _search(runs: Sequence[Run]) -> tuple[str, list[str]]:
    with st.container(horizontal=True, vertical_alignment="center", key="runs_search_bar"):
        words = st.text_input(
            "Search", key=_SEARCH, placeholder="Name, teacher, student or tag", width=300,
            label_visibility="collapsed", icon=":material/search:",
        )  # fmt: skip
        known = all_tags(runs)
        if not known:
            return words, []
        st.session_state[_TAGS] = [t for t in st.session_state.get(_TAGS, []) if t in known]
        tags = st.pills(
            "Tags", known, key=_TAGS, selection_mode="multi", label_visibility="collapsed",
            format_func=markdown,
        )  # fmt: skip
    return words, list(tags)


def _line(run: Run | None, html: str) -> None:
    name = "" if run is None else run.summary.folder
    with st.container(horizontal=True, key=f"runrow_{name}", gap="small"):
        if run is None:
            st.html('<div class="ds-run-box"></div>', width=24)
        else:
            key = f"run_{name}"
            st.session_state[key] = name in st.session_state.get(_PICKED, frozenset())
            st.checkbox(
                f"Choose {markdown(name)}", key=key, label_visibility="collapsed", width=24,
                disabled=not run.summary.usable, on_change=_pick, args=(name, key),
            )  # fmt: skip
        st.html(html)


def _pick(name: str, key: str) -> None:
    picked = set(st.session_state.get(_PICKED, frozenset()))
    (picked.add if st.session_state[key] else picked.discard)(name)
    st.session_state[_PICKED] = frozenset(picked)


def _picked(workspace: Workspace, picked: Sequence[Run]) -> None:
    """What can be done with the ticked studies."""
    with st.container(horizontal=True, vertical_alignment="center", key="runs_picked_bar"):
        if not picked:
            st.html(
                '<div class="ds-sub">Tick studies to tag them, or two and more to hold them side '
                "by side.</div>",
                width="content",
            )
            return
        words = count_of(len(picked), "study", "studies")
        st.html(f'<span class="ds-strong">{words} chosen</span>', width="content")
        _tagging(workspace, picked)
        st.button(
            "Side by side", key="runs_beside", disabled=len(picked) < 2, width="content",
            help="Two studies or more", on_click=_beside,
        )  # fmt: skip
        st.button("Choose none", key="runs_none", type="tertiary", on_click=_pick_none)


def _tagging(workspace: Workspace, picked: Sequence[Run]) -> None:
    names = [run.summary.folder for run in picked]
    with st.popover("Tags", key="runs_tagging"):
        st.text_input(
            "Add a tag", key=_NEW, max_chars=MAX_TAG, placeholder="poisoned",
            on_change=_add, args=(workspace, names),
        )  # fmt: skip
        st.html('<div class="ds-sub">Enter adds it to every chosen study.</div>')
        for place, tag in enumerate(all_tags(picked)):
            st.button(
                f"Remove {markdown(tag)}", key=f"runs_untag_{place}", type="tertiary",
                on_click=_each, args=(workspace.untag, names, tag),
            )  # fmt: skip


def _add(workspace: Workspace, names: Sequence[str]) -> None:
    tag = st.session_state[_NEW]
    if tag.strip():
        _each(workspace.tag, names, tag)
    st.session_state[_NEW] = ""


def _each(act: Callable[[str, str], None], names: Sequence[str], tag: str) -> None:
    """Do it with every study; what is refused is said above the list."""
    try:
        for name in names:
            act(name, tag)
    except DistillscopeError as error:
        st.session_state[_ERROR] = error


def _beside() -> None:
    st.session_state["runs_view"] = "Side by side"


def _pick_none() -> None:
    st.session_state[_PICKED] = frozenset()


def _more(found: int) -> None:
    shown = st.session_state.get(_COUNT, PAGE)
    if found > shown:
        st.button(
            f"Show {min(PAGE, found - shown)} more of {found}", key="runs_more",
            on_click=_show_more,
        )  # fmt: skip


def _show_more() -> None:
    st.session_state[_COUNT] = st.session_state.get(_COUNT, PAGE) + PAGE
