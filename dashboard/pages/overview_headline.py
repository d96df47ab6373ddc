"""The upper part of Overview: the finding in words, the verdict, the headline table."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from analysis.records import Interval
from analysis.study.null import JUDGED, StudentNulls, find_nulls
from dashboard.components.links import link
from dashboard.context import View, has_page
from dashboard.figures import headline, legend
from dashboard.figures.verdict import verdict_line
from dashboard.loading_headline import condition_rows

AUDIT = "audit"


@st.cache_data(max_entries=64, show_spinner=False)
def _nulls(version: str, student: str, _view: View) -> StudentNulls:
    return find_nulls(_view.study, student)


def nulls_of(view: View) -> StudentNulls:
    """What references show of the chosen student; nothing for two students.

    References are compared with the teacher and say nothing about two students.
    """
    if not view.sides.against_teacher:
        return StudentNulls()
    return _nulls(view.version, view.selection.student, view)


def range_of(view: View) -> str:
    """Whether the numbers that are looked at lie in the honest range, to end the finding."""
    if view.selection.filtered:
        return ""
    return legend.range_words(nulls_of(view).on(view.selection.condition))


def show_verdict(view: View) -> None:
    """The verdict line, with a link to the Audit page where there is one."""
    record = view.study.record(f"audit/{view.selection.student}")
    address = link(AUDIT, view.selection) if has_page(AUDIT) else None
    st.html(verdict_line(record, view.class_names, address=address))


def show_headline(view: View, measures: Mapping[str, Interval | None]) -> None:
    """The table of headline numbers, each in front of its null, and what its marks mean."""
    nulls = nulls_of(view)
    slug = view.selection.condition
    condition = view.study.conditions[slug]
    filtered = view.selection.filtered
    rows = [
        headline.HeadlineRow(
            name="these images" if filtered else condition.name,
            n=len(view.pair),
            measures=measures,
            nulls={} if filtered else nulls.on(slug),
            teacher=headline.teacher_values(view.pair),
        )
    ]
    if filtered:
        rows.append(
            headline.HeadlineRow(
                name="all images",
                n=len(view.all),
                measures=view.measures(slug),
                nulls=nulls.on(slug),
                teacher=headline.teacher_values(view.all),
            )
        )
    else:
        rows += condition_rows(
            view.study, view.selection.student, view.left, nulls, view.measures, skip=slug
        )
    labeled = view.all.labels is not None
    table = headline.headline_table(rows, view.colors, labeled=labeled, sides=view.sides)
    count = len(nulls.references)
    below = legend.headline_legend(count, view.colors, view.sides)
    if view.sides.against_teacher:
        judged = sum(measure in JUDGED for _, measure in nulls.nulls)
        below += legend.null_help(count, judged, nulls.differences)
    st.html(table + below)
