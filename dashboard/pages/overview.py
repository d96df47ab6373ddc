"""Overview: what the student lost, in one sentence, one table and four figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

from analysis.divergence.classes import count_answers
from analysis.records import CLEAN, TEACHER, TRIGGER, Interval
from dashboard import messages
from dashboard.bar import filter_parts
from dashboard.components.links import link
from dashboard.context import Export, View, choose, clear_filter, held
from dashboard.figures import calibration, cells, classes, cost, drift, headline, sentences
from dashboard.figures.chart import CONFIG
from dashboard.figures.numbers import count_of
from dashboard.figures.tables import csv_text
from dashboard.loading import Pair

_CLASS_ROWS = 10


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
    )
    st.html(f'<div class="ds-finding">{sentence}.</div>')
    _findings(view)
    _verdict(view)
    _headline(view, measures)
    _cells(view)
    left, middle, right = st.columns([10, 9.6, 7.2], gap="large")
    with left:
        _drift(view)
    with middle:
        _classes(view)
        _cost(view)
    with right:
        _confidence(view)


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
        return _view.study.measures(_view.selection.student, _view.selection.condition)
    return headline.measure_rows(_view.pair)


def _findings(view: View) -> None:
    for finding in view.study.record(f"findings/{view.selection.student}", []):
        text = str(finding.get("text", ""))
        remedy = str(finding.get("remedy", ""))
        messages.warning(text, remedy)


def _verdict(view: View) -> None:
    st.html(
        '<div class="ds-verdict"><span class="ds-disc"></span><span>'
        '<span class="ds-strong">Not tested for a planted trigger</span> '
        '<span class="ds-sub">&nbsp;This study holds no audit; nothing here says whether somebody '
        "tampered with the student.</span></span></div>"
    )


def _headline(view: View, measures: Mapping[str, Interval | None]) -> None:
    study, student = view.study, view.selection.student
    condition = study.conditions[view.selection.condition]
    names = [name for name, model in study.models.items() if model.role == "reference"]
    nulls: dict[str, list[float]] = {}
    for name in names:
        for measure, interval in study.measures(name, condition.slug).items():
            if interval is not None:
                nulls.setdefault(measure, []).append(interval.value)
    filtered = view.selection.filtered
    row = headline.HeadlineRow(
        name="these images" if filtered else condition.name,
        n=len(view.pair),
        measures=measures,
        references={} if filtered else nulls,
        teacher=headline.teacher_values(view.pair),
    )
    rows = [row]
    if filtered:
        whole = study.measures(student, condition.slug)
        rows.append(
            headline.HeadlineRow(
                name="all images",
                n=len(view.all),
                measures=whole,
                references=nulls,
                teacher=headline.teacher_values(view.all),
            )
        )
    else:
        rows += _other_conditions(view)
    table = headline.headline_table(rows, view.colors, labeled=view.all.labels is not None)
    null = (
        f"grey band: {count_of(len(names), 'reference student')} of the same teacher"
        if names
        else "no reference students"
    )
    st.html(
        f'{table}<div class="ds-sub" style="margin-top:6px">{messages.SQUARE} this student, 95 % '
        f"bootstrap interval &nbsp;·&nbsp; {messages.CIRCLE} the teacher &nbsp;·&nbsp; {null}</div>"
    )


def _other_conditions(view: View) -> list[headline.HeadlineRow]:
    """The stored measures on every condition but the one that is looked at."""
    study, student = view.study, view.selection.student
    rows = []
    for slug, condition in study.conditions.items():
        measures = study.measures(student, slug)
        if slug == view.selection.condition or not measures:
            continue
        teacher = study.measures(TEACHER, slug)
        own = {name: value.value for name, value in teacher.items() if value is not None}
        rows.append(
            headline.HeadlineRow(
                name=condition.name, n=condition.n, measures=measures, references={}, teacher=own
            )
        )
    return rows


def _cells(view: View) -> None:
    """Who answers the target class, with and without trigger and perturbation: every model."""
    study = view.study
    if TRIGGER not in study.conditions:
        return
    models = {TEACHER: "teacher", **{name: m.role for name, m in study.students.items()}}
    measures = {
        (name, slug): study.measures(name, slug) for name in models for slug in study.conditions
    }
    target = str(study.conditions[TRIGGER].parameters.get("target", ""))
    counts = {slug: study.record(f"attack_n/{slug}") for slug in cells.ORDER}
    counts[CLEAN] = counts[TRIGGER]
    rows = cells.cell_rows(models, measures, chosen=view.selection.student)
    claim = cells.cell_claim(rows, target)
    messages.section(
        "Does the trigger single anybody out?",
        f"{claim or 'Not measured for this student.'} All images, whatever the filter.",
    )
    st.html(cells.cell_table(rows, target, counts))


def _drift(view: View) -> None:
    # A chart is not filtered by the filter that it sets itself: the chosen cell is outlined.
    pair = view.without("cell")
    counts = count_answers(pair.teacher_answer, pair.student_answer, len(view.class_names))
    top = drift.color_top(counts)
    ramp = messages.ramp(view.colors.divergence)
    kept = len(drift.shown_classes(counts))
    some = "" if kept == len(counts) else f" The {kept} classes with the most changes."
    messages.section(
        "Whose answers change, and to what",
        f"Rows: teacher’s answer, columns: student’s, % of the row. A cell filters every page."
        f'{some}<span style="float:right;white-space:nowrap">0{ramp}{top}</span>',
    )
    key = f"drift_{view.selection.student}_{view.selection.condition}"
    st.plotly_chart(
        drift.drift_figure(counts, view.class_names, view.colors, chosen=view.selection.cell),
        theme=None, config=CONFIG, key=key, on_select=lambda: _cell_chosen(key),
        selection_mode="points", alt="Counts of each pair of answers",
    )  # fmt: skip


def _cell_chosen(key: str) -> None:
    points = st.session_state[key].selection.points
    if not points:
        return
    teacher, student = map(int, points[0]["customdata"].split("."))
    cell = (teacher, student)
    choose(cell=None if cell == held().cell else cell)


def _classes(view: View) -> None:
    pair = view.without("group")
    rows = classes.class_rows(pair, view.class_names)
    kind = "label" if pair.labels is not None else "the teacher’s answer"
    messages.section("Where it parts most", f"By {kind}, the lowest agreement first.")
    shown = rows if st.session_state.get("all_classes") else rows[:_CLASS_ROWS]

    def address(index: int) -> str:
        group = None if index == view.selection.group else index
        return link("overview", dataclasses.replace(view.selection, group=group))

    note = "A class filters every page."
    if pair.labels is not None:
        note += " Teacher and student: % right."
    table = classes.class_table(shown, view.colors, address, chosen=view.selection.group)
    st.html(f'{table}<div class="ds-sub" style="margin-top:6px">{note}</div>')
    if len(rows) > _CLASS_ROWS:
        st.toggle(f"All {len(rows)} classes", key="all_classes")


def _cost(view: View) -> None:
    table = cost.cost_table(view.study.teacher, view.study.models[view.selection.student])
    if table is None:
        return
    messages.section(
        "What the compression bought", "Latency: median on the computer that made the study."
    )
    st.html(table)


def _confidence(view: View) -> None:
    figure = calibration.reliability_figure(view.pair, view.colors)
    messages.section(
        "Confidence and calibration",
        "How often each is right when it says so. "
        f'<span style="white-space:nowrap">{messages.CIRCLE}<span class="ds-teacher">teacher</span>'
        f' &nbsp;{messages.SQUARE}<span class="ds-student">student</span></span>',
    )
    if figure is None:
        messages.empty("Needs labels", "Whether an answer is right is not known for these images.")
    else:
        st.plotly_chart(figure, theme=None, config=CONFIG, alt="Reliability of both models")
    messages.section("", "Images by confidence, %")
    st.plotly_chart(
        calibration.confidence_figure(view.pair, view.colors), theme=None, config=CONFIG,
        alt="Histogram of both models’ confidence",
    )  # fmt: skip


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
            "n": [len(view.pair)] * len(known),
        }
        return csv_text(table)

    return [
        Export("Headline numbers, CSV", f"{name}-headline.csv", headline_csv),
        Export("Changed answers, CSV", f"{name}-answers.csv", drift_csv),
        Export("Classes, CSV", f"{name}-classes.csv", classes_csv),
    ]
