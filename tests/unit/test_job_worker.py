"""Real workers on a tiny experiment: killed at each stage, cancelled, found by another server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.digest import digest_file
from analysis.errors import StorageError
from analysis.store import Study
from dashboard.jobs import worker
from dashboard.jobs.board import GONE, GRACE, Board, silence
from dashboard.jobs.progress import read_progress
from dashboard.jobs.record import LOG, Job, Order, log_tail, write_job
from tests.job_orders import accident, end_all, tiny_experiment

ROOT = Path(__file__).parents[2]
ACCIDENTS = (
    ("teacher: training", "killed"),
    ("both of train.npz: poison", "killed"),
    ("backdoored: training", "waits"),
    ("answers of teacher", "killed"),
)
"""What a worker meets, one after the other, in the order in which a job comes by."""


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    yield
    end_all()


def until_over(board: Board, job: str, seconds: float = 120.0) -> Job:
    end = time.monotonic() + seconds
    while not (found := next(one for one in board.tend() if one.id == job)).over:
        assert time.monotonic() < end, log_tail(board.folder(job))
        time.sleep(0.05)
    return found


def until(what: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


_SERVER = """
import sys, time
from pathlib import Path
from dashboard.jobs.board import Board
from dashboard.jobs.orders import plan_of
from tests.job_orders import tiny_experiment

workspace = Path(sys.argv[1])
order = tiny_experiment(workspace)
print(Board(workspace).submit(order, study=plan_of(order, workspace).study).id, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which a worker did the tiny experiment, while its server was killed."""
    workspace = tmp_path_factory.mktemp("undisturbed")
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(workspace)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    job = server.stdout.readline().strip()
    # As Ctrl-C in the server's terminal, then at once.
    server.send_signal(signal.SIGINT)
    server.kill()
    server.wait()
    server.stdout.close()
    board = Board(workspace)
    assert board.find(job).state == "running", "it outlives its server and is found again"
    found = until_over(board, job)
    assert found.state == "done", log_tail(board.folder(job))
    return workspace


def test_a_job_that_is_done_left_a_study_a_log_and_all_parts(undisturbed: Path) -> None:
    board = Board(undisturbed)
    (job,) = board.jobs()
    assert job.study == "tiny"
    assert list(Study.open(undisturbed / "tiny").students) == ["backdoored"]
    progress = read_progress(board.folder(job.id))
    assert progress.parts == ("Train", "Poison", "backdoored", "Compare")
    assert progress.at == 3
    assert all(stage.finished for stage in progress.stages if stage.name.startswith("answers"))
    assert {stage.part for stage in progress.stages} == {0, 1, 2, 3}
    log = (board.folder(job.id) / LOG).read_text()
    assert log.startswith("$ distillscope run tiny.toml")
    assert "open it with:  distillscope open tiny" in log.replace(str(undisturbed) + "/", "")
    assert (undisturbed / "tiny.toml").is_file()


def test_a_job_that_meets_an_accident_at_each_stage_ends_with_the_same_study(
    undisturbed: Path, tmp_path: Path
) -> None:
    order = tiny_experiment(tmp_path)
    job, made = "", {}
    for attempt, (stage, how) in enumerate(ACCIDENTS):
        board = Board(tmp_path, start=accident(stage, how))
        job = board.resume(job).id if job else board.submit(order, study="tiny").id
        if how == "waits":
            until((board.folder(job) / "waits").exists)
            assert silence(board.folder(job)) < 10
            assert board.cancel(job).stop_asked is not None
        found = until_over(board, job)
        expected = ("cancelled", "") if how == "waits" else ("failed", GONE)
        assert (found.state, found.message) == expected, log_tail(board.folder(job))
        assert found.attempts == attempt + 1
        assert not (tmp_path / "tiny").exists(), f"a study is there after {stage}"
        before, made = made, models(tmp_path)
        assert before.items() <= made.items(), f"something was made again after {stage}"
    assert len(made) == 2, "teacher and student"
    board = Board(tmp_path)
    board.resume(job)
    found = until_over(board, job)
    assert found.state == "done", log_tail(board.folder(job))
    assert found.study == "tiny"
    mine, theirs = Study.open(tmp_path / "tiny"), Study.open(undisturbed / "tiny")
    assert mine.manifest.stored == theirs.manifest.stored, "a file differs"


def models(workspace: Path) -> dict[str, tuple[str, int]]:
    """Content and time of the weights that a run has finished."""
    paths = (workspace / "tiny.run").glob("*.safetensors")
    return {path.name: (digest_file(path), path.stat().st_mtime_ns) for path in paths}


# --- in this process -----------------------------------------------------------------------


def work_here(board: Board, order: Order, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Let this process be the worker of ``order``."""
    monkeypatch.setattr(worker.Stopping, "install", lambda self: None)
    monkeypatch.setattr(os, "nice", lambda by: 0)
    monkeypatch.chdir(board.workspace)
    write_job(board.folder("here"), Job(id="here", order=order))
    worker.work(board.folder("here"))
    return board.find("here")


def test_a_command_that_refuses_is_a_failed_job_with_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(tmp_path)
    log = board.folder("here") / LOG
    log.parent.mkdir(parents=True)
    values = {"inputs": {"teacher": "no.safetensors", "student": ["a.th"], "images": "no"}}
    with log.open("w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        found = work_here(board, Order(kind="compare", name="new", values=values), monkeypatch)
        file.flush()
    assert found.state == "failed"
    assert "names no architecture" in found.message or "no.safetensors" in found.message
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (Order(kind="shell", name="x"), "unknown kind of job 'shell'"),
        (Order(kind="compare", name="../x"), "name '../x'"),
        (
            Order(kind="compare", name="x", values={"inputs": {"teacher": "net.py:make@w.pt"}}),
            "names Python code",
        ),
    ],
)
def test_a_job_file_from_a_stranger_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Order, says: str
) -> None:
    found = work_here(Board(tmp_path), order, monkeypatch)
    assert found.state == "failed"
    assert says in found.message
    assert [path.name for path in tmp_path.iterdir()] == [".distillscope"]


def test_a_file_that_somebody_changed_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.toml").write_text("# mine\n")
    found = work_here(Board(tmp_path), tiny_experiment(tmp_path), monkeypatch)
    assert found.state == "failed"
    assert "tiny.toml was changed since the job was started" in found.message
    assert (tmp_path / "tiny.toml").read_text() == "# mine\n"


def test_a_worker_stops_when_its_record_says_so_though_no_signal_comes(tmp_path: Path) -> None:
    """As it is for a worker on another machine, which only shares the folder."""
    board = Board(tmp_path, start=accident("teacher: training", "waits"))
    job = board.submit(tiny_experiment(tmp_path)).id
    until((board.folder(job) / "waits").exists)
    found = board.find(job)
    write_job(board.folder(job), replace(found, stop_asked=time.time()))
    assert until_over(board, job, GRACE).state == "cancelled"
    assert "cancelled; finished stages are kept" in (board.folder(job) / LOG).read_text()


def test_workers_that_start_one_another_are_all_as_nice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0]

    def nice(more: int) -> int:
        now[0] += more
        return now[0]

    monkeypatch.setattr("os.nice", nice)
    monkeypatch.setattr(worker.Stopping, "install", lambda self: None)
    order = Order(kind="shell", name="x")
    for name in ("one", "two", "three"):
        board = Board(tmp_path / name)
        write_job(board.folder("here"), Job(id="here", order=order))
        worker.work(board.folder("here"))
        assert now == [5]
    now[0] = 12  # somebody asked for more
    board = Board(tmp_path / "four")
    write_job(board.folder("here"), Job(id="here", order=order))
    worker.work(board.folder("here"))
    assert now == [12]


def test_a_worker_that_cannot_claim_says_why_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(Board, "claim", full)
    assert worker.work(tmp_path / ".distillscope" / "jobs" / "here") == 1
    assert capsys.readouterr().err == "error: the disk is full\n"
