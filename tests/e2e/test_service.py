"""Several sessions on one server, without a browser; what the service's benchmark is made of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import bench_service
from benchmarks.bench_service import every, growth, resident
from benchmarks.streamlit_session import PageError, Session
from tests.e2e.test_journey import serving


@pytest.fixture(scope="module")
def folder(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("service") / "tiny"
    shutil.copytree(tiny_study, copy)
    return copy


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with serving(folder) as (address, _):
        yield address


def visit(address: str, query: str) -> dict[str, int]:
    """Bytes of every page that the navigation shows, each opened twice."""
    session = Session(address)
    session.open(query)
    received = {}
    for page in [*session.pages, *session.pages]:
        received[page] = session.change_to(page).received
    session.close()
    return received


def test_sessions_at_once_are_shown_every_page(address: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda name: visit(address, f"student={name}"), ("alpha", "beta"))
    assert {"overview", "map", "inspect", "lab"} <= set(first)
    assert first.keys() == second.keys()
    assert min(first.values()) > 1000
    # Each session looks at its own student.
    assert first["overview"] != second["overview"]


def test_a_page_that_shows_an_error_is_noticed(address: str, folder: Path) -> None:
    session = Session(address)
    session.open()
    manifest = folder / "study.json"
    manifest.rename(folder / "away.json")
    try:
        with pytest.raises(PageError, match="gone"):
            session.change_to("map")
    finally:
        (folder / "away.json").rename(manifest)
    session.change_to("map")
    session.close()


def test_growth_is_of_the_last_tenth_over_the_first() -> None:
    assert growth([100.0] * 50 + [100.0] * 50) == (100.0, 100.0, 0.0)
    first, last, share = growth([100.0] * 10 + [500.0] + [150.0] * 89)
    assert (first, last) == (100.0, 150.0)
    assert share == pytest.approx(0.5)


def test_the_memory_of_this_process_is_read() -> None:
    own, below = resident(os.getpid())
    assert 10 < own < 100_000
    assert below >= 0
    assert resident(2**22 + 1) == (0.0, 0.0)


def test_a_change_that_takes_longer_than_the_period_makes_the_next_one_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [10.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(bench_service.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(bench_service.time, "sleep", wait)
    begun: list[tuple[int, float]] = []

    def act(turn: int) -> None:
        begun.append((turn, now[0]))
        wait(7.0 if turn == 1 else 1.0)

    assert every(5.0, 10.0, 31.0, act) == 1
    assert begun == [(0, 10.0), (1, 15.0), (2, 22.0), (3, 25.0), (4, 30.0)]
    begun.clear()
    now[0] = 10.0
    assert every(5.0, 10.0, 20.0, lambda turn: act(1)) == 1
    assert len(begun) == 2  # nothing is begun after the end, however much is due
