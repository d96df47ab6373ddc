"""Inspect: keep the edits as a condition of the study."""

from __future__ import annotations

import streamlit as st

from analysis.errors import DistillscopeError
from analysis.live.requests import Keep
from analysis.live.ticket import Ticket
from analysis.records import CLEAN
from dashboard import live, messages
from dashboard.bar import kept_images
from dashboard.context import View, choose
from dashboard.figures.numbers import count_of, markdown
from dashboard.guard import fragment
from dashboard.pages.inspect_look import Look
from dashboard.pages.inspect_state import change

_TICKET, _NAME, _SAMPLE = "keep_ticket", "keep_name", "keep_sample"
_LOOK_AGAIN = 0.7


def keep_popover(look: Look) -> None:
    """A button that asks for a name, and says what keeping means."""
    with st.popover("Keep", key="keep", help="Make it a condition of the study"):
        models = count_of(len(look.view.study.models), "model")
        images = count_of(look.view.study.inspection.n, "image")
        messages.section(
            "Keep it as a condition",
            f"All {images} with this change, answered by all {models}; every page then shows it.",
        )
        if look.view.selection.condition != CLEAN:
            messages.note("Conditions are made of the clean images: choose Clean first.")
            return
        st.text_input("Name", key=_NAME, max_chars=40, placeholder="Yellow note")
        off = not look.edits or _running() is not None
        if st.button("Keep", key="keep_now", type="primary", disabled=off):
            _keep(look)
            st.rerun()  # the whole page: how far it is stands above the image


def _keep(look: Look) -> None:
    st.session_state[_SAMPLE] = look.sample
    request = Keep(
        **look.identity,
        name=str(st.session_state.get(_NAME, "")),
        edits=tuple(edit.key() for edit in look.edits),
    )
    try:
        st.session_state[_TICKET] = live.keeper().ask(
            request, session=live.session(), limit=live.KEEP_LIMIT
        )
    except DistillscopeError as error:
        st.session_state[_TICKET] = error


def _running() -> Ticket | None:
    held = st.session_state.get(_TICKET)
    return held if isinstance(held, Ticket) and not held.done else None


def keeping(view: View) -> None:
    """How far it is; draws itself anew every moment while it runs."""
    held = st.session_state.get(_TICKET)
    if held is None:
        return
    again = _LOOK_AGAIN if _running() is not None else None
    fragment(_progress, run_every=again)(view)


def _progress(view: View) -> None:
    held = st.session_state.get(_TICKET)
    if isinstance(held, DistillscopeError):
        _refused(held)
        return
    if not isinstance(held, Ticket):
        return
    if not held.done:
        stage, done, total = held.progress or ("starting", 0, 0)
        share = done / total if total else 0.0
        with st.container(horizontal=True, vertical_alignment="center", key="keep_progress"):
            st.progress(min(1.0, share), text=f"Keeping: {markdown(stage, 60)}")
            st.button("Cancel", key="keep_cancel", on_click=_cancel, args=(held,))
        return
    if held.error is not None:
        _refused(held.error)
        return
    st.session_state[_TICKET] = None
    if not held.replaced:
        sample = st.session_state.get(_SAMPLE)
        choose(condition=held.answer, sample=sample, **kept_images(view))
        change(on=False)
    st.rerun()


def _cancel(ticket: Ticket) -> None:
    live.keeper().cancel(ticket, live.session())
    st.session_state[_TICKET] = None


def _refused(error: DistillscopeError) -> None:
    messages.refused(f"Not kept: {error.what}", error.expected, error.remedy)
    st.button("Close", key="keep_close", on_click=_forget)


def _forget() -> None:
    st.session_state[_TICKET] = None
