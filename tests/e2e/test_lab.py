"""The Lab in a real browser: a job is started, cancelled, resumed, done, and leads to its study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.store import Study
from dashboard.jobs.board import Board
from tests.e2e.forms import now, press, start, type_in
from tests.e2e.test_journey import WATCH, serving

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

MADE = {"Name *": "made", "Images *": "signs:test,n=48,seed=2", "Explained images": "0"}


@pytest.fixture
def page(chromium: str) -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(120_000)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.add_init_script(WATCH)
        yield page
        assert complaints == []
        violations = [v for v in page.evaluate("window.violations") if "wasm-eval" not in v]
        assert violations == []
        browser.close()


def test_a_job_is_started_cancelled_resumed_and_its_study_opened(page: Any, tmp_path: Path) -> None:
    workspace = tmp_path / "studies"
    workspace.mkdir()
    with serving(workspace) as (address, _):
        page.goto(f"{address}/lab")
        page.get_by_role("radio", name="Compare", exact=True).click()
        page.get_by_role("button", name="The demo’s models").click()
        page.locator('input[value="demo-models"]').wait_for()
        type_in(page, "compare", MADE)
        now(page, page.get_by_text("Maps", exact=True)).click()
        start(page)
        press(page, "Cancel")
        now(page, page.get_by_text("Nothing is running")).wait_for()
        now(page, page.locator(".ds-job", has_text="cancelled")).wait_for()
        assert not (workspace / "made").exists()
        press(page, "Resume")
        now(page, page.get_by_text("1 job is running")).wait_for()
        # The worker yields to everybody else on the machine.
        page.get_by_role("link", name="Open the study").click(timeout=240_000)
        page.get_by_text("What shall be run?").wait_for(state="detached")
        page.get_by_role("link", name="Inspect").wait_for()
    (job,) = Board(workspace).jobs()
    assert (job.state, job.attempts, job.study) == ("done", 2, "made")
    assert list(Study.open(workspace / "made").students) == ["backdoored", "honest"]
