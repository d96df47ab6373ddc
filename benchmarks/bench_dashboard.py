"""From command to usable dashboard, and how long a page change takes at 10 000 samples.

The demo is started as a user starts it, in an empty workspace and again in the same one; usable
means that the Overview's last part is on the screen of a headless Chromium. Page changes are
clicks on the navigation of a study of 10 000 rendered road signs, until the new page's last part
is there.

python -m benchmarks.bench_dashboard
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from analysis.study.demo import ASSETS
from tests.find_browser import find

FIRST_LIMIT, AGAIN_LIMIT, CHANGE_LIMIT = 60.0, 5.0, 1.0
SAMPLES, ROUNDS = 10_000, 5
LAST_PART = {
    "Overview": "What the compression bought",
    "Map": "Trustworthiness 0",
    "Inspect": "rank correlation",
}


@contextmanager
def started(*command: str) -> Iterator[tuple[str, float]]:
    """Run a command that serves a dashboard; yields its address and when it was started."""
    with running(*command) as (address, begun, _):
        yield address, begun


@contextmanager
def running(*command: str) -> Iterator[tuple[str, float, int]]:
    """As :func:`started`, with the server's process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begun = time.perf_counter()
    arguments = [sys.executable, "-m", "dashboard.cli", *command, "--port", str(port)]
    process = subprocess.Popen(
        [*arguments, "--no-browser"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None and not _healthy(address):
            time.sleep(0.05)
        yield address, begun, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
            return True
    except OSError:
        return False


def usable(browser: Browser, *command: str) -> float:
    """Seconds from the command to a complete Overview in an open browser."""
    with started(*command) as (address, begun):
        page = browser.new_page()
        page.goto(address)
        page.get_by_text(LAST_PART["Overview"]).first.wait_for(timeout=120_000)
        seconds = time.perf_counter() - begun
        page.close()
    return seconds


def page_changes(page: Page) -> list[float]:
    """Seconds of each change, the first round left out."""
    times = []
    for turn in range(ROUNDS + 1):
        for name in ("Map", "Inspect", "Overview"):
            begun = time.perf_counter()
            page.get_by_role("link", name=name, exact=True).first.click()
            page.get_by_text(LAST_PART[name]).first.wait_for(timeout=60_000)
            if turn:
                times.append(time.perf_counter() - begun)
    return times


def big_study(folder: Path) -> Path:
    from analysis.study.comparison import compare
    from analysis.study.stages import CompareConfig

    out = folder / "big"
    compare(
        teacher=str(ASSETS / "teacher.safetensors"),
        students={"honest": str(ASSETS / "honest.safetensors")},
        images=f"signs:test,n={SAMPLES},seed=7",
        out=out,
        config=CompareConfig(probe=32),
    )
    return out


def _row(name: str, value: float, limit: float, note: str) -> dict:
    return {
        "name": name,
        "value": value,
        "unit": "s",
        "peer": None,
        "peer_value": None,
        "ratio": None,
        "limit": f"{limit:g} s",
        "met": value <= limit,
        "note": note,
        "threads": os.cpu_count(),
        "dtype": "float32",
        "warmup": "none: the first start is what is measured" if "demo" in name else "one round",
    }


def run() -> list[dict]:
    folder = Path(tempfile.mkdtemp(prefix="distillscope-bench-"))
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox"])
            demo = ("demo", "--out", str(folder / "demo" / "road-signs"), "--quiet")
            first, again = usable(browser, *demo), usable(browser, *demo)
            with started("open", str(big_study(folder))) as (address, _):
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                page.goto(address)
                page.get_by_text(LAST_PART["Overview"]).first.wait_for(timeout=60_000)
                changes = page_changes(page)
            browser.close()
    finally:
        shutil.rmtree(folder)
    worst = max(changes)
    return [
        _row("demo, first start", first, FIRST_LIMIT, "Renders, infers, projects, attributes."),
        _row("demo, second start", again, AGAIN_LIMIT, "Opens the study that is there."),
        _row(
            "page change at 10 000 samples, median",
            statistics.median(changes),
            CHANGE_LIMIT,
            f"{len(changes)} changes among three pages; the slowest took {worst:.2f} s.",
        ),
    ]


if __name__ == "__main__":
    from benchmarks.__main__ import describe

    for row in run():
        print(describe(row))
