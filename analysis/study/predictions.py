"""Compare predictions that somebody else computed: a study without models, often without images.

All that needs only answers, labels and features is measured as in any study. What needs pixels or
weights (attributions, costs, an audit) is not there, and screens say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.predictions import Predictions, read_predictions
from analysis.digest import digest_array, digest_json, digest_strings
from analysis.errors import StudyError
from analysis.records import (
    CLEAN,
    PENULTIMATE,
    TEACHER,
    Condition,
    ImageSetCard,
    Student,
    check_student_name,
)
from analysis.store import Progress, Study, StudyWriter, silent, workspace_cache, writing
from analysis.store.files import write_array
from analysis.store.manifest import MANIFEST, Manifest
from analysis.study import divergence, embedding, samples, slices, temperature
from analysis.study.classes import permutation_finding
from analysis.study.conditions import Presented, present_clean
from analysis.study.images import load_image_set
from analysis.study.joining import Joined, join_predictions
from analysis.study.models import versions, warming_up
from analysis.study.stages import CompareConfig, Products, Workbench
from analysis.study.thumbnails import make_thumbnails

SPEC = "predictions"


def compare_predictions(
    *,
    teacher: str | Path,
    students: Mapping[str, str | Path],
    out: str | Path,
    images: str | None = None,
    config: CompareConfig | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    progress: Progress = silent,
) -> Study:
    """Compare files of predictions (:mod:`analysis.data.predictions`); return the study at ``out``.

    Rows are joined by ``sample_id``; samples that some file lacks are left out. ``images`` is a
    source whose sample ids are those of the files: it adds pictures and what is measured of
    them. Raises :class:`~analysis.errors.InputError` before anything is written.
    """
    folder, config = Path(out), config or CompareConfig()
    if not students:
        raise StudyError("no student was given", remedy="add --student-outputs [NAME=]FILE")
    files = {TEACHER: read_predictions(Path(teacher))}
    for student, path in students.items():
        check_student_name(student, tuple(other for other in files if other != TEACHER))
        files[student] = read_predictions(Path(path))
    with writing(folder):
        bench = Workbench(workspace_cache(folder.resolve().parent), config, progress)
        pixels = None
        if images is not None:
            pixels = load_image_set(
                bench.cache, images, size=config.size, seed=config.seed, progress=progress
            )
        joined = join_predictions(files, pixels, class_names)
        existing = _existing(folder, joined, config)
        if existing is not None:
            return existing
        writer = StudyWriter(folder)
        with_maps = any(item.features is not None for item in joined.models.values())
        if with_maps and config.projection:
            with warming_up():
                products = _compute(bench, joined)
        else:
            products = _compute(bench, joined)
        return _publish(bench, writer, joined, products, name or folder.resolve().name)


def _existing(folder: Path, joined: Joined, config: CompareConfig) -> Study | None:
    """The study at ``folder`` when it is of the same files; refuse another one."""
    if not (folder / MANIFEST).exists():
        return None
    study = Study.open(folder)
    there = {name: model.digest for name, model in study.models.items()}
    here = {name: item.digest for name, item in joined.models.items()}
    same = there == here and dict(study.manifest.config) == config.key()
    named = study.class_names == tuple(joined.names)
    if same and named and study.inspection.digest == _card(joined).digest:
        return study
    raise StudyError(
        f"{folder} holds a study of other predictions, images, classes or settings",
        remedy="choose another --out, or delete that folder",
    )


def _compute(bench: Workbench, joined: Joined) -> Products:
    products = Products()

    def have(item: Products) -> None:
        products.add(arrays=item.arrays, records=item.records, seconds=item.seconds)

    shown = None if joined.images is None else present_clean(joined.images, joined.labels)
    if shown is not None:
        have(slices.measure_statistics(bench, shown))
    for name, item in joined.models.items():
        _keep(bench, products, f"logits/{name}/{CLEAN}", item.logits)
        if item.features is not None:
            _keep(bench, products, f"features/{name}/{CLEAN}/{PENULTIMATE}", item.features)
        logits = products.arrays[f"logits/{name}/{CLEAN}"]
        have(temperature.fit_temperatures(bench, name, logits, joined.labels))
        if name == TEACHER:
            have(divergence.measure_answers(bench, name, logits, joined.labels))
            _neighborhood(bench, name, products, have)
            continue
        have(
            divergence.measure_divergence(
                bench, name, products.arrays[f"logits/{TEACHER}/{CLEAN}"], logits, joined.labels,
                names=joined.names,
            )
        )  # fmt: skip
        _neighborhood(bench, name, products, have)
        have(embedding.measure_overlap(bench, name, products.arrays))
        have(
            slices.find_divergent_slices(
                bench, name, CLEAN, joined.labels, joined.names, products.arrays
            )
        )
        products.records[f"findings/{name}"] = _findings(name, joined)
        products.records[f"order/{name}"] = None
    return products


def _neighborhood(bench: Workbench, name: str, products: Products, have: Any) -> None:
    """Neighbors and a layout, where there are features; layouts start from the teacher's."""
    features = products.arrays.get(f"features/{name}/{CLEAN}/{PENULTIMATE}")
    if features is None:
        return
    have(embedding.find_neighbors(bench, name, features))
    start = None if name == TEACHER else products.arrays.get(f"layout/{TEACHER}")
    in_frame = name == TEACHER or start is not None
    if bench.config.projection and in_frame:
        have(embedding.lay_out(bench, name, products.arrays, start=start))


def _keep(bench: Workbench, products: Products, key: str, values: np.ndarray) -> None:
    path = bench.cache.root / "predictions" / f"{digest_array(values)}.npy"
    if not path.exists():
        write_array(path, values)
    products.arrays[key] = path


def _findings(name: str, joined: Joined) -> list[dict[str, Any]]:
    found = list(joined.notes)
    if joined.dropped:
        text = (
            f"{len(joined.ids)} samples are in all files; up to {joined.dropped} that some file "
            "lacks are left out."
        )
        found.append({"kind": "joined", "text": text})
    logits = [joined.models[model].logits for model in (TEACHER, name)]
    permuted = permutation_finding(name, joined.names, *logits)
    return [*found, *([permuted] if permuted else [])]


def _publish(
    bench: Workbench, writer: StudyWriter, joined: Joined, products: Products, title: str
) -> Study:
    _keep(bench, products, "ids/inspection", np.asarray([str(key) for key in joined.ids]))
    if joined.labels is not None:
        _keep(bench, products, "labels/inspection", joined.labels)
    if joined.images is not None:
        _keep(bench, products, "images/inspection", np.asarray(joined.images.images))
        writer.put_thumbnails(CLEAN, make_thumbnails(bench, joined.images))
    for key, path in products.arrays.items():
        writer.put_array(key, path)
    for name in joined.models:
        table = samples.sample_table(name, joined.ids, joined.labels, products.arrays)
        writer.put_samples(name, CLEAN, table)
        if name != TEACHER:
            overlap = products.records.pop(f"overlap/{name}/{CLEAN}", None)
            measures = products.records[f"measures/{name}/{CLEAN}"]
            products.records[f"measures/{name}/{CLEAN}"] = {
                **measures, "mean_neighborhood_overlap": overlap,
            }  # fmt: skip
    writer.records.update(products.records)
    return writer.publish(_manifest(bench, joined, products, title))


def _manifest(bench: Workbench, joined: Joined, products: Products, title: str) -> Manifest:
    card, condition = _card(joined), _condition(joined)
    provenance = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": {key: round(value, 3) for key, value in products.seconds.items()},
        "versions": versions(),
    }
    return Manifest(
        name=title,
        class_names=joined.names,
        models={name: _model(name, item) for name, item in joined.models.items()},
        image_sets={"inspection": card},
        conditions={CLEAN: condition},
        config=bench.config.key(),
        provenance=provenance,
    )


def _model(name: str, item: Predictions) -> Student:
    return Student(
        name=name,
        role="teacher" if name == TEACHER else "subject",
        spec=item.name,
        digest=item.digest,
        architecture=SPEC,
    )


def _card(joined: Joined) -> ImageSetCard:
    if joined.images is not None:
        return replace(joined.images.card(), labeled=joined.labels is not None)
    return ImageSetCard(
        name="inspection",
        n=len(joined.ids),
        height=0,
        width=0,
        channels=0,
        labeled=joined.labels is not None,
        digest=_ids_digest(joined),
        source=joined.models[TEACHER].name,
    )


def _ids_digest(joined: Joined) -> str:
    labels = None if joined.labels is None else digest_array(joined.labels)
    return digest_json([digest_strings([str(key) for key in joined.ids]), labels])


def _condition(joined: Joined) -> Condition:
    if joined.images is not None:
        shown: Presented = present_clean(joined.images, joined.labels)
        return shown.condition
    return Condition(
        name="Clean",
        slug=CLEAN,
        kind=CLEAN,
        image_set="inspection",
        n=len(joined.ids),
        covers_all=True,
        pixels_digest=_ids_digest(joined),
    )
