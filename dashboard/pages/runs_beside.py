"""Chosen studies side by side: headlines with intervals, and where their settings differ."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from analysis.store.differences import compare_settings
from dashboard import messages
from dashboard.figures.numbers import count_of
from dashboard.figures.side_by_side import headline_side_by_side, settings_table
from dashboard.loading_runs import Run
from dashboard.theme import palette

MOST = 6
"""Studies that fit beside one another."""


def show_beside(runs: Sequence[Run]) -> None:
    """Draw the comparison of ``runs``, two at least."""
    if len(runs) < 2:
        messages.empty(
            "Nothing to hold side by side yet",
            f"{count_of(len(runs), 'study is', 'studies are')} chosen. Tick two or more under "
            "Studies.",
        )
        return
    if len(runs) > MOST:
        messages.note(f"The first {MOST} of {len(runs)} chosen studies are shown.")
        runs = runs[:MOST]
    messages.section(
        "How do they come out?",
        "Value and 95 % interval, in front of the study’s own reference students where there are "
        "any. Students are matched by name.",
    )
    st.html(headline_side_by_side(runs, palette(st.context.theme.type)))
    settings = compare_settings([run.summary for run in runs])
    different = [setting for setting in settings if setting.differs]
    with st.container(horizontal=True, vertical_alignment="bottom", key="runs_settings_head"):
        with st.container():
            messages.section(
                "What was done differently?",
                f"{len(different)} of {count_of(len(settings), 'setting')} "
                f"{'differs' if len(different) == 1 else 'differ'}: of the study, its "
                "configuration and each student’s recipe. Of a student that not every study has "
                "only the role is shown.",
            )
        everything = st.toggle("All settings", key="runs_all_settings")
    if not different and not everything:
        messages.empty("They are set up alike", "Every setting that the studies remember is equal.")
        return
    st.html(settings_table(runs, settings, everything=everything))
