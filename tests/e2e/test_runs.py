"""The Runs page in a real browser: ticked, held side by side, a sweep's cell opens its study."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.study.sweep import table_text
from tests.e2e.test_journey import serving

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def space(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of two studies that differ in one setting, and a sweep over them."""
    root = tmp_path_factory.mktemp("runs") / "space"
    for name, limit in (("one", None), ("two", 77)):
        shutil.copytree(tiny_study, root / name)
        path = root / name / "study.json"
        manifest = json.loads(path.read_text())
        manifest["config"]["limit"] = limit
        path.write_text(json.dumps(manifest))
    rows = [
        {"attack.rate": rate, "student": "alpha", "accuracy": rate, "study": study}
        for rate, study in ((0.1, "one"), (0.9, "two"))
    ]
    (root / "sweep.csv").write_text(table_text(rows))
    return root


@pytest.fixture
def page(space: Path, chromium: str) -> Iterator[Any]:
    with serving(space / "one") as (url, _), sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, base_url=url)
        page.set_default_timeout(30_000)
        yield page
        browser.close()


def test_runs_are_compared_and_a_cell_opens_its_study(page: Any) -> None:
    page.goto("/runs")
    for name in ("one", "two"):
        page.locator(f".st-key-run_{name} label").click()
        page.get_by_text("studies chosen" if name == "two" else "1 study chosen").wait_for()
    picture = page.locator(".ds-run-pictures img").first
    picture.wait_for()
    page.wait_for_function("element => element.naturalWidth > 0", arg=picture.element_handle())
    page.get_by_role("button", name="Side by side", exact=True).last.click()
    page.locator("tr.ds-differs", has_text="Limit").get_by_text("77").wait_for()
    page.get_by_role("radio", name="Sweeps").click()
    point = page.locator(".scatterlayer .point").last
    point.wait_for()
    page.wait_for_timeout(500)  # the chart finds its place
    box = point.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    # A chart knows what is clicked by what was hovered before.
    page.mouse.move(x - 12, y - 6)
    page.mouse.move(x, y, steps=6)
    page.wait_for_timeout(300)
    page.mouse.click(x, y)
    page.locator(".st-key-context_bar").wait_for()
    page.wait_for_url("**study=two**")
