from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from filelock import FileLock

from analysis.errors import BusyError, StorageError
from analysis.store import StageCache
from analysis.store.files import atomic_path, link_or_copy, write_bytes, write_json


@pytest.fixture
def cache(tmp_path: Path) -> StageCache:
    return StageCache(tmp_path / "cache")


def run(cache: StageCache, calls: list[str], **changes: object) -> Path:
    def work(folder: Path) -> Mapping[str, object]:
        calls.append(folder.name)
        (folder / "out.txt").write_text("done")
        return {"n": 1}

    arguments = {"version": 1, "inputs": {"a": "x"}, "config": {"k": 3}} | changes
    output = cache.run("stage", work, **arguments)  # type: ignore[arg-type]
    assert output.record == {"n": 1}
    return output.file("out.txt")


def test_a_stage_is_computed_once(cache: StageCache) -> None:
    calls: list[str] = []
    assert run(cache, calls) == run(cache, calls)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"inputs": {"a": "y"}}, {"config": {"k": 4}}, {"config": {}}]
)
def test_every_part_of_the_key_counts(cache: StageCache, change: dict) -> None:
    calls: list[str] = []
    assert run(cache, calls) != run(cache, calls, **change)
    assert len(calls) == 2


def test_a_failed_attempt_leaves_its_folder_to_the_next(cache: StageCache) -> None:
    def fails(folder: Path) -> Mapping[str, object]:
        (folder / "half").write_text("kept")
        raise RuntimeError

    def resumes(folder: Path) -> Mapping[str, object]:
        return {"found": (folder / "half").read_text()}

    key = {"version": 1, "inputs": {}}
    with pytest.raises(RuntimeError):
        cache.run("stage", fails, **key)
    assert cache.run("stage", resumes, **key).record == {"found": "kept"}


def test_a_damaged_result_is_computed_again(cache: StageCache) -> None:
    calls: list[str] = []
    path = run(cache, calls)
    (path.parent / "result.json").write_text("{")
    run(cache, calls)
    assert len(calls) == 2


def test_two_at_once_compute_once(cache: StageCache) -> None:
    calls: list[str] = []
    threads = [threading.Thread(target=run, args=(cache, calls)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from analysis.store import StageCache
def work(folder):
    (folder / "half").write_text("kept")
    os.kill(os.getpid(), signal.SIGKILL)
StageCache(Path(sys.argv[1])).run("stage", work, version=1, inputs={})
"""


def test_a_killed_process_neither_locks_nor_loses(cache: StageCache) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(cache.root)], check=False)
    assert done.returncode == -signal.SIGKILL
    output = cache.run(
        "stage", lambda folder: {"kept": (folder / "half").exists()}, version=1, inputs={}
    )
    assert output.record == {"kept": True}


def test_clear_refuses_while_a_stage_runs(cache: StageCache) -> None:
    run(cache, [])
    with FileLock(cache.root / "stage" / "somekey.lock"):
        with pytest.raises(BusyError, match="'stage' is being computed"):
            cache.clear()
        assert cache.size() > 0
    assert cache.clear() > 0
    assert not cache.root.exists()
    assert cache.clear() == 0


def test_atomic_files_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file"
    write_bytes(target, b"first")

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_bytes() == b"first"
    assert os.listdir(target.parent) == ["file"]


@pytest.mark.parametrize(("number", "word"), [(28, "disk is full"), (30, "read-only")])
def test_a_refusing_disk_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, word: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(StorageError, match=word) as caught:
        write_json(tmp_path / "x.json", {"a": 1})
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", float("nan"))
    assert os.listdir(tmp_path) == []


def test_links_survive_the_source_and_copies_do_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.write_text("content")
    link_or_copy(source, tmp_path / "linked")

    def no_links(*_: object) -> None:
        raise OSError(18, "cross-device")

    monkeypatch.setattr(os, "link", no_links)
    link_or_copy(source, tmp_path / "copied")
    source.unlink()
    assert (tmp_path / "linked").read_text() == (tmp_path / "copied").read_text() == "content"
