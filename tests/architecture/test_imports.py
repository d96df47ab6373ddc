"""The house's own laws: one direction of imports, and who may load what is heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
HEAVY = ("torch", "captum", "umap", "numba", "faiss", "sklearn")


def loaded_after(code: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has loaded after ``code``."""
    script = f"{code}\nimport sys\nprint('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    line = next(row for row in done.stdout.splitlines() if row.startswith("LOADED"))
    return set(line.split()[1:])


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "module", ["analysis", "analysis.errors", "analysis.records", "analysis.config",
               "analysis.digest", "analysis.store", "analysis.study.headline",
               "analysis.study.export", "analysis.study.gate", "analysis.study.null",
               "analysis.live.service", "analysis.data.edits",
               "analysis.audit.record", "analysis.attribution.settings",
               "analysis.attribution.null", "analysis.attribution.evidence",
               "dashboard.cli", "dashboard.loading", "dashboard.jobs.board",
               "dashboard.jobs.forms", "dashboard.jobs.worker",
               "dashboard.report", "dashboard.drawing"],
)  # fmt: skip
def test_light_modules_load_nothing_heavy(module: str) -> None:
    assert loaded_after(f"import {module}") == set()


def test_the_check_itself_sees_heavy_modules() -> None:
    assert "torch" in loaded_after("import analysis.inference")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import dashboard.cli\n"
        "try:\n    dashboard.cli.main(['--help'])\n"
        "except SystemExit as end:\n    assert not end.code"
    )
    assert loaded_after(code) == set()


def test_opening_a_study_loads_nothing_heavy(tiny_study: Path) -> None:
    code = (
        "import dashboard.app, dashboard.server\nfrom analysis.store import Study\n"
        f"study = Study.open({str(tiny_study)!r})\n"
        "study.samples('alpha'); study.projection('alpha'); study.attributions('alpha')"
    )
    assert loaded_after(code) == set()


def test_a_report_loads_nothing_heavy_and_no_streamlit(tiny_study: Path, tmp_path: Path) -> None:
    command = ["report", str(tiny_study), "--out", str(tmp_path / "r.html")]
    code = (
        "import sys, dashboard.cli\n"
        f"try:\n    dashboard.cli.main({command!r})\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert 'streamlit' not in sys.modules"
    )
    assert loaded_after(code) == set()
    assert (tmp_path / "r.html").stat().st_size > 100_000
