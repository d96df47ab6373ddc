"""What a form of the Lab holds now: values, plan, and what is wrong with them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.errors import DistillscopeError
from analysis.live.requests import Examine
from analysis.store.manifest import MANIFEST
from analysis.store.study import Study
from analysis.store.workspace import Workspace
from dashboard import context
from dashboard.jobs.board import Board
from dashboard.jobs.form import Form, Section
from dashboard.jobs.orders import Plan, check_new, is_study_name, plan_of
from dashboard.jobs.record import Order
from dashboard.live import Asking
from dashboard.pages.lab_fields import (
    Book,
    Cards,
    Field,
    input_fields,
    is_default,
    section_fields,
    value_of,
)
from dashboard.pages.lab_trouble import Trouble


class Filled:
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


def examined(form: Form, board: Board, filled: Filled, plan: Plan, asking: Asking) -> list[Trouble]:
    """What the records themselves say about the values; nothing while that is not known yet."""
    try:
        check_new(plan, board.workspace, being_made(board))
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


def being_made(board: Board) -> list[str]:
    """Names that jobs which are not over will write to.

    Of a job that has no plan any more, because its study is gone, that is its own name.
    """
    names: list[str] = []
    for job in board.jobs():
        if job.over:
            continue
        try:
            names += plan_of(job.order, board.workspace).makes
        except DistillscopeError:
            names.append(job.order.name)
    return names


def examination(
    form: Form, board: Board, values: Mapping[str, Any], plan: Plan, ask: type[Examine] = Examine
) -> Examine:
    """The question whether these values can be run."""
    text = next((text for name, text in plan.files.items() if name.endswith(".toml")), "")
    return ask(form=form.kind, values=values, base=str(board.workspace), text=text)


def free_name(board: Board, name: str) -> str:
    """``name``, with a number where the workspace has something of that name."""
    taken = {path.name.lower().split(".")[0] for path in board.workspace.glob("*")}
    taken |= {job.order.name.lower() for job in board.jobs()}
    base, number, free = re.sub(r"-\d{1,6}$", "", name), 2, name
    while free.lower() in taken:
        free, number = f"{base}-{number}", number + 1
    return free


def served(board: Board) -> str | None:
    """The study that is looked at, where it is one of the workspace."""
    try:
        name = Workspace(board.workspace).name_of(context.session_path())
    except DistillscopeError:
        return None
    return name if name in studies(board.workspace) else None


def studies(workspace: Path) -> list[str]:
    """Names of the studies in the workspace, the one that changed last first."""
    known = Workspace(workspace)
    found = []
    for name in filter(is_study_name, known.names()):
        with contextlib.suppress(OSError):  # it was taken away just now
            found.append(((workspace / name / MANIFEST).stat().st_mtime, name))
    return [name for _, name in sorted(found, reverse=True)]


def students(workspace: Path, study: str) -> list[str]:
    """Names of the students of a study; none where it cannot be opened."""
    try:
        return list(Study.open(workspace / study).students)
    except DistillscopeError:
        return []
