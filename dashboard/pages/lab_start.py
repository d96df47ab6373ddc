"""Starting what a form of the Lab holds, once models and images were looked at."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from analysis.errors import DistillscopeError
from analysis.live.requests import Look
from analysis.live.ticket import Ticket
from dashboard import messages
from dashboard.components.waiting import waiting
from dashboard.figures.numbers import escaped
from dashboard.jobs.board import Board
from dashboard.jobs.form import Form
from dashboard.jobs.orders import Plan, check_new
from dashboard.jobs.record import Order
from dashboard.live import service, session
from dashboard.pages.lab_fields import Book
from dashboard.pages.lab_filled import Filled, being_made, examination, free_name
from dashboard.pages.lab_trouble import say

_STARTED = "lab_started"
_MOMENT = 2.0
"""Seconds that a click waits for models and images to be looked at."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A job that is to be queued once the ``look`` at its models and images is done."""

    order: Order
    plan: Plan
    look: Ticket


def start_button(filled: Filled, plan: Plan | None) -> bool:
    """Draw the button, with what is still needed beside it; whether it was clicked."""
    if filled.missing:
        needed = escaped(", ".join(filled.missing), 200)
        st.html(f'<span class="ds-label">Needed: {needed}</span>', width="content")
    elif filled.troubles:
        st.html('<span class="ds-label">Something is wrong below</span>', width="content")
    ready = plan is not None and not filled.troubles
    return st.button("Start", key="lab_start", type="primary", disabled=not ready)


def start_chosen(
    form: Form, board: Board, book: Book, filled: Filled, plan: Plan | None, clicked: bool
) -> None:
    """After a click have models and images looked at, then queue the job; say what is wrong."""
    known = {(one.name, field.card.name) for one, fields in filled.sections for field in fields}
    known |= {("inputs", field.card.name) for field in filled.inputs} | {("", "name")}
    say([one for one in filled.troubles if (one.section, one.field) not in known])
    if clicked and plan is not None:
        st.session_state[_STARTED] = _ask_for_a_look(form, board, filled, plan)
    if (start := st.session_state.get(_STARTED)) is not None:
        _after_look(board, book, start)


def _ask_for_a_look(form: Form, board: Board, filled: Filled, plan: Plan) -> Start | None:
    question = examination(form, board, filled.values, plan, Look)
    try:
        ticket = service().ask(question, session=session())
    except DistillscopeError as error:
        messages.refused(error.what, error.expected, error.remedy)
        return None
    ticket.wait(_MOMENT)
    return Start(order=filled.order, plan=plan, look=ticket)


def _after_look(board: Board, book: Book, start: Start) -> None:
    """Queue the job once its look is done; what is wrong is shown in place."""
    look = start.look
    if not look.done:
        st.html('<div class="ds-sub">Looking at the models and the images…</div>')
        waiting("lab_looks", [look.number])
        return
    del st.session_state[_STARTED]
    if look.error is not None:
        messages.refused(look.error.what, look.error.expected, look.error.remedy)
    for one in look.answer or ():
        messages.refused(one.what, one.expected, one.remedy)
    if look.error is not None or look.answer or look.replaced:
        return
    try:
        check_new(start.plan, board.workspace, being_made(board))
        board.submit(start.order, study=start.plan.study)
    except DistillscopeError as error:
        messages.refused(error.what, error.expected, error.remedy)
        return
    book.rename(free_name(board, start.order.name))
    st.rerun()
