"""From the tables of a zoo to what is reported: who counts as what, hits, misses, false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.zoo.plan import OURS, Zoo
from benchmarks.zoo.rates import Area, area
from benchmarks.zoo.results import Results, Row

TESTS = {
    "ours": "the audit",
    "neural_cleanse": "Neural Cleanse (student alone, own classes)",
    "alone_with_references": "student alone, against the references",
    "strip": "STRIP, shown the true trigger",
}
CLEANSED = "cleansed"
PATCHES = ("patch", "translucent", "image", "sticker")
"""The families whose triggers cover a small part of the image."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A student with what it is and what the audit said of it.

    ``model`` is its row of the table of models, ``tests`` its rows of verdicts by test;
    ``cleansed`` is that of Neural Cleanse with its own schedule, where that was run.
    """

    model: Row
    tests: dict[str, Row]
    cleansed: Row | None = None

    @property
    def name(self) -> str:
        """The student's name."""
        return str(self.model["model"])

    @property
    def is_positive(self) -> bool:
        """Whether its own trigger works, measured before any audit."""
        return self.model["outcome"] == "positive"

    @property
    def flagged(self) -> bool:
        """Any verdict but that no evidence was found."""
        return OURS in self.tests and self.tests[OURS]["verdict"] != "no_evidence_found"

    @property
    def flagged_with_set(self) -> bool:
        """The same, with the screening of its distillation set as secondary evidence."""
        return OURS in self.tests and self.tests[OURS]["verdict_with_set"] != "no_evidence_found"

    @property
    def right_class(self) -> bool:
        """Whether the class that the audit names is the planted one."""
        return OURS in self.tests and self.tests[OURS]["named"] == self.model["target"]

    @property
    def is_hit(self) -> bool:
        """Suspicious or backdoored, with the right class."""
        return self.flagged and self.right_class


@dataclass(frozen=True, slots=True)
class Judgement:
    """All students of a zoo that were made, in the order of its plan."""

    students: tuple[Judged, ...]
    repairs: tuple[Row, ...]
    screenings: tuple[Row, ...]

    def audited(self, kind: str, outcome: str | None = None) -> list[Judged]:
        """The audited students of one kind and, of planted ones, of one outcome."""
        return [
            student
            for student in self.students
            if student.model["kind"] == kind
            and OURS in student.tests
            and (outcome is None or student.model["outcome"] == outcome)
        ]

    @property
    def honest(self) -> list[Judged]:
        """The audited honest students with the house recipes."""
        return self.audited("honest")

    @property
    def positives(self) -> list[Judged]:
        """The audited planted students whose triggers work."""
        return self.audited("planted", "positive")

    def planted(self, outcome: str) -> list[Judged]:
        """The planted students of one outcome, audited or not."""
        return [student for student in self.students if student.model["outcome"] == outcome]

    def area(self, test: str, families: Sequence[str] | None = None) -> Area | None:
        """The area under the ROC curve of one test over honest students and positives.

        ``families`` keeps the positives of these; the interval draws teachers anew.
        """
        scores, truth, teachers = self.scores(test, families)
        return area(scores, truth, teachers)

    def scores(
        self, test: str, families: Sequence[str] | None = None
    ) -> tuple[list[float], list[bool], list[str]]:
        """Statistics of one test, whether each student is a positive, and its teacher."""
        chosen = [s for s in self.positives if families is None or s.model["family"] in families]
        known = [s for s in (*self.honest, *chosen) if test in s.tests]
        return (
            [float(student.tests[test]["statistic"]) for student in known],
            [student.is_positive for student in known],
            [str(student.model["teacher"]) for student in known],
        )

    def cleansed(self) -> Judgement:
        """The same of the students on which Neural Cleanse ran with its own schedule.

        Its row stands among their tests, as :data:`CLEANSED`.
        """
        students = tuple(
            replace(one, tests={**one.tests, CLEANSED: one.cleansed})
            for one in self.students
            if one.cleansed is not None
        )
        return replace(self, students=students)

    def passes(self, test: str) -> float | None:
        """The median number of passes that one test took for a student."""
        known = [s.tests[test]["passes"] for s in self.students if test in s.tests]
        counted = [float(value) for value in known if value is not None]
        return median(counted) if counted else None


def judge(zoo: Zoo, results: Results) -> Judgement:
    """Read the tables of ``zoo``; rows of students that the plan does not name are left out."""
    models = {row["model"]: row for row in results.rows("models")}
    tests: dict[str, dict[str, Row]] = {}
    for row in results.rows("verdicts"):
        tests.setdefault(row["student"], {})[row["test"]] = row
    cleansed = {row["student"]: row for row in results.rows("cleansed")}
    return Judgement(
        students=tuple(
            Judged(
                {"outcome": None, "family": None, "target": None} | models[student.name],
                tests.get(student.name, {}),
                cleansed.get(student.name),
            )
            for student in zoo.students
            if student.name in models
        ),
        repairs=tuple(results.rows("repairs")),
        screenings=tuple(results.rows("screenings")),
    )
