"""Which teachers and students a zoo consists of: read from a committed TOML file, never made up.

``report.toml`` was written before any of its models was made; whoever wants another zoo writes
another file with seeds of its own. :func:`read_zoo` refuses a plan that repeats a seed.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from analysis.attack.settings import AttackConfig
from analysis.audit.settings import InversionConfig
from analysis.digest import digest_file
from analysis.distillation.objectives import Objective, make_objective
from analysis.distillation.training import TrainingConfig
from analysis.errors import InputError, nearest

FOLDER = Path(__file__).parent
SIGNS, CIFAR = "signs", "cifar10"
POOLS = ("a", "b")
OURS = "ours"
"""What the search that gives the verdict is called."""
Kind = Literal["honest", "foreign", "planted"]
KINDS: tuple[Kind, ...] = ("honest", "foreign", "planted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many images: to learn from, trusted (audit and repair), to measure success on."""

    images: int
    trusted: int
    measured: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentPlan:
    """One student: how it is distilled and, where it is planted, how its images are poisoned.

    ``honest`` students have the recipes that planted ones have and judge the others; ``foreign``
    ones are honest too, but nothing that judges them has their recipe.
    """

    name: str
    teacher: str
    kind: Kind
    pool: str
    architecture: str
    width: int
    objective: Objective
    training: TrainingConfig
    attack: AttackConfig | None

    @property
    def family(self) -> str:
        """The family of the planted trigger, by the registry's name; empty without one."""
        return "" if self.attack is None else self.attack.trigger.partition(":")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherPlan:
    """One teacher with all its students, and the seeds of its images.

    ``data`` is ``signs`` or ``cifar10``; a teacher of the latter is the public checkpoint, so
    it has no ``training``. ``seeds`` are those of both pools, of trusted and measured images.
    """

    name: str
    data: str
    architecture: str
    width: int
    training: TrainingConfig | None
    counts: Counts
    seeds: Mapping[str, int]
    students: tuple[StudentPlan, ...]

    def of_kind(self, *kinds: Kind) -> tuple[StudentPlan, ...]:
        """The students of these kinds, in the order of the plan."""
        return tuple(student for student in self.students if student.kind in kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zoo:
    """A whole plan. ``frozen``: its results count only for the method that they began with.

    ``search`` gives the verdicts; ``variants`` are made beside it, to choose by.
    """

    name: str
    frozen: bool
    search: InversionConfig
    variants: Mapping[str, InversionConfig]
    teachers: tuple[TeacherPlan, ...]
    path: Path

    @property
    def digest(self) -> str:
        """Digest of the plan's file."""
        return digest_file(self.path)

    @property
    def searches(self) -> dict[str, InversionConfig]:
        """All searches by name, the one that gives the verdicts first."""
        return {OURS: self.search, **self.variants}

    @property
    def students(self) -> tuple[StudentPlan, ...]:
        """All students, teacher by teacher."""
        return tuple(student for teacher in self.teachers for student in teacher.students)

    def seeds(self) -> list[int]:
        """Every seed of the plan: of images, of teachers, of students."""
        found = [seed for teacher in self.teachers for seed in teacher.seeds.values()]
        found += [one.training.seed for one in self.teachers if one.training is not None]
        return found + [student.training.seed for student in self.students]


def zoo_names() -> tuple[str, ...]:
    """The plans that are there."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read_zoo(name: str, folder: Path = FOLDER) -> Zoo:
    """Read the plan called ``name``; raises :class:`InputError` for what cannot be run."""
    path = folder / f"{name}.toml"
    if not path.is_file():
        raise InputError(f"no zoo {name!r}", remedy=nearest(name, zoo_names()))
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    zoo = Zoo(
        name=name,
        frozen=data["frozen"],
        search=InversionConfig.from_mapping(data["search"]),
        variants={
            name: InversionConfig.from_mapping({**data["search"], **changes})
            for name, changes in data.get("variant", {}).items()
        },
        teachers=tuple(_teacher(entry, data) for entry in data["teacher"]),
        path=path,
    )
    for what, values in (
        ("student", [student.name for student in zoo.students]),
        ("seed", [str(seed) for seed in zoo.seeds()]),
    ):
        repeated = [value for value, count in Counter(values).items() if count > 1]
        if repeated:
            raise InputError(f"{path.name}: {what} {repeated[0]} occurs twice")
    return zoo


def _teacher(entry: Mapping[str, Any], data: Mapping[str, Any]) -> TeacherPlan:
    kind = data[entry["data"]]
    training = entry.get("training")
    return TeacherPlan(
        name=entry["name"],
        data=entry["data"],
        architecture=entry["architecture"],
        width=entry["width"],
        training=None if training is None else _training(kind, training),
        counts=Counts(**kind["counts"]),
        seeds=entry["seeds"],
        students=tuple(_students(entry, kind)),
    )


def _students(entry: Mapping[str, Any], kind: Mapping[str, Any]) -> Iterator[StudentPlan]:
    """The rows of a teacher: what they leave out is as in the teacher's ``student`` table."""
    for group in KINDS:
        for row in entry.get(group, ()):
            values = {**entry["student"], **row}
            yield StudentPlan(
                name=f"{entry['name']}-{values['name']}",
                teacher=entry["name"],
                kind=group,
                pool=values["pool"],
                architecture=values["architecture"],
                width=values["width"],
                objective=make_objective(
                    values["objective"],
                    temperature=values["temperature"],
                    hard_label_weight=values.get("hard_label_weight", 0.0),
                ),
                training=_training(
                    kind, {key: values[key] for key in ("seed", "epochs", "learning_rate")}
                ),
                attack=None if group != "planted" else _attack(values, kind),
            )


def _attack(values: Mapping[str, Any], kind: Mapping[str, Any]) -> AttackConfig:
    own = {key: values[key] for key in ("trigger", "target", "rate", "epsilon", "seed")}
    own["trigger"] = own["trigger"].replace("FOLDER", str(FOLDER))
    optional = {key: values[key] for key in ("method", "steps", "margin") if key in values}
    return AttackConfig(**{**kind["attack"], **own, **optional})


def _training(kind: Mapping[str, Any], values: Mapping[str, Any]) -> TrainingConfig:
    return TrainingConfig(**{**kind["training"], "threads": 1, **values})
