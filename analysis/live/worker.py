"""The worker process: takes requests from a pipe, one after the other, until the pipe closes.

``python -m analysis.live.worker FD``. It ends with its parent: a thread waits for messages, and
at the end of the pipe the process is gone, whatever it is computing.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from analysis.errors import Cancelled, DistillscopeError, LiveError
from analysis.live.messages import Do, Done, Failed, Progressed, Ready, Stop


class Task:
    """The request that is being answered: who may still want it, until when."""

    def __init__(self, do: Do, stopped: set[int], tell: Callable[[Progressed], None]) -> None:
        self.number, self.request, self.seconds = do.number, do.request, do.seconds
        self._stopped, self._tell = stopped, tell
        self._until = time.monotonic() + do.seconds

    def check(self) -> None:
        """Raise :class:`Cancelled` when nobody waits any more, :class:`LiveError` when late."""
        if self.number in self._stopped:
            raise Cancelled("the request was withdrawn")
        if time.monotonic() > self._until:
            raise late(self.request.kind, self.seconds)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Tell how far it is, and check."""
        self.check()
        self._tell(Progressed(self.number, stage, done, total))


def late(kind: str, seconds: float) -> LiveError:
    """The error of a request that took too long."""
    return LiveError(
        f"the live worker did not answer ({kind}) within {seconds:g} seconds",
        remedy="ask for less: a faster method, a smaller model",
    )


class Inbox:
    """Messages from the parent, read on a thread of its own."""

    def __init__(self, connection: Connection) -> None:
        self.requests: queue.SimpleQueue[Do] = queue.SimpleQueue()
        self.stopped: set[int] = set()
        self._connection = connection
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                message: Any = self._connection.recv()
            except (EOFError, OSError):
                os._exit(0)  # the parent is gone, or does not need this process any more
            if isinstance(message, Stop):
                self.stopped.add(message.number)
            elif isinstance(message, Do):
                self.requests.put(message)


def work(connection: Connection, trusted_code: tuple[Path, ...]) -> None:
    """Answer requests for ever."""
    inbox = Inbox(connection)
    from analysis.live.answering import Answering  # torch: seconds

    answering = Answering(trusted_code)
    connection.send(Ready())
    while True:
        do = inbox.requests.get()
        task = Task(do, inbox.stopped, connection.send)
        begun = time.perf_counter()
        reply: Done | Failed
        try:
            task.check()
            reply = Done(do.number, answering.answer(task), time.perf_counter() - begun)
        except Cancelled as error:
            reply = Failed.because(do.number, error, stopped=True)
        except Exception as error:
            unforeseen = not isinstance(error, DistillscopeError)
            if unforeseen and os.environ.get("DISTILLSCOPE_TRACEBACK"):
                traceback.print_exc()
            reply = Failed.because(do.number, error)
        connection.send(reply)
        inbox.stopped.discard(do.number)


def main() -> None:
    """Serve the pipe whose file descriptor the command line names; further words are files."""
    work(Connection(int(sys.argv[1])), tuple(Path(name) for name in sys.argv[2:]))


if __name__ == "__main__":
    main()
