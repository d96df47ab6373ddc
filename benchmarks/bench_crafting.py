"""Crafting of poison, against the matrix products in it and against bare passes of the teacher.

Ours is ``craft`` as an attack calls it: targeted PGD against ResNet-20 through an opaque patch,
from a random start, with the margin switched off so that every image takes every step, rounded to
8 bits at the end. The bare passes are as many forward passes and gradients with respect to the
pixels of the same module on the same batches, in whichever memory format is faster; nothing is
stepped, projected or stamped. The limit is the time of the matrix products alone, see
``bench_attribution``: each convolution forwards and for the gradient of its input, in float32.

All with the same threads, warmed up and interleaved; the fastest of each counts.

python -m benchmarks.bench_crafting [--images N]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional

from analysis.attack.crafting import craft
from analysis.attack.perturbations import PGD
from analysis.attack.triggers import parse_trigger
from analysis.data.imageset import ImageSet
from analysis.models.handle import ModelHandle
from benchmarks.bench_attribution import BATCH, FORMATS, limit_seconds, load, seconds
from benchmarks.bench_inference import image_set, random_pixels

IMAGES, STEPS, ROUNDS, TARGET = 256, 10, 3, 0
TEACHER, TRIGGER = "resnet20", "patch:size=4,fill=checker"
METHOD = PGD(steps=STEPS, margin=None)


def ours(teacher: ModelHandle, images: ImageSet) -> None:
    trigger = parse_trigger(TRIGGER)
    made = craft(teacher, images, METHOD, target=TARGET, trigger=trigger, batch_size=BATCH)
    assert (made.steps == STEPS).all()


def bare(teacher: ModelHandle, batches: list[torch.Tensor]) -> None:
    for batch in batches:
        classes = torch.full((len(batch),), TARGET)
        for _ in range(STEPS):
            loss = functional.cross_entropy(teacher.module(batch), classes, reduction="sum")
            torch.autograd.grad(loss, batch)


def passes_of(images: ImageSet, memory_format: str) -> Callable[[], None]:
    """The bare passes on batches that are made beforehand."""
    teacher = load(TEACHER, FORMATS[memory_format])
    batches = [
        torch.from_numpy(pixels).contiguous(memory_format=FORMATS[memory_format]).requires_grad_()
        for _, pixels in images.batches(BATCH)
    ]
    return partial(bare, teacher, batches)


def measure(count: int) -> dict[str, float]:
    """Seconds by contestant; ``limit`` is that of the matrix products."""
    images = image_set(random_pixels(count))
    # As a teacher comes: contiguous weights, batch normalization where it is.
    teacher = load(TEACHER, torch.contiguous_format)
    work: dict[str, Callable[[], None]] = {"ours": partial(ours, teacher, images)}
    work |= {name: passes_of(images, name) for name in FORMATS}
    for task in work.values():
        task()
    rounds = [{name: seconds(task) for name, task in work.items()} for _ in range(ROUNDS)]
    fastest = {name: min(times[name] for times in rounds) for name in work}
    # The products were timed for whole batches.
    return fastest | {"limit": limit_seconds(teacher, torch.float32) * STEPS * count / BATCH}


def row(measured: dict[str, float], peer: str, key: str, count: int, note: str) -> dict:
    value, peer_value = count / measured["ours"], count / measured[key]
    return {
        "name": f"crafting against ResNet-20 through a patch, {STEPS} steps of PGD",
        "value": value,
        "unit": "images/s",
        "peer": peer,
        "peer_value": peer_value,
        "ratio": value / peer_value,
        "limit": None,
        "met": None,
        "note": note,
        "threads": torch.get_num_threads(),
        "dtype": "float32",
        "warmup": "one full run of each",
    }


def run(images: int = IMAGES) -> list[dict]:
    """No limit was agreed on; both ratios are reported."""
    measured = measure(images)
    best = min(FORMATS, key=measured.__getitem__)
    bare_note = f"As many forward passes and pixel gradients, {best}, batches of {BATCH}."
    products = "Above 1 is possible: direct convolutions read each pixel once, not nine times."
    return [
        row(measured, "its matrix products alone", "limit", images, products),
        row(measured, "bare passes of the teacher", best, images, bare_note),
    ]


def main() -> None:
    from benchmarks.__main__ import describe

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=IMAGES, help="images to craft")
    rows = run(parser.parse_args().images)
    print(json.dumps(rows))
    print("\n".join(map(describe, rows)))


if __name__ == "__main__":
    main()
