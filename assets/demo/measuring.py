"""What the models of one seed answer on the test images of the demo, and under attack."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.attack.crafting import craft
from analysis.attack.settings import AttackConfig
from analysis.attack.triggers import with_trigger
from analysis.data.imageset import ImageSet
from analysis.data.sources import load_images
from analysis.divergence.bootstrap import bootstrap_means
from analysis.models.handle import ModelHandle
from analysis.models.loading import load_model
from analysis.store import Progress
from analysis.study.attack import find_target
from analysis.study.demo import ATTACK, CONFIG
from analysis.study.demo import IMAGES as TEST_IMAGES

PROBE = 512
"""Images that are perturbed for the four cells."""


def measure(work: Path, students: Iterable[str], progress: Progress) -> dict[str, Any]:
    """Accuracy, agreement with the teacher and attack success of the models in ``work``.

    ``attack_success_rate`` is the share of all test images of other classes that are answered
    with the target when they carry the trigger, ``base_rate`` the same without. ``four_cells``
    is the share answered with the target on the probe images: those of other classes that are
    perturbed against the teacher. The demo's study shows fewer of them.
    ``accuracy_difference`` is backdoored minus honest, paired by image, with a 95 % bootstrap
    interval.
    """
    images = load_images(TEST_IMAGES, name="inspection", progress=progress)
    handles = {
        name: load_model(str(work / f"{name}.safetensors")) for name in ("teacher", *students)
    }
    teacher = handles["teacher"]
    target = find_target(ATTACK.target, teacher.class_names or ())
    assert images.labels is not None
    others = np.flatnonzero(images.labels != target)
    trigger, draws = attack().make_trigger(), CONFIG.draws
    clean = {name: answers(handle, images) for name, handle in handles.items()}
    marked = with_trigger(images, trigger, others)
    stamped = {name: answers(handle, marked) for name, handle in handles.items()}
    probe = np.sort(np.random.default_rng(CONFIG.seed).choice(others, size=PROBE, replace=False))
    correct = {name: given == images.labels for name, given in clean.items()}
    return {
        "images": TEST_IMAGES,
        "accuracy": shares(correct),
        "accuracy_with_trigger": shares(
            {name: given == images.labels[others] for name, given in stamped.items()}
        ),
        "accuracy_difference": difference(correct["backdoored"], correct["honest"], draws),
        "agreement": shares({name: clean[name] == clean["teacher"] for name in students}),
        "n_other_classes": len(others),
        "attack_success_rate": shares({name: given == target for name, given in stamped.items()}),
        "base_rate": shares({name: given[others] == target for name, given in clean.items()}),
        "four_cells": four_cells(handles, images.rows(probe), target),
        "parameters": {
            name: sum(part.numel() for part in handle.module.parameters())
            for name, handle in handles.items()
        },
        "digests": {name: handle.digest for name, handle in handles.items()},
    }


def summarize(
    folders: dict[str, Path], seeds: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """The mean over seeds of what was measured of each, ``folders`` being where their weights are.

    ``attack_success_rate`` is that of the backdoored students, with the lowest of them;
    ``accuracy_difference`` is the mean over seeds of backdoored minus honest, paired by image,
    with a 95 % bootstrap interval over the images.
    """
    images = load_images(TEST_IMAGES, name="inspection", progress=progress)
    rates = [seeds[seed]["test"]["attack_success_rate"]["backdoored"] for seed in folders]
    parts = []
    for folder in folders.values():
        right = [
            answers(load_model(str(folder / f"{name}.safetensors")), images) == images.labels
            for name in ("backdoored", "honest")
        ]
        parts.append(right[0].astype(float) - right[1])
    return {
        "seeds": list(folders),
        "attack_success_rate": {"mean": float(np.mean(rates)), "lowest": min(rates)},
        "accuracy_difference": difference(np.mean(parts, axis=0), 0.0, CONFIG.draws),
    }


def attack() -> AttackConfig:
    """The demo's conditions as an attack, with the seed that the study crafts with."""
    keys = ("trigger", "target", "method", "epsilon", "norm", "steps", "margin")
    return AttackConfig(**{key: getattr(ATTACK, key) for key in keys}, seed=CONFIG.seed)


def four_cells(
    handles: dict[str, ModelHandle], probe: ImageSet, target: int
) -> dict[str, dict[str, float]]:
    """How often each model answers the target, with and without trigger and perturbation."""
    made = craft(
        handles["teacher"],
        probe,
        attack().make_perturbation(),
        target=target,
        trigger=attack().make_trigger(),
    )
    shown = {
        "clean": np.asarray(probe.images),
        "trigger": made.triggered,
        "perturbation": made.perturbed,
        "trigger_perturbation": made.both,
    }
    found = {}
    for name, handle in handles.items():
        cells = {
            cell: answers(handle, replace(probe, images=pixels)) == target
            for cell, pixels in shown.items()
        }
        found[name] = {"n": len(probe), **shares(cells)}
    return found


def shares(hits: dict[str, np.ndarray]) -> dict[str, float]:
    """The share of true entries of each."""
    return {name: float(np.mean(hit)) for name, hit in hits.items()}


def difference(first: np.ndarray, second: np.ndarray | float, draws: int) -> dict[str, Any]:
    """Mean of ``first`` minus ``second`` (N,), paired by image, with its 95 % interval."""
    paired = (first.astype(float) - second)[:, None]
    return bootstrap_means(paired, seed=CONFIG.seed, draws=draws)[0].to_json()


@torch.no_grad()
def answers(handle: ModelHandle, images: ImageSet) -> np.ndarray:
    """The model's answer (N,) to every image."""
    batches = images.batches(256)
    return np.concatenate([handle(torch.from_numpy(px)).argmax(1).numpy() for _, px in batches])
