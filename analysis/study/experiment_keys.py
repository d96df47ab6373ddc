"""The identities of an experiment's parts: what was made once is found again by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analysis.attack.patches import Picture
from analysis.attack.triggers import parse_trigger
from analysis.digest import digest_file, digest_json
from analysis.models.loading import ModelSpec
from analysis.study.experiment_settings import VERSION, Experiment
from analysis.study.images import source_key
from analysis.study.stages import CompareConfig


@dataclass(frozen=True, slots=True)
class Keys:
    """Digests of what is asked for, from contents of files and settings, never from paths.

    ``base`` is everything that all students share. ``poisoned`` is by half, ``students`` by name.
    """

    teacher: str
    validation: str | None
    poisoned: dict[str, str]
    students: dict[str, str]
    base: str


def find_keys(experiment: Experiment) -> Keys:
    """Digest the parts of ``experiment``; reads the files that it names."""
    images, attack = experiment.images, experiment.attack
    seed = experiment.seed
    distillation = [source_key(images.distillation), _limit(images.limit, seed)]
    validation = None
    if images.validation is not None:
        validation = digest_json(
            [source_key(images.validation), _limit(images.validation_limit, seed)]
        )
    teacher = _teacher_key(experiment, distillation, validation)
    clean = [VERSION, teacher, distillation]
    settled = [attack.result_key(), attack.make_trigger().key(), str(attack.target)]
    # The clean set is the same whatever the attack: honest students are shared by its variants.
    poisoned = {
        plan.half: digest_json([*clean, *([] if plan.half == "none" else [plan.half, settled])])
        for plan in experiment.students.values()
    }
    students = {
        name: digest_json([poisoned[plan.half], plan.recipe.key(), validation])
        for name, plan in experiment.students.items()
    }
    compared = [_comparison_key(experiment.comparison), source_key(images.inspection)]
    base = digest_json([*clean, settled, compared])
    return Keys(teacher, validation, poisoned, students, base)


def _comparison_key(config: CompareConfig) -> dict[str, Any]:
    """Like the configuration's own, but of what a trigger's picture shows, not of its path."""
    key = config.key()
    if config.attack is not None:
        trigger = parse_trigger(config.attack.trigger)
        if isinstance(trigger, Picture):
            key["attack"] = {**key["attack"], "trigger": trigger.key()}
    return key


def _limit(limit: int | None, seed: int) -> list[int]:
    return [] if limit is None else [limit, seed]


def _teacher_key(experiment: Experiment, distillation: Any, validation: str | None) -> str:
    teacher, images = experiment.teacher, experiment.images
    if not isinstance(teacher, str):
        taught = distillation if images.teacher is None else [source_key(images.teacher)]
        return digest_json([VERSION, teacher.key(), taught, validation])
    spec = ModelSpec.parse(teacher)
    code = None if spec.code is None else digest_file(spec.code)
    return digest_json([VERSION, spec.text, digest_file(spec.weights), code])
