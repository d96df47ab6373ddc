"""Running a zoo: one step after the other, each kept when it is done, within given seconds.

With several workers the students are made and audited beside one another, in waves: what all
wait for first.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from analysis.errors import InputError, nearest
from analysis.store import Progress, silent
from analysis.store.files import held_file
from benchmarks.zoo.keeper import Keeper
from benchmarks.zoo.making import Training, Workshop
from benchmarks.zoo.method import noted_method, settle_method
from benchmarks.zoo.plan import POOLS, TeacherPlan, Zoo
from benchmarks.zoo.results import Results
from benchmarks.zoo.steps import Step, is_done, names_in_order, steps

DRAW = "images"
WAVES = ((DRAW,), ("teacher",), ("model", "screening", "search", "alone", "strip"),
         ("verdict", "repair"))  # fmt: skip
"""Kinds of steps that may go on beside one another: a verdict needs the searches of all others."""


def run_zoo(
    zoo: Zoo,
    *,
    state: Path,
    results: Results,
    data: Path | None,
    only: Sequence[str] = (),
    seconds: float = float("inf"),
    device: str = "cpu",
    workers: int = 1,
    progress: Progress,
    training: Training | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Do what ``results`` do not hold yet; return whether nothing is left.

    ``only`` names teachers. After ``seconds`` no further step is begun. A run that was killed
    goes on where it was. ``workers`` processes of one thread each share the work and, with
    ``device``, the accelerator. Raises :class:`InputError` when the method is not the one that a
    frozen zoo was begun with, and for a teacher whose data are not there.
    """
    torch.set_num_threads(1)
    started = clock()
    place = _Place(zoo, state, results, data, device, training or Training())
    teachers = chosen_teachers(zoo, only)
    with held_file(state / "run", doing=f"running the zoo {zoo.name!r}", wait=0):
        settled = noted_method(results.folder, zoo) is not None
        if settled:
            settle_method(results.folder, zoo)
        if workers > 1:
            return _beside(place, teachers, workers, started + seconds, progress, clock)
        for teacher in teachers:
            keeper = place.keeper(teacher, progress)
            for step in steps(zoo, teacher, results):
                if is_done(step, results, zoo):
                    continue
                if clock() - started >= seconds:
                    return False
                if step.kind != "teacher" and not settled:
                    settle_method(results.folder, zoo)
                    settled = True
                progress(step.title, 0, 1)
                keeper.do(step)
                progress(step.title, 1, 1)
    return True


def chosen_teachers(zoo: Zoo, only: Sequence[str]) -> list[TeacherPlan]:
    """The teachers that ``only`` names; all, where it names none."""
    names = [teacher.name for teacher in zoo.teachers]
    for name in only:
        if name not in names:
            raise InputError(f"no teacher {name!r} in this zoo", remedy=nearest(name, names))
    return [teacher for teacher in zoo.teachers if not only or teacher.name in only]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a zoo is run; it is sent to every worker."""

    zoo: Zoo
    state: Path
    results: Results
    data: Path | None
    device: str
    training: Training

    def keeper(self, teacher: TeacherPlan, progress: Progress = silent) -> Keeper:
        """Who does the steps of ``teacher``."""
        shop = Workshop(
            plan=teacher,
            state=self.state,
            data=self.data,
            device=self.device,
            progress=progress,
            training=self.training,
        )
        return Keeper(self.zoo, shop, self.results)


@dataclass(frozen=True, slots=True)
class _Errand:
    """The steps of some kinds that are about one model, set or part of the images."""

    teacher: str
    subject: str
    kinds: tuple[str, ...]

    def steps(self, zoo: Zoo, teacher: TeacherPlan, results: Results) -> Iterator[Step]:
        """What is left of it; asked again after every step."""
        for step in steps(zoo, teacher, results):
            wanted = step.kind in self.kinds and step.subject == self.subject
            if wanted and not is_done(step, results, zoo):
                yield step


def _beside(
    place: _Place,
    teachers: Sequence[TeacherPlan],
    workers: int,
    until: float,
    progress: Progress,
    clock: Callable[[], float],
) -> bool:
    """Go through the waves with ``workers`` processes."""
    zoo, results = place.zoo, replace(place.results, lock=place.state / "tables")
    place = replace(place, results=results)
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, context, _begin, (place,))
    try:
        for kinds in WAVES:
            if kinds == WAVES[2]:
                settle_method(results.folder, zoo)
            waiting = list(_errands(zoo, teachers, results, kinds))
            going: dict[Future[None], _Errand] = {}
            while waiting or going:
                while waiting and len(going) < workers and clock() < until:
                    errand = waiting.pop(0)
                    progress(f"{' '.join(kinds)}: {errand.subject}", 0, 1)
                    going[executor.submit(_run, errand, until - clock())] = errand
                if not going:
                    return False
                for future in wait(going, return_when=FIRST_COMPLETED).done:
                    errand = going.pop(future)
                    future.result()
                    progress(f"{' '.join(kinds)}: {errand.subject}", 1, 1)
            results.sort([name for teacher in teachers for name in names_in_order(teacher)])
            if next(_errands(zoo, teachers, results, kinds), None) and kinds != WAVES[0]:
                return False
    finally:
        executor.shutdown(cancel_futures=True)
    return True


def _errands(
    zoo: Zoo, teachers: Sequence[TeacherPlan], results: Results, kinds: tuple[str, ...]
) -> Iterator[_Errand]:
    for teacher in teachers:
        left = [step for step in steps(zoo, teacher, results) if not is_done(step, results, zoo)]
        if kinds == (DRAW,):
            subjects = [*POOLS, "held out"] if left else []
        else:
            subjects = list(dict.fromkeys(step.subject for step in left if step.kind in kinds))
        for subject in subjects:
            yield _Errand(teacher.name, subject, kinds)


_PLACE: _Place
_KEEPERS: dict[str, Keeper] = {}


def _begin(place: _Place) -> None:
    """What every worker knows."""
    global _PLACE
    _PLACE = place
    torch.set_num_threads(1)


def _run(errand: _Errand, seconds: float) -> None:
    """Run in a worker: the steps of one errand, none begun after ``seconds``."""
    until = time.monotonic() + seconds
    teacher = next(one for one in _PLACE.zoo.teachers if one.name == errand.teacher)
    if errand.teacher not in _KEEPERS:
        _KEEPERS[errand.teacher] = _PLACE.keeper(teacher)
    keeper = _KEEPERS[errand.teacher]
    if errand.kinds == (DRAW,):
        keeper.draw(errand.subject)
        return
    for step in errand.steps(_PLACE.zoo, teacher, _PLACE.results):
        if time.monotonic() >= until:
            return
        keeper.do(step)
