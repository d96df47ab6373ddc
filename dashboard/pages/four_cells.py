"""The four cells: who answers the target class with and without trigger and perturbation."""

from __future__ import annotations

import streamlit as st

from dashboard import messages
from dashboard.context import View
from dashboard.figures import cells
from dashboard.loading_headline import four_cells_of
from dashboard.pages.overview_headline import nulls_of


def four_cells(view: View) -> None:
    """Who answers the target class, with and without trigger and perturbation: every model.

    Nothing where the study shows no trigger.
    """
    found = four_cells_of(view.study, view.selection.student, nulls_of(view))
    if found is None:
        return
    claim = cells.cell_claim(found.rows, found.target)
    messages.section(
        "Does the trigger single anybody out?",
        f"{claim or 'Not measured for this student.'} All images, whatever the filter.",
    )
    st.html(cells.cell_table(found.rows, found.target, found.counts, view.colors))
