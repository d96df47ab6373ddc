"""Every page in both themes: contrast of texts (WCAG AA), names of controls, the Tab key."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard.theme import DARK, LIGHT

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "study-v1"
CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
SERVE = (
    "import sys; from dashboard.server import serve; "
    "serve(sys.argv[1], port=int(sys.argv[2]), open_browser=False)"
)
# Page and a text that stands on it once it is complete.
PAGES = {
    "overview": "Images by",
    "map": "Table of all images shown",
    "inspect": "Classes are labels",
    "layers": "The layers were not compared",
    "tour": "Every number is computed",
    "audit": "No audit of this student",
    "lab": "More settings",
    "runs": "Tick studies",
}
SIDEWAYS = """() => {
  const main = document.querySelector("[data-testid='stMain']")
  return Math.max(main.scrollWidth - main.clientWidth,
    document.documentElement.scrollWidth - window.innerWidth)
}"""
CUT = """() => {
  const width = document.querySelector("[data-testid='stMain']").clientWidth
  const shown = document.head.appendChild(document.createElement("style"))
  shown.textContent = ".ds-tip { display: block !important; visibility: hidden }"
  const cut = [...document.querySelectorAll(".ds-tip")].filter((tip) => {
    if (tip.parentElement.getClientRects().length === 0) return false
    const box = tip.getBoundingClientRect()
    return box.width === 0 || box.left < 0 || box.right > width
  }).map((tip) => tip.parentElement.textContent.slice(0, 60))
  shown.remove()
  return cut
}"""
CONTROLS = {"button", "link", "textbox", "combobox", "checkbox", "slider", "switch", "radio"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    copy = tmp_path_factory.mktemp("accessible") / "study"
    shutil.copytree(GOLDEN, copy)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(copy), str(port)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT.parent,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(page: Any, url: str, name: str) -> None:
    page.goto(f"{url}/{'' if name == 'overview' else name}")
    page.get_by_text(PAGES[name]).first.wait_for()
    page.locator("[data-testid='stApp'][data-test-script-state='notRunning']").wait_for()
    page.wait_for_timeout(300)  # transitions of colors


def unnamed(page: Any) -> list[str]:
    """Controls without a name, by role, in the tree that screen readers are given."""
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    shown = [node for node in tree if not node.get("ignored")]
    return [
        node["role"]["value"]
        for node in shown
        if node["role"].get("value") in CONTROLS
        and not node.get("name", {}).get("value", "").strip()
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_are_readable_and_controls_have_names(browser: Any, url: str, scheme: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(60_000)
    low, nameless = {}, {}
    for name in PAGES:
        opened(page, url, name)
        low[name] = page.evaluate(CONTRAST)
        nameless[name] = unnamed(page)
        assert page.evaluate(SIDEWAYS) <= 0, f"{name} scrolls sideways"
        assert page.evaluate(CUT) == [], f"help texts of {name} leave the page"
    page.close()
    assert {name: found for name, found in low.items() if found} == {}
    assert {name: found for name, found in nameless.items() if found} == {}


def test_the_check_sees_what_cannot_be_read(browser: Any) -> None:
    page = browser.new_page()
    page.set_content(
        '<body style="background:#fff"><p style="color:#999">gray</p><p style="color:#555">dark</p>'
        '<p style="color:#999;font-size:24px">large</p><p style="color:#888;font-size:24px">l</p>'
        '<div style="background:#000"><p style="color:#555">dark on black</p></div>'
        '<button disabled style="color:#ccc">off</button></body>'
    )
    assert [found["text"] for found in page.evaluate(CONTRAST)] == [
        "gray", "large", "dark on black",
    ]  # fmt: skip
    page.close()


def test_the_page_follows_a_theme_that_changes_while_it_is_open(browser: Any, url: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page.set_default_timeout(60_000)
    opened(page, url, "overview")
    # A function: strings are not evaluated under the server's policy.
    shown = """color => getComputedStyle(document.documentElement)
      .getPropertyValue("--ds-background").trim() === color"""
    for scheme, colors in (("dark", DARK), ("light", LIGHT)):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(shown, arg=colors.background)
    page.close()


FOCUSED = """() => {
  let at = document.activeElement
  while (at && at.shadowRoot && at.shadowRoot.activeElement) at = at.shadowRoot.activeElement
  const box = at.getBoundingClientRect()
  return [at.tagName, at.getAttribute("class") || "", at.getAttribute("data-testid") || "", box.y]
}"""


def test_the_tab_key_reaches_help_texts_and_the_table(browser: Any, url: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    opened(page, url, "map")
    reached = []
    for _ in range(90):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
        if reached[-1][2] == "data-grid-canvas":
            break
    kinds = [kind for _, kind, _, _ in reached]
    term = next(place for place, kind in enumerate(kinds) if "ds-term" in kind)
    assert term < len(reached) - 1
    assert reached[-1][2] == "data-grid-canvas"
    page.close()
