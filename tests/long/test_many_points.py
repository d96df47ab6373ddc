"""The linked maps at 200 000 points: a lasso selects what lies in it, nothing is re-sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from benchmarks import bench_lasso
from dashboard.components.pair_map import PairPoints
from dashboard.selection import Lasso
from tests.e2e.apps.pair_map_app import make_points
from tests.e2e.test_pair_map import center_of, circle, drag, python_side, to_pixels, winding

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.long, pytest.mark.browser]

COUNT = bench_lasso.POINTS


@pytest.fixture
def page(chromium: str) -> Iterator[Any]:
    with bench_lasso.application() as url, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(120_000)
        page.goto(url)
        page.locator("[data-ready]").wait_for()
        yield page
        browser.close()


def test_a_lasso_at_200_000_points(page: Any) -> None:
    points: PairPoints = make_points.__wrapped__(COUNT)
    traffic = bench_lasso.Traffic(page)
    left = to_pixels(page, points, "teacher")
    drag(page, circle(left(center_of(points, "teacher", "ahead")), 30))
    shown = python_side(page, lambda said: said["selected"] > 0)
    inside = winding(np.array(Lasso.from_text(shown["lasso"]).points), points.layout("teacher"))
    assert shown["selected"] == int(inside.sum()) > COUNT // 100
    assert shown["rows"] == np.flatnonzero(inside)[:50].tolist()
    assert page.get_by_test_id("student-status").inner_text().startswith(f"{inside.sum():,}"[:2])
    assert traffic.down < COUNT, "less than a byte a point comes back"
