"""Another study in a real browser: chosen in the bar, deleted while it is open, left by a link."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_journey import serving

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def space(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of two studies."""
    root = tmp_path_factory.mktemp("switching") / "space"
    for name in ("one", "two"):
        shutil.copytree(tiny_study, root / name)
    return root


@pytest.fixture
def page(space: Path, chromium: str) -> Iterator[Any]:
    with serving(space / "one") as (url, _), sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, base_url=url)
        page.set_default_timeout(30_000)
        yield page
        browser.close()


def test_studies_are_switched_and_a_deleted_one_leads_to_the_others(page: Any, space: Path) -> None:
    page.goto("/inspect?student=beta&differ=1")
    page.get_by_role("button", name="answers differ").wait_for()
    page.evaluate("window.kept = true")
    # The input of Streamlit's choice covers its value.
    page.get_by_role("combobox", name="Study").click()
    page.get_by_role("option", name="two").click()
    page.wait_for_url("**study=two**")
    # Student and filter came along, the page is the same, and it was not loaded anew.
    page.wait_for_url(
        lambda url: "/inspect?" in url and "student=beta" in url and "differ=1" in url
    )
    page.get_by_role("button", name="answers differ").wait_for()
    assert page.evaluate("window.kept")
    shutil.rmtree(space / "two")
    page.get_by_role("link", name="Overview").click()
    page.locator(".ds-refused", has_text="There is no study").wait_for()
    page.get_by_role("link", name="one", exact=True).click()
    page.locator(".ds-finding").wait_for()
    page.wait_for_url(lambda url: "study" not in url)
    assert page.locator(".ds-refused").count() == 0
