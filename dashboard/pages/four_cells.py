"""The four cells: who answers the target class with and without trigger and perturbation."""

from __future__ import annotations

import streamlit as st

from analysis.records import TEACHER, TRIGGER
from dashboard import messages
from dashboard.context import View
from dashboard.figures import cells
from dashboard.pages.overview_headline import nulls_of


def four_cells(view: View) -> None:
    """Who answers the target class, with and without trigger and perturbation: every model.

    Nothing where the study shows no trigger.
    """
    study = view.study
    if TRIGGER not in study.conditions:
        return
    models = {TEACHER: "teacher", **{name: m.role for name, m in study.students.items()}}
    measures = {
        (name, slug): study.measures(name, slug) for name in models for slug in study.conditions
    }
    target = str(study.conditions[TRIGGER].parameters.get("target", ""))
    counts = {slug: study.record(f"attack_n/{slug}") for slug in cells.ORDER}
    nulls = nulls_of(view)
    rows = cells.cell_rows(
        models,
        measures,
        chosen=view.selection.student,
        nulls={slug: nulls.of("attack_success_rate", slug) for slug in cells.ORDER[1:]},
    )
    claim = cells.cell_claim(rows, target)
    messages.section(
        "Does the trigger single anybody out?",
        f"{claim or 'Not measured for this student.'} All images, whatever the filter.",
    )
    st.html(cells.cell_table(rows, target, counts, view.colors))
