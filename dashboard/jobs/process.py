"""Which process is it, is it still there: a number alone may have been given to another one."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process: its number, when it began (in the system's own words), on which machine."""

    pid: int
    begun: str
    host: str

    @property
    def here(self) -> bool:
        """Whether it is, or was, a process of this machine since its last start."""
        return self.host == host()

    @property
    def alive(self) -> bool:
        """Whether that very process is at work; of another machine's nothing is known: False."""
        return self.here and begun(self.pid) == self.begun

    def signal_group(self, number: signal.Signals) -> bool:
        """Send a signal to the process and what it started; False where it is gone."""
        if not self.alive:
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
            return True
        return False


@functools.cache
def host() -> str:
    """This machine since its last start."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()}/{boot}"


def begun(pid: int) -> str | None:
    """When the process ``pid`` began, or None where there is none, or only its remains."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return _begun_by_ps(pid) if not Path("/proc/self/stat").exists() else None
    except OSError:
        return None
    # The name in parentheses may hold spaces and parentheses of its own.
    state, *rest = text.rpartition(")")[2].split()
    return None if state in "ZX" else rest[18]


def _begun_by_ps(pid: int) -> str | None:
    done = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, when = done.stdout.strip().partition(" ")
    return None if not when or state.startswith("Z") else when.strip()


def this_process() -> Identity:
    """The identity of the process that asks."""
    return identity_of(os.getpid())


def identity_of(pid: int) -> Identity:
    """The identity of process ``pid``, which must be there."""
    return Identity(pid=pid, begun=begun(pid) or "", host=host())
