"""Find a Chromium for the browser tests, have one installed, or say in one line what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """Path of a Chromium that starts, or None."""
    candidates = [os.environ.get("DISTILLSCOPE_CHROMIUM"), *map(shutil.which, NAMES), _bundled()]
    return next((path for path in candidates if path and _starts(path)), None)


def _bundled() -> str | None:
    try:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            return playwright.chromium.executable_path
    except Exception:
        return None


def _starts(path: str) -> bool:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _install() -> None:
    commands = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if shutil.which("apt-get") and os.geteuid() == 0:
        commands += [
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
        ]
    for command in commands:
        try:
            subprocess.run(command, capture_output=True, timeout=600, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if find():
            return


def main() -> int:
    """Print the browser's path; in CI its absence is a failure, elsewhere its tests are skipped."""
    if not find():
        print("no Chromium found; installing one")
        _install()
    if path := find():
        print(f"browser: {path}")
        return 0
    print(
        "no Chromium: install the system's chromium package, or set DISTILLSCOPE_CHROMIUM=path; "
        "browser tests will be skipped"
    )
    return 1 if os.environ.get("CI") else 0


if __name__ == "__main__":
    sys.exit(main())
