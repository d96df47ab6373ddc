"""Lab: configure distillation, attack, comparison, audit and repair; run them in the background."""

from __future__ import annotations

import streamlit as st

from dashboard import loading
from dashboard.guard import fragment
from dashboard.jobs.board import Board
from dashboard.pages.lab_form import show_form
from dashboard.pages.lab_jobs import show_jobs


def show_alone() -> None:
    """Draw the page, which is about the workspace and needs no study."""
    board = Board(loading.workspace_path())
    with st.container(key="lab"):
        left, right = st.columns([11, 8], gap="large")
    with right:
        show_jobs(board)
    with left:
        st.html('<div class="ds-finding">What shall be run?</div>')
        fragment(show_form, of_study=False)(board)
