"""From an empty workspace to a repaired student and its report, in a browser, by clicks and typing.

Nothing is prepared: the student that is audited and repaired is poisoned and distilled on the way.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.store import Study
from dashboard.jobs.board import Board
from tests.e2e.forms import choose, now, press, start, type_in
from tests.e2e.test_journey import WATCH, serving

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

A_JOB = 900_000
"""Milliseconds that a job may take: its worker yields to everybody else on the machine."""
NAME, REPAIRED = "road-signs", "mended"
SMALL = {
    "Distillation images *": "signs:train,n=320,seed=11",
    "Inspection images *": "signs:test,n=64,seed=12",
    "Validation images": "",
    "Epochs": "2",
    "Explained images": "0",
    "Perturbed images": "4",
}
"""What is typed into the form of the experiment to make it small."""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "studies"
    folder.mkdir()
    return folder


@pytest.fixture
def page(chromium: str, workspace: Path) -> Iterator[Any]:
    with serving(workspace) as (address, _), sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, base_url=address)
        page.set_default_timeout(240_000)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.add_init_script(WATCH)
        yield page
        assert complaints == []
        violations = [v for v in page.evaluate("window.violations") if "wasm-eval" not in v]
        assert violations == []
        browser.close()


def form(page: Any, short: str) -> None:
    page.get_by_role("link", name="Lab", exact=True).click()
    page.get_by_role("radio", name=short, exact=True).click()


def settings(page: Any) -> None:
    now(page, page.get_by_text("More settings", exact=True)).click()


def open_result(page: Any, title: str) -> None:
    """Wait for the newest job, whose head says ``title``, and follow its link."""
    head = now(page, page.locator('[class*="st-key-jobhead_"]', has_text=title))
    head.first.get_by_role("link", name="Open the study").click(timeout=A_JOB)
    page.locator(".st-key-context_bar").wait_for()


def poison_and_distill(page: Any) -> None:
    """From the first page to a study: the experiment is made small, cancelled, resumed, opened."""
    page.goto("/")
    page.get_by_text("There is no study here yet").wait_for()
    page.get_by_role("button", name="Open it in the Lab").click()
    page.locator(f'input[value="{NAME}"]').wait_for()
    type_in(page, "run", SMALL)
    now(page, page.get_by_text("Maps", exact=True)).click()
    start(page)
    page.get_by_text("part 1 of 4").wait_for()
    press(page, "Cancel")
    now(page, page.locator(".ds-job", has_text="cancelled")).wait_for()
    now(page, page.get_by_text("Nothing is running")).wait_for()
    press(page, "Resume")
    open_result(page, "Whole experiment")
    page.get_by_text("64 images · 16 classes").wait_for()


def audit(page: Any) -> None:
    """Audit the student of the study that is open."""
    form(page, "Audit")
    choose(page, "audit", "Student", "backdoored")
    choose(page, "audit", "Budget", "fast")
    settings(page)
    type_in(page, "audit", {"Steps": "40"})
    start(page)
    open_result(page, "Audit")
    page.get_by_text("Smallest trigger, against honest references").wait_for()


def repair(page: Any) -> None:
    """Unlearn what the audit found."""
    form(page, "Repair")
    type_in(page, "repair", {"Name *": REPAIRED})
    choose(page, "repair", "Student *", "backdoored")
    settings(page)
    type_in(page, "repair", {"Epochs": "1"})
    start(page)
    open_result(page, "Repair")
    page.get_by_text("Unlearning the trigger").first.wait_for()


def report(page: Any) -> str:
    """The report that the Save menu hands out."""
    page.get_by_role("button", name="Save").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="This comparison as a report, HTML").click()
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_poison_distill_cancel_resume_audit_repair_report(page: Any, workspace: Path) -> None:
    poison_and_distill(page)
    audit(page)
    repair(page)
    text = report(page)
    assert text.startswith("<!DOCTYPE html>")
    for part in ("backdoored", "Smallest trigger, against honest references", REPAIRED):
        assert part in text

    jobs = Board(workspace).jobs()[::-1]
    kinds = [(job.order.kind, job.state, job.attempts) for job in jobs]
    assert kinds == [("run", "done", 2), ("audit", "done", 1), ("repair", "done", 1)]
    study = Study.open(workspace / NAME)
    assert list(study.students) == ["backdoored", "honest", REPAIRED]
    assert study.students[REPAIRED].parent == "backdoored"
    # All that was typed, and nothing else, is what was run.
    written = tomllib.loads((workspace / f"{NAME}.toml").read_text())
    assert written["images"] == {
        "distillation": "signs:train,n=320,seed=11", "inspection": "signs:test,n=64,seed=12",
    }  # fmt: skip
    assert written["distillation"]["epochs"] == 2
    assert (written["comparison"]["probe"], written["conditions"]["probe"]) == (0, 4)
    assert written["comparison"]["projection"] is False
    assert jobs[1].order.values["search"] == {"steps": 40}
    assert jobs[2].order.values["remedy"] == {"epochs": 1}
