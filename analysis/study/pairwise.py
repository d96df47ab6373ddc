"""Several pieces of work, two at a time: small models leave a second core idle.

Each of two threads has half of torch's threads, so that the two do not wait for each other's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from analysis.errors import Cancelled
from analysis.store import Progress

T = TypeVar("T")
AT_A_TIME = 2


def two_at_a_time(
    pieces: Sequence[Callable[[Progress], T]], *, progress: Progress, device: str = "cpu"
) -> list[T]:
    """Do all ``pieces``, each of which is called with a progress to report to; results in order.

    The first error, or a cancellation by ``progress``, stops the other piece at its next report
    and is raised. Pieces run one after the other where there is one piece, one thread, or another
    device than the processor: there the pieces would share the one that does the work.
    """
    threads = torch.get_num_threads()
    if len(pieces) < AT_A_TIME or threads < AT_A_TIME or device != "cpu":
        return [piece(progress) for piece in pieces]
    pair = _Pair(progress, threads // AT_A_TIME)
    try:
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            futures = [pool.submit(pair.do, piece) for piece in pieces]
            try:
                return [future.result() for future in futures]
            except BaseException as error:
                pair.stop(error)
                pool.shutdown(wait=True, cancel_futures=True)
                assert pair.reason is not None
                raise pair.reason from None
    finally:
        torch.set_num_threads(threads)


class _Pair:
    """What the two threads share: who may speak, and why they stop."""

    def __init__(self, progress: Progress, threads: int):
        self.reason: BaseException | None = None
        self._progress, self._threads = progress, threads
        self._one = threading.RLock()

    def do(self, piece: Callable[[Progress], T]) -> T:
        # The number is a thread's own; the last one set also counts for threads that come later.
        torch.set_num_threads(self._threads)
        try:
            self._go_on()
            return piece(self._report)
        except BaseException as error:
            self.stop(error)
            raise

    def stop(self, reason: BaseException) -> None:
        """Let nothing go on; the first reason is the one that is told."""
        with self._one:
            self.reason = self.reason or reason

    def _go_on(self) -> None:
        if self.reason is not None:
            raise Cancelled("the work beside this one has stopped")

    def _report(self, stage: str, done: int, total: int) -> None:
        with self._one:
            self._go_on()
            try:
                self._progress(stage, done, total)
            except BaseException as error:
                self.stop(error)
                raise
