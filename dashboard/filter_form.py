"""The filter by an expression: a field in the bar, filters that were given a name, a help text."""

from __future__ import annotations

import streamlit as st

from analysis.errors import DistillscopeError
from dashboard import messages
from dashboard.context import View, choose, forget_filters
from dashboard.figures.filter_help import filter_help
from dashboard.figures.numbers import markdown
from dashboard.loading import workspace_of
from dashboard.selection import fits_url, save_set
from dashboard.table_rows import rows_where
from dashboard.table_saved import MAX_NAME, drop_filter, keep_filter, load_filters

_FIELD, _SAVED, _NAME, _REFUSED = "filter_where", "filter_saved", "filter_name", "filter_refused"


def expression_form(view: View) -> None:
    """Draw the field for an expression, what was refused of it, and the saved filters."""
    refused = st.session_state.get(_REFUSED)
    if refused is None or refused[0] != view.key:
        st.session_state.pop(_REFUSED, None)
        st.session_state[_FIELD] = view.selection.where or ""
    st.text_input(
        "Where", key=_FIELD, placeholder="kl > 1 and not agree", on_change=_typed, args=(view,),
        help="An expression over the columns of the table of samples; Enter applies it.",
    )  # fmt: skip
    if _REFUSED in st.session_state:
        error = st.session_state[_REFUSED][1]
        messages.refused(error.what, error.expected, error.remedy)
    st.html(filter_help(view.table.column_names, view.sides))
    _saved_filters(view)


def _typed(view: View) -> None:
    apply_expression(view, st.session_state[_FIELD])


def apply_expression(view: View, text: str) -> None:
    """Filter every page by ``text``; what is no filter is kept in the field with the reason."""
    text = " ".join(text.split())
    st.session_state.pop(_REFUSED, None)
    try:
        changes = filter_by(view, text) if text else {"where": None}
    except DistillscopeError as error:
        st.session_state[_REFUSED] = (view.key, error)
        st.session_state[_FIELD] = text
        return
    forget_filters()
    choose(**changes)


def filter_by(view: View, text: str) -> dict[str, object]:
    """What of the selection changes so that only rows that ``text`` leaves are shown.

    An expression that is too long for the URL becomes a saved set, within what the lasso or
    slice in force leaves. Raises :class:`DistillscopeError` for what is no filter.
    """
    mask = rows_where(view.table, text)
    if fits_url(text):
        return {"where": text}
    within = view.without("where").sample_ids
    wanted = set(view.all.sample_ids[mask].tolist()) & set(within.tolist())
    return {"where": None, "within": save_set(workspace_of(view.study), sorted(wanted))}


def _saved_filters(view: View) -> None:
    found, said = load_filters(workspace_of(view.study))
    if said:
        messages.note(said)
    current = view.selection.where
    by_name = {saved.name: saved.expression for saved in found}
    chosen = next((name for name, text in by_name.items() if text == current), None)
    if by_name:
        st.session_state[_SAVED] = chosen
        st.selectbox(
            "Saved filters", list(by_name), index=None, key=_SAVED, placeholder="none chosen",
            format_func=lambda name: str(name), on_change=_chosen, args=(view, by_name),
        )  # fmt: skip
    if chosen is not None:
        st.button(
            f"Delete “{markdown(chosen, 30)}”", key="filter_delete", on_click=_deleted,
            args=(view, chosen),
        )  # fmt: skip
    elif current:
        st.text_input(
            "Save this filter as", key=_NAME, max_chars=MAX_NAME, placeholder="a name",
            on_change=_named, args=(view, current),
        )  # fmt: skip


def _chosen(view: View, by_name: dict[str, str]) -> None:
    name = st.session_state[_SAVED]
    apply_expression(view, by_name.get(name, "") if name else "")


def _named(view: View, expression: str) -> None:
    name = st.session_state[_NAME]
    if not name.strip():
        return
    try:
        keep_filter(workspace_of(view.study), name, expression)
    except DistillscopeError as error:
        st.session_state[_REFUSED] = (view.key, error)


def _deleted(view: View, name: str) -> None:
    try:
        drop_filter(workspace_of(view.study), name)
    except DistillscopeError as error:
        st.session_state[_REFUSED] = (view.key, error)
