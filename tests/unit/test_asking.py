"""Asking the live worker from a page: answers that come late, and ones that do not last."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from analysis.live.requests import Examine, Request
from analysis.live.ticket import Ticket
from dashboard import live


class Slow:
    """A service whose answers never come in the moment that a page waits."""

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []
        self._numbers = itertools.count(1)

    def ask(self, request: Request, *, session: str, limit: float) -> Ticket:
        self.tickets.append(Ticket(next(self._numbers), request, request.digest(), limit))
        return self.tickets[-1]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow()
    monkeypatch.setattr(live, "st", SimpleNamespace(session_state={}))
    monkeypatch.setattr(live, "service", lambda: made)
    return made


def question(value: int) -> Any:
    return Examine(form="compare", values={"inputs": {"n": value}}, base=".", text="")


def ask(value: int = 1) -> tuple[live.Asked, list[int]]:
    asking = live.Asking()
    return asking.ask(question(value), moment=0), asking.pending


def test_a_late_answer_is_there_at_the_next_draw(slow: Slow) -> None:
    assert not question(1).lasting
    asked, pending = ask()
    assert (asked.waiting, pending) == (True, [1])
    slow.tickets[0].settle(answer=["wrong"])
    asked, pending = ask()
    assert (asked.answer, pending) == (["wrong"], [])
    assert len(slow.tickets) == 1


def test_what_does_not_last_is_asked_again_after_that(slow: Slow) -> None:
    ask()
    slow.tickets[0].settle(answer=["wrong"])
    ask()
    assert ask()[0].waiting
    slow.tickets[1].settle(answer=["old"])
    assert ask(2)[0].waiting
    assert ask()[0].waiting, "the answer to what was asked before something else is not kept"


def test_what_another_request_replaced_is_asked_again(slow: Slow) -> None:
    ask()
    slow.tickets[0].settle(replaced=True)
    assert ask()[1] == [2]
