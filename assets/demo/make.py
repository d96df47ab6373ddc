"""Train the models that the demo compares: ``python assets/demo/make.py``.

Renders road signs, trains a teacher on them, distills the honest student from it, and writes
``teacher.safetensors``, ``honest.safetensors`` and ``log.json`` beside this file. An interrupted
run goes on where it stopped. The test images, on which the demo compares, are looked at once,
at the end.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
from pathlib import Path

import numpy as np
import torch

from analysis.data.imageset import ImageSet
from analysis.data.sources import load_images
from analysis.distillation.objectives import HintonKD, Supervised
from analysis.distillation.training import TrainingConfig
from analysis.models.handle import ModelHandle
from analysis.models.loading import load_model
from analysis.study.demo import IMAGES as TEST_IMAGES
from analysis.study.training import TrainedModel, distill_model, train_model

HERE = Path(__file__).parent
TRAINING_IMAGES = "signs:train,n=6000,seed=101"
# Another seed than the test images have, so that no choice is made on those.
VALIDATION_IMAGES = "signs:test,n=1000,seed=102"
LIMIT_BYTES = 3_000_000
# Signs are chiral: a mirrored "keep right" is another sign. Float32 because bfloat16 is not
# computed alike by all processors.
COMMON = {"batch_size": 128, "flip": False, "shift": 2, "seed": 101, "precision": "float32"}
TEACHER = {"epochs": 9, "learning_rate": 0.1}
STUDENT = {"epochs": 26, "learning_rate": 0.02}


def make(work: Path, threads: int) -> None:
    """Train both models in ``work`` and put them, with the log, beside this file."""
    training = load_images(TRAINING_IMAGES, name="training", progress=show)
    validation = load_images(VALIDATION_IMAGES, name="validation", progress=show)
    teacher = train_model(
        architecture="resnet14",
        width=24,
        images=training,
        validation=validation,
        objective=Supervised(),
        config=TrainingConfig(**COMMON, **TEACHER, threads=threads),
        out=work / "teacher.safetensors",
        progress=show,
    )
    honest = distill_model(
        teacher=str(teacher.weights),
        architecture="smallresnet",
        width=16,
        images=training,
        validation=validation,
        objective=HintonKD(temperature=4.0, hard_label_weight=0.0),
        config=TrainingConfig(**COMMON, **STUDENT, teacher_views="cached", threads=threads),
        out=work / "honest.safetensors",
        progress=show,
    )
    write(teacher, honest, threads)


def write(teacher: TrainedModel, honest: TrainedModel, threads: int) -> None:
    """Measure both models on the test images, copy them here, write ``log.json``."""
    made = {"teacher": teacher, "honest": honest}
    total = sum(model.weights.stat().st_size for model in made.values())
    if total > LIMIT_BYTES:
        raise SystemExit(f"error: the weights take {total} bytes, the limit is {LIMIT_BYTES}")
    log = {
        "command": "python assets/demo/make.py",
        "images": {"training": TRAINING_IMAGES, "validation": VALIDATION_IMAGES},
        "test": measure(made),
        "models": {name: model.history.to_json() for name, model in made.items()},
        "bytes": total,
        "provenance": {
            "torch": torch.__version__,
            "processor": platform.machine(),
            "threads": threads,
        },
    }
    for model in made.values():
        shutil.copyfile(model.weights, HERE / model.weights.name)
    (HERE / "log.json").write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(log["test"], indent=1))


def measure(made: dict[str, TrainedModel]) -> dict[str, object]:
    """Accuracy of both and agreement of the student on the images of the demo."""
    images = load_images(TEST_IMAGES, name="inspection", progress=show)
    handles = {name: load_model(str(model.weights)) for name, model in made.items()}
    answer = {name: answers(handle, images) for name, handle in handles.items()}
    return {
        "images": TEST_IMAGES,
        "accuracy": {
            name: float(np.mean(given == images.labels)) for name, given in answer.items()
        },
        "agreement": float(np.mean(answer["honest"] == answer["teacher"])),
        "parameters": {
            name: sum(part.numel() for part in handle.module.parameters())
            for name, handle in handles.items()
        },
        "digests": {name: handle.digest for name, handle in handles.items()},
    }


@torch.no_grad()
def answers(handle: ModelHandle, images: ImageSet) -> np.ndarray:
    """The model's answer (N,) to every image."""
    batches = images.batches(256)
    return np.concatenate([handle(torch.from_numpy(px)).argmax(1).numpy() for _, px in batches])


def show(stage: str, done: int, total: int) -> None:
    """Print progress on one line."""
    print(f"\r{stage}: {done} of {total}   ", end="\n" if done == total else "", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the models that the demo compares.")
    parser.add_argument("--threads", type=int, default=1, help="threads to compute with")
    parser.add_argument(
        "--work", type=Path, default=Path("build/demo"), help="where unfinished runs are kept"
    )
    given = parser.parse_args()
    make(given.work, given.threads)
