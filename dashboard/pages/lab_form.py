"""The left half of the Lab: choose what to run, fill it in, see the commands, start it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from analysis.errors import DistillscopeError
from analysis.live.requests import Describe, Examine, Look
from analysis.live.ticket import Ticket
from analysis.store.study import Study
from dashboard import messages
from dashboard.components.waiting import waiting
from dashboard.figures.jobs import problem_html
from dashboard.figures.numbers import escaped
from dashboard.jobs.board import Board
from dashboard.jobs.form import Form, Section
from dashboard.jobs.forms import FORMS
from dashboard.jobs.orders import Plan, check_new, plan_of
from dashboard.jobs.presets import presets_of
from dashboard.jobs.record import Order
from dashboard.live import Asking, service, session, starting, try_again
from dashboard.pages.lab_fields import (
    Book,
    Cards,
    Field,
    draw,
    input_fields,
    is_default,
    section_fields,
    value_of,
)

_KIND, _STARTED = "lab_kind", "lab_started"
_COLUMNS = 5
_MOMENT = 2.0
"""Seconds that a click waits for models and images to be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is wrong with one field, or with the form where ``field`` is None."""

    section: str
    field: str | None
    what: str
    expected: str | None = None
    remedy: str | None = None

    @classmethod
    def of(cls, error: DistillscopeError, section: str, field: str | None = None) -> Trouble:
        """The trouble that an error tells of."""
        return cls(
            section=section, field=field, what=error.what, expected=error.expected,
            remedy=error.remedy,
        )  # fmt: skip


def show_form(board: Board) -> None:
    """Draw the form of the chosen kind."""
    asking = Asking()
    asked = asking.ask(Describe())
    kind = _kind()
    form = FORMS[kind]
    st.html(f'<div class="ds-sub">{form.about} Makes {form.makes}.</div>')
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
    top = st.container(horizontal=True, vertical_alignment="center", key="lab_top")
    with top:
        _presets(form, board, book)
        st.space("stretch")
    below = st.container(key="lab_below")
    filled = _Filled(form, board.workspace, book, cards)
    plan, troubles = filled.plan, list(filled.troubles)
    if plan is not None:
        troubles += _examined(form, board, filled, plan, asking)
    filled.troubles = troubles
    _draw(form, board, book, filled)
    if plan is not None:
        _commands(board, plan)
    with top:
        clicked = _start_button(filled, plan)
    with below:
        _start(form, board, book, filled, plan, clicked)


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


def free_name(board: Board, name: str) -> str:
    """``name``, with a number where the workspace has something of that name."""
    taken = {path.name.lower().split(".")[0] for path in board.workspace.glob("*")}
    taken |= {job.order.name.lower() for job in board.jobs()}
    base, number, free = re.sub(r"-\d{1,6}$", "", name), 2, name
    while free.lower() in taken:
        free, number = f"{base}-{number}", number + 1
    return free


class _Filled:
    """What the form holds now: its fields, values, plan, and what is wrong with them."""

    def __init__(self, form: Form, workspace: Path, book: Book, cards: Cards):
        self.troubles: list[Trouble] = []
        self.inputs = input_fields(form)
        self.values: dict[str, dict[str, Any]] = {
            "inputs": self._read(book, self.inputs, whole=True)
        }
        self.sections: list[tuple[Section, list[Field]]] = []
        for section in form.sections:
            deciding = {
                name: book.raw(section.name, name, None) for name in ("objective", "method")
            }
            fields = section_fields(section, cards, deciding)
            self.sections.append((section, fields))
            self.values[section.name] = self._read(book, fields)
        name = book.raw("", "name", "")
        study = str(self.values["inputs"].get("study") or "")
        self.name = name if form.named else study
        self.order = Order(kind=form.kind, name=self.name, values=self.values)
        self.plan: Plan | None = None
        self.missing = self._missing(form)
        if self.troubles or self.missing:
            return
        try:
            self.plan = plan_of(self.order, workspace)
        except DistillscopeError as error:
            self.troubles.append(Trouble.of(error, "", _named(error)))

    def _missing(self, form: Form) -> list[str]:
        given = self.values["inputs"]
        names = [one.title for one in form.fields if one.required and not given.get(one.name)]
        return ["Name", *names] if form.named and not self.name else names

    def _read(self, book: Book, fields: Sequence[Field], *, whole: bool = False) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for field in fields:
            raw = book.raw(field.section, field.card.name, field.card.default)
            try:
                value = value_of(field, raw)
            except DistillscopeError as error:
                self.troubles.append(Trouble.of(error, field.section, field.card.name))
                continue
            if value is not None and (whole or field.main or not is_default(field, value)):
                values[field.card.name] = value
        return values

    def of(self, section: str, field: str | None) -> list[Trouble]:
        """What is wrong with one field."""
        return [one for one in self.troubles if (one.section, one.field) == (section, field)]


def _named(error: DistillscopeError) -> str | None:
    return "name" if error.what.startswith("name ") else None


def _examined(
    form: Form, board: Board, filled: _Filled, plan: Plan, asking: Asking
) -> list[Trouble]:
    """What the records themselves say about the values; nothing while that is not known yet."""
    try:
        check_new(plan, board.workspace, _being_made(board))
    except DistillscopeError as error:
        return [Trouble.of(error, "", "name")]
    asked = asking.ask(examination(form, board, filled.values, plan))
    return [
        Trouble(
            section=one.section, field=one.field, what=one.what, expected=one.expected,
            remedy=one.remedy,
        )
        for one in asked.answer or ()
    ]  # fmt: skip


def _being_made(board: Board) -> list[str]:
    """Names that jobs which are not over will write to."""
    names: list[str] = []
    for job in board.jobs():
        if not job.over:
            names += plan_of(job.order, board.workspace).makes
    return names


def examination(
    form: Form, board: Board, values: Mapping[str, Any], plan: Plan, ask: type[Examine] = Examine
) -> Examine:
    """The question whether these values can be run."""
    text = next((text for name, text in plan.files.items() if name.endswith(".toml")), "")
    return ask(form=form.kind, values=values, base=str(board.workspace), text=text)


# --- drawing -------------------------------------------------------------------------------


def _draw(form: Form, board: Board, book: Book, filled: _Filled) -> None:
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


def _by_title(filled: _Filled, *, main: bool) -> dict[str, list[Field]]:
    """The open fields, or the others, under the titles that they stand below."""
    found: dict[str, list[Field]] = {}
    for section, fields in filled.sections:
        if wanted := [one for one in fields if one.main == main]:
            found.setdefault(section.title, []).extend(wanted)
    return found


def _inputs(form: Form, board: Board, book: Book, filled: _Filled) -> None:
    columns = st.columns(2, gap="medium")
    place = 0
    if form.named:
        with columns[0]:
            st.text_input(
                "Name *", book.raw("", "name", ""), key=book.key("", "name"), max_chars=64,
                help="What comes out is called so in the workspace.", placeholder="first-try",
            )  # fmt: skip
            _say(filled.of("", "name"))
        place = 1
    for field in filled.inputs:
        with columns[place % 2]:
            draw(book, field, choices=_choices(field, board, filled))
            _say(filled.of("inputs", field.card.name))
        place += 1


def _choices(field: Field, board: Board, filled: _Filled) -> list[str] | None:
    """What only the workspace knows: its studies, and the students of the chosen one."""
    assert field.input is not None
    if field.input.kind == "study":
        return studies(board.workspace)
    if field.input.kind == "student":
        study = filled.values["inputs"].get("study")
        return students(board.workspace, study) if study else []
    return None


def studies(workspace: Path) -> list[str]:
    """Names of the studies in the workspace, the one that changed last first."""
    found = [(path.stat().st_mtime, path.parent.name) for path in workspace.glob("*/study.json")]
    return [name for _, name in sorted(found, reverse=True)]


def students(workspace: Path, study: str) -> list[str]:
    """Names of the students of a study; none where it cannot be opened."""
    try:
        return list(Study.open(workspace / study).students)
    except DistillscopeError:
        return []


def _grid(book: Book, filled: _Filled, fields: Sequence[Field], count: int) -> None:
    for start in range(0, len(fields), count):
        for column, field in zip(
            st.columns(count, gap="small", vertical_alignment="bottom"),
            fields[start : start + count],
            strict=False,
        ):
            with column:
                draw(book, field)
        for field in fields[start : start + count]:
            _say(filled.of(field.section, field.card.name))


def _say(troubles: Sequence[Trouble]) -> None:
    for one in troubles:
        st.html(problem_html(one.what, one.expected, one.remedy))


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


def _start_button(filled: _Filled, plan: Plan | None) -> bool:
    if filled.missing:
        needed = escaped(", ".join(filled.missing), 200)
        st.html(f'<span class="ds-label">Needed: {needed}</span>', width="content")
    elif filled.troubles:
        st.html('<span class="ds-label">Something is wrong below</span>', width="content")
    ready = plan is not None and not filled.troubles
    return st.button("Start", key="lab_start", type="primary", disabled=not ready)


def _start(
    form: Form, board: Board, book: Book, filled: _Filled, plan: Plan | None, clicked: bool
) -> None:
    known = {(one.name, field.card.name) for one, fields in filled.sections for field in fields}
    known |= {("inputs", field.card.name) for field in filled.inputs} | {("", "name")}
    _say([one for one in filled.troubles if (one.section, one.field) not in known])
    if clicked and plan is not None:
        st.session_state[_STARTED] = _ask_for_a_look(form, board, filled, plan)
    if (start := st.session_state.get(_STARTED)) is not None:
        _start_after_look(board, book, start)


@dataclass(frozen=True, kw_only=True)
class _Start:
    """A job that is to be queued once the ``look`` at its models and images is done."""

    order: Order
    plan: Plan
    look: Ticket


def _ask_for_a_look(form: Form, board: Board, filled: _Filled, plan: Plan) -> _Start | None:
    question = examination(form, board, filled.values, plan, Look)
    try:
        ticket = service().ask(question, session=session())
    except DistillscopeError as error:
        messages.refused(error.what, error.expected, error.remedy)
        return None
    ticket.wait(_MOMENT)
    return _Start(order=filled.order, plan=plan, look=ticket)


def _start_after_look(board: Board, book: Book, start: _Start) -> None:
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
        check_new(start.plan, board.workspace, _being_made(board))
        board.submit(start.order, study=start.plan.study)
    except DistillscopeError as error:
        messages.refused(error.what, error.expected, error.remedy)
        return
    book.rename(free_name(board, start.order.name))
    st.rerun()
