"""What pages ask of the live worker, without ever waiting long for it.

A page asks, shows the answer when it is there within a moment, and else draws what it has,
faded, and :func:`wait_for_answers`, which draws the fragment again once there is an answer.
"""

from __future__ import annotations

import atexit
import functools
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st

from analysis.digest import digest_file
from analysis.errors import DistillscopeError
from analysis.live.requests import Request
from analysis.live.service import LIMIT, LiveService
from analysis.live.ticket import Ticket
from analysis.store.study import Study
from dashboard.components.waiting import waiting

MOMENT = 0.35
"""Seconds that a page waits for an answer before it draws on without."""
KEEP_LIMIT = 6 * 3600.0
_SESSION, _TICKETS, _FAILED = "live_session", "live_tickets", "live_failed"
_trusted: tuple[Path, ...] = ()


def trust(files: Sequence[Path]) -> None:
    """Allow these files of user code to run; only the command line calls it."""
    global _trusted
    _trusted = tuple(Path(file) for file in files)


@functools.cache
def service() -> LiveService:
    """This server's live service; its worker starts with the first request."""
    return _closed_at_exit(LiveService(_trusted))


@functools.cache
def keeper() -> LiveService:
    """A second worker, which is there only while a condition is being kept: that takes long."""
    return _closed_at_exit(LiveService(_trusted, waiting=4, idle=20.0))


def _closed_at_exit(made: LiveService) -> LiveService:
    atexit.register(made.close)
    return made


def refusal(study: Study, models: Iterable[str]) -> str | None:
    """Why live answers of ``models`` cannot be had, in one sentence, or None."""
    for name in models:
        model = study.models[name]
        if study.manifest.weights.get(name) is None:
            return f"Live answers need weights, and the study keeps none of {name}."
        if model.user_code is None:
            continue
        file = model.architecture.rpartition(":")[0]
        digests = [digest_file(path) for path in _trusted if path.name == file and path.is_file()]
        if model.user_code not in digests:
            changed = ", and the file given is another one" if digests else ""
            return (
                f"{name} was made by user code{changed}: live answers need "
                f"distillscope open DIR --trust-code {file}"
            )
    return None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What came of asking: an answer, an error in words, or neither yet."""

    answer: Any = None
    error: DistillscopeError | None = None
    ticket: Ticket | None = None

    @property
    def waiting(self) -> bool:
        """Whether the answer is still to come."""
        return self.answer is None and self.error is None


@dataclass
class Asking:
    """All that one run of a fragment asks."""

    pending: list[int] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def ask(self, request: Request, *, moment: float = MOMENT, limit: float = LIMIT) -> Asked:
        """Ask, and wait for a moment; what failed before is not asked again by itself.

        An answer that came after its moment is handed out once, at the next draw: the service
        forgets what does not last, and asking again could be too slow each time.
        """
        digest = request.digest()
        failed: dict[str, DistillscopeError] = st.session_state.setdefault(_FAILED, {})
        tickets: dict[str, Ticket] = st.session_state.setdefault(_TICKETS, {})
        held = tickets.get(digest)
        if held is not None and held.error is not None:
            failed[digest] = held.error
            del tickets[digest]
        if digest in failed:
            self.failed.append(digest)
            return Asked(error=failed[digest])
        _forget_older(tickets, request.kind, digest)
        if held is not None and held.done and not held.replaced:
            del tickets[digest]
            return Asked(answer=held.answer, ticket=held)
        try:
            ticket = service().ask(request, session=session(), limit=limit)
        except DistillscopeError as error:
            return Asked(error=error)
        ticket.wait(moment)
        if ticket.error is not None:
            failed[digest] = ticket.error
            self.failed.append(digest)
            return Asked(error=ticket.error)
        if ticket.done and not ticket.replaced:
            tickets.pop(digest, None)
            return Asked(answer=ticket.answer, ticket=ticket)
        tickets[digest] = ticket
        self.pending.append(ticket.number)
        return Asked(ticket=ticket)

    def wait_for_answers(self, key: str) -> None:
        """Draw the fragment again once something asked here is there."""
        waiting(key, self.pending)


def _forget_older(tickets: dict[str, Ticket], kind: str, digest: str) -> None:
    """Drop answers of this ``kind`` that nobody fetched and that may not hold any more."""
    for other, ticket in list(tickets.items()):
        lasting = ticket.request.lasting
        if other != digest and ticket.done and ticket.request.kind == kind and not lasting:
            del tickets[other]


def try_again() -> None:
    """Forget what failed; for callbacks."""
    st.session_state[_FAILED] = {}


def session() -> str:
    """Identity of this browser tab."""
    return str(st.session_state.setdefault(_SESSION, uuid.uuid4().hex))


def starting() -> bool:
    """Whether the worker has still to start."""
    return not service().ready
