"""An experiment as records: images, teacher, attack, students, comparison."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from analysis.attack.settings import AttackConfig
from analysis.config import Config, field
from analysis.distillation.objectives import OBJECTIVES, Objective, make_objective
from analysis.distillation.settings import TrainingConfig
from analysis.errors import ConfigError, DistillscopeError, nearest
from analysis.models.architectures import find_architecture
from analysis.models.normalization import Normalization
from analysis.records import Role
from analysis.study.audit_settings import AuditConfig
from analysis.study.stages import CompareConfig

VERSION = 1
SUPERVISED = "supervised"


@dataclass(frozen=True, kw_only=True)
class ImagesConfig(Config):
    """Which images are used for what; each is a source of ``load_images``."""

    distillation: str = field("", "images that students are distilled on")
    inspection: str = field("", "images that the models are compared on")
    validation: str | None = field(None, "images to report accuracy on, by epoch")
    teacher: str | None = field(None, "images a teacher is trained on (default: distillation)")
    limit: int | None = field(None, "use at most this many images of distillation", low=1)
    validation_limit: int | None = field(None, "use at most this many of validation", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("distillation", "inspection"):
            if not getattr(self, name):
                raise ConfigError(
                    f"no {name} images",
                    expected=f'{name} = "SOURCE", e.g. "signs:train", "photos", "train.parquet"',
                )

    def sources(self) -> dict[str, str]:
        """The sources that are named, by what they are used for."""
        named = {name: getattr(self, name) for name in ("distillation", "inspection")}
        named |= {name: getattr(self, name) for name in ("validation", "teacher")}
        return {name: source for name, source in named.items() if source is not None}


@dataclass(frozen=True, kw_only=True)
class ReferencesConfig(Config):
    """Honest students beside those of the experiment: the same recipe, clean images, new seeds."""

    seeds: int = field(0, "how many reference students, a seed each", low=0, high=1000)
    first: int = field(1000, "the first of their seeds", low=0, high=2**62)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Config):
    """The network that is trained, and what it learns from."""

    arch: str = field("", "a built-in architecture, e.g. resnet14, smallresnet")
    width: int | None = field(None, "channels of the first stage (default: its own)", low=1)
    normalize: str = field("teacher", "teacher, dataset, imagenet, cifar10, none or m:m:m/s:s:s")
    objective: str = field("hinton", "what the student learns from")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.arch:
            raise ConfigError("no arch", expected='arch = "NAME", e.g. "smallresnet"')
        if ".py" in self.arch:
            raise ConfigError(
                f"arch = {self.arch!r}",
                expected="a built-in architecture",
                remedy="only the teacher can be code of your own: [teacher] spec",
            )
        find_architecture(self.arch)
        if self.normalize not in ("teacher", "dataset"):
            Normalization.parse(self.normalize)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is made: network, objective, training."""

    network: NetworkConfig
    objective: Objective
    training: TrainingConfig

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, of_teacher: bool = False) -> Self:
        """Read network, objective and training from one flat mapping.

        A teacher is trained on labels alone, and normalizes by its data set unless told
        otherwise. Unknown keys are refused with the nearest one named.
        """
        given = dict(values)
        if of_teacher:
            given = {"normalize": "dataset", **given}
            if given["normalize"] == "teacher":
                raise ConfigError(
                    "normalize = 'teacher'", expected="dataset, imagenet, cifar10, none or values"
                )
        name = SUPERVISED if of_teacher else given.get("objective", "hinton")
        if name not in OBJECTIVES:
            raise ConfigError(f"unknown objective {name!r}", remedy=nearest(str(name), OBJECTIVES))
        network = _names(NetworkConfig) - ({"objective"} if of_teacher else set())
        parts = (network, _names(OBJECTIVES[name]), _names(TrainingConfig))
        for key in given:
            if not any(key in part for part in parts):
                raise ConfigError(f"unknown key {key!r}", remedy=nearest(key, set().union(*parts)))
        own, goal, training = ({k: v for k, v in given.items() if k in part} for part in parts)
        recipe = cls(
            network=NetworkConfig.from_mapping(own),
            objective=make_objective(name, **goal),
            training=TrainingConfig.from_mapping(training),
        )
        recipe._check()
        return recipe

    def _check(self) -> None:
        if self.objective.layers_of_teacher and self.training.teacher_views == "cached":
            raise ConfigError(
                f"objective {self.objective.name!r} reads the teacher's features",
                expected='teacher_views = "augmented"',
            )

    def key(self) -> dict[str, Any]:
        """The values that decide the model, beside teacher and images."""
        network = {k: v for k, v in self.network.key().items() if k != "objective"}
        parts = {"objective": self.objective.recipe(), "training": self.training.key()}
        return {"network": network, **parts}


def _names(config: type[Config]) -> set[str]:
    return {spec.name for spec in dataclasses.fields(config)}


@dataclass(frozen=True, kw_only=True)
class StudentPlan:
    """One student: the part it plays, the half of the attack in its images, its recipe."""

    role: Role
    half: str
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class AuditPlan(AuditConfig):
    """The audit of all students once they are compared."""

    images: str | None = field(None, "trusted images (default: those of inspection)")
    given: str | None = field(None, "a folder of honest students, the references")
    distillation_set: str | None = field(
        None, "images that are screened (default: those that each student was distilled on)"
    )

    @property
    def config(self) -> AuditConfig:
        """The audit's own settings."""
        names = [spec.name for spec in dataclasses.fields(AuditConfig)]
        return AuditConfig(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A whole experiment; ``teacher`` is a model spec, or the recipe to train one."""

    name: str
    out: Path
    seed: int
    device: str
    images: ImagesConfig
    teacher: str | Recipe
    attack: AttackConfig
    students: Mapping[str, StudentPlan]
    comparison: CompareConfig
    audit: AuditPlan | None = None


@contextlib.contextmanager
def section(name: str) -> Iterator[None]:
    """Say in which section a value is wrong."""
    try:
        yield
    except DistillscopeError as error:
        raise ConfigError(
            f"[{name}] {error.what}", expected=error.expected, remedy=error.remedy
        ) from error
