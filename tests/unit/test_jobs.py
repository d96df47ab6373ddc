"""Jobs as files: states, the queue, workers that are gone, numbers that were given anew."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import BusyError, InputError, StorageError
from dashboard.jobs import board as board_module
from dashboard.jobs.board import GONE, MOST_AT_ONCE, Board, start_worker
from dashboard.jobs.process import Identity, begun, host, identity_of, this_process
from dashboard.jobs.progress import Part, Stage, Tracker, read_progress
from dashboard.jobs.record import (
    HEARTBEAT,
    LOG,
    PROGRESS,
    RECORD,
    STATES,
    Job,
    Order,
    log_tail,
    read_job,
    write_job,
)
from tests.job_orders import end_all, popen, sleeper

ORDER = Order(kind="compare", name="small", values={"inputs": {"teacher": "t.safetensors"}})


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path, start=sleeper)


def until(what: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def stamped(folder: Path, name: str, seconds_ago: float) -> None:
    (folder / name).touch()
    then = time.time() - seconds_ago
    os.utime(folder / name, (then, then))


# --- processes -----------------------------------------------------------------------------


def test_a_process_is_known_by_number_and_beginning() -> None:
    me = this_process()
    assert me.pid == os.getpid()
    assert me.alive
    assert not dataclasses.replace(me, begun="before").alive, "the number was given anew"
    assert not dataclasses.replace(me, host="elsewhere/1").alive
    assert not dataclasses.replace(me, host="elsewhere/1").here


def test_the_remains_of_a_process_are_not_alive() -> None:
    process = subprocess.Popen(["true"])
    found = identity_of(process.pid)
    until(lambda: begun(process.pid) is None)
    assert not found.alive
    process.wait()
    assert not found.alive


def test_a_name_with_spaces_and_parentheses_does_not_mislead(tmp_path: Path) -> None:
    program = tmp_path / "a) S (b"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(program), "60"])
    until(lambda: b") S (" in Path(f"/proc/{process.pid}/comm").read_bytes())
    try:
        assert begun(process.pid) == begun(process.pid)
        assert str(begun(process.pid)).isdecimal()
    finally:
        process.kill()
        process.wait()


def test_nobody_else_is_signaled(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    known = identity_of(stranger.pid)
    try:
        assert not dataclasses.replace(known, begun="1").signal_group(signal.SIGKILL)
        assert stranger.poll() is None
        assert known.signal_group(signal.SIGKILL)
        assert stranger.wait(10) == -signal.SIGKILL
        assert not known.signal_group(signal.SIGKILL)
    finally:
        stranger.kill()
        stranger.wait()


# --- the record ----------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
plain = st.none() | st.booleans() | st.integers() | texts
plain |= st.floats(allow_nan=False, allow_infinity=False)
jobs = st.builds(
    Job,
    id=st.from_regex(r"[a-z0-9][a-z0-9-]{0,12}", fullmatch=True),
    order=st.builds(
        Order,
        kind=texts,
        name=texts,
        values=st.dictionaries(texts, st.dictionaries(texts, plain, max_size=3), max_size=3),
    ),
    study=st.none() | texts,
    state=st.sampled_from(STATES),
    created=st.floats(0, 4e9),
    started=st.none() | st.floats(0, 4e9),
    process=st.none() | st.builds(Identity, pid=st.integers(1, 9**9), begun=texts, host=texts),
    message=texts,
)


@given(jobs)
def test_a_record_is_read_as_it_was_written(job: Job) -> None:
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"schema_version": 1}', "\x00\xff", '{"state": "queued"}']
)
def test_a_damaged_record_is_no_job(board: Board, text: str) -> None:
    job = board.submit(ORDER)
    (board.folder(job.id) / RECORD).write_text(text)
    assert board.jobs() == []
    assert board.tend() == []
    with pytest.raises(InputError, match="there is no job"):
        board.find(job.id)


def test_a_record_under_another_name_or_of_another_release_is_no_job(board: Board) -> None:
    job = board.submit(ORDER)
    folder = board.folder(job.id)
    write_job(board.root / "other", job)
    assert read_job(board.root / "other") is None
    data = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**data, "schema_version": 2}))
    assert read_job(folder) is None
    (folder / RECORD).write_text(json.dumps({**data, "state": "<b>"}))
    assert read_job(folder) is None


@pytest.mark.parametrize("name", ["../../x", "", ".", "a/b", "a\x00", "-x", "é" * 3, "a" * 65])
def test_what_is_no_id_names_no_folder(board: Board, name: str) -> None:
    for ask in (board.folder, board.find, board.cancel, board.resume, board.remove):
        with pytest.raises(InputError, match="expected an id"):
            ask(name)


def test_the_log_is_shown_without_what_moves_the_cursor(tmp_path: Path) -> None:
    (tmp_path / LOG).write_bytes(b"first\n\n\x1b[31mred\x07\r\nlast \xff")
    assert log_tail(tmp_path) == ("first", " [31mred", "last \N{REPLACEMENT CHARACTER}")
    assert log_tail(tmp_path, 1) == ("last \N{REPLACEMENT CHARACTER}",)
    assert log_tail(tmp_path / "nowhere") == ()


# --- the queue -----------------------------------------------------------------------------


def test_one_runs_and_the_next_waits_until_it_is_over(board: Board) -> None:
    first, second, third = (board.submit(ORDER) for _ in range(3))
    assert [job.state for job in board.jobs()] == ["queued", "queued", "running"]
    assert [job.id for job in board.jobs()] == [third.id, second.id, first.id]
    assert first.attempts == 1
    assert first.process is not None
    assert board.cancel(second.id).state == "cancelled"
    first.process.signal_group(signal.SIGKILL)
    until(lambda: not first.process.alive)
    states = {job.id: job.state for job in board.tend()}
    assert states == {first.id: "failed", second.id: "cancelled", third.id: "running"}
    assert board.find(first.id).message == GONE


def test_more_may_run_at_once(board: Board) -> None:
    for _ in range(4):
        board.submit(ORDER)
    board.set_at_once(3)
    assert board.at_once == 3
    assert [job.state for job in board.jobs()] == ["queued", *["running"] * 3]
    for wrong in (0, MOST_AT_ONCE + 1):
        with pytest.raises(InputError, match="jobs at a time"):
            board.set_at_once(wrong)
    for text in ("", "3", '{"at_once": true}', '{"at_once": "9"}'):
        (board.root / "settings.json").write_text(text)
        assert board.at_once == 1
    (board.root / "settings.json").write_text('{"at_once": 999}')
    assert board.at_once == MOST_AT_ONCE


def test_a_running_job_that_is_cancelled_is_told_and_then_is_cancelled(board: Board) -> None:
    job = board.submit(ORDER)
    asked = board.cancel(job.id)
    assert asked.stop_asked is not None
    assert asked.state in ("running", "cancelled")
    until(lambda: {found.state for found in board.tend()} == {"cancelled"})
    found = board.find(job.id)
    assert found.process is None
    assert found.ended is not None
    assert found.message == ""


def deaf(folder: Path, workspace: Path) -> int:
    return popen(["sh", "-c", "trap '' INT TERM; touch heard; sleep 60"], folder, workspace)


def test_a_worker_that_does_not_stop_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(tmp_path, start=deaf)
    job = board.submit(ORDER)
    until((tmp_path / "heard").exists)
    assert board.cancel(job.id).state == "running"
    assert board.tend()[0].state == "running", "it has some time"
    assert job.process is not None
    monkeypatch.setattr(board_module, "GRACE", 0.0)
    assert board.tend()[0].state == "cancelled"
    until(lambda: not job.process.alive)


def test_a_number_that_was_given_anew_is_not_taken_for_the_worker(board: Board) -> None:
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    job = board.submit(ORDER)
    gone = Identity(pid=stranger.pid, begun="1", host=host())
    write_job(board.folder(job.id), dataclasses.replace(job, process=gone))
    try:
        board.cancel(job.id)
        assert board.find(job.id).state == "cancelled"
        assert stranger.poll() is None, "a stranger must not be signaled"
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("writes", [0, 1])
def test_a_full_disk_leaves_no_worker_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    started: list[Identity] = []

    def start(folder: Path, workspace: Path) -> int:
        pid = sleeper(folder, workspace)
        started.append(identity_of(pid))
        return pid

    board = Board(tmp_path, start=start)
    write_job(board.folder("waits"), Job(id="waits", order=ORDER))
    left = [writes]

    def full(folder: Path, job: Job) -> None:
        if left[0] == 0:
            raise StorageError("the disk is full")
        left[0] -= 1
        write_job(folder, job)

    monkeypatch.setattr(board_module, "write_job", full)
    assert board.tend()[0].state == "queued"
    assert len(started) == writes
    until(lambda: not any(worker.alive for worker in started))
    monkeypatch.undo()
    assert board.tend()[0].state == "running", "there is room again"


def test_of_another_machine_only_its_signs_of_life_are_known(board: Board) -> None:
    job = board.submit(ORDER)
    folder = board.folder(job.id)
    there = Identity(pid=os.getpid(), begun="5", host="elsewhere/2")
    write_job(folder, dataclasses.replace(job, process=there))
    stamped(folder, HEARTBEAT, 2)
    stamped(folder, RECORD, 500)
    assert board.tend()[0].state == "running"
    stamped(folder, HEARTBEAT, 100)
    assert board.tend()[0].state == "failed"


def test_what_was_cancelled_or_failed_can_go_on(board: Board) -> None:
    job = board.submit(ORDER)
    with pytest.raises(BusyError, match="the job is running"):
        board.resume(job.id)
    with pytest.raises(BusyError, match="Cancel it first"):
        board.remove(job.id)
    board.cancel(job.id)
    until(lambda: board.tend()[0].state == "cancelled")
    again = board.resume(job.id)
    assert (again.state, again.attempts, again.ended) == ("running", 2, None)
    assert again.stop_asked is None
    assert again.order == ORDER
    board.cancel(job.id)
    until(lambda: board.tend()[0].state == "cancelled")
    board.remove(job.id)
    assert board.jobs() == []


def test_many_who_look_at_once_start_a_job_once(tmp_path: Path) -> None:
    started: list[Path] = []

    def start(folder: Path, workspace: Path) -> int:
        started.append(folder)
        return sleeper(folder, workspace)

    Board(tmp_path, start=start).set_at_once(3)
    quiet = Board(tmp_path, start=start)
    for number in range(5):
        job = Job(id=f"job-{number}", order=ORDER, created=number)
        write_job(quiet.folder(job.id), job)
    threads = [threading.Thread(target=Board(tmp_path, start=start).tend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [folder.name for folder in started] == ["job-0", "job-1", "job-2"]


def test_who_finds_the_jobs_held_only_looks(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    job = board.submit(ORDER)
    monkeypatch.setattr(board_module, "_PATIENCE", 0.1)
    with FileLock(board.root / ".lock"):
        assert [one.id for one in board.tend()] == [job.id]
        with pytest.raises(BusyError, match="held by another process"):
            board.cancel(job.id)


_LOOK = """
import sys
from pathlib import Path
from dashboard.jobs.board import Board
from tests.job_orders import sleeper

def start(folder, workspace):
    pid = sleeper(folder, workspace)
    with (workspace / "starts").open("a") as file:
        file.write(f"{folder.name} {pid}\\n")
    return pid

Board(Path(sys.argv[1]), start=start).tend()
import os
os._exit(0)
"""


def test_two_servers_do_not_start_a_job_twice(tmp_path: Path) -> None:
    board = Board(tmp_path)
    for number in range(3):
        write_job(board.folder(f"job-{number}"), Job(id=f"job-{number}", order=ORDER))
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", _LOOK, str(tmp_path)], cwd=Path(__file__).parents[2]
        )
        for _ in range(3)
    ]
    assert [server.wait(60) for server in servers] == [0, 0, 0]
    starts = (tmp_path / "starts").read_text().splitlines()
    for line in starts:
        os.kill(int(line.split()[1]), signal.SIGKILL)
    assert len(starts) == 1


# --- claiming, as the worker does ----------------------------------------------------------


def test_a_job_is_claimed_by_the_process_that_was_started_for_it(tmp_path: Path) -> None:
    board = Board(tmp_path, start=lambda folder, workspace: os.getpid())
    job = board.submit(ORDER)
    assert job.process == this_process()
    assert board.claim(job.id) == job
    write_job(
        board.folder(job.id), dataclasses.replace(job, process=Identity(pid=1, begun="1", host="x"))
    )
    assert board.claim(job.id) is None, "it is another's"


def test_a_worker_whose_starter_was_killed_claims_the_job_itself(board: Board) -> None:
    write_job(board.folder("orphan"), Job(id="orphan", order=ORDER))
    claimed = board.claim("orphan")
    assert claimed is not None
    assert claimed.process == this_process()
    assert claimed.state == "running"
    write_job(board.folder("later"), Job(id="later", order=ORDER))
    assert board.claim("later") is None, "one is running already"
    board.finish("orphan", state="done", study="small")
    found = board.find("orphan")
    assert (found.state, found.study, found.process) == ("done", "small", None)
    assert board.find("later").state == "running", "the next one was started"


def test_only_the_worker_finishes_its_job(board: Board) -> None:
    job = board.submit(ORDER)
    board.finish(job.id, state="done")
    assert board.find(job.id).state == "running"


# --- progress ------------------------------------------------------------------------------

PARTS = (
    Part(title="Train", stages=("teacher: ",)),
    Part(title="Student", stages=("small: ",)),
    Part(title="Compare", command=1),
)


def test_stages_belong_to_the_part_that_has_begun(tmp_path: Path) -> None:
    with Tracker(tmp_path, PARTS) as tracker:
        tracker.command(0)
        tracker.report("render", 1, 2)
        tracker.report("teacher: training", 2, 4)
        tracker.report("small: training", 1, 4)
        tracker.report("render", 2, 2)
        tracker.command(1)
        tracker.report("render", 1, 2)
    found = read_progress(tmp_path)
    assert found.parts == ("Train", "Student", "Compare")
    assert found.at == 2
    assert [(stage.name, stage.part) for stage in found.stages] == [
        ("render", 0), ("teacher: training", 0), ("small: training", 1), ("render", 1),
        ("render", 2),
    ]  # fmt: skip
    assert found.current == found.stages[-1]


def test_signs_of_life_go_on_while_nothing_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.jobs.progress.BEAT", 0.05)
    with Tracker(tmp_path, PARTS):
        until((tmp_path / HEARTBEAT).exists)
        stamped(tmp_path, HEARTBEAT, 100)
        until(lambda: time.time() - (tmp_path / HEARTBEAT).stat().st_mtime < 50)


def test_whoever_watches_is_asked_at_every_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.jobs.progress.BEAT", 0.01)
    seen: list[bool] = []
    with Tracker(tmp_path, PARTS, lambda: seen.append((tmp_path / HEARTBEAT).exists())):
        until(lambda: len(seen) > 2)
    assert all(seen)


@pytest.mark.parametrize(
    ("done", "took", "left"),
    [(6, 10.0, 40.0), (2, 10.0, None), (10, 10.0, 0), (6, 0.5, None)],
)
def test_time_left_follows_from_what_was_done_since_it_began(
    done: int, took: float, left: float | None
) -> None:
    stage = Stage(name="a", part=0, done=done, total=22, first=2, began=100, reported=100 + took)
    if left == 0:
        stage = dataclasses.replace(stage, total=10)
        assert stage.finished
        left = None
    assert stage.seconds_left() == left


def test_a_stage_of_the_same_name_that_begins_anew_is_another_one(tmp_path: Path) -> None:
    with Tracker(tmp_path, ()) as tracker:
        tracker.report("images", 5, 5)
        tracker.report("images", 1, 9)
    (stage,) = read_progress(tmp_path).stages
    assert (stage.done, stage.total, stage.first) == (1, 9, 1)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"parts": 3}', '{"stages": [{}], "parts": [], "at": 0}']
)
def test_a_damaged_progress_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / PROGRESS).write_text(text)
    assert read_progress(tmp_path).stages == ()


def test_a_worker_keeps_modules_of_the_workspace_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file called torch.py beside the studies is not what the worker imports."""
    (tmp_path / "json.py").write_text("raise SystemExit('ran')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(Path(__file__).parents[2])]))
    folder = tmp_path / ".distillscope" / "jobs" / "nothing"
    folder.mkdir(parents=True)
    pid = start_worker(folder, tmp_path)
    until(lambda: begun(pid) is None, 60)
    assert "there is no job" in (folder / LOG).read_text()
