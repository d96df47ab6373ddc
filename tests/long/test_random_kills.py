"""Fifty kills at random moments: every one leaves a workspace from which the next run goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analysis.errors import StudyError
from analysis.store import Study
from tests.conftest import ROOT

pytestmark = pytest.mark.long

KILLS = 50
RUN = """
import sys
from analysis.study.comparison import compare
from analysis.study.stages import CompareConfig
compare(teacher=sys.argv[1], students={"alpha": sys.argv[2], "beta": sys.argv[3]},
        images="signs:test,n=400,seed=9", out=sys.argv[4],
        config=CompareConfig(probe=16, steps=16, draws=200, projection=False),
        progress=lambda *_: print("at work", flush=True))
"""


def start(models: dict[str, Path], out: Path) -> subprocess.Popen:
    arguments = [str(models[name]) for name in ("teacher", "alpha", "beta")]
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments, str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def readable(out: Path) -> bool:
    """Whether there is a study; a half-written one would raise something else."""
    if out.exists():
        Study.open(out)
        return True
    with pytest.raises(StudyError, match="there is no study"):
        Study.open(out)
    return False


def test_fifty_random_kills(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    chance = random.Random(20240)
    whole = tmp_path / "whole" / "study"
    began = time.monotonic()
    undisturbed = start(tiny_models, whole)
    assert undisturbed.wait() == 0, undisturbed.stderr.read()
    span = time.monotonic() - began
    killed = finished = 0
    while killed < KILLS:
        out = tmp_path / f"workspace-{finished}" / "study"
        process = start(tiny_models, out)
        process.stdout.readline()  # imports are over, work has begun
        time.sleep(chance.uniform(0, span / 4))
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            killed += 1
        if readable(out):
            assert Study.open(out).measures("beta") == Study.open(whole).measures("beta")
            finished += 1  # it got through between kills: begin anew
    last = tmp_path / f"workspace-{finished}" / "study"
    process = start(tiny_models, last)
    assert process.wait() == 0, process.stderr.read()
    assert Study.open(last).digest == Study.open(whole).digest
    leftovers = list((last.parent / ".distillscope" / "staging").glob("*"))
    assert leftovers == []
