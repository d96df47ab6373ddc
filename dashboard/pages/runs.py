"""Runs: every study of the workspace; find them, tag them, hold them side by side, see sweeps."""

from __future__ import annotations

import streamlit as st

from analysis.store.tags import load_tags
from analysis.store.workspace import Workspace
from dashboard import loading, messages
from dashboard.figures.numbers import count_of, escaped
from dashboard.loading_runs import load_runs
from dashboard.pages.runs_beside import show_beside
from dashboard.pages.runs_list import picked_runs, show_list
from dashboard.pages.runs_sweeps import show_sweeps

_VIEW = "runs_view"
STUDIES, BESIDE, SWEEPS = "Studies", "Side by side", "Sweeps"


def show_alone() -> None:
    """Draw the page, which is about the workspace and needs no study."""
    workspace = Workspace(loading.workspace_path())
    runs = load_runs(workspace)
    sweeps = workspace.sweeps()
    with st.container(key="runs"):
        head = st.container(horizontal=True, vertical_alignment="center", key="runs_head")
        with head:
            found = count_of(len(runs), "study", "studies")
            where = escaped(workspace.root.resolve().name)
            st.html(f'<div class="ds-finding">{found} in {where}</div>', width="content")
            st.space("stretch")
            view = _view(len(sweeps))
        if (said := load_tags(workspace.root)[1]) is not None:
            messages.note(said)
        if view == BESIDE:
            show_beside(picked_runs(runs))
        elif view == SWEEPS:
            show_sweeps(workspace, sweeps)
        else:
            show_list(workspace, runs)


def choose_view(view: str) -> None:
    """Let the page show ``view`` when it is drawn next."""
    st.session_state[_VIEW] = view


def _view(sweeps: int) -> str:
    st.session_state.setdefault(_VIEW, STUDIES)
    chosen = st.segmented_control(
        "View", [STUDIES, BESIDE, *([SWEEPS] if sweeps else [])], key=_VIEW, required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    return str(chosen or STUDIES)
