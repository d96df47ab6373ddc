"""The server under ten sessions: how long a page change takes, and whether its memory stays flat.

Nine light sessions (:mod:`benchmarks.streamlit_session`: they read every answer to its end and
draw nothing) and one in a headless Chromium each change the page every five seconds; ten whole
browsers would measure the browsers. The server and all sessions share two cores.
Then sessions that are closed and opened again change pages without a pause, while the memory of
the server and of its live worker is read.

python -m benchmarks.bench_service [STUDY] [--minutes 5] [--changes 1000]
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

from analysis.study.demo import make_demo
from benchmarks.bench_dashboard import running
from benchmarks.streamlit_session import Answer, Session
from tests.find_browser import find

SESSIONS, PERIOD_S, CORES = 10, 5.0, 2
LIMIT_S = 2.0
"""What the 95th percentile of page changes must stay under."""

GROWTH_LIMIT = 0.05
"""The largest growth of memory that counts as flat: of the last tenth over the first, warm one."""

MINUTES, CHANGES = 5.0, 1000
WARM_UP, CHANGES_A_TAB, AT_ONCE = 100, 25, 2
LAST_PART = {
    "Overview": "What the compression bought",
    "Map": "Trustworthiness 0",
    "Inspect": "rank correlation",
}
"""What the browser waits for: texts that only the page's last part holds."""


@dataclass
class Load:
    """Page changes that several sessions make at once; ``late`` counts those begun too late."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    browser: list[float] = field(default_factory=list)
    late: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, answer: Answer) -> None:
        with self.lock:
            self.seconds.setdefault(answer.page, []).append(answer.seconds)

    @property
    def all(self) -> list[float]:
        return [*itertools.chain.from_iterable(self.seconds.values()), *self.browser]

    def words(self) -> str:
        """The median of every page, in words."""
        medians = {page: statistics.median(times) for page, times in self.seconds.items()}
        return ", ".join(f"{page} {medians[page]:.2f}" for page in sorted(medians))


def every(period: float, first: float, until: float, act: Callable[[int], None]) -> int:
    """Call ``act`` at ``first`` and then each ``period`` until ``until``; return how many late.

    A call that would begin before the last one has ended begins late, and counts as late.
    """
    late = 0
    for turn in itertools.count():
        due, now = first + turn * period, time.perf_counter()
        if max(due, now) >= until:
            return late
        wait = due - now
        late += wait < -0.1
        time.sleep(max(wait, 0.0))
        act(turn)
    raise AssertionError("unreachable")


def light(address: str, number: int, first: float, until: float, load: Load) -> None:
    """One light session, which starts its round of pages where its number says."""
    session = Session(address)
    session.open()
    pages = sorted(session.pages)
    late = every(
        PERIOD_S, first, until,
        lambda turn: load.note(session.change_to(pages[(number + turn) % len(pages)])),
    )  # fmt: skip
    with load.lock:
        load.late += late
    session.close()


def in_browser(page: Page, first: float, until: float, load: Load) -> None:
    """The session in Chromium: a change ends when the page's last part is on the screen."""
    names = list(LAST_PART)

    def change(turn: int) -> None:
        name = names[(turn + 1) % len(names)]
        begun = time.perf_counter()
        page.get_by_role("link", name=name, exact=True).first.click()
        page.get_by_text(LAST_PART[name]).first.wait_for(timeout=60_000)
        load.browser.append(time.perf_counter() - begun)

    load.late += every(PERIOD_S, first, until, change)


def ten_sessions(address: str, seconds: float) -> Load:
    """All sessions at once for ``seconds``, their changes spread evenly over the period."""
    load = Load()
    with ThreadPoolExecutor(SESSIONS) as pool, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        page.get_by_text(LAST_PART["Overview"]).first.wait_for(timeout=120_000)
        begun = time.perf_counter() + PERIOD_S
        until = begun + seconds
        firsts = [begun + number * PERIOD_S / SESSIONS for number in range(SESSIONS)]
        sessions = [
            pool.submit(light, address, number, firsts[number], until, load)
            for number in range(SESSIONS - 1)
        ]
        in_browser(page, firsts[-1], until, load)
        for session in sessions:
            session.result()
        browser.close()
    return load


def many_changes(address: str, process: int, changes: int) -> list[tuple[float, float]]:
    """Change pages without a pause; (server, its children) in MiB after each, once it is warm."""
    memory: list[tuple[float, float]] = []
    lock = threading.Lock()
    numbers = iter(range(warm_up(changes) + changes))

    def tabs() -> None:
        while True:
            session = Session(address)
            session.open()
            for page in itertools.islice(itertools.cycle(sorted(session.pages)), CHANGES_A_TAB):
                with lock:
                    if next(numbers, None) is None:
                        session.close()
                        return
                session.change_to(page)
                with lock:
                    memory.append(resident(process))
            session.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(tabs) for _ in range(AT_ONCE)]:
            done.result()
    return memory[warm_up(changes) :]


def resident(process: int) -> tuple[float, float]:
    """MiB that a process holds in memory, and those of its children and their children."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return 0.0, 0.0
    below = [resident(child) for child in children_of(process)]
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, sum(own + rest for own, rest in below)


def children_of(process: int) -> list[int]:
    """The processes that a process started, in whichever of its threads."""
    found: list[int] = []
    for task in Path("/proc").glob(f"{process}/task/*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended
            found += map(int, task.read_text().split())
    return found


def warm_up(changes: int) -> int:
    """How many changes go before those whose memory counts."""
    return min(WARM_UP, changes)


def growth(memory: Sequence[float]) -> tuple[float, float, float]:
    """Median of the first and of the last tenth of ``memory``, and by what share it grew."""
    kept = np.asarray(memory)
    tenth = max(1, len(kept) // 10)
    first, last = float(np.median(kept[:tenth])), float(np.median(kept[-tenth:]))
    return first, last, last / first - 1


def _row(name: str, value: float, unit: str, limit: float | None, note: str) -> dict:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "peer": None,
        "peer_value": None,
        "ratio": None,
        "limit": None if limit is None else f"{limit:g} {unit}",
        "met": None if limit is None else value < limit,
        "note": note,
        "threads": CORES,
        "dtype": "float32",
        "warmup": f"up to {WARM_UP} changes"
        if "memory" in name
        else "the first page of each session",
    }


def _load_rows(load: Load, minutes: float) -> list[dict]:
    seconds = load.all
    said = (
        f"{len(seconds)} changes in {minutes:g} minutes, a change every {PERIOD_S:g} s each; "
        f"median {statistics.median(seconds):.2f} s, slowest {max(seconds):.2f} s; {load.late} "
        f"began late. {SESSIONS - 1} sessions read all answers and draw nothing, one is a "
        f"Chromium. Medians by page: {load.words()}."
    )
    return [
        _row(f"page change, {SESSIONS} sessions at once, 95th percentile",
             float(np.percentile(seconds, 95)), "s", LIMIT_S, said),
        _row(f"the same in the Chromium of the {SESSIONS}", float(np.percentile(load.browser, 95)),
             "s", None, f"{len(load.browser)} changes, until the last part is on the screen."),
    ]  # fmt: skip


def _memory_rows(memory: Sequence[tuple[float, float]]) -> list[dict]:
    first, last, share = growth([own for own, _ in memory])
    below = growth([rest for _, rest in memory])
    said = (
        f"{first:.0f} MiB at first, {last:.0f} MiB at last, at most "
        f"{max(own for own, _ in memory):.0f}; a session is closed and another opened after "
        f"{CHANGES_A_TAB} changes. Its live worker: {below[0]:.0f} and {below[1]:.0f} MiB."
    )
    return [
        _row(f"growth of the server's memory over {len(memory)} page changes",
             100 * share, "%", 100 * GROWTH_LIMIT, said)
    ]  # fmt: skip


def run(
    *, minutes: float = MINUTES, changes: int = CHANGES, study: Path | None = None
) -> list[dict]:
    folder = Path(tempfile.mkdtemp(prefix="distillscope-bench-"))
    cores = sorted(os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, cores[:CORES])  # the server inherits it, and so does the browser
        shown = study or make_demo(folder / "demo" / "road-signs").path
        with running("open", str(shown)) as (address, _, process):
            load = ten_sessions(address, 60 * minutes)
            memory = many_changes(address, process, changes)
    finally:
        os.sched_setaffinity(0, cores)
        shutil.rmtree(folder)
    return [*_load_rows(load, minutes), *_memory_rows(memory)]


if __name__ == "__main__":
    from benchmarks.__main__ import describe

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", nargs="?", type=Path, help="a study instead of the demo")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--changes", type=int, default=CHANGES)
    asked = parser.parse_args()
    for row in run(minutes=asked.minutes, changes=asked.changes, study=asked.study):
        print(describe(row))
