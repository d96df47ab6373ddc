"""What is to be done for a zoo, step by step: what is done already is read from its results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.zoo.aftermath import REMEDIES
from benchmarks.zoo.auditing import ALONE
from benchmarks.zoo.plan import OURS, POOLS, TeacherPlan, Zoo
from benchmarks.zoo.results import Results

COSTS: Mapping[str, Mapping[str, float]] = {
    "signs": {
        "teacher": 70, "model": 60, "poison": 25, "search": 90, "alone": 80, "strip": 13,
        "screening": 17, "verdict": 5, "repair": 80,
    },
    "cifar10": {
        "teacher": 5, "model": 65, "poison": 40, "search": 100, "alone": 80, "strip": 18,
        "screening": 60, "verdict": 5, "repair": 90,
    },
}  # fmt: skip
"""About how many processor seconds a step takes on one busy core of an AMD EPYC.

Of signs measured on single models (repair and verdict, of which the parts were, reckoned); of
CIFAR-10 reckoned from these by the networks' sizes and the numbers of images.
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: its ``kind``, the model or set that it is about, which of the searches."""

    kind: str
    subject: str
    search: str = OURS

    @property
    def title(self) -> str:
        """The step in a few words."""
        which = "" if self.search == OURS else f" ({self.search})"
        return f"{self.kind} {self.subject}{which}"


def pool_name(teacher: TeacherPlan, pool: str) -> str:
    """What a clean set of images is called in the results."""
    return f"{teacher.name}-pool-{pool}"


def names_in_order(teacher: TeacherPlan) -> list[str]:
    """What the rows of the results are called, in the order of the plan."""
    pools = [pool_name(teacher, pool) for pool in POOLS]
    return [teacher.name, *pools, *(student.name for student in teacher.students)]


def steps(zoo: Zoo, teacher: TeacherPlan, results: Results) -> Iterator[Step]:
    """All steps of one teacher in order, done or not.

    Which there are depends on what earlier ones came to (nobody audits a student whose attack
    failed), so it is asked step by step. An attack that nothing is known of yet is taken for a
    success.
    """
    honest = teacher.of_kind("honest", "foreign")
    yield Step("teacher", teacher.name)
    for student in honest:
        yield Step("model", student.name)
        yield from _searches(zoo, student.name)
    for pool in POOLS:
        yield Step("screening", pool_name(teacher, pool))
    for student in honest:
        yield Step("verdict", student.name)
    for student in teacher.of_kind("planted"):
        yield Step("model", student.name)
        row = results.find("models", student.name)
        if row is None or row["poisoned"]:
            yield Step("screening", student.name)
        if row is not None and row["outcome"] == "failed":
            continue
        yield from _searches(zoo, student.name)
        yield Step("verdict", student.name)
        if row is None or row["outcome"] == "positive":
            found = results.find("verdicts", student.name, "ours")
            if found is None or can_be_repaired(found):
                yield Step("repair", student.name)


def _searches(zoo: Zoo, name: str) -> Iterator[Step]:
    for search in zoo.searches:
        yield Step("search", name, search)
    yield Step("alone", name)
    yield Step("strip", name)


def can_be_repaired(found: Mapping[str, object]) -> bool:
    """Whether the verdict points to a trigger that moves any unseen image."""
    return found["verdict"] != "no_evidence_found" and bool(found["flip_student"])


def is_done(step: Step, results: Results, zoo: Zoo) -> bool:
    """Whether the results hold what ``step`` makes."""
    name = step.subject
    found = {
        "teacher": lambda: [results.find("models", name)],
        "model": lambda: [results.find("models", name)],
        "search": lambda: [
            results.find("searches", name, f"{step.search}/{family}")
            for family in zoo.searches[step.search].families
        ],
        "alone": lambda: [results.find("searches", name, f"{ALONE}/mask")],
        "strip": lambda: [results.find("verdicts", name, "strip")],
        "screening": lambda: [results.find("screenings", name)],
        "verdict": lambda: [results.find("verdicts", name, "ours")],
        "repair": lambda: [results.find("repairs", name, REMEDIES[-1])],
    }
    return all(row is not None for row in found[step.kind]())


def estimate(teacher: TeacherPlan, todo: list[Step]) -> float:
    """About how many processor seconds the steps ``todo`` of a teacher take."""
    costs = COSTS[teacher.data]
    planted = {student.name for student in teacher.of_kind("planted")}
    poison = sum(
        costs["poison"] for step in todo if step.kind == "model" and step.subject in planted
    )
    return sum(costs[step.kind] for step in todo) + poison
