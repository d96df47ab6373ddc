"""Stage: apply a remedy to a student, or to references, into a weights file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from analysis.distillation.training import TrainingTask, perform
from analysis.models.handle import ModelHandle
from analysis.models.loading import save_model
from analysis.remedy.methods import Case, Remedy
from analysis.store import StageOutput
from analysis.study.stages import Workbench

VERSION = 4
WEIGHTS = "weights.safetensors"


def apply_remedy(
    bench: Workbench,
    remedy: Remedy,
    case: Case,
    *,
    name: str = "the student",
    seed: int = 0,
    threads: int = 0,
    device: str = "cpu",
) -> StageOutput:
    """Repair ``case.student``; the stage's file ``weights.safetensors`` is a model spec by itself.

    A run that was killed goes on behind its last epoch. The record holds ``passes``, the number
    of forward-backward passes of single images. Raises :class:`~analysis.errors.InputError`
    when ``case`` lacks what the remedy needs.
    """
    remedy.check(case)
    case = remedy.needed(case)
    objective, own, known = case.own_recipe()

    def work(folder: Path) -> Mapping[str, Any]:
        task = remedy.task(case, seed=seed, threads=threads, device=device)
        result = perform(
            task,
            workdir=folder / "run",
            progress=lambda _, done, total: bench.progress(
                f"{remedy.title.lower()}: {name}", done, total
            ),
        )
        _save(folder / WEIGHTS, case, remedy, task, result.module)
        return {"passes": task.config.epochs * len(task.images), "images": len(task.images)}

    return bench.cache.run(
        "remedy",
        work,
        version=VERSION,
        inputs={**case.key(), "own": [objective.recipe(), own.result_key()] if known else None},
        config={"remedy": remedy.recipe(), "seed": seed},
    )


def repair_references(
    bench: Workbench,
    remedy: Remedy,
    case: Case,
    references: Mapping[str, ModelHandle],
    *,
    orders: Mapping[str, tuple[int, ...] | None] | None = None,
    trusted_suspicion: np.ndarray | None = None,
    seed: int = 0,
    threads: int = 0,
    device: str = "cpu",
) -> dict[str, Path]:
    """Apply ``remedy`` to reference students as to ``case.student``; return weights by name.

    A repaired student is judged against such references. What is distilled anew is, for them,
    the trusted images, which nobody poisoned; ``trusted_suspicion`` (N,) are their scores where
    the remedy drops some. ``orders`` says which output of a reference each class is, where they
    are not in the teacher's order. Each reference gets a seed of its own.
    """
    weights = {}
    for place, (name, handle) in enumerate(references.items(), start=1):
        own = replace(case, student=handle, order=(orders or {}).get(name))
        if remedy.needs_suspect:
            own = replace(own, suspect=case.trusted, suspicion=trusted_suspicion)
        made = apply_remedy(
            bench, remedy, own, name=name, seed=seed + place, threads=threads, device=device
        )
        weights[name] = made.file(WEIGHTS)
    return weights


def _save(path: Path, case: Case, remedy: Remedy, task: TrainingTask, module: nn.Module) -> None:
    student, images = case.student, task.images
    height, width, channels = images.image_shape
    objective, own, known = case.own_recipe()
    made = {"source": images.source, "n": len(images), "digest": images.digest}
    metadata = {
        "kind": "repair",
        "remedy": {**remedy.recipe(), "objective": task.objective.recipe()},
        "parent": {"spec": student.spec_text, "digest": student.digest},
        "teacher": {"spec": case.teacher.spec_text, "digest": case.teacher.digest},
        "images": made,
        "trigger": None if case.trigger is None else case.trigger.shown,
        "further_triggers": [trigger.shown for trigger in case.further],
        "remedy_training": task.config.result_key(),
        # How the student was distilled, so that it can be distilled anew after a repair, too.
        **({"objective": objective.recipe(), "training": own.result_key()} if known else {}),
    }
    save_model(
        path,
        module,
        architecture=student.architecture,
        width=student.width,
        class_names=student.class_names,
        normalization=student.normalization,
        num_classes=student.num_classes,
        in_channels=channels,
        image_size=(height, width),
        metadata=metadata,
    )
