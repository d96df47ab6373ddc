"""What goes wrong on a page is a message in its place, also where only a fragment is drawn."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import streamlit as st

from analysis.errors import DistillscopeError
from analysis.store.workspace import Workspace
from dashboard import context, loading, messages
from dashboard.figures.numbers import escaped
from dashboard.figures.runs import study_address

_OTHERS = 8
_DEFECT = DistillscopeError(
    "This page cannot be shown",
    expected="a study as this release writes it",
    remedy="compute the study again; DISTILLSCOPE_TRACEBACK=1 shows where it failed",
)


@contextlib.contextmanager
def shown_in_place(*, of_study: bool = True) -> Iterator[None]:
    """Turn what is raised inside into a message.

    ``of_study``: what is drawn is about the session's study, not about the workspace. Once that
    study is gone its files fail one by one: the message names the cause, not the file, and leads
    to the other studies.
    """
    try:
        yield
    except DistillscopeError as error:
        _refuse(error, of_study)
    except Exception as error:
        if os.environ.get("DISTILLSCOPE_TRACEBACK") and not (of_study and _gone()):
            raise
        what = f"{_DEFECT.what} ({type(error).__name__})"
        _refuse(DistillscopeError(what, expected=_DEFECT.expected, remedy=_DEFECT.remedy), of_study)


def fragment(
    function: Callable[..., None], *, run_every: float | None = None, of_study: bool = True
) -> Any:
    """``st.fragment`` whose errors are messages in place, however often it is drawn again."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        with shown_in_place(of_study=of_study):
            function(*args, **kwargs)

    return st.fragment(guarded, run_every=run_every)


def _refuse(error: DistillscopeError, of_study: bool) -> None:
    gone = _gone() if of_study else None
    shown = gone or error
    messages.refused(shown.what, shown.expected, shown.remedy)
    if gone is not None:
        _other_studies()


def _gone() -> DistillscopeError | None:
    """Why the session's study cannot be opened any more, or None when it can."""
    try:
        context.open_study()
    except DistillscopeError as error:
        if not context.looked_at():
            return error
        return DistillscopeError(
            error.what,
            remedy="it was deleted, moved or renamed while it was open. Put it back, or go on with "
            "another one",
        )
    return None


def _other_studies() -> None:
    """Links to what else the workspace holds."""
    try:
        names = Workspace(loading.workspace_path()).names()
    except DistillscopeError:
        return
    links = " ".join(
        f'<a class="ds-link ds-more" href="{study_address(name)}">{escaped(name)}</a>'
        for name in names[:_OTHERS]
    )
    if links:
        st.html(f'<div class="ds-others"><span class="ds-label">Open instead</span> {links}</div>')
