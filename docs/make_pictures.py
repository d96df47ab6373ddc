"""Take the screenshots of the documentation from the demo's study.

python docs/make_pictures.py STUDY

STUDY is what ``distillscope demo`` made (studies/road-signs). Needs the test extra and a Chromium.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from tests.find_browser import find  # noqa: E402

PORT = 8599
ADDRESS = f"http://127.0.0.1:{PORT}"
SIZE = {"width": 1440, "height": 900}
# Page and the text whose appearance says that the page is complete.
PAGES = {
    "overview": "What the compression bought",
    "map": "Trustworthiness",
    "inspect": "Which pixels",
    "layers": "Each student layer",
    "audit": "Smallest trigger for each class",
    "tour": "Every number is computed",
    "lab": "More settings",
}


@contextmanager
def server(study: str) -> Iterator[None]:
    command = [sys.executable, "-m", "dashboard.cli", "open", study, "--port", str(PORT)]
    process = subprocess.Popen([*command, "--no-browser"], cwd=HERE.parent)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{ADDRESS}/_stcore/health", timeout=1)
                break
            except OSError:
                time.sleep(0.5)
        yield
    finally:
        process.terminate()
        process.wait()


def take(page: Page, name: str, scheme: str) -> None:
    page.goto(f"{ADDRESS}/{name}")
    page.get_by_text(PAGES[name]).locator("visible=true").first.wait_for(timeout=60_000)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(2500)  # fonts, charts and the map's first frames
    target = HERE / "pictures" / f"{name}-{scheme}.png"
    target.parent.mkdir(exist_ok=True)
    page.screenshot(path=str(target))
    print(target)


def main() -> None:
    study = sys.argv[1] if len(sys.argv) > 1 else "studies/road-signs"
    with server(study), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport=SIZE, color_scheme=scheme)
            for name in PAGES:
                take(page, name, scheme)
        browser.close()


if __name__ == "__main__":
    main()
