from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from dashboard import background, terminal


def finished(step: background.Step) -> background.Step:
    step.process.wait(timeout=120)
    step.reader.join(timeout=10)
    return step


def test_a_command_that_fails_says_why_in_its_own_words(tmp_path: Path) -> None:
    arguments = ("layers", str(tmp_path / "nowhere"))
    step = finished(background.start(arguments))
    assert background.find(arguments) is step
    assert not step.running
    assert step.failed is not None
    assert step.failed.startswith(f"there is no study at {tmp_path / 'nowhere'}")
    background.forget(arguments)
    assert background.find(arguments) is None


def test_a_command_that_succeeds_has_not_failed(layered_study: Path) -> None:
    step = finished(background.start(("show", str(layered_study))))
    assert step.failed is None
    background.forget(("show", str(layered_study)))


def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str) -> None:
    """Let the step run ``code`` in place of our command line."""
    path = tmp_path / "python"
    (tmp_path / "script.py").write_text(code)
    path.write_text(f"#!/bin/sh\nexec {sys.executable} {tmp_path / 'script.py'}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def test_progress_is_read_and_equal_commands_are_one_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script(
        monkeypatch,
        tmp_path,
        "import sys, time\nprint('layers of a: b, clean: 3 of 7', file=sys.stderr, flush=True)\n"
        "time.sleep(60)",
    )
    arguments = ("progress", str(tmp_path))
    step = background.start(arguments)
    for _ in range(200):
        if step.total:
            break
        time.sleep(0.05)
    assert (step.stage, step.done, step.total) == ("layers of a: b, clean", 3, 7)
    assert step.running
    assert step.failed is None
    assert background.start(arguments) is step
    background.forget(arguments)
    assert background.find(arguments) is step, "a running step is not dropped"
    step.cancel()
    assert finished(step).failed is not None
    background.forget(arguments)


def started(arguments: tuple[str, ...]) -> background.Step:
    """A step that has reported, from a server that was started in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        step = background.start(arguments)
    finally:
        signal.signal(signal.SIGINT, before)
    while not step.total and step.running:
        time.sleep(0.05)
    assert step.running
    return step


def test_a_command_of_ours_is_cancelled_where_nobody_listens_to_ctrl_c(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    arguments = ("train", "--arch=convnet", "--images=signs:train,n=40000,seed=3", f"--out={out}")
    step = started(arguments)
    step.cancel()
    assert finished(step).failed == "cancelled; finished stages are kept"
    assert step.process.returncode == 130
    background.forget(arguments)


def test_a_command_that_does_not_listen_at_all_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = "import signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    script(
        monkeypatch,
        tmp_path,
        f"{code}print('deaf: 1 of 2', file=sys.stderr, flush=True)\ntime.sleep(60)",
    )
    monkeypatch.setattr(background, "GRACE", 0.3)
    step = started(("deaf", str(tmp_path)))
    step.cancel()
    step.cancel()
    assert finished(step).process.returncode == -signal.SIGKILL
    background.forget(("deaf", str(tmp_path)))


def test_commands_report_every_step_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(terminal.PROGRESS_VARIABLE, "all")
    with terminal.stage_progress() as report:
        report("answers", 1, 3)
        report("answers", 3, 3)
    assert capsys.readouterr().err.splitlines() == ["answers: 1 of 3", "answers: 3 of 3"]
