"""The steps of one teacher's students: each does one thing and puts what it came to in a table."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np

from analysis.attack.triggers import with_trigger
from analysis.audit.inversion import Inverted
from analysis.errors import InputError
from analysis.models.handle import ModelHandle
from analysis.study.attack import find_target
from analysis.study.audit_inversion import Bench
from analysis.study.screening import Screened, screen_images
from analysis.study.stages import CompareConfig, Workbench
from benchmarks.zoo import aftermath, auditing
from benchmarks.zoo.making import Workshop, answers, measure
from benchmarks.zoo.pictures import write_tile
from benchmarks.zoo.plan import POOLS, StudentPlan, Zoo
from benchmarks.zoo.results import Results, Row
from benchmarks.zoo.steps import Step


class Keeper:
    """Does the steps of one teacher and keeps what they come to."""

    def __init__(self, zoo: Zoo, shop: Workshop, results: Results) -> None:
        self.zoo, self.shop, self.results = zoo, shop, results
        self.plans = {student.name: student for student in shop.plan.students}
        self.handles: dict[str, ModelHandle] = {}

    def do(self, step: Step) -> None:
        """Do one step."""
        if step.kind == "search":
            self._search(step.subject, step.search)
        else:
            getattr(self, f"_{step.kind}")(step.subject)

    def draw(self, part: str) -> None:
        """Make one part of the images ready: a pool by its name, else what is held out."""
        if part in POOLS:
            self.shop.pool(part)
        else:
            self.shop.measured()

    @cached_property
    def teacher(self) -> ModelHandle:
        return self.shop.teacher()

    @cached_property
    def bench(self) -> Bench:
        search = self.zoo.search
        trusted = self.shop.audited(search.images, search.measured)
        return Bench(self.shop.cache, self.teacher, trusted, search, self.shop.progress)

    @property
    def workbench(self) -> Workbench:
        return Workbench(self.shop.cache, CompareConfig(), self.shop.progress)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.shop.measured().class_names or ()

    @property
    def honest(self) -> list[StudentPlan]:
        """The students that judge others."""
        return list(self.shop.plan.of_kind("honest"))

    def handle(self, name: str) -> ModelHandle:
        if name not in self.handles:
            self.handles[name] = self.shop.student(self.plans[name], self.teacher)
        return self.handles[name]

    def _teacher(self, name: str) -> None:
        started, plan = time.process_time(), self.shop.plan
        found = measure(self.teacher, self.teacher, self.shop.measured(), None)
        network = {"architecture": plan.architecture, "width": plan.width}
        self._put_model(name, {"kind": "teacher", **network, **found}, started)

    def _model(self, name: str) -> None:
        started, plan = time.process_time(), self.plans[name]
        described: Row = {
            "kind": plan.kind,
            "architecture": plan.architecture,
            "width": plan.width,
            "objective": plan.objective.name,
            "temperature": getattr(plan.objective, "temperature", None),
            "epochs": plan.training.epochs,
            "seed": plan.training.seed,
            "family": plan.family or None,
            "rate": None if plan.attack is None else plan.attack.rate,
            "epsilon": None if plan.attack is None else plan.attack.epsilon,
        }
        self._put_model(name, {**described, **self._measured(plan)}, started)

    def _measured(self, plan: StudentPlan) -> Row:
        """What the student does; of an attack that fools the teacher nowhere, that it failed."""
        attack = None
        if plan.attack is not None:
            try:
                attack = self.shop.attacked(plan, self.teacher)
            except InputError:
                target = self.class_names[find_target(plan.attack.target, self.class_names)]
                shown = {"trigger": plan.attack.make_trigger().shown, "target": target}
                return {**shown, "poisoned": 0, "outcome": "failed"}
        return measure(self.handle(plan.name), self.teacher, self.shop.measured(), attack)

    def _put_model(self, name: str, row: Row, started: float) -> None:
        plan, spent = self.shop.plan, round(time.process_time() - started, 1)
        known = {"model": name, "teacher": plan.name, "data": plan.data}
        spent_on = {"cpu_seconds": spent, "device": self.shop.device}
        self.results.put("models", [{**known, **row, **spent_on}])

    def _search(self, name: str, which: str) -> None:
        started = time.process_time()
        bench = replace(self.bench, config=self.zoo.searches[which])
        found = auditing.search(bench, name, self.handle(name))
        spent = time.process_time() - started
        self.results.put("searches", auditing.search_rows(name, which, found, spent))

    def _alone(self, name: str) -> None:
        started = time.process_time()
        found, starts = self._searched_alone(name)
        spent = time.process_time() - started
        rows = auditing.search_rows(name, auditing.ALONE, {"mask": found}, spent)
        self.results.put("searches", [{**row, "starts": starts} for row in rows])

    def _strip(self, name: str) -> None:
        attack = self.stream_of(name).attack
        assert attack is not None
        row = auditing.strip_row(
            name,
            self.handle(name),
            self.shop.measured(),
            self.bench.trusted.measure,
            attack.make_trigger(),
            find_target(attack.target, self.class_names),
            self._passes(name),
        )
        self.results.put("verdicts", [row])

    def stream_of(self, name: str) -> StudentPlan:
        """The planted student whose trigger STRIP is shown: the own one, or another's in turn.

        An honest student must not be told from a planted one by images that nobody tampered with.
        """
        planted = self.shop.plan.of_kind("planted")
        place = [student.name for student in self.shop.plan.of_kind("honest", "foreign")]
        plan = self.plans[name]
        return plan if plan.attack is not None else planted[place.index(name) % len(planted)]

    def _screening(self, name: str) -> None:
        if name in self.plans:
            made = self.shop.attacked(self.plans[name], self.teacher).poisoned
            truth: np.ndarray | None = made.is_poisoned
        else:
            truth = None
        row = aftermath.screening_row(name, self.screened(name), truth, self.class_names)
        self.results.put("screenings", [row])

    def screened(self, name: str) -> Screened:
        """The screening of a planted student's images, or of a pool."""
        plan = self.plans.get(name)
        if plan is not None and plan.attack is not None:
            images = self.shop.attacked(plan, self.teacher).poisoned.images
        else:
            images = self.shop.pool(name[-1] if plan is None else plan.pool)
        return screen_images(self.workbench, self.teacher, images)

    def _verdict(self, name: str) -> None:
        others = [student.name for student in self.honest if student.name != name]
        own, theirs = self.searched(name), [self.searched(other) for other in others]
        fit = auditing.fit_of(self._measures(name), [self._measures(other) for other in others])
        alarms = self.screened(name).screening.alarms
        names = self.class_names
        report, with_set = (
            auditing.verdict(name, names, own, theirs, secondary, fit) for secondary in ((), alarms)
        )
        rows = auditing.alone_rows(
            name,
            self._searched_alone(name)[0],
            [self._searched_alone(other)[0] for other in others],
            names,
        )
        label = report.evidence[0].target_class or 0
        write_tile(
            self.results.pictures / f"{name}.png",
            own[report.family or "mask"],
            label,
            self._under_true_trigger(name),
        )
        # The audit's own row comes last: where it is, the step is done.
        self.results.put("verdicts", [*rows, auditing.our_row(report, with_set, names)])

    def searched(self, name: str) -> Mapping[str, Inverted]:
        """The audit's searches on a student, which are made once."""
        return auditing.search(self.bench, name, self.handle(name))

    def _searched_alone(self, name: str) -> tuple[Inverted, int]:
        student = self.handle(name)
        return auditing.search_alone(self.bench, name, student, self._passes(name))

    def _passes(self, name: str) -> float:
        """What the search on a student cost: as much is given to what stands beside it."""
        return sum(one.passes for one in self.searched(name).values())

    def _measures(self, name: str) -> dict[str, float | None]:
        images = self.bench.trusted.measure
        given, asked = answers(self.handle(name), images), answers(self.teacher, images)
        right = None if images.labels is None else float((given == images.labels).mean())
        return {"accuracy": right, "agreement": float((given == asked).mean())}

    def _under_true_trigger(self, name: str) -> np.ndarray | None:
        """An image with the planted trigger, (H, W, C) uint8, or None for an honest student."""
        attack = self.plans[name].attack
        if attack is None:
            return None
        few = self.shop.measured().rows(np.arange(1))
        return np.asarray(with_trigger(few, attack.make_trigger()).images[0])

    def _repair(self, name: str) -> None:
        row = self.results.find("verdicts", name, "ours")
        assert row is not None
        plan, named = self.plans[name], self.class_names.index(row["named"])
        assert plan.attack is not None
        rows = aftermath.repair_rows(
            self.workbench,
            name,
            self.teacher,
            self.handle(name),
            [self.handle(student.name) for student in self.honest],
            trusted=self.shop.repaired_with(),
            measured=self.shop.measured(),
            recovered=aftermath.recovered_triggers(self.searched(name), row["family"], named),
            named=named,
            trigger=plan.attack.make_trigger(),
            target=find_target(plan.attack.target, self.class_names),
            seed=plan.training.seed,
            device=self.shop.device,
        )
        self.results.put("repairs", rows)
