"""Stage: present the images under attack, and measure whether the trigger works.

Four cells: with and without trigger, with and without perturbation. The trigger goes on every
image; the perturbation is crafted against the teacher, through the trigger, on a seeded probe
subset of images that are not of the target class. What was crafted is stored.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.attack.crafting import Crafted, craft
from analysis.attack.settings import AttackConfig
from analysis.attack.triggers import with_trigger
from analysis.data.conditions import clean_condition
from analysis.data.imageset import ImageSet
from analysis.divergence.answers import read_answers
from analysis.divergence.bootstrap import bootstrap_means
from analysis.errors import ImageSetError
from analysis.models.handle import ModelHandle
from analysis.records import CLEAN, PERTURBATION, TRIGGER, TRIGGER_PERTURBATION, Condition
from analysis.store import Progress, Study
from analysis.store.files import write_array
from analysis.study.attack import find_target
from analysis.study.inference import KEPT_BATCH
from analysis.study.pairwise import AT_A_TIME, two_at_a_time
from analysis.study.stages import CompareConfig, ConditionConfig, Products, Workbench

VERSION = 1
# Small batches stay in the processor's caches.
CRAFTED_AT_A_TIME = 64
EDITED = "edited"
"""The kind of a condition that a person made of edits."""
NAMES = {
    TRIGGER: "Trigger",
    PERTURBATION: "Perturbation",
    TRIGGER_PERTURBATION: "Trigger + perturbation",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """A condition with the images as it shows them.

    ``rows`` are these images' places in the inspection set, ``labels`` theirs (or None).
    """

    condition: Condition
    images: ImageSet
    rows: np.ndarray
    labels: np.ndarray | None

    @property
    def slug(self) -> str:
        """The condition's name in keys and addresses."""
        return self.condition.slug

    @property
    def batch_size(self) -> int | None:
        """Images at a time when models answer it, where that matters."""
        return KEPT_BATCH if self.condition.kind == EDITED else None


def present_clean(images: ImageSet, labels: np.ndarray | None) -> Presented:
    """The images as they are."""
    return Presented(
        condition=clean_condition(images), images=images, rows=np.arange(len(images)), labels=labels
    )


def present_attack(
    bench: Workbench, teacher: ModelHandle, images: ImageSet, teacher_logits: Path
) -> tuple[list[Presented], int]:
    """Return the three conditions under attack and the number of the target class.

    They are the trigger on all images, and the perturbation alone and with the trigger on at most
    ``probe`` images that are not of the target class. Where images have no labels the teacher's
    clean answer, of ``teacher_logits`` (a ``.npy`` of (N, K)), decides which are of it. Raises
    :class:`~analysis.errors.InputError` for an unknown target, and :class:`ImageSetError` where
    every image is of the target class.
    """
    config = bench.config.attack
    assert config is not None
    names = images.class_names or ()
    target = find_target(config.target, names)
    of_target = _classes(images, teacher_logits) == target
    candidates = np.flatnonzero(~of_target)
    if len(candidates) == 0:
        raise ImageSetError(
            f"every image is of the target class {names[target]!r}",
            expected="images of other classes, on which the trigger can be tested",
        )
    rng = np.random.default_rng(bench.config.seed)
    count = min(config.probe, len(candidates))
    rows = np.sort(rng.choice(candidates, size=count, replace=False))
    crafted = _crafted(bench, teacher, images, rows, target, config)
    stamped = _stamped(bench, images, config)
    probe = images.rows(rows)
    shown = {
        TRIGGER: (replace(images, images=stamped), np.arange(len(images))),
        PERTURBATION: (replace(probe, images=crafted["perturbed"]), rows),
        TRIGGER_PERTURBATION: (replace(probe, images=crafted["both"]), rows),
    }
    return [
        _presented(slug, picture, places, len(images), config, names[target])
        for slug, (picture, places) in shown.items()
    ], target


def _classes(images: ImageSet, teacher_logits: Path) -> np.ndarray:
    if images.labels is not None:
        return images.labels
    return read_answers(np.load(teacher_logits, mmap_mode="r")).answer


def _attack(config: ConditionConfig, seed: int) -> AttackConfig:
    return AttackConfig(
        trigger=config.trigger,
        target=config.target,
        method=config.method,
        epsilon=config.epsilon,
        norm=config.norm,
        steps=config.steps,
        margin=config.margin,
        seed=seed,
    )


def check_conditions(config: ConditionConfig) -> ConditionConfig:
    """Return ``config`` when trigger, method and epsilon can be used.

    Raises :class:`~analysis.errors.ConfigError` otherwise, before any model is loaded.
    """
    _attack(config, 0)
    return config


def _crafted(
    bench: Workbench,
    teacher: ModelHandle,
    images: ImageSet,
    rows: np.ndarray,
    target: int,
    config: ConditionConfig,
) -> dict[str, np.ndarray]:
    attack = _attack(config, bench.config.seed)
    perturbation, trigger = attack.make_perturbation(), attack.make_trigger()

    parts = [part for part in np.array_split(rows, AT_A_TIME) if len(part)]
    done = dict.fromkeys(range(len(parts)), 0)

    def crafted(part: int, progress: Progress) -> Crafted:
        def report(stage: str, so_far: int, total: int) -> None:
            done[part] = so_far
            progress("perturbed images", sum(done.values()), len(rows))

        return craft(
            teacher,
            images.rows(parts[part]),
            perturbation,
            target=target,
            trigger=trigger,
            batch_size=CRAFTED_AT_A_TIME,
            progress=report,
        )

    def work(folder: Path) -> Mapping[str, Any]:
        made = two_at_a_time(
            [functools.partial(crafted, part) for part in range(len(parts))],
            progress=bench.progress,
            device=str(teacher.device),
        )
        for name in ("both", "perturbed"):
            write_array(folder / f"{name}.npy", np.concatenate([getattr(m, name) for m in made]))
        return {}

    output = bench.cache.run(
        "conditions",
        work,
        version=VERSION,
        inputs={"teacher": teacher.digest, "images": images.digest, "rows": rows.tolist()},
        config={"perturbation": perturbation.key(), "trigger": trigger.key(), "target": target},
    )
    return {
        name: np.load(output.file(f"{name}.npy"), mmap_mode="r") for name in ("both", "perturbed")
    }


def _stamped(bench: Workbench, images: ImageSet, config: ConditionConfig) -> np.ndarray:
    trigger = _attack(config, bench.config.seed).make_trigger()

    def work(folder: Path) -> Mapping[str, Any]:
        write_array(folder / "images.npy", np.asarray(with_trigger(images, trigger).images))
        return {}

    output = bench.cache.run(
        "trigger",
        work,
        version=VERSION,
        inputs={"images": images.digest},
        config={"trigger": trigger.key()},
    )
    return np.load(output.file("images.npy"), mmap_mode="r")


def has_trigger(study: Study, images: ImageSet, config: ConditionConfig) -> bool | None:
    """Whether ``study`` shows ``images`` with the trigger of ``config``; None: with no trigger."""
    if TRIGGER not in study.conditions:
        return None
    stamped = with_trigger(images, _attack(config, 0).make_trigger())
    return study.conditions[TRIGGER].pixels_digest == stamped.pixels_digest


def stored_config(config: CompareConfig) -> dict[str, Any]:
    """The configuration as a study keeps it: no directory of a trigger's picture enters it."""
    key = config.key()
    if config.attack is not None:
        shown = _attack(config.attack, 0).make_trigger().shown
        key["attack"] = {**key["attack"], "trigger": shown}
    return key


def _presented(
    slug: str, images: ImageSet, rows: np.ndarray, total: int, config: ConditionConfig, target: str
) -> Presented:
    trigger = _attack(config, 0).make_trigger()
    parameters: dict[str, Any] = {"target": target}
    if slug != PERTURBATION:
        parameters["trigger"] = trigger.shown
    if slug != TRIGGER:
        parameters |= {"method": config.method, "epsilon": config.epsilon, "norm": config.norm}
    condition = Condition(
        name=NAMES[slug],
        slug=slug,
        kind="attack",
        image_set=images.name,
        n=len(images),
        covers_all=len(images) == total,
        pixels_digest=images.pixels_digest,
        parameters=parameters,
    )
    return Presented(condition=condition, images=images, rows=rows, labels=images.labels)


def stored_conditions(study: Study, images: ImageSet) -> list[Presented]:
    """Return the conditions that ``study`` stores beside the clean one."""
    found = []
    for slug, condition in study.conditions.items():
        if slug == CLEAN:
            continue
        ids = study.condition_ids(slug)
        rows = images.rows_of(ids)
        shown = replace(images.rows(rows), images=study.condition_images(slug))
        found.append(Presented(condition=condition, images=shown, rows=rows, labels=shown.labels))
    return found


def target_of(conditions: Iterable[Presented], names: Sequence[str]) -> int | None:
    """The class that the study's trigger is tested for, or None."""
    stated = (shown.condition.parameters.get("target") for shown in conditions)
    target = next((name for name in stated if name is not None), None)
    return None if target is None else names.index(target)


def measure_attack(
    bench: Workbench,
    model: str,
    conditions: Iterable[Presented],
    clean: ImageSet,
    target: int,
    arrays: Mapping[str, Path],
) -> Products:
    """Measure for each condition how often ``model`` answers the target class.

    ``attack_success_rate`` is the share of non-target images answered with the target,
    ``base_rate`` the same images as they are, ``titg`` their difference. With 95 % bootstrap
    intervals over these images.
    """
    logits = np.load(arrays[f"logits/{model}/{CLEAN}"], mmap_mode="r")
    before = read_answers(logits).answer == target
    of_target = _classes(clean, arrays[f"logits/teacher/{CLEAN}"]) == target
    records = {}
    for shown in conditions:
        own = np.load(arrays[f"logits/{model}/{shown.slug}"], mmap_mode="r")
        keep = ~of_target[shown.rows]
        hit = (read_answers(own).answer == target)[keep].astype(float)
        base = before[shown.rows][keep].astype(float)
        rates = bootstrap_means(
            np.column_stack([hit, base, hit - base]),
            seed=bench.config.seed,
            draws=bench.config.draws,
        )
        keys = ("attack_success_rate", "base_rate", "titg")
        records[f"attack/{model}/{shown.slug}"] = {
            "n": int(keep.sum()),
            **{key: rate.to_json() for key, rate in zip(keys, rates, strict=True)},
        }
    return Products(records=records)
