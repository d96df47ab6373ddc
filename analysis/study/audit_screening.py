"""Stage of an audit: screen what its students were distilled on, every set once.

The teacher alone is asked. Which images are poisoned, and whether any is, plays no part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from analysis.models.handle import ModelHandle
from analysis.records import Finding
from analysis.store import StudyWriter
from analysis.study.repair_case import load_for
from analysis.study.screening import PREFIX, SET, Screened, put_screening, screen_images
from analysis.study.stages import Workbench

DistillationSets = str | Mapping[str, str] | None
"""The source of the images that all students were distilled on, or one for each by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenedSets:
    """What was screened, by student; students that no set is known of are not in it."""

    by_student: Mapping[str, Screened] = field(default_factory=dict)

    def evidence(self, student: str) -> tuple[Finding, ...]:
        """The alarms of the set that ``student`` was distilled on."""
        found = self.by_student.get(student)
        return () if found is None else found.screening.alarms

    def said(self, student: str) -> dict[str, Any] | None:
        """Which images the set holds, or None where no set is known."""
        found = self.by_student.get(student)
        return None if found is None else dict(found.products.records[PREFIX]["images"])

    def put(self, writer: StudyWriter) -> None:
        """Hand one screening to ``writer``: of several sets the one with the loudest alarm."""
        if not self.by_student:
            return
        loudest = min(self.by_student.values(), key=_loudness)
        students = [name for name, found in self.by_student.items() if found is loudest]
        record = {**loudest.products.records[PREFIX], "students": students}
        products = replace(loudest.products, records={PREFIX: record})
        put_screening(writer, replace(loudest, products=products))


def screen_sets(
    bench: Workbench, teacher: ModelHandle, students: Sequence[str], given: DistillationSets
) -> ScreenedSets:
    """Screen the sets that ``given`` names for ``students``; equal sources are screened once."""
    by_source: dict[str, Screened] = {}
    by_student: dict[str, Screened] = {}
    for name in students:
        source = given.get(name) if isinstance(given, Mapping) else given
        if source is None:
            continue
        if source not in by_source:
            images = load_for(bench, source, SET, teacher)
            by_source[source] = screen_images(bench, teacher, images)
        by_student[name] = by_source[source]
    return ScreenedSets(by_student=by_student)


def _loudness(screened: Screened) -> float:
    p_values = [alarm.p_value for alarm in screened.screening.alarms]
    return min((value for value in p_values if value is not None), default=1.0)
