"""Overview: what the student lost, in one sentence, one table and four figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from analysis.divergence.classes import count_answers
from analysis.records import Interval
from dashboard import messages, missing
from dashboard.bar import filter_parts
from dashboard.context import Export, View, choose, clear_filter, held
from dashboard.figures import classes, cost, drift, headline, sentences
from dashboard.figures.numbers import escaped
from dashboard.figures.tables import csv_text
from dashboard.loading import Pair
from dashboard.loading_headline import images_behind
from dashboard.pages import confidence, parts
from dashboard.pages.four_cells import four_cells
from dashboard.pages.overview_headline import range_of, show_headline, show_verdict
from dashboard.saving import show_chart
from dashboard.theme import color_bar


def show(view: View) -> None:
    """Draw the page."""
    if len(view.pair) == 0:
        nothing_left(view)
        return
    measures = _measures(view.key, view)
    rows = classes.class_rows(view.pair, view.class_names)
    sentence = sentences.headline_sentence(
        measures.get("agreement"),
        len(view.pair),
        rows,
        filtered=view.selection.filtered,
        right=_accuracies(view.pair),
        sides=view.sides,
    )
    st.html(f'<div class="ds-finding">{sentence}{range_of(view)}.</div>')
    _findings(view)
    show_verdict(view)
    show_headline(view, measures)
    four_cells(view)
    left, middle, right = st.columns([10, 9.6, 7.2], gap="large")
    with left:
        _drift(view)
        confidence.below_the_answer(view)
    with middle:
        parts.where_it_parts(view)
        _cost(view)
    with right:
        confidence.confidence(view)
        confidence.temperatures(view)


def _accuracies(pair: Pair) -> tuple[float, float] | None:
    teacher, student = pair.teacher_correct, pair.student_correct
    if teacher is None or student is None:
        return None
    return float(teacher.mean()), float(student.mean())


def nothing_left(view: View) -> None:
    """The empty state: which filter emptied the page, and one action."""
    words = " and ".join(words for _, words, _ in filter_parts(view))
    messages.empty("No images match", f"Filter: {words}." if words else "This study has no images.")
    if words:
        st.button("Clear the filter", on_click=clear_filter, key="clear_filter")


@st.cache_data(max_entries=64, show_spinner=False)
def _measures(key: str, _view: View) -> dict[str, Interval | None]:
    if not _view.selection.filtered:
        return _view.measures()
    return headline.measure_rows(_view.pair)


def _findings(view: View) -> None:
    for finding in view.study.record(f"findings/{view.selection.student}", []):
        text = str(finding.get("text", ""))
        remedy = str(finding.get("remedy", ""))
        if finding.get("kind") == "joined":  # how the files were read, nothing about the student
            messages.note(text)
        else:
            messages.warning(text, remedy)


def _drift(view: View) -> None:
    # A chart is not filtered by the filter that it sets itself: the chosen cell is outlined.
    pair = view.without("cell")
    counts = count_answers(pair.teacher_answer, pair.student_answer, len(view.class_names))
    top = drift.color_top(counts)
    ramp = color_bar(view.colors.divergence)
    kept = len(drift.shown_classes(counts))
    some = "" if kept == len(counts) else f" The {kept} classes with the most changes."
    messages.section(
        "Whose answers change, and to what",
        f"Rows: {escaped(view.sides.left)}’s answer, columns: {escaped(view.sides.right)}’s, "
        f"% of the row. A cell filters every page."
        f'{some}<span style="float:right;white-space:nowrap">0{ramp}{top}</span>',
    )
    key = f"drift_{view.left}_{view.selection.student}_{view.selection.condition}"
    show_chart(
        drift.drift_figure(
            counts, view.class_names, view.colors, chosen=view.selection.cell, sides=view.sides
        ),
        view.colors, key=key, title="Changed answers", alt="Counts of each pair of answers",
        on_select=lambda: _cell_chosen(key), selection_mode="points",
    )  # fmt: skip


def _cell_chosen(key: str) -> None:
    points = st.session_state[key].selection.points
    if not points:
        return
    teacher, student = map(int, points[0]["customdata"].split("."))
    cell = (teacher, student)
    choose(cell=None if cell == held().cell else cell)


def _cost(view: View) -> None:
    models = view.study.models
    table = cost.cost_table(models[view.left], models[view.selection.student])
    title = "What the compression bought" if view.sides.against_teacher else "What each costs"
    if table is None:
        if view.study.from_predictions:
            messages.section(title)
            messages.empty("Not measured", missing.why_no_cost())
        return
    messages.section(title, "Latency: median on the computer that made the study.")
    st.html(table)


def exports(view: View) -> list[Export]:
    """What the Save menu offers on this page."""
    names, name = view.class_names, view.selection.student

    def drift_csv() -> str:
        pair = view.without("cell")
        counts = count_answers(pair.teacher_answer, pair.student_answer, len(names))
        rows, columns = np.nonzero(counts)
        table = {
            "teacher_answer": [names[row] for row in rows],
            "student_answer": [names[column] for column in columns],
            "images": counts[rows, columns].tolist(),
        }
        return csv_text(table)

    def classes_csv() -> str:
        rows = classes.class_rows(view.without("group"), names)
        fields = ("name", "n", "teacher_accuracy", "student_accuracy")
        table: dict[str, list[Any]] = {f: [getattr(row, f) for row in rows] for f in fields}
        for part in ("value", "low", "high"):
            table[f"agreement_{part}"] = [getattr(row.agreement, part) for row in rows]
        return csv_text(table)

    def headline_csv() -> str:
        measured = _measures(view.key, view)
        known = {key: value for key, value in measured.items() if value is not None}
        table = {
            "measure": list(known),
            **{
                part: [getattr(i, part) for i in known.values()]
                for part in ("value", "low", "high")
            },
            "n": [
                images_behind(view.study, key, view.selection.condition, len(view.pair))
                for key in known
            ],
        }
        return csv_text(table)

    return [
        Export("Headline numbers, CSV", f"{name}-headline.csv", headline_csv),
        Export("Changed answers, CSV", f"{name}-answers.csv", drift_csv),
        Export("Classes, CSV", f"{name}-classes.csv", classes_csv),
    ]
