"""One comparison without a screen: two models of a study on one condition, all images.

What pages show through a server, a report and a notebook show through this record. Knows no
Streamlit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

from analysis.errors import InputError, nearest
from analysis.records import CLEAN, TEACHER, TRIGGER, TRIGGER_PERTURBATION, Interval, Projection
from analysis.store.study import Study
from analysis.study.between import check_left, measures_between
from analysis.study.null import StudentNulls, find_nulls
from dashboard.figures.points import MapPoints, map_points
from dashboard.figures.sides import Sides
from dashboard.loading import Pair, load_pair, projection_of


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """``student`` on the right of ``left`` (the teacher, or any model) on ``condition``."""

    study: Study
    student: str
    left: str = TEACHER
    condition: str = CLEAN

    @classmethod
    def of(
        cls,
        study: Study,
        *,
        student: str | None = None,
        left: str = TEACHER,
        condition: str = CLEAN,
    ) -> Self:
        """The comparison that is asked for; ``student`` None is the first that pickers list.

        Raises :class:`InputError` for names that the study does not hold.
        """
        if student is None:
            student = next(iter(study.students), None)
            if student is None:
                raise InputError(f"{study.path} has no students to compare")
        study.student(student)
        check_left(study, left)
        if condition not in study.conditions:
            raise InputError(
                f"no condition {condition!r} in {study.path}",
                remedy=nearest(condition, study.conditions),
            )
        if left == student:
            raise InputError(f"{student!r} compared with itself", expected="two models")
        return cls(study=study, student=student, left=left, condition=condition)

    @property
    def sides(self) -> Sides:
        """What the two models are called in texts."""
        return Sides.of(self.left, self.student)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The study's class names."""
        return self.study.class_names

    @cached_property
    def pair(self) -> Pair:
        """All rows on the condition."""
        return load_pair(self.study, self.student, self.condition, left=self.left)

    @cached_property
    def projection(self) -> Projection | None:
        """Both layouts of these rows, or None."""
        return projection_of(self.study, self.student, self.condition, left=self.left)

    def measures(self, condition: str | None = None) -> dict[str, Interval | None]:
        """The student's measures on a condition, against the left model."""
        return measures_between(self.study, self.left, self.student, condition or self.condition)

    @cached_property
    def nulls(self) -> StudentNulls:
        """What reference students show; nothing for two students."""
        if not self.sides.against_teacher:
            return StudentNulls()
        return find_nulls(self.study, self.student)

    @cached_property
    def points(self) -> MapPoints | None:
        """The points of both maps, with the clean images beneath another condition, or None."""
        if self.projection is None or len(self.pair) == 0:
            return None
        beneath = None
        if self.condition != CLEAN:
            clean = projection_of(self.study, self.student, CLEAN, left=self.left)
            if clean is not None:
                beneath = (load_pair(self.study, self.student, left=self.left), clean)
        return map_points(
            self.pair,
            self.projection,
            self.class_names,
            None,
            triggered=self.condition in (TRIGGER, TRIGGER_PERTURBATION),
            beneath=beneath,
        )
