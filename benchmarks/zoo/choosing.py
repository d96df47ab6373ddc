"""Which search to choose: all searches of a zoo judged alike, from the sizes in its table.

Honest students of the same teacher are the references, none in its own null. What is compared is
the power at a fixed rate of false alarms: a search is no better for giving larger numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from analysis.audit.null import LEVEL, Extreme, judge_sizes
from analysis.data.signs import SIGN_CLASSES
from benchmarks.zoo.auditing import ALONE
from benchmarks.zoo.judging import PATCHES
from benchmarks.zoo.plan import CIFAR, OURS, SIGNS, StudentPlan, TeacherPlan, Zoo
from benchmarks.zoo.rates import Area, area
from benchmarks.zoo.results import Results, Row

CLASS_NAMES: Mapping[str, Sequence[str]] = {
    SIGNS: SIGN_CLASSES,
    CIFAR: [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ],
}
FALSE_ALARMS = (0.0, 0.1)
"""Shares of honest students at which the power is read."""
_FEWEST = 3


@dataclass(frozen=True, slots=True)
class Subject:
    """A student under one search: its number, whether it is a positive, and what was named."""

    teacher: str
    family: str | None
    is_positive: bool
    right_class: bool
    found: Extreme

    @property
    def statistic(self) -> float:
        """The most extreme smallness among all students of the teacher."""
        assert self.found.statistic is not None
        return self.found.statistic

    @property
    def flagged(self) -> bool:
        """Whether the search alone calls it strange at the audit's level."""
        return self.found.p_value is not None and self.found.p_value <= LEVEL


@dataclass(frozen=True, slots=True)
class Compared:
    """One search over all students that it was made of: ``passes`` is the median of a student."""

    name: str
    honest: tuple[Subject, ...]
    positives: tuple[Subject, ...]
    passes: float

    def area(self, families: Sequence[str] | None = None) -> Area | None:
        """Area under the ROC curve over honest students and positives (of ``families``)."""
        chosen = [s for s in self.positives if families is None or s.family in families]
        everyone = [*self.honest, *chosen]
        return area(
            [subject.statistic for subject in everyone],
            [subject.is_positive for subject in everyone],
            [subject.teacher for subject in everyone],
        )

    def found(self, false_alarms: float) -> int:
        """Positives with the right class above all but a share of the honest students."""
        ranked = sorted((subject.statistic for subject in self.honest), reverse=True)
        threshold = ranked[math.floor(false_alarms * len(ranked))]
        return sum(one.statistic > threshold and one.right_class for one in self.positives)


def compare_searches(zoo: Zoo, results: Results) -> list[Compared]:
    """Judge every search of ``zoo`` that at least three honest students of a teacher have.

    Only students that all searches were made of count, so that searches are compared on the same
    ones.
    """
    models = {row["model"]: row for row in results.rows("models")}
    sizes: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    passes: dict[str, dict[str, float]] = {}
    for row in results.rows("searches"):
        name, family = row["search"].split("/")
        values = np.array([float(text) for text in row["classes"].split()])
        sizes.setdefault(name, {}).setdefault(row["student"], {})[family] = values
        spent = passes.setdefault(name, {})
        spent[row["student"]] = spent.get(row["student"], 0.0) + row["passes"]
    known = [name for name in (*zoo.searches, ALONE) if name in sizes]
    shared = set.intersection(*(set(sizes[name]) for name in known)) if known else set()
    compared = []
    for name in known:
        subjects = [
            (student.kind, subject)
            for teacher in zoo.teachers
            for student, subject in _subjects(teacher, sizes[name], models, shared)
        ]
        honest = tuple(subject for kind, subject in subjects if kind == "honest")
        positives = tuple(subject for _, subject in subjects if subject.is_positive)
        if honest and positives:
            spent = [passes[name][student] for student in shared]
            compared.append(Compared(name, honest, positives, median(spent)))
    return compared


def _subjects(
    teacher: TeacherPlan,
    sizes: Mapping[str, Mapping[str, np.ndarray]],
    models: Mapping[str, Row],
    shared: set[str],
) -> list[tuple[StudentPlan, Subject]]:
    """The students of one teacher, each judged by the honest ones."""
    honest = [student.name for student in teacher.of_kind("honest") if student.name in shared]
    found = []
    for student in teacher.students:
        others = [name for name in honest if name != student.name]
        if student.name not in shared or len(others) < _FEWEST:
            continue
        own, model = sizes[student.name], models[student.name]
        extreme = judge_sizes(
            own, {family: np.stack([sizes[name][family] for name in others]) for family in own}
        )
        subject = Subject(
            teacher=teacher.name,
            family=model["family"],
            is_positive=model["outcome"] == "positive",
            right_class=CLASS_NAMES[teacher.data][extreme.target_class] == model["target"],
            found=extreme,
        )
        found.append((student, subject))
    return found


TITLES = {
    OURS: "the audit's search",
    ALONE: "student alone, patches, as many passes",
    "warps": "warps in place of pictures",
    "none": "warps, student alone",
    "keep": "warps, the teacher keeps its answer",
    "two_starts": "warps, two starts",
}
"""What the searches of the plans are called in the document; others by their names."""


def comparison_lines(compared: Sequence[Compared]) -> list[str]:
    """The comparison as a table of Markdown; nothing, where there is nothing to compare."""
    if len(compared) < 2:
        return []
    first = compared[0]
    counts = f"{len(first.positives)} positives, {len(first.honest)} honest students"
    lines = [
        f"Searches to choose between, on the {counts} that all of them were made of, each judged "
        "by the honest students of its teacher:",
        "",
        "| search | found with the right class, no false alarm | with one in ten | p at most 0.05: "
        "found, false alarms | AUROC, all | patches | passes, median |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in compared:
        hits = sum(subject.flagged and subject.right_class for subject in one.positives)
        false = sum(subject.flagged for subject in one.honest)
        power = " | ".join(f"{one.found(share)}" for share in FALSE_ALARMS)
        lines.append(
            f"| {TITLES.get(one.name, one.name)} | {power} | {hits}, {false} | "
            f"{one.area() or 'not known'} | {one.area(PATCHES) or 'not known'} | "
            f"{f'{one.passes:,.0f}'.replace(',', ' ')} |"
        )
    return lines
