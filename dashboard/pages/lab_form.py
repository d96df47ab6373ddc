"""The left half of the Lab: choose what to run, fill it in, see the commands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from analysis.live.requests import Describe
from dashboard import messages
from dashboard.figures.numbers import escaped
from dashboard.jobs.board import Board
from dashboard.jobs.form import Form
from dashboard.jobs.forms import FORMS
from dashboard.jobs.orders import Plan
from dashboard.jobs.presets import Preset, presets_of
from dashboard.live import Asking, starting, try_again
from dashboard.pages.lab_fields import Book, Cards, Field, draw
from dashboard.pages.lab_filled import (
    Filled,
    examined,
    free_name,
    served,
    students,
    studies,
)
from dashboard.pages.lab_start import start_button, start_chosen
from dashboard.pages.lab_trouble import say

_KIND = "lab_kind"
_COLUMNS = 5
# A trigger is written with its parameters, the longest text of any row.
_WIDE = 1.7


def show_form(board: Board) -> None:
    """Draw the form of the chosen kind."""
    asking = Asking()
    asked = asking.ask(Describe())
    kind = _kind()
    form = FORMS[kind]
    name = escaped(Book(kind).raw("", "name", "") or "NAME")
    st.html(f'<div class="ds-sub">{form.about} Makes {form.makes.replace("NAME", name)}.</div>')
    if asked.error is not None:
        messages.refused(asked.error.what, asked.error.expected, asked.error.remedy)
        st.button("Try again", key="lab_again", on_click=try_again)
        return
    if asked.waiting:
        words = "The worker is starting." if starting() else ""
        messages.empty("Reading what can be set", f"{words} This takes a few seconds, once.")
        asking.wait_for_answers("lab_waits")
        return
    _fill_in(form, board, asked.answer, asking)
    asking.wait_for_answers("lab_waits")


def _kind() -> str:
    st.session_state.setdefault(_KIND, next(iter(FORMS)))
    chosen = st.pills(
        "What to run", list(FORMS), key=_KIND, required=True, label_visibility="collapsed",
        format_func=lambda kind: FORMS[kind].short,
    )  # fmt: skip
    return str(chosen) if chosen in FORMS else next(iter(FORMS))


def _fill_in(form: Form, board: Board, cards: Cards, asking: Asking) -> None:
    book = Book(form.kind)
    if any(one.kind == "study" and one.required for one in form.fields):
        book.suggest("inputs", "study", served(board))
    top = st.container(horizontal=True, vertical_alignment="center", key="lab_top")
    with top:
        _presets(form, board, book)
        st.space("stretch")
    below = st.container(key="lab_below")
    filled = Filled(form, board.workspace, book, cards)
    plan, troubles = filled.plan, list(filled.troubles)
    if plan is not None:
        troubles += examined(form, board, filled, plan, asking)
    filled.troubles = troubles
    _draw(form, board, book, filled)
    if plan is not None:
        _commands(board, plan)
    with top:
        clicked = start_button(filled, plan)
    with below:
        start_chosen(form, board, book, filled, plan, clicked)


def _presets(form: Form, board: Board, book: Book) -> None:
    presets = presets_of(form.kind)
    if presets:
        st.html('<span class="ds-label">Try it without files</span>', width="content")
    for preset in presets:
        st.button(
            preset.title, key=f"preset_{form.kind}_{preset.name}", help=preset.about,
            on_click=_fill, args=(board, book, preset.values, preset.name),
        )  # fmt: skip


def _fill(board: Board, book: Book, values: Mapping[str, Any], name: str) -> None:
    book.fill(values, free_name(board, name))


def prepare(board: Board, kind: str, preset: Preset | None = None) -> None:
    """Have the form of ``kind`` in front when the Lab is opened next, filled by ``preset``."""
    st.session_state[_KIND] = kind
    if preset is not None:
        _fill(board, Book(kind), preset.values, preset.name)


def _draw(form: Form, board: Board, book: Book, filled: Filled) -> None:
    with st.container(key="lab_inputs"):
        _inputs(form, board, book, filled)
    opened, rest = _by_title(filled, main=True), _by_title(filled, main=False)
    for title, fields in opened.items():
        messages.section(title)
        _grid(book, filled, fields, _COLUMNS)
    if rest:
        with st.expander("More settings"):
            for title, fields in rest.items():
                messages.section(title)
                _grid(book, filled, fields, _COLUMNS - 1)


def _by_title(filled: Filled, *, main: bool) -> dict[str, list[Field]]:
    """The open fields, or the others, under the titles that they stand below."""
    found: dict[str, list[Field]] = {}
    for section, fields in filled.sections:
        if wanted := [one for one in fields if one.main == main]:
            found.setdefault(section.title, []).extend(wanted)
    return found


def _inputs(form: Form, board: Board, book: Book, filled: Filled) -> None:
    cells: list[Field | None] = [*([None] if form.named else []), *filled.inputs]
    for start in range(0, len(cells), 2):
        columns = st.columns(2, gap="medium")
        for column, field in zip(columns, cells[start : start + 2], strict=False):
            with column:
                if field is None:
                    _name(book, filled)
                else:
                    draw(book, field, choices=_choices(field, board, filled))
                    say(filled.of("inputs", field.card.name))


def _name(book: Book, filled: Filled) -> None:
    st.text_input(
        "Name *", book.raw("", "name", ""), key=book.key("", "name"), max_chars=64,
        help="What comes out is called so in the workspace.", placeholder="first-try",
    )  # fmt: skip
    say(filled.of("", "name"))


def _choices(field: Field, board: Board, filled: Filled) -> list[str] | None:
    """What only the workspace knows: its studies, and the students of the chosen one."""
    assert field.input is not None
    if field.input.kind == "study":
        return studies(board.workspace)
    if field.input.kind == "student":
        study = filled.values["inputs"].get("study")
        return students(board.workspace, study) if study else []
    return None


def _grid(book: Book, filled: Filled, fields: Sequence[Field], count: int) -> None:
    for start in range(0, len(fields), count):
        row = fields[start : start + count]
        widths = [_WIDE if field.card.name == "trigger" else 1.0 for field in row]
        columns = st.columns(
            widths + [1.0] * (count - len(row)), gap="small", vertical_alignment="bottom"
        )
        for column, field in zip(columns, row, strict=False):
            with column:
                draw(book, field)
        for field in row:
            say(filled.of(field.section, field.card.name))


def _commands(board: Board, plan: Plan) -> None:
    with st.expander("As a command"):
        for name, text in plan.files.items():
            st.html(f'<div class="ds-sub">{messages.strong(name)} in the workspace</div>')
            st.code(text.rstrip(), language="toml", height=260)
        st.html('<div class="ds-sub">The same in a terminal</div>')
        st.code(command_lines(board.workspace, plan), language="bash", wrap_lines=True)


def command_lines(workspace: Path, plan: Plan) -> str:
    """What a terminal takes for ``plan``, from anywhere."""
    lines = [plan.shown(command) for command in plan.commands]
    return "\n".join([f"cd {shlex.quote(str(workspace))}", " && \\\n".join(lines)])
