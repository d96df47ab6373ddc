"""A zoo small enough to be tried in a minute; nothing is learnt in it."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.zoo.plan import Counts, StudentPlan, TeacherPlan, Zoo

_KEPT = {"honest": 3, "foreign": 1, "planted": 2}


def smaller(zoo: Zoo) -> Zoo:
    """``zoo`` with few students of each teacher, few images, one epoch, and short searches.

    It is not frozen: no commit needs to be named for what is thrown away.
    """
    search, *variants = (
        replace(config, steps=8, images=16, measured=8) for config in zoo.searches.values()
    )
    return replace(
        zoo,
        frozen=False,
        search=search,
        variants=dict(zip(zoo.variants, variants, strict=True)),
        teachers=tuple(_teacher(teacher) for teacher in zoo.teachers),
    )


def _teacher(teacher: TeacherPlan) -> TeacherPlan:
    students = tuple(
        _student(student)
        for kind, count in _KEPT.items()
        for student in teacher.of_kind(kind)[:count]  # type: ignore[arg-type]
    )
    training = teacher.training and replace(teacher.training, epochs=1)
    counts = Counts(images=200, trusted=200, measured=120)
    return replace(teacher, students=students, training=training, counts=counts)


def _student(student: StudentPlan) -> StudentPlan:
    attack = student.attack and replace(student.attack, steps=3, views=0, check_views=1)
    return replace(student, training=replace(student.training, epochs=1), attack=attack)
