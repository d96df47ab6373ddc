"""The two linked maps in a real browser, under the policy that the application sends."""

from __future__ import annotations

import io
import json
import math
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dashboard.components.pair_map import PairPoints
from dashboard.selection import Lasso
from tests.e2e.apps.pair_map_app import SIGNS, make_points

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

APP = Path(__file__).parent / "apps" / "pair_map_app.py"
COUNT = 2000
MARGIN = 26


@pytest.fixture(scope="module")
def points() -> PairPoints:
    return make_points.__wrapped__(COUNT)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = str(APP.parents[3])
    server = subprocess.Popen(
        [sys.executable, str(APP), str(port), str(COUNT)],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            assert server.poll() is None, "the application stopped"
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1)
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}`);
});
"""


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(20_000)
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.add_init_script(WATCH)
    yield page
    # Streamlit's protobuf library probes for WebAssembly and does without it.
    violations = [v for v in page.evaluate("window.violations") if "wasm-eval" not in v]
    assert violations == []
    assert complaints == []
    page.close()


@pytest.fixture
def maps(page: Any, url: str) -> Any:
    page.goto(url)
    page.locator("[data-ready]").wait_for()
    return page


def expect_status(page: Any, side: str, pattern: str) -> str:
    status = page.get_by_test_id(f"{side}-status")
    sync_api.expect(status).to_have_text(re.compile(pattern))
    return str(status.inner_text())


def python_side(page: Any, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the page's script was told, as soon as it satisfies ``until``."""
    shown: dict[str, Any] = {}
    for _ in range(200):
        shown = json.loads(page.get_by_test_id("report").get_attribute("title"))
        if until(shown):
            return shown
        page.wait_for_timeout(50)
    raise AssertionError(f"the script never saw it: {shown}")


def to_pixels(page: Any, points: PairPoints, side: str) -> Callable[[np.ndarray], np.ndarray]:
    """Where coordinates appear on the page at first sight: both layouts fitted into one frame."""
    both = np.concatenate([points.layout("teacher"), points.layout("student")]).astype(float)
    low, high = both.min(0), both.max(0)
    box = page.get_by_test_id(f"{side}-map").bounding_box()
    size = np.array([box["width"], box["height"]])
    scale = ((size - 2 * MARGIN) / (high - low)).min()
    middle = np.array([box["x"], box["y"]]) + size / 2
    return lambda xy: middle + (xy - (low + high) / 2) * scale * [1, -1]


def drag(page: Any, corners: np.ndarray) -> None:
    page.mouse.move(*corners[0])
    page.mouse.down()
    for x, y in corners[1:]:
        page.mouse.move(x, y)
    page.mouse.up()


def circle(center: np.ndarray, radius: float) -> np.ndarray:
    angles = np.linspace(0, 2 * math.pi, 60)
    return center + radius * np.stack([np.cos(angles), np.sin(angles)], 1)


def winding(polygon: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Points inside, by the angle that the polygon sweeps around them."""
    a = polygon[None] - xy[:, None].astype(float)
    b = np.roll(a, -1, axis=1)
    cross = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return np.abs(np.arctan2(cross, (a * b).sum(-1)).sum(1)) > math.pi


def picture(page: Any, side: str) -> np.ndarray:
    shot = page.get_by_test_id(f"{side}-map").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def vividness(image: np.ndarray, page: Any, side: str, spots: np.ndarray) -> float:
    """Mean color strength (largest minus smallest channel) at places on the page."""
    box = page.get_by_test_id(f"{side}-map").bounding_box()
    x, y = (np.round(spots - [box["x"], box["y"]]).astype(int)).T
    patch = image[y, x]
    return float((patch.max(1) - patch.min(1)).mean())


def center_of(points: PairPoints, side: str, name: str) -> np.ndarray:
    rows = (np.asarray(points.labels) == SIGNS.index(name)) & ~np.asarray(points.has_trigger)
    return np.median(points.layout(side)[rows], axis=0).astype(float)


def test_lasso_on_the_left_lights_up_the_same_samples_on_the_right(
    maps: Any, points: PairPoints
) -> None:
    left, right = to_pixels(maps, points, "teacher"), to_pixels(maps, points, "student")
    before = picture(maps, "student")
    drag(maps, circle(left(center_of(points, "teacher", "ahead")), 34))
    expect_status(maps, "teacher", r"selected, \d+\s% answered “ahead”")
    shown = python_side(maps, lambda said: said["selected"] > 0)
    lasso = Lasso.from_text(shown["lasso"])
    inside = winding(np.array(lasso.points), points.layout("teacher"))
    assert lasso.side == "teacher"
    assert shown["selected"] == int(inside.sum()) > 80
    assert shown["rows"] == np.flatnonzero(inside)[:50].tolist()
    assert maps.get_by_test_id("pair-map").get_attribute("data-selected") == str(inside.sum())

    maps.mouse.move(5, 5)
    after = picture(maps, "student")
    plain = ~np.asarray(points.has_trigger)
    other = plain & (np.asarray(points.labels) == SIGNS.index("no entry"))
    chosen = right(points.layout("student")[inside & plain].astype(float))
    rest = right(points.layout("student")[other].astype(float))
    assert vividness(after, maps, "student", rest) < 0.55 * vividness(before, maps, "student", rest)
    assert vividness(after, maps, "student", chosen) > 0.7 * vividness(
        before, maps, "student", chosen
    )


def test_lasso_around_nothing_selects_nothing(maps: Any, points: PairPoints) -> None:
    box = maps.get_by_test_id("teacher-map").bounding_box()
    before = picture(maps, "student")
    drag(maps, circle(np.array([box["x"] + 24, box["y"] + 24]), 12))
    maps.wait_for_timeout(700)
    assert maps.get_by_test_id("teacher-status").inner_text() == ""
    assert python_side(maps, lambda said: True)["selected"] == 0
    maps.mouse.move(5, 5)
    np.testing.assert_array_equal(picture(maps, "student"), before)


def test_shift_adds_alt_removes_and_escape_clears(maps: Any, points: PairPoints) -> None:
    left = to_pixels(maps, points, "teacher")
    drag(maps, circle(left(center_of(points, "teacher", "ahead")), 34))
    first = python_side(maps, lambda said: said["selected"] > 0)["selected"]
    maps.keyboard.down("Shift")
    drag(maps, circle(left(center_of(points, "teacher", "80")), 34))
    maps.keyboard.up("Shift")
    both = python_side(maps, lambda said: said["selected"] > first)
    assert both["lasso"] is None
    maps.keyboard.down("Alt")
    drag(maps, circle(left(center_of(points, "teacher", "80")), 60))
    maps.keyboard.up("Alt")
    assert python_side(maps, lambda said: said["selected"] < both["selected"])["selected"] == first
    maps.keyboard.press("Escape")
    python_side(maps, lambda said: said["selected"] == 0)
    assert maps.get_by_test_id("student-status").inner_text() == ""


def test_new_coloring_keeps_zoom_and_selection_and_sends_colors_alone(
    maps: Any, points: PairPoints
) -> None:
    left = to_pixels(maps, points, "teacher")
    drag(maps, circle(left(center_of(points, "teacher", "stop")), 30))
    selected = python_side(maps, lambda said: said["selected"] > 0)["selected"]
    maps.mouse.wheel(0, -300)
    root = maps.get_by_test_id("pair-map")
    sync_api.expect(root).not_to_have_attribute("data-zoom", "1.000")
    zoom, ready = root.get_attribute("data-zoom"), root.get_attribute("data-ready")
    sizes: list[int] = []
    maps.on("response", lambda r: sizes.append(len(r.body())) if "/map/" in r.url else None)
    maps.get_by_text("divergence", exact=True).click()
    sync_api.expect(root).not_to_have_attribute("data-ready", ready)
    assert root.get_attribute("data-zoom") == zoom
    assert python_side(maps, lambda said: True)["selected"] == selected
    assert len(sizes) == 1
    assert sizes[0] < COUNT + 100
    assert "KL" in maps.locator(".legend").inner_text()


def test_click_selects_one_sample_and_the_card_describes_it(maps: Any, points: PairPoints) -> None:
    row = int(np.argmax(points.layout("teacher")[:, 1]))
    x, y = to_pixels(maps, points, "teacher")(points.layout("teacher")[row].astype(float))
    maps.mouse.move(x - 3, y - 3)
    maps.mouse.move(x, y)
    card = maps.get_by_test_id("hover-card")
    sync_api.expect(card).to_be_visible()
    text = card.inner_text()
    assert points.sample_ids[row].rpartition("/")[2] in text
    assert f"KL {points.kl[row]:.2f}" in text
    box = card.bounding_box()
    beside = x < box["x"] or x > box["x"] + box["width"]
    assert beside or y < box["y"] or y > box["y"] + box["height"]
    assert box["width"] == 238
    maps.mouse.click(x, y)
    assert python_side(maps, lambda said: said["clicked"] is not None)["clicked"] == row


def test_hostile_class_names_stay_text(maps: Any, points: PairPoints) -> None:
    xy = to_pixels(maps, points, "teacher")(points.layout("teacher").astype(float))
    row = np.flatnonzero(np.asarray(points.labels) == SIGNS.index("<b>caution</b>"))[0]
    maps.mouse.move(*(xy[row] - 2))
    maps.mouse.move(*xy[row])
    card = maps.get_by_test_id("hover-card")
    sync_api.expect(card).to_contain_text("<b>caution</b>")
    assert card.locator("b").count() == 0


def test_keyboard_walks_opens_and_clears(maps: Any) -> None:
    surface = maps.get_by_test_id("teacher-map")
    surface.focus()
    live = maps.locator(".live")
    maps.keyboard.press("ArrowRight")
    sync_api.expect(live).to_have_text(re.compile(r"inspection/\d+: teacher .+, student .+, KL"))
    first = live.inner_text()
    maps.keyboard.press("ArrowUp")
    sync_api.expect(live).not_to_have_text(first)
    row = int(re.search(r"inspection/(\d+)", live.inner_text())[1])
    maps.keyboard.press("Enter")
    assert python_side(maps, lambda said: said["clicked"] == row)["last_opened"] == row
    sync_api.expect(live).to_have_text(re.compile("1 selected"))
    maps.keyboard.press("i")
    sync_api.expect(live).to_have_text(re.compile("^Only "))
    maps.keyboard.press("Escape")
    sync_api.expect(live).to_have_text("Nothing selected")
    maps.keyboard.press("l")
    pan = maps.get_by_role("button", name="Pan")
    sync_api.expect(pan).to_have_attribute("aria-pressed", "true")
    maps.keyboard.press("+")
    sync_api.expect(maps.get_by_test_id("pair-map")).to_have_attribute("data-zoom", "1.250")
    maps.keyboard.press("0")
    sync_api.expect(maps.get_by_test_id("pair-map")).to_have_attribute("data-zoom", "1.000")


def test_deep_link_selects_on_arrival_and_survives_a_reload(
    page: Any, url: str, points: PairPoints
) -> None:
    x, y = center_of(points, "student", "ahead")
    lasso = Lasso.around(
        "student", [(x - 1, y - 1), (x + 1, y - 1), (x + 1, y + 1), (x - 1, y + 1)]
    )
    expected = int(winding(np.array(lasso.points), points.layout("student")).sum())
    page.goto(f"{url}/?lasso={lasso.to_text()}")
    expect_status(page, "student", rf"^{expected} selected")
    assert python_side(page, lambda said: True)["selected"] == expected
    page.reload()
    expect_status(page, "student", rf"^{expected} selected")
    drag(page, circle(to_pixels(page, points, "teacher")(center_of(points, "teacher", "80")), 30))
    expect_status(page, "teacher", "“80”")
    python_side(page, lambda said: said["selected"] not in (0, expected))


def test_morph_shows_the_teachers_layout_on_the_right(page: Any, url: str) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.goto(url)
    page.locator("[data-ready]").wait_for()
    assert (picture(page, "teacher") != picture(page, "student")).mean() > 0.01
    page.get_by_role("button", name="teacher", exact=True).click()
    assert page.get_by_role("slider").input_value() == "0"
    page.mouse.move(5, 5)
    assert (picture(page, "teacher") != picture(page, "student")).mean() < 0.003


@pytest.mark.parametrize(("theme", "background"), [("light", 255), ("dark", 17)])
def test_both_themes(page: Any, url: str, theme: str, background: int) -> None:
    page.emulate_media(color_scheme=theme)
    page.goto(url)
    page.locator("[data-ready]").wait_for()
    assert page.get_by_test_id("pair-map").get_attribute("data-theme") == theme
    assert abs(int(picture(page, "teacher")[4, 4, 0]) - background) < 12


def test_another_theme_keeps_everything_and_fetches_nothing(maps: Any, points: PairPoints) -> None:
    drag(maps, circle(to_pixels(maps, points, "teacher")(center_of(points, "teacher", "30")), 20))
    selected = python_side(maps, lambda said: said["selected"] > 0)["selected"]
    maps.keyboard.press("+")
    requests: list[str] = []
    maps.on("request", lambda r: requests.append(r.url) if "/map/" in r.url else None)
    maps.emulate_media(color_scheme="dark")
    root = maps.get_by_test_id("pair-map")
    sync_api.expect(root).to_have_attribute("data-theme", "dark")
    assert root.get_attribute("data-zoom") == "1.250"
    assert root.get_attribute("data-selected") == str(selected)
    assert requests == []


def test_what_the_filter_leaves_out_cannot_be_selected(
    page: Any, url: str, points: PairPoints
) -> None:
    page.goto(f"{url}/?only=stop")
    page.locator("[data-ready]").wait_for()
    left = to_pixels(page, points, "teacher")
    drag(page, circle(left(center_of(points, "teacher", "ahead")), 34))
    page.wait_for_timeout(500)
    assert page.get_by_test_id("teacher-status").inner_text() == ""
    drag(page, circle(left(center_of(points, "teacher", "stop")), 40))
    expect_status(page, "teacher", r"100\s% answered “stop”")
    assert python_side(page, lambda said: said["selected"] > 0)["lasso"] is None


def test_without_webgl_the_reason_is_said(page: Any, url: str) -> None:
    page.add_init_script(
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
        "  return kind === 'webgl2' ? null : get.call(this, kind, ...rest); };"
    )
    page.goto(url)
    sync_api.expect(page.locator(".pair-map .message")).to_contain_text("need WebGL 2")


def test_lost_graphics_come_back(maps: Any) -> None:
    before = picture(maps, "teacher")
    lose = (
        "canvas => { window.lost = canvas.getContext('webgl2').getExtension('WEBGL_lose_context');"
    )
    maps.locator("canvas.gl").evaluate(lose + " window.lost.loseContext(); }")
    message = maps.locator(".pair-map .message")
    sync_api.expect(message).to_contain_text("graphics driver stopped")
    maps.evaluate("window.lost.restoreContext()")
    sync_api.expect(message).to_be_hidden()
    maps.wait_for_timeout(200)
    np.testing.assert_array_equal(picture(maps, "teacher"), before)


def test_points_that_come_after_all_take_the_message_back(browser: Any, url: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(20_000)
    message = page.locator(".pair-map .message")
    columns = re.compile(r"/distillscope/map/[0-9a-f]{64}$")
    page.goto(url)
    page.locator("[data-ready]").wait_for()
    page.route(columns, lambda route: route.abort())
    page.get_by_text("divergence", exact=True).click()
    sync_api.expect(message).to_contain_text("could not be loaded")
    page.unroute(columns)
    page.get_by_text("label", exact=True).click()
    sync_api.expect(message).to_be_hidden()
    page.close()
