"""One person's way through the dashboard, in a real browser under the real server."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.store import Study
from dashboard.loading import load_pair
from dashboard.server import content_security_policy

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
SERVE = (
    "import sys; from dashboard.server import serve; "
    "serve(sys.argv[1], port=int(sys.argv[2]), open_browser=False)"
)
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}`);
});
"""


@pytest.fixture(scope="module")
def folder(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study in a workspace of its own, because selections are saved there."""
    copy = tmp_path_factory.mktemp("journey") / "tiny"
    shutil.copytree(tiny_study, copy)
    return copy


@contextlib.contextmanager
def serving(study: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The server in a process of its own, and the address that it printed once it answered."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(study), str(port)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT.parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        assert address == f"http://127.0.0.1:{port}"
        yield address, server
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with serving(folder) as (address, _):
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
    failed: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("response", lambda r: failed.append(r.url) if r.status >= 400 else None)
    page.add_init_script(WATCH)
    yield page
    # Streamlit asks for its health below the page's own path first, then at the root.
    probes = [address for address in failed if re.search(r"/(map|inspect)/_stcore/", address)]
    assert [address for address in failed if address not in probes] == []
    assert [text for text in complaints if "404" not in text] == []
    assert len(complaints) <= len(probes)
    # Streamlit's protobuf library probes for WebAssembly and does without it.
    violations = [v for v in page.evaluate("window.violations") if "wasm-eval" not in v]
    assert violations == []
    page.close()


def wait_for_maps(page: Any) -> None:
    page.locator("[data-ready]").wait_for()


def status(page: Any, side: str) -> str:
    return str(page.get_by_test_id(f"{side}-status").inner_text())


def lasso(page: Any, side: str, share: float = 0.5) -> None:
    """Draw a circle of ``share`` of the map's smaller side around its middle."""
    box = page.get_by_test_id(f"{side}-map").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    radius = share * min(box["width"], box["height"]) / 2
    angles = [2 * math.pi * step / 24 for step in range(25)]
    corners = [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner)
    page.mouse.up()


def selected_count(page: Any) -> int:
    head = page.locator(".ds-sub", has_text=" answered differently")
    return int(re.match(r"\d+", head.inner_text())[0])  # type: ignore[index]


def shown_image(page: Any) -> str:
    """The sample that Inspect shows, by its title."""
    title = page.locator(".ds-title", has_text=re.compile("^Image "))
    title.wait_for()
    return str(title.get_attribute("title"))


def gallery_ids(page: Any) -> list[str]:
    titles = page.locator(".ds-gallery a").evaluate_all("all => all.map(a => a.title)")
    return [str(title) for title in titles]


# --- the journey ---------------------------------------------------------------------------


def test_the_journey(page: Any, url: str, study: Study) -> None:
    pair = load_pair(study, "alpha")
    page.goto(url)
    page.locator(".ds-finding").wait_for()
    assert f"{100 * pair.agree.mean():.1f}" in page.locator(".ds-finding").first.inner_text()

    page.get_by_role("link", name="Map").click()
    wait_for_maps(page)
    # Nothing is selected yet: neither map says so, the gallery shows another thing.
    assert "selected" not in status(page, "teacher") + status(page, "student")
    assert page.get_by_text("Where the two part most").count() == 1
    assert "picked" not in page.url
    before = gallery_ids(page)

    lasso(page, "student")
    page.wait_for_url("**picked=**")
    page.locator(".ds-title", has_text=re.compile("^Selection$")).wait_for()
    count = selected_count(page)
    assert 0 < count < len(pair)
    # The other map and the gallery followed.
    assert status(page, "teacher").startswith(f"{count} selected")
    assert status(page, "student").startswith(f"{count} selected")
    after = gallery_ids(page)
    assert len(after) == min(count, 60)
    assert after != before

    chosen = after[1]
    page.locator(".ds-gallery a").nth(1).click()
    page.wait_for_url("**/inspect?**")
    assert shown_image(page) == chosen
    assert chosen != after[0]

    address = page.url
    page.reload()
    assert shown_image(page) == chosen
    assert page.url == address

    page.get_by_role("link", name="Map").click()
    wait_for_maps(page)
    page.locator(".ds-title", has_text=re.compile("^Selection$")).wait_for()
    assert selected_count(page) == count
    assert gallery_ids(page) == after
    page.reload()
    wait_for_maps(page)
    page.locator(".ds-title", has_text=re.compile("^Selection$")).wait_for()
    assert (selected_count(page), gallery_ids(page)) == (count, after)


def test_the_same_url_elsewhere_shows_the_same_selection(page: Any, browser: Any, url: str) -> None:
    page.goto(f"{url}/map?student=beta")
    wait_for_maps(page)
    lasso(page, "teacher", 0.7)
    page.wait_for_url("**picked=**")
    page.locator(".ds-title", has_text=re.compile("^Selection$")).wait_for()
    other = browser.new_page(viewport={"width": 1280, "height": 800})
    other.set_default_timeout(30_000)
    other.goto(page.url)
    wait_for_maps(other)
    other.locator(".ds-title", has_text=re.compile("^Selection$")).wait_for()
    assert gallery_ids(other) == gallery_ids(page)
    assert status(other, "student") == status(page, "student")
    # Without the selection in the address there is none.
    other.goto(f"{url}/map?student=beta")
    wait_for_maps(other)
    other.get_by_text("Where the two part most").wait_for()
    assert "selected" not in status(other, "student")
    other.close()


def test_show_only_these_filters_every_page_and_comes_off(page: Any, url: str) -> None:
    page.goto(f"{url}/map")
    wait_for_maps(page)
    assert page.get_by_role("button", name="Show only these on all pages").is_disabled()
    lasso(page, "student")
    page.wait_for_url("**picked=**")
    page.locator(".ds-title", has_text=re.compile("^Selection$")).wait_for()
    count = selected_count(page)
    page.get_by_role("button", name="Show only these on all pages").click()
    page.wait_for_url("**within=**")
    page.get_by_text(f"{count} of 120 images").first.wait_for()
    page.get_by_role("link", name="Overview").click()
    page.locator(".ds-finding", has_text=f"these {count} images").wait_for()
    page.get_by_role("button", name="inside the lasso").first.click()
    page.locator(".ds-finding", has_text="of 120 images").wait_for()
    page.wait_for_url(lambda address: "within" not in address)


def test_a_cell_of_the_drift_matrix_filters(page: Any, url: str, study: Study) -> None:
    pair = load_pair(study, "alpha")
    counts = np.zeros((16, 16), int)
    np.add.at(counts, (pair.teacher_answer, pair.student_answer), 1)
    np.fill_diagonal(counts, 0)
    row, column = np.unravel_index(counts.argmax(), counts.shape)
    # Whichever cell it is, it lies inside the window.
    page.set_viewport_size({"width": 1280, "height": 1800})
    page.goto(url)
    page.locator(".ds-finding").wait_for()
    plot = page.locator(".js-plotly-plot").first
    plot.wait_for()
    # What is above it may still grow: a click is aimed once it has stood still for a second.
    plot.evaluate(
        "async plot => { for (let last = '', still = 0; still < 5;) {"
        " const box = JSON.stringify(plot.getBoundingClientRect());"
        " still = box === last ? still + 1 : 0; last = box;"
        " await new Promise(done => setTimeout(done, 200)) } }"
    )
    x, y = plot.evaluate(
        "(plot, [column, row]) => { const box = plot.getBoundingClientRect();"
        " const {xaxis, yaxis} = plot._fullLayout;"
        " return [box.x + xaxis._offset + xaxis.c2p(column),"
        "         box.y + yaxis._offset + yaxis.c2p(row)] }",
        [int(column), int(row)],
    )
    page.mouse.move(x - 1, y - 1)
    page.mouse.click(x, y)
    page.wait_for_url(f"**cell={row}.{column}**")
    noun = "image" if counts[row, column] == 1 else "images"
    page.locator(".ds-finding", has_text=f"none of these {counts[row, column]} {noun}").wait_for()


def test_a_class_filters_without_loading_the_page_anew(page: Any, url: str) -> None:
    page.goto(url)
    page.locator(".ds-finding").wait_for()
    # Until somebody listens a link is a link: it loads the page anew.
    page.locator("html[data-ds-links]").wait_for(state="attached")
    page.evaluate("window.kept = true")
    page.locator(".ds-rows a").first.click()
    page.wait_for_url("**class=**")
    page.locator(".ds-finding", has_text="these").wait_for()
    assert page.evaluate("window.kept") is True
    page.go_back()
    page.wait_for_url(lambda address: "class" not in address)
    page.locator(".ds-finding", has_text="of 120 images").wait_for()


def test_a_chart_is_saved_as_a_picture(page: Any, url: str, tmp_path: Path) -> None:
    page.goto(url)
    page.locator(".ds-finding").wait_for()
    chart = page.locator(".js-plotly-plot").first
    chart.hover()
    with page.expect_download() as download:
        chart.locator(".modebar-btn").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.suffix == ".svg"
    assert path.read_text(encoding="utf-8").startswith("<svg")


def test_the_save_menu_hands_out_csv(page: Any, url: str) -> None:
    page.goto(url)
    page.locator(".ds-finding").wait_for()
    page.get_by_role("button", name="Save").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Classes, CSV").click()
    assert download.value.suggested_filename == "alpha-classes.csv"
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("name,n,")
    assert len(lines) > 10
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG").first.click()
    assert download.value.suggested_filename == "alpha-changed-answers.png"
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


def test_light_and_dark_have_their_own_colors(browser: Any, url: str) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto(url)
        page.locator(".ds-finding").wait_for()
        page.locator(
            '[data-testid="stLogoLink"] img, [data-testid="stHeaderLogo"]'
        ).first.wait_for()
        seen[scheme] = page.locator(".ds-finding").evaluate(
            "node => [getComputedStyle(node).color, getComputedStyle(node).fontFamily]"
        )
        context.close()
    assert seen["light"][0] == "rgb(23, 32, 43)"
    assert seen["dark"][0] == "rgb(232, 236, 240)"
    assert "IBM Plex Sans" in seen["light"][1]


# --- the server ----------------------------------------------------------------------------


def fetch(url: str, host: str | None = None) -> tuple[int, dict[str, str]]:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200), ("/map", 200), ("/_stcore/health", 200), ("/app/static/OFL.txt", 200),
        ("/app/static/missing", 404), ("/distillscope/thumb/clean?at=0", 200),
        ("/distillscope/thumb/clean?id=..%2F..%2Fstudy.json", 404),
        ("/distillscope/map/unknown", 404), ("/app/static/..%2fserver.py", 400),
    ],
)  # fmt: skip
def test_every_answer_of_the_server_is_protected(url: str, path: str, status: int) -> None:
    code, headers = fetch(url + path)
    assert code == status
    assert headers["content-security-policy"] == content_security_policy()
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/", "/_stcore/health", "/distillscope/thumb/clean?at=0"])
def test_the_server_answers_only_to_its_own_name(url: str, path: str) -> None:
    assert fetch(url + path)[0] == 200
    assert fetch(url + path, host="attacker.example")[0] == 421


def test_a_study_deleted_under_an_open_page_is_a_message(
    browser: Any, tiny_study: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "short-lived"
    shutil.copytree(tiny_study, copy)
    with serving(copy) as (address, _):
        page = browser.new_page()
        page.set_default_timeout(30_000)
        page.goto(address)
        page.locator(".ds-finding").wait_for()
        assert page.locator(".ds-refused").count() == 0
        shutil.rmtree(copy)
        page.get_by_role("link", name="Inspect").click()
        page.locator(".ds-refused", has_text="is gone").wait_for()
        assert page.get_by_text("Traceback").count() == 0
        page.close()


def test_the_server_stops_when_asked(tiny_study: Path) -> None:
    with serving(tiny_study) as (address, server):
        assert fetch(address + "/_stcore/health")[0] == 200
        server.terminate()
        server.wait(30)
        with pytest.raises(urllib.error.URLError):
            fetch(address + "/_stcore/health")
