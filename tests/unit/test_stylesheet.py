"""The stylesheet holds no rule for a class that nothing writes."""

from __future__ import annotations

import re
from typing import get_args

from dashboard.figures import audit_evidence, verdict
from dashboard.jobs.record import State
from tests.conftest import ROOT

FOLDER = ROOT / "dashboard"
# Classes that are put together where they are written.
COMPOSED = {
    *(f"ds-{state.mark}" for state in (verdict.NOT_TESTED, *verdict.STATES.values())),
    *(f"ds-state-{state}" for state in audit_evidence.STATES),
    *(f"ds-job-{state}" for state in get_args(State)),
    "ds-part-here", "ds-part-done",
}  # fmt: skip


def test_every_class_is_written_somewhere() -> None:
    style = (FOLDER / "static" / "distillscope.css").read_text()
    named = set(re.findall(r"\.(ds-[\w-]+)", style))
    sources = "".join(
        path.read_text()
        for kind in ("*.py", "*.ts")
        for path in sorted(FOLDER.rglob(kind))
        if "node_modules" not in path.parts
    )
    written = set(re.findall(r"ds-[\w-]+", sources))
    assert named - written - COMPOSED == set()
