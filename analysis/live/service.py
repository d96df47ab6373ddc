"""The live service: one worker process per server, and who may ask it what.

Requests are answered one at a time. At most ``waiting`` may wait; a newer request of the same
kind from the same session takes the place of the older one, wherever that is. A worker that is
killed, or late, costs the request that it was working on; the next one gets a new worker.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.errors import BusyError, DistillscopeError, LiveError
from analysis.live.messages import Do, Done, Failed, Progressed, Ready, Stop
from analysis.live.process import WorkerProcess
from analysis.live.requests import Request
from analysis.live.ticket import Ticket

LIMIT = 60.0
"""Seconds that a request may take."""
_GRACE = 1.5
"""Seconds after which a worker that does not stop of its own accord is ended."""
_START_LIMIT = 120.0
_TICK = 0.1
_REMEMBERED = 256


class LiveService:
    """Answers requests through a worker process that starts with the first one.

    ``trusted_code``: files of user code that the command line allowed. ``waiting``: how many
    requests may wait. ``idle``: seconds without any after which the worker ends.
    """

    def __init__(
        self, trusted_code: Sequence[Path] = (), *, waiting: int = 16, idle: float = 900.0
    ) -> None:
        self.trusted_code, self.waiting, self.idle = tuple(trusted_code), waiting, idle
        self.start_seconds: float | None = None
        self.starts = 0
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._queue: deque[Ticket] = deque()
        self._running: Ticket | None = None
        self._stopping: float | None = None
        self._process: WorkerProcess | None = None
        self._known: OrderedDict[str, Any] = OrderedDict()
        self._tickets: weakref.WeakValueDictionary[int, Ticket] = weakref.WeakValueDictionary()
        self._closed = self._ready = False

    @property
    def pid(self) -> int | None:
        """Process id of the worker, None while there is none."""
        process = self._process
        return None if process is None else process.pid

    @property
    def ready(self) -> bool:
        """Whether the worker has started and can answer."""
        return self._ready

    def start(self) -> None:
        """Start the worker if there is none, without asking anything."""
        with self._lock:
            if self._process is None and not self._closed:
                self._process = WorkerProcess(self.trusted_code)
                self.starts += 1
                threading.Thread(
                    target=self._attend, args=(self._process,), name="live service", daemon=True
                ).start()

    def ask(self, request: Request, *, session: str, limit: float = LIMIT) -> Ticket:
        """Hand in ``request`` for ``session``; what is known already is answered at once.

        Raises :class:`BusyError` when too many requests wait.
        """
        digest = request.digest()
        with self._lock:
            if self._closed:
                raise LiveError("the live service was closed", remedy="start the server again")
            same, known = self._pending(digest), request.lasting and digest in self._known
            replaced = self._replaced(request.kind, session, digest)
            waiting = [one for one in self._queue if one not in replaced or len(one.sessions) > 1]
            if same is None and not known and len(waiting) >= self.waiting:
                raise BusyError(
                    f"{len(waiting)} live requests are waiting already",
                    remedy="try again in a moment",
                )
            for one in replaced:
                self.cancel(one, session)
            if same is not None:
                same.sessions.add(session)
                return same
            ticket = Ticket(next(self._numbers), request, digest, limit, {session})
            self._tickets[ticket.number] = ticket
            if known:
                self._known.move_to_end(digest)
                ticket.settle(answer=self._known[digest], seconds=0.0)
                return ticket
            self._queue.append(ticket)
            self.start()
            self._next()
            return ticket

    def any_done(self, numbers: Sequence[int]) -> bool:
        """Whether one of these tickets is done, or nobody holds it any more."""
        found = (self._tickets.get(number) for number in numbers)
        return any(ticket is None or ticket.done for ticket in found)

    def cancel(self, ticket: Ticket, session: str) -> None:
        """Take ``session``'s interest in ``ticket`` back; nobody's request is not computed."""
        with self._lock:
            ticket.sessions.discard(session)
            if ticket.sessions or ticket.done:
                return
            if ticket is self._running:
                self._stop_running()
            elif ticket in self._queue:
                self._queue.remove(ticket)
            ticket.settle(replaced=True)

    def close(self) -> None:
        """End the worker; whoever waits is told."""
        with self._lock:
            self._closed = True
            self._fail_all(LiveError("the live service was closed"))
            if self._process is not None:
                self._process.kill()

    def _pending(self, digest: str) -> Ticket | None:
        held = [*self._queue, *([self._running] if self._running else [])]
        alive = (ticket for ticket in held if ticket.digest == digest and ticket.sessions)
        return next(alive, None)

    def _replaced(self, kind: str, session: str, digest: str) -> list[Ticket]:
        """Tickets of ``session`` that another request of this ``kind`` takes the place of."""
        held = [*self._queue, *([self._running] if self._running else [])]
        mine = (one for one in held if one.request.kind == kind and session in one.sessions)
        return [ticket for ticket in mine if ticket.digest != digest]

    def _stop_running(self) -> None:
        if self._running is not None and self._process is not None and self._stopping is None:
            self._process.send(Stop(self._running.number))
            self._stopping = time.monotonic()

    def _next(self) -> None:
        """Hand the next request to an idle worker that is ready."""
        if self._running or not self._queue or self._process is None or not self._ready:
            return
        ticket = self._queue.popleft()
        ticket.started = time.monotonic()
        self._running, self._stopping = ticket, None
        self._process.send(Do(ticket.number, ticket.request, ticket.limit))

    def _attend(self, process: WorkerProcess) -> None:
        """Take the worker's messages, watch its limits; ends with it."""
        begun = quiet = time.monotonic()
        reason: str | None = None
        while True:
            try:
                message = process.receive(_TICK)
            except EOFError:
                break
            with self._lock:
                if message is not None:
                    self._take(message, begun)
                    quiet = time.monotonic()
                reason = reason or self._overdue(begun)
                resting = not self._running and not self._queue
                if reason or (resting and time.monotonic() - quiet > self.idle):
                    break
        if reason is not None:
            process.kill()
        with self._lock:
            how = process.end()
            self._process, self._ready = None, False
            self._bury(reason or f"the live worker ended ({how})")

    def _take(self, message: Any, begun: float) -> None:
        if isinstance(message, Ready):
            self._ready = True
            self.start_seconds = time.monotonic() - begun
        elif self._running is not None and message.number == self._running.number:
            self._take_reply(self._running, message)
        self._next()

    def _take_reply(self, ticket: Ticket, message: Any) -> None:
        if isinstance(message, Progressed):
            ticket.progress = (message.stage, message.done, message.total)
            return
        self._running = self._stopping = None
        if isinstance(message, Done):
            if ticket.request.lasting:
                self._remember(ticket.digest, message.answer)
            ticket.settle(answer=message.answer, seconds=message.seconds)
        elif isinstance(message, Failed):
            error = None if message.stopped else LiveError(
                message.what, expected=message.expected, remedy=message.remedy
            )  # fmt: skip
            ticket.settle(error=error, replaced=message.stopped)

    def _remember(self, digest: str, answer: Any) -> None:
        self._known[digest] = answer
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _overdue(self, begun: float) -> str | None:
        """Why the worker has to be ended, or None."""
        now = time.monotonic()
        if not self._ready and now - begun > _START_LIMIT:
            return f"the live worker did not start within {_START_LIMIT:g} seconds"
        if self._stopping is not None and now - self._stopping > _GRACE:
            return "the request was withdrawn"
        ticket = self._running
        if ticket is not None and ticket.started is not None:
            spent = now - ticket.started
            if spent > ticket.limit + _GRACE:
                return f"the live worker did not answer within {ticket.limit:g} seconds"
        return None

    def _bury(self, what: str) -> None:
        """The worker is gone: tell who waited for it, and go on with the others."""
        error = LiveError(what, remedy="ask again: a new worker starts by itself")
        started, self._stopping = self._running is not None, None
        if self._running is not None:
            self._running.settle(error=error, replaced=not self._running.sessions)
            self._running = None
        elif self._queue:
            self._fail_all(error)
        if self._queue and started and not self._closed:
            self.start()

    def _fail_all(self, error: DistillscopeError) -> None:
        for ticket in [*self._queue, *([self._running] if self._running else [])]:
            ticket.settle(error=error)
        self._queue.clear()
        self._running = None
