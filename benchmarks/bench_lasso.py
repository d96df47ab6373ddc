"""The linked highlight at 200 000 points against a bare redraw of the same points.

Ours is from the pointer's release to the finished pixels of the other map: which points lie in
the polygon, their flags and drawing order, both maps, lasso and labels. The peer draws the same
points of both maps once more with nothing changed. Same browser, same page, alternating, both
waiting for the pixels. Bytes are those of the web socket and of HTTP.

python -m benchmarks.bench_lasso
"""

from __future__ import annotations

import math
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

POINTS, LIMIT = 200_000, 1.5
WARMUP, REPEATS = 3, 11
ROOT = Path(__file__).parent.parent
APP = ROOT / "tests" / "e2e" / "apps" / "pair_map_app.py"

LAST = """(name) => {
  const marks = performance.getEntriesByName("pair-map:" + name);
  return marks[marks.length - 1].startTime;
}"""
REDRAW = "root => root.dispatchEvent(new CustomEvent('pair-map:redraw'))"
HEARD = """(before) => document.querySelector("[data-testid=report]").title !== before
  ? performance.now() : false"""


@contextmanager
def application() -> Iterator[str]:
    """The two maps with ``POINTS`` points on a server of their own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, str(APP), str(port), str(POINTS)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=1)
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(10)


class Traffic:
    """Bytes that the page has sent and received since the last reset."""

    def __init__(self, page: Page):
        self.up = self.down = 0
        page.on("websocket", self._listen)
        page.on("response", self._answer)

    def _listen(self, socket: Any) -> None:
        socket.on("framereceived", lambda data: self._add("down", data))
        socket.on("framesent", lambda data: self._add("up", data))

    def _add(self, way: str, data: bytes | str) -> None:
        setattr(self, way, getattr(self, way) + len(data))

    def _answer(self, response: Any) -> None:
        self.down += int(response.headers.get("content-length", 0))

    def reset(self) -> None:
        self.up = self.down = 0


def drag(page: Page, side: str, turn: int) -> None:
    """Draw a lasso over a good part of a map; every turn a little elsewhere."""
    box = page.get_by_test_id(f"{side}-map").bounding_box()
    assert box
    radius = 0.3 * min(box["width"], box["height"])
    middle = box["x"] + box["width"] / 2 + 6 * (turn % 5), box["y"] + box["height"] / 2
    for i in range(61):
        angle = 2 * math.pi * i / 60
        at = middle[0] + radius * math.cos(angle), middle[1] + radius * math.sin(angle)
        page.mouse.move(*at)
        if i == 0:
            page.mouse.down()


def measure(page: Page, traffic: Traffic) -> dict[str, list[float]]:
    root = page.get_by_test_id("pair-map")
    root.evaluate("root => { root.dataset.measure = '1'; }")
    found: dict[str, list[float]] = {
        name: [] for name in ("highlight", "computing", "redraw", "down", "trip", "up", "answer")
    }
    for turn in range(WARMUP + REPEATS):
        drag(page, "teacher", turn)
        before = page.get_by_test_id("report").get_attribute("title")
        traffic.reset()
        page.mouse.up()
        end = page.evaluate(LAST, "highlighted")
        start = page.evaluate(LAST, "pointer-up")
        down = traffic.down
        heard = page.wait_for_function(HEARD, arg=before).json_value()
        page.wait_for_timeout(400)
        up, answer = traffic.up, traffic.down
        root.evaluate(REDRAW)
        redraw = page.evaluate(LAST, "redraw-end") - page.evaluate(LAST, "redraw-start")
        if turn >= WARMUP:
            computing = end - page.evaluate(LAST, "lasso-start")
            values = end - start, computing, redraw, down, heard - start, up, answer
            for name, value in zip(found, values, strict=True):
                found[name].append(value)
    return found


def trial() -> tuple[dict[str, float], str]:
    """Medians in milliseconds and bytes, and what draws."""
    chromium = os.environ.get("DISTILLSCOPE_CHROMIUM") or shutil.which("chromium")
    with application() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        traffic = Traffic(page)
        page.goto(url, timeout=120_000)
        page.locator("[data-ready]").wait_for(timeout=120_000)
        found = measure(page, traffic)
        driver = page.evaluate(
            "() => { const gl = document.createElement('canvas').getContext('webgl2');"
            "const info = gl.getExtension('WEBGL_debug_renderer_info');"
            "return gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER); }"
        )
        browser.close()
    return {name: statistics.median(values) for name, values in found.items()}, driver


def run() -> list[dict[str, Any]]:
    """Rows for the table of benchmarks."""
    found, driver = trial()
    common = {"threads": os.cpu_count(), "dtype": "float32", "warmup": f"{WARMUP} lassos"}
    ratio = found["highlight"] / found["redraw"]
    highlight = {
        "name": f"linked highlight, {POINTS} points",
        "value": found["highlight"],
        "unit": "ms",
        "peer": "bare redraw of the same points",
        "peer_value": found["redraw"],
        "ratio": ratio,
        "limit": f"ratio <= {LIMIT}",
        "met": ratio <= LIMIT,
        "note": f"median of {REPEATS}; {found['computing']:.1f} ms without input delay; {driver}",
    }
    nothing = {"peer": None, "peer_value": None, "ratio": None}
    sent = {
        "name": "bytes received until the highlight",
        "value": found["down"],
        "unit": "bytes",
        "limit": "0",
        "met": found["down"] == 0,
        "note": "web socket and HTTP",
    }
    trip = {
        "name": "round trip with the server after a lasso",
        "value": found["trip"],
        "unit": "ms",
        "limit": None,
        "met": None,
        "note": f"150 ms of it is the pause before sending; {found['up']:.0f} bytes up, "
        f"{found['answer']:.0f} bytes down with the page's own texts",
    }
    return [highlight | common, sent | nothing | common, trip | nothing | common]


if __name__ == "__main__":
    for row in run():
        print(row)
