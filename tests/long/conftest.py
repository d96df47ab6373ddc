"""Keep what the long tests said last, with the commit that they ran on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

RESULT = Path(__file__).parent / "last_result.json"
_outcomes: dict[str, dict[str, object]] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        _outcomes[report.nodeid] = {
            "outcome": report.outcome,
            "seconds": round(report.duration, 1),
        }


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.option.markexpr != "long" or not _outcomes:
        return
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    result = {
        "commit": commit,
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "tests": _outcomes,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
