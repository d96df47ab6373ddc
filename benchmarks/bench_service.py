"""Ten sessions at once: how long a page change takes the server, and whether its memory stays flat.

Sessions are light clients that speak Streamlit's own protocol over a websocket, as a browser does:
ten Chromiums would use up the two cores that the server is measured on. A change is timed from
the request until the page's last part has arrived. What a browser adds (drawing, the live
worker's questions) is not in it; what it saves (messages that it has kept) is.

python -m benchmarks.bench_service [STUDY] [--minutes M] [--changes N]
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

from analysis.study.demo import make_demo
from benchmarks.bench_dashboard import started

SESSIONS, EVERY_S, MINUTES, CORES = 10, 5.0, 5.0, 2
LIMIT_S, CHANGES, WARM_CHANGES, GROWTH_LIMIT = 2.0, 1_000, 300, 0.05
PAGES = ("overview", "map", "inspect", "layers", "training", "audit", "runs", "tour")
_TOO_LONG_S = 120.0
_DONE = ForwardMsg.ScriptFinishedStatus.FINISHED_SUCCESSFULLY


@dataclass
class Session:
    """One client; ``pages`` maps a page's address to what Streamlit calls it."""

    socket: ClientConnection
    pages: dict[str, str] = field(default_factory=dict)
    query: str = ""

    def change(self, page: str | None) -> float:
        """Open ``page`` (None: whatever the address shows first); seconds until it is all there."""
        message = BackMsg()
        message.rerun_script.query_string = self.query
        message.rerun_script.page_script_hash = self.pages[page] if page else ""
        message.rerun_script.context_info.timezone = "UTC"
        message.rerun_script.context_info.locale = "en-US"
        begun = time.perf_counter()
        self.socket.send(message.SerializeToString())
        self._receive(begun)
        return time.perf_counter() - begun

    def _receive(self, begun: float) -> None:
        while True:
            left = _TOO_LONG_S - (time.perf_counter() - begun)
            data = self.socket.recv(timeout=max(left, 0.1))
            answer = ForwardMsg()
            answer.ParseFromString(data if isinstance(data, bytes) else data.encode())
            kind = answer.WhichOneof("type")
            if kind == "navigation":
                for one in answer.navigation.app_pages:
                    self.pages[one.url_pathname or PAGES[0]] = one.page_script_hash
            elif kind == "page_info_changed":
                self.query = answer.page_info_changed.query_string
            elif kind == "script_finished" and answer.script_finished == _DONE:
                return


def opened(address: str, stack: ExitStack) -> Session:
    """A new session of the server at ``address``, its first page shown; ``stack`` ends it."""
    stream = f"{address.replace('http', 'ws', 1)}/_stcore/stream"
    socket = stack.enter_context(
        connect(
            stream, origin=address, subprotocols=["streamlit"], max_size=None, open_timeout=60
        )
    )  # fmt: skip
    session = Session(socket)
    session.change(None)
    return session


def turns(session: Session, first: int) -> Iterator[str]:
    """The pages that the study shows, over and over; sessions begin at different ones."""
    shown = [page for page in PAGES if page in session.pages]
    return itertools.islice(itertools.cycle(shown), first % len(shown), None)


def paced(sessions: list[Session], minutes: float) -> list[float]:
    """Seconds of every change, one per session every five seconds, spread evenly."""
    times: list[float] = []
    begun = time.perf_counter()

    def click(number: int) -> None:
        session = sessions[number]
        due = begun + EVERY_S * number / len(sessions)
        for page in turns(session, number):
            if due - begun > 60 * minutes:
                return
            time.sleep(max(0.0, due - time.perf_counter()))
            times.append(session.change(page))
            due += EVERY_S

    _together(click, len(sessions))
    return times


def memory(sessions: list[Session], changes: int, server: int) -> list[tuple[int, int]]:
    """Resident bytes of the process ``server`` by changes made, as fast as they come."""
    seen = [(0, resident(server))]
    lock, made = threading.Lock(), itertools.count(1)

    def click(number: int) -> None:
        for page in turns(sessions[number], number):
            with lock:
                if (done := next(made)) > changes:
                    return
            sessions[number].change(page)
            if done % 20 == 0:
                seen.append((done, resident(server)))

    _together(click, len(sessions))
    return sorted([*seen, (changes, resident(server))])


def _together(click: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=click, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def resident(process: int) -> int:
    """Resident bytes of a process."""
    text = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else 0


def server_of(address: str) -> int:
    """Process id of the server that was started on the port of ``address``."""
    port = address.rpartition(":")[2].encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"dashboard.cli" in words and port in words:
            return int(path.parent.name)
    raise SystemExit(f"no server on port {port.decode()}")


def run(
    study: Path | None = None, *, minutes: float = MINUTES, changes: int = CHANGES
) -> list[dict]:
    folder = Path(tempfile.mkdtemp(prefix="distillscope-bench-"))
    cores = sorted(os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, cores[:CORES])  # for the server that is started from here, too
        if study is None:
            study = make_demo(folder / "road-signs").path
        with started("open", str(study)) as (address, _), ExitStack() as stack:
            server = server_of(address)
            sessions = [opened(address, stack) for _ in range(SESSIONS)]
            for page in itertools.islice(turns(sessions[0], 0), len(sessions[0].pages)):
                sessions[0].change(page)
            times = paced(sessions, minutes)
            grown = memory(sessions, changes, server)
    finally:
        os.sched_setaffinity(0, cores)
        shutil.rmtree(folder)
    return [_time_row(times, minutes), _memory_row(grown, changes)]


def _time_row(times: list[float], minutes: float) -> dict:
    slow = statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
    middle = statistics.median(times)
    return _row(
        f"page change, {SESSIONS} sessions, 95th percentile", slow, "s", f"{LIMIT_S:g} s",
        slow < LIMIT_S,
        f"{len(times)} changes in {minutes:g} minutes, one per session every {EVERY_S:g} s, on "
        f"{CORES} cores; median {middle:.2f} s, slowest {max(times):.2f} s. Light websocket "
        "clients, no browser.",
    )  # fmt: skip


def _memory_row(seen: list[tuple[int, int]], changes: int) -> dict:
    warm = min(WARM_CHANGES, changes // 2)
    before = statistics.median(size for done, size in seen if warm <= done <= warm + 100)
    after = statistics.median(size for done, size in seen if done >= changes - 100)
    growth = after / before - 1
    return _row(
        "server memory, growth over page changes", 100 * growth, "%", f"{100 * GROWTH_LIMIT:g} %",
        growth < GROWTH_LIMIT,
        f"Resident: {seen[0][1] / 1e6:.0f} MB at first, {before / 1e6:.0f} MB after {warm} "
        f"changes, {after / 1e6:.0f} MB after {changes}.",
    )  # fmt: skip


def _row(name: str, value: float, unit: str, limit: str, met: bool, note: str) -> dict:
    return {
        "name": name, "value": value, "unit": unit, "peer": None, "peer_value": None,
        "ratio": None, "limit": limit, "met": met, "note": note, "threads": CORES,
        "dtype": "float32", "warmup": "each page once in one session",
    }  # fmt: skip


if __name__ == "__main__":
    from benchmarks.__main__ import describe

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", nargs="?", type=Path)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--changes", type=int, default=CHANGES)
    given = parser.parse_args()
    for row in run(given.study, minutes=given.minutes, changes=given.changes):
        print(describe(row))
