"""A request that was handed in, as its author sees it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from analysis.errors import DistillscopeError
from analysis.live.requests import Request


@dataclass(eq=False)
class Ticket:
    """Where the answer to ``request`` will be.

    ``answer`` or ``error`` is set once :attr:`done`; ``replaced`` means that a newer request of
    the same session took its place, and then there is neither. ``progress`` is (stage, done,
    total) of what is running, ``seconds`` how long the worker computed.
    """

    number: int
    request: Request
    digest: str
    limit: float
    sessions: set[str] = field(default_factory=set)
    answer: Any = None
    error: DistillscopeError | None = None
    replaced: bool = False
    progress: tuple[str, int, int] | None = None
    seconds: float | None = None
    started: float | None = None
    asked: float = field(default_factory=time.monotonic)
    _finished: threading.Event = field(default_factory=threading.Event)

    @property
    def done(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self._finished.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait at most ``seconds``; whether it is done."""
        return self._finished.wait(seconds)

    def settle(
        self,
        *,
        answer: Any = None,
        error: DistillscopeError | None = None,
        seconds: float | None = None,
        replaced: bool = False,
    ) -> None:
        """Set the outcome; only the first one counts."""
        if not self.done:
            self.answer, self.error = answer, error
            self.seconds, self.replaced = seconds, replaced
            self._finished.set()
