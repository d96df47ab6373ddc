"""Inspect in a real browser: place a sticker by hand, watch both models, keep it as a condition."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.store import Study
from tests.e2e.test_accessibility import CUT, SIDEWAYS
from tests.e2e.test_journey import WATCH, serving

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

ANSWERED = "Both have answered this image."


@pytest.fixture
def own_study(attacked_study: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "workspace" / "attacked"
    shutil.copytree(attacked_study, copy)
    return copy


@pytest.fixture
def page(chromium: str, own_study: Path) -> Iterator[Any]:
    with serving(own_study) as (address, _), sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 1200})
        page.set_default_timeout(60_000)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.add_init_script(WATCH)
        page.goto(f"{address}/inspect?student=backdoored")
        page.get_by_text("Its nearest neighbors").first.wait_for()
        yield page
        assert complaints == []
        violations = [v for v in page.evaluate("window.violations") if "wasm-eval" not in v]
        assert violations == []
        browser.close()


# While Streamlit draws the next run it keeps parts of the former one beside it for a moment.
CURRENT = ':not([data-retained="true"], [data-retained="true"] *)'
BARS = f".st-key-answers_chart{CURRENT}"
OTHER_BARS = f"""before => {{
  const chart = document.querySelector('{BARS}');
  return chart !== null && chart.innerText !== before;
}}"""


def bars(page: Any, *, but: str) -> str:
    """All the numbers and names of the butterfly, once they are there and other than ``but``."""
    page.wait_for_function(OTHER_BARS, arg=but)
    return str(page.locator(BARS).inner_text())


def click_on_image(page: Any, across: float, down: float) -> None:
    area = page.locator(f".frame.placeable{CURRENT}").bounding_box()
    page.mouse.click(area["x"] + across * area["width"], area["y"] + down * area["height"])


def test_a_sticker_is_placed_watched_explained_and_kept(page: Any, own_study: Path) -> None:
    before = bars(page, but="")
    page.locator(f".st-key-what_if_on label{CURRENT}").click()
    page.get_by_text(ANSWERED).wait_for()
    first = bars(page, but=before)
    # Who has no pointer hears of the sliders, which are called what the image says.
    page.get_by_alt_text(re.compile("so do the sliders Across and Down")).first.wait_for()
    for name in ("Across, px", "Down, px"):
        page.get_by_role("slider", name=name).first.wait_for()

    frame, box = page.locator(f".frame.placeable{CURRENT}"), page.locator(f".box{CURRENT}")
    stood = box.get_attribute("style")
    area = frame.bounding_box()
    page.mouse.move(area["x"] + 5, area["y"] + 5)
    page.mouse.down()
    assert box.get_attribute("style") != stood
    frame.evaluate("frame => frame.dispatchEvent(new PointerEvent('pointercancel'))")
    page.mouse.move(area["x"] + 60, area["y"] + 60)
    assert box.get_attribute("style") == stood
    page.mouse.up()

    click_on_image(page, 0.25, 0.75)
    page.locator('[data-testid="stSliderThumbValue"]', has_text="24").first.wait_for()
    bars(page, but=first)
    page.get_by_text(ANSWERED).wait_for()
    page.locator(".ds-region").first.wait_for()
    page.set_viewport_size({"width": 1280, "height": 1200})
    page.get_by_text("earth mover").first.wait_for()
    assert page.evaluate(SIDEWAYS) <= 0
    assert page.evaluate(CUT) == []

    page.locator(f".st-key-pick_method{CURRENT}").click()
    page.get_by_role("option", name="Input times gradient").click()
    page.get_by_text("none promised").first.wait_for()

    page.locator(".st-key-keep button").first.click()
    page.get_by_label("Name", exact=True).fill("My note")
    page.get_by_label("Name", exact=True).press("Enter")
    page.locator(f".st-key-keep_now button{CURRENT}").click()
    page.wait_for_url(re.compile("condition=my_note"), timeout=240_000)
    page.get_by_text("Its nearest neighbors").first.wait_for()
    condition = Study.open(own_study).conditions["my_note"]
    (edit,) = condition.parameters["edits"]
    assert (edit["edit"], edit["across"], edit["down"]) == ("sticker", 8.0, 24.0)
