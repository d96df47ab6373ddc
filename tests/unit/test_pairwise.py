"""Two pieces of work at a time: results in order, the first error told, nothing left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from analysis.errors import Cancelled, ModelError
from analysis.store import Progress, silent
from analysis.study.pairwise import two_at_a_time

PATIENCE = 20.0


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def meeting(barrier: threading.Barrier, value: int) -> Callable[[Progress], int]:
    def piece(progress: Progress) -> int:
        barrier.wait(PATIENCE)  # breaks unless another piece is under way at the same time
        assert torch.get_num_threads() == 1
        return value

    return piece


@pytest.mark.usefixtures("two_threads")
def test_two_run_at_once_and_results_come_in_order() -> None:
    barrier = threading.Barrier(2)
    pieces = [meeting(barrier, value) for value in range(6)]
    assert two_at_a_time(pieces, progress=silent) == list(range(6))
    assert torch.get_num_threads() == 2


def test_one_thread_or_another_device_means_one_after_the_other() -> None:
    before = torch.get_num_threads()
    names: list[str] = []

    def piece(progress: Progress) -> None:
        names.append(threading.current_thread().name)

    try:
        torch.set_num_threads(1)
        two_at_a_time([piece, piece], progress=silent)
        torch.set_num_threads(2)
        two_at_a_time([piece, piece], progress=silent, device="cuda")
        two_at_a_time([piece], progress=silent)
    finally:
        torch.set_num_threads(before)
    assert set(names) == {threading.main_thread().name}
    assert len(names) == 5


@pytest.mark.usefixtures("two_threads")
def test_the_first_error_stops_the_other_piece_and_is_the_one_that_is_told() -> None:
    begun: list[str] = []

    def endless(progress: Progress) -> None:
        begun.append("endless")
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            progress("endless", 0, 1)
            time.sleep(0.001)

    def failing(progress: Progress) -> None:
        while not begun:
            time.sleep(0.001)
        raise ModelError("the second one fails")

    def never(progress: Progress) -> None:
        begun.append("never")

    started = time.monotonic()
    with pytest.raises(ModelError, match="the second one fails"):
        two_at_a_time([endless, failing, never], progress=silent)
    assert begun == ["endless"]
    assert time.monotonic() - started < PATIENCE
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_cancellation_reaches_both() -> None:
    heard: list[str] = []

    def progress(stage: str, done: int, total: int) -> None:
        heard.append(stage)
        if len(heard) == 5:
            raise Cancelled("enough")

    def piece(report: Progress) -> None:
        for step in range(1_000_000):
            report("step", step, 1_000_000)

    with pytest.raises(Cancelled, match="enough"):
        two_at_a_time([piece, piece], progress=progress)
    assert len(heard) == 5
