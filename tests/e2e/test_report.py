"""A report in a real browser, from the disk and without a network: the maps are linked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.store import Study
from dashboard.comparison import Comparison
from dashboard.loading import load_pair
from dashboard.report import write_report

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.effectiveDirective} ${event.blockedURI}`);
});
"""


@pytest.fixture
def page(chromium: str) -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(offline=True, viewport={"width": 1280, "height": 1000})
        page = context.new_page()
        page.add_init_script(WATCH)
        yield page
        browser.close()


def test_a_report_opens_offline_and_its_maps_are_linked(
    study: Study, tmp_path: Path, page: Any
) -> None:
    path = write_report(Comparison.of(study), tmp_path / "r.html")
    errors: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    root = page.locator(".pair-map")
    page.wait_for_function(
        "document.querySelector('#linked').shadowRoot.querySelector('.pair-map').dataset.ready"
    )
    surfaces = root.locator(".surface")
    assert surfaces.count() == 2
    page.locator("#maps").scroll_into_view_if_needed()
    box = surfaces.first.bounding_box()

    # Around everything on the teacher's map: the student's map says the same.
    corners = ((0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98), (0.02, 0.03))
    x, y = (box["x"] + corners[0][0] * box["width"], box["y"] + corners[0][1] * box["height"])
    page.mouse.move(x, y)
    page.mouse.down()
    for across, down in corners[1:]:
        page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"], steps=6)
    page.mouse.up()
    chosen = page.locator("#chosen")
    sync_api.expect(chosen).to_contain_text(f"{len(study.sample_ids)} of {len(study.sample_ids)}")
    pair = load_pair(study, "alpha")
    assert f"answer {int((~pair.agree).sum())} of them differently" in chosen.inner_text()
    assert root.get_attribute("data-selected") == str(len(study.sample_ids))
    statuses = root.locator(".status").all_inner_texts()
    assert all(str(len(study.sample_ids)) in words for words in statuses), statuses
    assert page.locator("#gallery img").count() == 24
    assert page.locator("#gallery img").first.evaluate("image => image.naturalWidth") > 0

    page.locator("#coloring").select_option("divergence")
    sync_api.expect(root.locator(".legend")).to_contain_text("nats")
    # A point under the pointer shows its answers.
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    card = root.locator("[data-testid=hover-card]")
    for step in range(1, 60):
        if "open" in (card.get_attribute("class") or ""):
            break
        page.mouse.move(
            box["x"] + box["width"] * (0.1 + 0.8 * (step * 7 % 60) / 60),
            box["y"] + box["height"] * (0.1 + 0.8 * (step * 11 % 60) / 60),
        )
        page.wait_for_timeout(90)
    assert re.search(r"KL \d", card.inner_text())

    page.emulate_media(media="print")
    assert page.locator("#still").is_visible()
    assert not page.locator("#live").is_visible()
    assert len(page.pdf(format="A4")) > 50_000
    assert page.evaluate("window.violations") == []
    assert errors == []
    assert all(url.startswith(("file:", "data:")) for url in asked), asked
