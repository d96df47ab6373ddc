"""The live worker: it answers, is replaced, cancelled, killed and started again."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.data.edit import edited
from analysis.data.edits import Noise, Sticker
from analysis.embedding.neighbors import nearest_neighbors
from analysis.errors import BusyError, LiveError
from analysis.live.requests import Attribute, Keep, Near, Predict, Request, Sweep, Trust
from analysis.live.service import LiveService
from analysis.live.ticket import Ticket
from analysis.records import CLEAN, PENULTIMATE
from analysis.store import Study

ROOT = Path(__file__).parents[2]
MODELS = ("teacher", "alpha")
PATIENCE = 120.0


@pytest.fixture(scope="module")
def service() -> Iterator[LiveService]:
    made = LiveService()
    yield made
    made.close()


@pytest.fixture
def ask(service: LiveService) -> Callable[[Request], Any]:
    def answer(request: Request) -> Any:
        ticket = service.ask(request, session="test")
        assert ticket.wait(PATIENCE)
        assert ticket.error is None, str(ticket.error)
        return ticket.answer

    return answer


def of(study: Study) -> dict[str, Any]:
    return {"study": str(study.path), "version": study.digest}


def slow(study: Study, mark: int = 0) -> Sweep:
    """Something that takes the worker seconds; ``mark`` makes it another question."""
    images = np.repeat(np.asarray(study.images), 60, axis=0)
    images[0, 0, 0, 0] = mark
    return Sweep(**of(study), models=MODELS, images=images)


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_it_answers_what_the_study_holds(ask: Callable[[Request], Any], study: Study) -> None:
    answer = ask(Predict(**of(study), models=MODELS, images=np.asarray(study.images[:7])))
    for model in MODELS:
        stored = study.array(f"logits/{model}/{CLEAN}")[:7]
        np.testing.assert_allclose(answer[model], stored, rtol=1e-4, atol=1e-4)


def test_neighbors_are_exact(ask: Callable[[Request], Any], study: Study) -> None:
    answer = ask(Near(**of(study), models=MODELS, image=np.asarray(study.images[5]), count=4))
    for model in MODELS:
        features = study.array(f"features/{model}/{CLEAN}/{PENULTIMATE}")
        expected = nearest_neighbors(features, 4, queries=np.asarray(features[5:6]))
        assert answer[model].indices[0, 0] == 5
        np.testing.assert_array_equal(answer[model].indices, expected.indices)


def attribute(study: Study, method: str = "integrated_gradients") -> Attribute:
    return Attribute(
        **of(study),
        left="teacher",
        student="alpha",
        image=np.asarray(study.images[3]),
        sample_id=str(study.sample_ids[3]),
        method=method,
        baseline="mean" if method == "integrated_gradients" else None,
        scalar="p_student_minus_teacher",
        left_class=2,
        student_class=2,
    )


def test_maps_come_with_what_they_are_worth(ask: Callable[[Request], Any], study: Study) -> None:
    request = attribute(study)
    found = ask(request)
    assert set(found.maps) == {"teacher", "student", "pair"}
    difference = found.maps["student"].values - found.maps["teacher"].values
    np.testing.assert_allclose(found.maps["pair"].values, difference, atol=1e-6)
    value, p_value = found.agreement["rank_correlation"]
    assert -1 <= value <= 1
    assert 0 < p_value <= 1
    checks = ask(Trust(**of(study), asked=request))
    assert set(checks.maps) == set(found.maps)
    assert set(checks.hiding) == {"teacher", "student"}
    assert 0 <= checks.maps["pair"].infidelity <= 1


def test_maps_of_the_studys_images_are_found_again_by_another_worker(
    own_study: Study, tmp_path: Path
) -> None:
    from analysis.live.answering import Answering
    from analysis.live.messages import Do
    from analysis.live.worker import Task

    request = dataclasses.replace(attribute(own_study), lasts=True)
    first, again = (
        Answering().answer(Task(Do(number, request, PATIENCE), set(), print)) for number in (1, 2)
    )
    assert len(list((tmp_path / "w" / ".distillscope" / "cache" / "live_maps").glob("*/r*"))) == 1
    assert again.agreement == first.agreement
    for part, record in first.maps.items():
        kept = again.maps[part]
        assert (kept.method, kept.scalar, kept.baseline) == (
            record.method, record.scalar, record.baseline,
        )  # fmt: skip
        np.testing.assert_array_equal(kept.values, record.values)
        np.testing.assert_array_equal(kept.explained_class, record.explained_class)


def test_the_same_question_is_answered_from_memory(service: LiveService, study: Study) -> None:
    request = Predict(**of(study), models=MODELS, images=np.asarray(study.images[8:9]))
    first = service.ask(request, session="test")
    assert first.wait(PATIENCE)
    again = service.ask(dataclasses.replace(request), session="other")
    assert again.done
    assert again.answer is first.answer


def test_what_cannot_be_answered_is_one_line(service: LiveService, study: Study) -> None:
    ticket = service.ask(attribute(study, "saliancy"), session="test")
    assert ticket.wait(PATIENCE)
    assert "Did you mean 'saliency'?" in str(ticket.error)
    assert service.ready


def test_a_newer_request_takes_the_place_of_the_older(service: LiveService, study: Study) -> None:
    older = service.ask(slow(study), session="one")
    until(lambda: older.started is not None)
    pid, begun = service.pid, time.monotonic()
    newer = service.ask(slow(study, 1), session="one")
    waiting = service.ask(slow(study, 2), session="one")
    assert newer.wait(5)
    assert newer.replaced
    until(lambda: service._running is waiting)
    assert older.replaced
    assert older.answer is None
    assert time.monotonic() - begun < 20
    assert service.pid == pid
    service.cancel(waiting, "one")


def test_two_sessions_share_a_question_and_one_may_go(service: LiveService, study: Study) -> None:
    request = slow(study, 3)
    first = service.ask(request, session="one")
    assert service.ask(request, session="two") is first
    service.cancel(first, "one")
    assert not first.done
    service.cancel(first, "two")
    assert first.replaced


def test_a_request_has_a_time_limit(service: LiveService, study: Study) -> None:
    ticket = service.ask(slow(study, 4), session="late", limit=0.2)
    assert ticket.wait(PATIENCE)
    assert "within 0.2 seconds" in str(ticket.error)


def test_a_full_queue_says_so(study: Study) -> None:
    small = LiveService(waiting=2)
    try:
        # The worker needs seconds to start, so that these wait.
        for number in range(2):
            small.ask(slow(study, number), session=f"s{number}")
        with pytest.raises(BusyError, match="2 live requests are waiting") as caught:
            small.ask(slow(study, 9), session="s9")
        assert "\n" not in str(caught.value)
        held = small.ask(slow(study, 0), session="s0")
        assert small.ask(slow(study, 5), session="s0") is not held, "in its own place"
        assert held.replaced
    finally:
        small.close()


def test_what_is_refused_takes_the_place_of_nothing(
    service: LiveService, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "waiting", 1)
    running = service.ask(slow(study, 6), session="one")
    until(lambda: service._running is running)
    queued = service.ask(slow(study, 7), session="two")
    with pytest.raises(BusyError):
        service.ask(slow(study, 8), session="one")
    assert not running.replaced
    assert service._stopping is None
    service.cancel(queued, "two")
    service.cancel(running, "one")


def test_a_killed_worker_is_a_message_and_the_next_request_gets_a_new_one(
    service: LiveService, study: Study
) -> None:
    ticket = service.ask(slow(study, 5), session="one")
    until(lambda: ticket.started is not None)
    first, starts = service.pid, service.starts
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert ticket.wait(10)
    assert "SIGKILL" in str(ticket.error)
    assert "memory" in str(ticket.error)
    request = Predict(**of(study), models=MODELS, images=np.asarray(study.images[:1]))
    assert service.ask(dataclasses.replace(request, place=(0, 1)), session="one").wait(PATIENCE)
    assert service.starts == starts + 1
    assert service.pid != first


def test_closing_tells_who_waits(study: Study) -> None:
    made = LiveService()
    ticket = made.ask(slow(study), session="one")
    made.close()
    assert isinstance(ticket.error, LiveError)
    until(lambda: made.pid is None)
    with pytest.raises(LiveError, match="closed"):
        made.ask(slow(study, 1), session="one")


def test_an_idle_worker_ends_and_comes_back(study: Study) -> None:
    made = LiveService(idle=0.0)
    try:
        request = Predict(**of(study), models=("alpha",), images=np.asarray(study.images[:1]))
        ticket = made.ask(request, session="one")
        assert ticket.wait(PATIENCE)
        until(lambda: made.pid is None)
        assert ticket.error is None
    finally:
        made.close()


ORPHAN = """
import os, sys, time
from analysis.live.service import LiveService
service = LiveService()
service.start()
assert "torch" not in sys.modules
print(service.pid, flush=True)
time.sleep(60)
"""


def test_the_parent_loads_no_torch_and_takes_the_worker_with_it() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()

    def gone() -> bool:
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or ") Z " in stat.read_text()

    until(gone)


# --- keeping -------------------------------------------------------------------------------


@pytest.fixture
def own_study(tiny_study: Path, tmp_path: Path) -> Study:
    shutil.copytree(tiny_study, tmp_path / "w" / "tiny")
    return Study.open(tmp_path / "w" / "tiny")


def live_logits(service: LiveService, study: Study, row: int, edits: list[Any]) -> Ticket:
    sample = str(study.sample_ids[row])
    image = edited(study.images[row : row + 1], edits, [sample])
    place = (row, len(study.sample_ids))
    request = Predict(**of(study), models=MODELS, images=image, place=place)
    ticket = service.ask(request, session="keep")
    assert ticket.wait(PATIENCE)
    return ticket


def test_what_is_kept_has_the_bits_of_the_live_answer(
    service: LiveService, own_study: Study
) -> None:
    edits = [Sticker(size=6.5, across=12, down=20), Noise(amount=0.02)]
    rows = (0, 5, 16, 77, 117, 119)  # the last batch is a smaller one
    before = {row: live_logits(service, own_study, row, edits).answer for row in rows}
    request = Keep(**of(own_study), name="Note", edits=tuple(edit.key() for edit in edits))
    ticket = service.ask(request, session="keep", limit=600)
    assert ticket.wait(300)
    assert ticket.answer == "note", str(ticket.error)
    kept = Study.open(own_study.path)
    kept.check_files()
    for row in rows:
        for model in MODELS:
            stored = np.asarray(kept.array(f"logits/{model}/note")[row])
            np.testing.assert_array_equal(stored, before[row][model][0])
