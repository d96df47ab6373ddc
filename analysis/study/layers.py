"""Stage: how alike are the layers of teacher and students, on a stated number of images?

One further pass of both models with hooks on the layers; activations are compared minibatch by
minibatch and never stored. The result is stored under ``layers/<student>/<condition>``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from analysis.divergence.hsic import OUTLIER_SHARE, LayerCKA
from analysis.divergence.layers import CKA, NEIGHBORS, SIMILARITIES
from analysis.errors import InputError, nearest
from analysis.models.grams import LayerBatch
from analysis.models.handle import ModelHandle
from analysis.models.layers import block_names
from analysis.records import CLEAN, TEACHER, TRIGGER
from analysis.store import (
    Progress,
    StageCache,
    Study,
    StudyWriter,
    silent,
    workspace_cache,
    writing,
)
from analysis.store.files import write_array
from analysis.study.conditions import Presented, present_clean, stored_conditions
from analysis.study.images import images_of_study
from analysis.study.layer_batches import SUBSET, Batches, LayersConfig
from analysis.study.models import load_stored
from analysis.study.stages import Products

VERSION = 1
MOST_LAYERS = 128


def measure_layers(
    folder: str | Path,
    *,
    students: Sequence[str] = (),
    conditions: Sequence[str] = (),
    config: LayersConfig | None = None,
    trusted_code: Sequence[str | Path] = (),
    device: str = "cpu",
    progress: Progress = silent,
) -> Study:
    """Compare the teacher's layers with those of ``students``, into the study in ``folder``.

    Without names these are the listed students and the references, on the clean images and,
    where there is one, with the trigger. What was measured before on the same condition is
    replaced. Raises :class:`~analysis.errors.InputError` for names that are not in the study or
    the models, and for fewer than 16 images.
    """
    path, config = Path(folder), config or LayersConfig()
    with writing(path):
        study = Study.open(path)
        names = [study.student(name).name for name in students] or default_students(study)
        shown = presented(study, conditions)
        cache = workspace_cache(path.resolve().parent)
        teacher = load_stored(study, TEACHER, trusted_code, device)
        handles = {name: load_stored(study, name, trusted_code, device) for name in names}
        own = choose_layers(teacher, config.layers)
        others = {name: choose_layers(h, config.student_layers) for name, h in handles.items()}
        products = Products()
        for condition in shown:
            batches = Batches(condition, config)
            first = batches.of(teacher, own)
            for name, handle in handles.items():
                pair = (own, others[name])
                made = _compare(cache, name, teacher, handle, pair, batches, first, progress)
                products.add(arrays=made.arrays, records=made.records, seconds=made.seconds)
        return publish(study, products)


def default_students(study: Study) -> list[str]:
    """The listed students and the references."""
    return [name for name, m in study.models.items() if m.listed or m.role == "reference"]


def presented(study: Study, conditions: Sequence[str] = ()) -> list[Presented]:
    """The images of ``study`` as ``conditions`` show them; by default clean, and with trigger."""
    for slug in conditions:
        if slug not in study.conditions:
            raise InputError(
                f"no condition {slug!r} in {study.path}", remedy=nearest(slug, study.conditions)
            )
    wanted = conditions or [slug for slug in (CLEAN, TRIGGER) if slug in study.conditions]
    images = images_of_study(study)
    known = [present_clean(images, study.labels), *stored_conditions(study, images)]
    return [shown for shown in known if shown.slug in wanted]


def choose_layers(handle: ModelHandle, names: Sequence[str]) -> tuple[str, ...]:
    """The layers ``names`` of ``handle``, or its blocks; the nearest of an unknown one is named."""
    handle.taps(names)
    chosen = tuple(dict.fromkeys(names)) or block_names(handle.module, handle.layer_names)
    if not 0 < len(chosen) <= MOST_LAYERS:
        raise InputError(
            f"{len(chosen)} layers of {handle.spec_text}",
            expected=f"1 to {MOST_LAYERS}",
            remedy="name some: --layers, --student-layers",
        )
    return chosen


def publish(study: Study, products: Products) -> Study:
    """Add ``products`` to the study and return it as it then is."""
    writer = StudyWriter(study.path)
    for key, path in products.arrays.items():
        writer.put_array(key, path)
    writer.records.update(products.records)
    seconds = {key: round(value, 3) for key, value in products.seconds.items()}
    provenance = dict(study.manifest.provenance)
    provenance["seconds"] = {**provenance.get("seconds", {}), **seconds}
    return writer.publish(dataclasses.replace(study.manifest, provenance=provenance))


def _compare(
    cache: StageCache,
    name: str,
    teacher: ModelHandle,
    student: ModelHandle,
    layers: tuple[tuple[str, ...], tuple[str, ...]],
    batches: Batches,
    first: Iterable[LayerBatch],
    progress: Progress,
) -> Products:
    config, slug = batches.config, batches.shown.slug
    stage = f"layers of {name}, {slug}"

    def work(folder: Path) -> Mapping[str, Any]:
        cka = LayerCKA(permutations=config.permutations, seed=config.seed, checked=SUBSET)
        pooled: list[tuple[list[np.ndarray], list[np.ndarray]]] = []
        done = 0
        progress(stage, done, batches.n)
        for own, other in zip(first, batches.run(student, layers[1]), strict=True):
            cka.add(own.grams, other.grams)
            pooled += [(own.pooled, other.pooled)] if own.pooled else []
            done += own.grams.shape[-1]
            progress(stage, done, batches.n)
        for key, values in _arrays(cka, pooled, config, stage, progress).items():
            write_array(folder / f"{key}.npy", values)
        return {
            "teacher_layers": list(layers[0]),
            "student_layers": list(layers[1]),
            "n": batches.n,
            "total": batches.total,
            "subset": sum(len(own[0]) for own, _ in pooled),
            "batch": max(len(part) for part in batches.parts),
            "permutations": config.permutations,
            "seed": config.seed,
            "neighbors": NEIGHBORS,
            "outlier_share": OUTLIER_SHARE,
        }

    output = cache.run(
        "layers",
        work,
        version=VERSION,
        inputs={
            "teacher": teacher.digest,
            "student": student.digest,
            "images": batches.shown.images.digest,
        },
        config={**config.key(), "layers": layers[0], "student_layers": layers[1]},
    )
    base = f"layers/{name}/{slug}"
    return Products(
        arrays={f"{base}/{key}": output.file(f"{key}.npy") for key in array_names()},
        records={base: dict(output.record)},
        seconds={base: output.seconds},
    )


def array_names() -> list[str]:
    """Names of the arrays of one comparison: values, nulls, and CKA's check for outliers."""
    measures = [part for name in SIMILARITIES for part in (name, f"{name}_null")]
    return [*measures, f"{CKA}_checked", f"{CKA}_trimmed"]


def _arrays(
    cka: LayerCKA,
    pooled: Sequence[tuple[list[np.ndarray], list[np.ndarray]]],
    config: LayersConfig,
    stage: str,
    progress: Progress,
) -> dict[str, np.ndarray]:
    checked, trimmed = cka.without_outliers()
    arrays = {
        CKA: cka.values,
        f"{CKA}_null": cka.null,
        f"{CKA}_checked": checked,
        f"{CKA}_trimmed": trimmed,
    }
    teacher, student = (
        [np.concatenate(parts) for parts in zip(*(pair[side] for pair in pooled), strict=True)]
        for side in (0, 1)
    )
    for name, measure in SIMILARITIES.items():
        if name != CKA:
            arrays[name], arrays[f"{name}_null"] = measure.grid(
                teacher,
                student,
                permutations=config.permutations,
                seed=config.seed,
                progress=partial(progress, f"{stage}: {measure.title}"),
            )
    return arrays
