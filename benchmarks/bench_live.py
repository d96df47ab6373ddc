"""The what-if of the demo: from letting go of a sticker to both new answers on the screen.

In a headless Chromium on the running demo, worker warm: a click places the sticker elsewhere, and
time runs until the bars of both models have changed. Beside it what the worker itself needs.

python -m benchmarks.bench_live
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

from analysis.live.requests import Attribute, Predict, Request
from analysis.live.service import LiveService
from analysis.store import Study
from analysis.study.demo import make_demo
from benchmarks.bench_dashboard import started
from tests.find_browser import find

LIMIT_MS, ROUNDS, PAUSE_MS = 300.0, 12, 2500
ANSWERED = "Both have answered this image."
PLACE = """
([across, down]) => new Promise((resolve, reject) => {
  const roots = [...document.querySelectorAll("*")].map((e) => e.shadowRoot).filter(Boolean)
  const frame = roots.map((root) => root.querySelector(".frame")).find(Boolean)
  const read = () => document.querySelector(".st-key-answers_chart").innerText
  const area = frame.getBoundingClientRect(), before = read()
  const at = { clientX: area.left + across * area.width, clientY: area.top + down * area.height }
  const send = (type) =>
    frame.dispatchEvent(new PointerEvent(type, { ...at, button: 0, pointerId: 1, bubbles: true }))
  frame.setPointerCapture = () => {}
  send("pointerdown")
  const begun = performance.now()
  send("pointerup")
  const look = () => {
    const spent = performance.now() - begun
    if (read() !== before) resolve(spent)
    else if (spent > 10000) reject(new Error("the answers did not change"))
    else requestAnimationFrame(look)
  }
  look()
})
"""


def what_ifs(page: Page) -> list[float]:
    """Milliseconds of each change, the first two left out."""
    draw = np.random.default_rng(0)
    times = []
    for turn in range(ROUNDS + 2):
        spent = page.evaluate(PLACE, draw.uniform(0.2, 0.8, 2).tolist())
        page.wait_for_timeout(PAUSE_MS)
        if turn >= 2:
            times.append(float(spent))
    return times


def answered(service: LiveService, request: Request) -> float:
    """Milliseconds from asking to the answer."""
    begun = time.perf_counter()
    ticket = service.ask(request, session="bench")
    ticket.wait(120)
    assert ticket.error is None, ticket.error
    return 1000 * (time.perf_counter() - begun)


def worker_times(study: Study) -> tuple[float, list[float], list[float]]:
    """Seconds of the worker's start; milliseconds of answers and of maps, one image each."""
    service = LiveService()
    identity = {"study": str(study.path), "version": study.digest}
    models = ("teacher", "backdoored")
    answers, maps = [], []
    try:
        for row in range(ROUNDS + 1):
            image, sample = np.asarray(study.images[row]), str(study.sample_ids[row])
            place = (row, len(study.sample_ids))
            predict = Predict(**identity, models=models, images=image[None], place=place)
            attribute = Attribute(
                **identity, left=models[0], student=models[1], image=image, sample_id=sample,
                method="integrated_gradients", baseline="blurred",
                scalar="p_student_minus_teacher", left_class=0, student_class=0,
            )  # fmt: skip
            answers.append(answered(service, predict))
            maps.append(answered(service, attribute))
        assert service.start_seconds is not None
        return service.start_seconds, answers[1:], maps[1:]
    finally:
        service.close()


def _row(name: str, value: float, note: str, *, unit: str = "ms", limit: float | None = None):
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "peer": None,
        "peer_value": None,
        "ratio": None,
        "limit": None if limit is None else f"{limit:g} {unit}",
        "met": None if limit is None else value <= limit,
        "note": note,
        "threads": os.cpu_count(),
        "dtype": "float32",
        "warmup": "the first answers are left out",
    }


def run() -> list[dict]:
    folder = Path(tempfile.mkdtemp(prefix="distillscope-bench-"))
    try:
        study = make_demo(folder / "demo" / "road-signs")
        start, answers, maps = worker_times(study)
        with started("open", str(study.path)) as (address, _), sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 1000})
            page.goto(f"{address}/inspect?student=backdoored")
            page.get_by_text("Its nearest neighbors").first.wait_for(timeout=60_000)
            page.locator(".st-key-what_if_on label").click()
            page.get_by_text(ANSWERED).wait_for(timeout=60_000)
            page.wait_for_timeout(4 * PAUSE_MS)
            changes = what_ifs(page)
            browser.close()
    finally:
        shutil.rmtree(folder)
    spread = f"{len(changes)} changes, {min(changes):.0f} to {max(changes):.0f} ms."
    return [
        _row("what-if, pointer-up to both answers", statistics.median(changes), spread,
             limit=LIMIT_MS),
        _row("live answer of both models, in the worker", statistics.median(answers),
             "One image in a batch of 16, the shape that a kept condition is answered in."),
        _row("live maps of one image, integrated gradients and agreement",
             statistics.median(maps), "Teacher, student and pair, 32 steps."),
        _row("start of the live worker", start, "Imports included.", unit="s"),
    ]  # fmt: skip


if __name__ == "__main__":
    from benchmarks.__main__ import describe

    for row in run():
        print(describe(row))
