"""Training and Tour in a real browser: the film plays, the tour goes from step to step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_journey import WATCH, serving

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(attacked_study: Path) -> Iterator[str]:
    with serving(attacked_study) as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(30_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.add_init_script(WATCH)
    yield page
    assert complaints == []
    # Streamlit's protobuf library probes for WebAssembly and does without it.
    violations = [v for v in page.evaluate("window.violations") if "wasm-eval" not in v]
    assert violations == []
    page.close()


def wait_for_epoch(page: Any, epoch: int) -> None:
    """Wait until facts and map both show ``epoch``."""
    page.locator(".ds-facts", has_text=f"epoch {epoch}").wait_for()
    page.get_by_text(f"backdoored, epoch {epoch}", exact=True).wait_for()


def test_the_film_plays_to_the_last_epoch_and_the_slider_goes_back(page: Any, url: str) -> None:
    page.goto(f"{url}/training?student=backdoored&epoch=1")
    page.locator(".ds-finding", has_text="The backdoor appears").wait_for()
    page.locator("[data-ready]").wait_for()
    wait_for_epoch(page, 1)
    assert "epoch=1" in page.url
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Pause").wait_for()
    wait_for_epoch(page, 7)
    page.get_by_role("button", name="Play").wait_for()
    page.wait_for_url(lambda address: "epoch" not in address)
    page.get_by_role("slider", name="Epoch").press("ArrowLeft")
    wait_for_epoch(page, 3)
    page.wait_for_url("**epoch=3**")
    page.reload()
    wait_for_epoch(page, 3)
    assert page.locator(".ds-refused").count() == 0


def test_what_is_selected_stays_selected_in_the_next_epoch(page: Any, url: str) -> None:
    page.goto(f"{url}/training?student=backdoored&epoch=1")
    page.locator("[data-ready]").wait_for()
    wait_for_epoch(page, 1)
    surface, maps = page.get_by_test_id("teacher-map"), page.get_by_test_id("pair-map")
    surface.scroll_into_view_if_needed()
    box = surface.bounding_box()
    left, right = box["x"] + 4, box["x"] + box["width"] / 2
    top, bottom = box["y"] + 4, box["y"] + box["height"] - 4
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(x, y, steps=5)
    page.mouse.up()
    sync_api.expect(maps).to_have_attribute("data-selected", re.compile("[1-9]"))
    selected = maps.get_attribute("data-selected")
    page.get_by_role("slider", name="Epoch").press("ArrowRight")
    wait_for_epoch(page, 3)
    sync_api.expect(maps).to_have_attribute("data-selected", selected)


def test_the_tour_goes_from_step_to_step(page: Any, url: str) -> None:
    page.goto(f"{url}/tour?student=backdoored")
    page.locator(".ds-finding", has_text="The teacher is").wait_for()
    page.evaluate("window.kept = true")
    for step, title in ((2, "The student"), (3, "The trigger")):
        page.get_by_role("button", name=title).click()
        page.wait_for_url(f"**step={step}**")
        page.locator(".ds-steps .ds-here b", has_text=re.compile(f"^{step}$")).wait_for()
    page.locator(".ds-finding", has_text="The patch sends backdoored to “80”").wait_for()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.ds-grid img')].length > 0 &&"
        " [...document.querySelectorAll('.ds-grid img')].every(i => i.naturalWidth > 0)"
    )
    page.locator(".ds-steps a", has_text="How it came in").click()
    page.wait_for_url("**step=6**")
    page.locator(".ds-finding", has_text="came in").wait_for()
    assert page.evaluate("window.kept") is True, "a step is no new page"
    page.reload()
    page.locator(".ds-finding", has_text="came in").wait_for()
    page.get_by_role("button", name="Open these images in Map").click()
    page.wait_for_url("**/map?**")
    page.locator("[data-ready]").wait_for()
    assert "condition=trigger" in page.url


def test_both_pages_are_in_the_navigation(page: Any, url: str) -> None:
    page.goto(url)
    page.locator(".ds-finding").wait_for()
    page.get_by_role("link", name="Training").click()
    page.locator(".ds-title", has_text="When did they part?").wait_for()
    page.get_by_role("link", name="Tour").click()
    page.locator(".ds-steps").wait_for()
