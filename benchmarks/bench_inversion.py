"""Trigger inversion: seconds and passes, and what Neural Cleanse does with as many.

Cost: a pair of ResNet-20 and ResNet-14 (270k and 173k parameters) with 10, 43 and 100 classes;
weights are random, since time depends on shapes and on how many classes are searched to the end.
Success: the demo's backdoored student (class "80"), and the study in ``DISTILLSCOPE_CIFAR_STUDY``
where that names one with a student ``backdoored``. Ours is one search with and one without the
teacher; Neural Cleanse runs with its published settings and early stop, and again with as many
forward-backward passes as ours took. What is compared is whether the planted class has the
smallest trigger, and its index over the classes (median absolute deviations below the median; of
sums of masks, as published, for Neural Cleanse, of their logarithms for ours).

python -m benchmarks.bench_inversion
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from analysis.attribution.copies import inference_copy
from analysis.audit.inversion import Inverted, Trusted, invert, smallest
from analysis.audit.null import mad_indices
from analysis.audit.settings import ALL_FAMILIES, MASK_ONLY, InversionConfig
from analysis.data.imageset import ImageSet, to_pixels
from analysis.data.sources import load_images
from analysis.models.architectures import build
from analysis.models.handle import ModelHandle, Normalization
from analysis.models.loading import load_model, wrap_module
from analysis.records import TRIGGER
from analysis.store import Study
from analysis.study.demo import ASSETS, ATTACK
from analysis.study.images import images_of_study
from analysis.study.models import load_stored
from benchmarks.neural_cleanse import Cleansed, neural_cleanse

PAIR = ("resnet20", "resnet14")
RESTARTS, MASK_SECONDS, ALL_SECONDS = 2, 180.0, 480.0
CLASSES = (10, 43, 100)
TRUSTED_IMAGES = "signs:test,n=1500,seed=303"


def random_pair(classes: int) -> list[ModelHandle]:
    torch.manual_seed(0)
    return [
        wrap_module(
            build(name, num_classes=classes),
            architecture=name,
            width=16,
            num_classes=classes,
            normalization=Normalization.parse("cifar10"),
        )
        for name in PAIR
    ]


def noise(count: int, name: str) -> ImageSet:
    return ImageSet(
        name=name,
        images=np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
        sample_ids=np.array([f"{name}/{row}" for row in range(count)]),
    )


def inverted(
    pair: list[ModelHandle], trusted: Trusted, family: str, config: InversionConfig
) -> Inverted:
    starts = [
        invert(*pair, trusted, family=family, config=config, restart=number)
        for number in range(config.restarts)
    ]
    return smallest(starts)


def cost(classes: int, families: tuple[str, ...], restarts: int) -> tuple[float, float, str]:
    """Seconds, passes and precision of the searches of all ``families``."""
    config = InversionConfig(families=families, restarts=restarts)
    trusted = Trusted(noise(config.images, "optimize"), noise(config.measured, "measure"))
    pair = random_pair(classes)
    found = [inverted(pair, trusted, family, config) for family in families]
    return sum(one.seconds for one in found), sum(one.passes for one in found), found[0].precision


def cost_row(
    name: str, seconds: float, passes: float, precision: str, limit: float | None, note: str
) -> dict:
    return {
        "name": name,
        "value": seconds,
        "unit": "s",
        "peer": None,
        "peer_value": None,
        "ratio": None,
        "limit": None if limit is None else f"{limit:.0f} s",
        "met": None if limit is None else bool(seconds <= limit),
        "note": f"{passes:.0f} forward-backward passes of one image. {note}",
        "threads": torch.get_num_threads(),
        "dtype": f"float32 forwards, {precision} gradients",
        "warmup": "none",
    }


def cost_rows() -> list[dict]:
    rows = []
    what = "trigger inversion of ResNet-14 with ResNet-20 as teacher"
    for families, limit in ((MASK_ONLY, MASK_SECONDS), (ALL_FAMILIES, ALL_SECONDS)):
        kinds = "patches" if families == MASK_ONLY else f"{len(families)} trigger models"
        seconds, passes, precision = cost(10, families, RESTARTS)
        name = f"{what}, {kinds}, {RESTARTS} restarts, 10 classes"
        rows.append(cost_row(name, seconds, passes, precision, limit, "Subject alone."))
    first = None
    for classes in CLASSES:
        seconds, passes, precision = cost(classes, MASK_ONLY, 1)
        first = first or passes
        note = f"{classes / CLASSES[0]:.1f}x the classes at {passes / first:.1f}x the passes."
        name = f"{what}, patches, 1 start, {classes} classes"
        rows.append(cost_row(name, seconds, passes, precision, None, note))
    return rows


@dataclass(frozen=True)
class Subject:
    """A student with a planted trigger, its teacher, trusted images and the planted class."""

    name: str
    teacher: ModelHandle
    student: ModelHandle
    images: ImageSet
    target: int


def subjects() -> list[Subject]:
    teacher, student = (
        load_model(str(ASSETS / f"{name}.safetensors")) for name in ("teacher", "backdoored")
    )
    assert teacher.class_names is not None
    images = load_images(TRUSTED_IMAGES, name="trusted")
    target = teacher.class_names.index(ATTACK.target)
    found = [Subject("demo's backdoored student", teacher, student, images, target)]
    folder = os.environ.get("DISTILLSCOPE_CIFAR_STUDY")
    if folder and (Path(folder) / "study.json").exists():
        study = Study.open(folder)
        models = [load_stored(study, name) for name in ("teacher", "backdoored")]
        target = study.class_names.index(study.conditions[TRIGGER].parameters["target"])
        found.append(Subject("CIFAR-10 student", *models, images_of_study(study), target))
    return found


def verdict(sizes: np.ndarray, target: int) -> str:
    known = np.where(np.isfinite(sizes), sizes, 1024.0)
    index = mad_indices(np.log(known))
    first = (
        "smallest" if int(known.argmin()) == target else f"not smallest, rank {rank(known, target)}"
    )
    return f"planted class {first}, {known[target]:.1f} px, index {index[target]:.1f}"


def rank(sizes: np.ndarray, target: int) -> int:
    return int((sizes < sizes[target]).sum()) + 1


def success_rows() -> list[dict]:
    rows = []
    for subject in subjects():
        config = InversionConfig(families=MASK_ONLY, restarts=1)
        half = len(subject.images) // 2
        everything = np.arange(len(subject.images))
        trusted = Trusted(
            subject.images.rows(everything[:half][: config.images]),
            subject.images.rows(everything[half:][: 4 * config.measured]),
        )
        pair = [subject.teacher, subject.student]
        ours = {
            use: inverted(pair, trusted, "mask", replace(config, use=use))
            for use in ("forbid", "none")
        }
        pixels = torch.from_numpy(to_pixels(np.asarray(subject.images.images[:1000])))
        copy = inference_copy(subject.student, pixels)
        peers: dict[str, Cleansed] = {
            "equal passes": neural_cleanse(
                copy, pixels, subject.student.num_classes, limit=ours["forbid"].passes
            ),
            "published schedule": neural_cleanse(copy, pixels, subject.student.num_classes),
        }
        told = "; ".join(
            f"ours, {use}: {verdict(np.exp(one.log_size), subject.target)} "
            f"({one.passes:.0f} passes, {one.seconds:.0f} s)"
            for use, one in ours.items()
        )
        for name, peer in peers.items():
            note = (
                f"Neural Cleanse: {verdict(peer.sizes, subject.target)}, {peer.passes} passes, "
                f"{peer.finished} of {len(peer.sizes)} classes stopped by themselves; {told}."
            )
            rows.append(success_row(subject, ours["forbid"], name, peer, note))
    return rows


def success_row(
    subject: Subject, ours: Inverted, peer_name: str, peer: Cleansed, note: str
) -> dict:
    found = bool(np.isfinite(peer.sizes).any())
    sizes = np.where(np.isfinite(peer.sizes), peer.sizes, 1024.0)
    index = [float(mad_indices(x)[subject.target]) for x in (ours.log_size, sizes)]
    return {
        "name": f"index of the planted class, {subject.name}, 1 start",
        "value": index[0],
        "unit": "median absolute deviations",
        "peer": f"Neural Cleanse, {peer_name}" + ("" if found else ", no mask for any class"),
        "peer_value": index[1],
        "ratio": None,
        "limit": None,
        "met": None,
        "note": note,
        "threads": torch.get_num_threads(),
        "dtype": f"{ours.precision} gradients",
        "warmup": "none",
    }


def run() -> list[dict]:
    return cost_rows() + success_rows()


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
