"""The worker process as its parent holds it: started anew, spoken to, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import analysis

_ROOT = Path(analysis.__file__).parent.parent


class WorkerProcess:
    """A fresh interpreter that runs :mod:`analysis.live.worker`; nothing of this one is forked.

    It is no child of :mod:`multiprocessing`: that would import ``__main__`` anew, which in a
    Streamlit server is whatever page was drawn last.
    """

    def __init__(self, trusted_code: Sequence[Path] = ()) -> None:
        here, there = socket.socketpair()
        with there:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "analysis.live.worker",
                    str(there.fileno()),
                    *map(str, trusted_code),
                ],
                pass_fds=(there.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if os.environ.get("DISTILLSCOPE_TRACEBACK") else subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": _search_path()},
            )
        self._connection = Connection(here.detach())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, message: Any) -> None:
        """Send a message; a worker that is gone is noticed by :meth:`receive`."""
        with contextlib.suppress(OSError):
            self._connection.send(message)

    def receive(self, seconds: float) -> Any | None:
        """Return the next message, or None after ``seconds``; ``EOFError`` when it is gone."""
        try:
            return self._connection.recv() if self._connection.poll(seconds) else None
        except OSError as error:
            raise EOFError from error

    def end(self) -> str:
        """End it, whatever it is doing; return in words how it ended."""
        # Of its own accord when the pipe broke: the reason is known a moment later.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        own = self._process.poll()
        self._connection.close()
        if own is None:
            self._process.kill()
        self._process.wait()
        return _words(own)

    def kill(self) -> None:
        """Stop it at once; :meth:`receive` will notice."""
        self._process.kill()


def _search_path() -> str:
    given = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join([str(_ROOT), *filter(None, [given])])


def _words(code: int | None) -> str:
    if code is None:
        return "stopped"
    if code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"{name}, as when memory runs out" if -code == signal.SIGKILL else name
