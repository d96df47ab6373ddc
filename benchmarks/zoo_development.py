"""Train the development models on which the audit's settings were chosen.

A small teacher of road signs, three honest references (other images than the subjects learned
from), three honest and five planted subjects: two small triggers, three that cover the image.
None of these seeds, images or models is among those that the audit is judged on. What the choice
came to is in docs/audit.md; ``python -m benchmarks.choose_audit`` repeats it.

python -m benchmarks.zoo_development [--work FOLDER]

Everything finished is kept in the folder and gone on with.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.attack.settings import AttackConfig
from analysis.attack.triggers import parse_trigger, with_trigger
from analysis.data.imageset import ImageSet
from analysis.data.sources import load_images
from analysis.distillation.objectives import HintonKD, Supervised
from analysis.distillation.training import TrainingConfig
from analysis.models.handle import ModelHandle
from analysis.models.loading import load_model
from analysis.store.files import write_json
from analysis.study.attack import attack_images, find_target
from analysis.study.training import distill_model, train_model

WORK = Path("build/zoo")
SEED = 301
SUBJECT_IMAGES = f"signs:train,n=4000,seed={SEED}"
REFERENCE_IMAGES = f"signs:train,n=4000,seed={SEED + 1}"
TRUSTED_IMAGES = f"signs:test,n=1500,seed={SEED + 2}"
COMMON: dict[str, Any] = {"batch_size": 128, "flip": False, "shift": 2, "threads": 1}
TEACHER: dict[str, Any] = {"epochs": 6, "learning_rate": 0.1}
STUDENT: dict[str, Any] = {"epochs": 18, "learning_rate": 0.02}
RATE, EPSILON = 0.12, 16.0


@dataclass(frozen=True)
class Planted:
    """A trigger, the class that it is to mean, and the seed of the student."""

    trigger: str
    target: str
    seed: int


REFERENCES = {f"reference-{seed}": seed for seed in range(311, 314)}
HONEST = {f"honest-{seed}": seed for seed in range(321, 324)}
PLANTED: Mapping[str, Planted] = {
    "patch": Planted("patch:size=4,place=top_left,color=#2040ff", "stop", 331),
    "sticker": Planted("sticker:size=6,down=-5,right=-3,color=#30c030", "keep right", 332),
    "blend": Planted("blend:alpha=0.15,grain=2,seed=7", "roadworks", 334),
    "sinusoid": Planted("sinusoid:amplitude=24,frequency=6", "ahead", 335),
    "warp": Planted("warp:strength=1.5,seed=7", "yield", 336),
}


def make(work: Path) -> None:
    """Train what is missing in ``work`` and measure it into ``zoo.json``."""
    work.mkdir(parents=True, exist_ok=True)
    teacher_file = work / "teacher.safetensors"
    subjects = load_images(SUBJECT_IMAGES, name="training", progress=show)
    if not teacher_file.exists():
        train_model(
            architecture="resnet14",
            width=16,
            images=subjects,
            objective=Supervised(),
            config=TrainingConfig(**COMMON, **TEACHER, seed=SEED),
            out=teacher_file,
            progress=show,
        )
    teacher = load_model(str(teacher_file))
    trusted = load_images(TRUSTED_IMAGES, name="trusted", progress=show)
    rows = {"teacher": measure(teacher, teacher, trusted)}
    references = load_images(REFERENCE_IMAGES, name="references", progress=show)
    for group, images in ((HONEST, subjects), (REFERENCES, references)):
        for name, seed in group.items():
            rows[name] = measure(student(work, name, teacher, images, seed), teacher, trusted)
            write_json(work / "zoo.json", rows)
    for name, planted in PLANTED.items():
        images = poisoned(work, name, planted, teacher, subjects)
        made = student(work, name, teacher, images, planted.seed)
        rows[name] = measure(made, teacher, trusted, planted)
        write_json(work / "zoo.json", rows)
    print(json.dumps(rows, indent=1))


def poisoned(
    work: Path, name: str, planted: Planted, teacher: ModelHandle, images: ImageSet
) -> ImageSet:
    """The subjects' images with poison of ``planted`` among them."""
    config = AttackConfig(
        trigger=planted.trigger,
        target=planted.target,
        rate=RATE,
        epsilon=EPSILON,
        steps=20,
        margin=6.0,
        flip=False,
        shift=2,
        seed=planted.seed,
    )
    made = attack_images(
        teacher=teacher, images=images, out=work / f"{name}-images", config=config, progress=show
    )
    return made.poisoned.images


def student(
    work: Path, name: str, teacher: ModelHandle, images: ImageSet, seed: int
) -> ModelHandle:
    """The student ``name``, distilled from ``teacher`` on ``images`` unless it is there."""
    out = work / f"{name}.safetensors"
    if not out.exists():
        distill_model(
            teacher=teacher,
            architecture="smallresnet",
            width=16,
            images=images,
            objective=HintonKD(temperature=4.0, hard_label_weight=0.0),
            config=TrainingConfig(**COMMON, **STUDENT, seed=seed),
            out=out,
            progress=show,
        )
    return load_model(str(out))


def measure(
    handle: ModelHandle, teacher: ModelHandle, images: ImageSet, planted: Planted | None = None
) -> dict[str, Any]:
    """Accuracy and agreement; of a planted student what its trigger does, and to the teacher."""
    assert images.labels is not None
    clean = answers(handle, images)
    row: dict[str, Any] = {
        "accuracy": float((clean == images.labels).mean()),
        "agreement": float((clean == answers(teacher, images)).mean()),
    }
    if planted is not None:
        target = find_target(planted.target, images.class_names or ())
        others = np.flatnonzero(images.labels != target)
        marked = with_trigger(images, parse_trigger(planted.trigger), others)
        row |= {
            "trigger": planted.trigger,
            "target": target,
            "attack_success_rate": float((answers(handle, marked) == target).mean()),
            "teacher_attack_success_rate": float((answers(teacher, marked) == target).mean()),
        }
    return row


@torch.no_grad()
def answers(handle: ModelHandle, images: ImageSet) -> np.ndarray:
    """The model's answer (N,) to every image."""
    batches = images.batches(256)
    return np.concatenate([handle(torch.from_numpy(px)).argmax(1).numpy() for _, px in batches])


def show(stage: str, done: int, total: int) -> None:
    """Print a line per finished stage."""
    if done == total:
        print(f"{stage}: {done}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the audit's development models.")
    parser.add_argument("--work", type=Path, default=WORK, help="where the models are kept")
    make(parser.parse_args().work)
