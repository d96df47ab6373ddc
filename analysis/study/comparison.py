"""Compare a teacher with its students: the order of the stages, and nothing else.

Every stage is looked up in the workspace's cache first, so a run that was killed goes on where
it stopped, and a student that is added later costs what is new about it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.conditions import clean_condition
from analysis.data.imageset import ImageSet
from analysis.divergence.answers import read_answers
from analysis.errors import StudyError
from analysis.models.handle import ModelHandle
from analysis.records import CLEAN, PENULTIMATE, TEACHER, Student, check_student_name
from analysis.store import Progress, Study, StudyWriter, workspace_cache, writing
from analysis.store.files import write_array
from analysis.store.manifest import MANIFEST, Manifest
from analysis.study import attribution, divergence, embedding, samples
from analysis.study.classes import ClassPlan, permutation_finding, plan_classes
from analysis.study.images import images_of_study, load_image_set
from analysis.study.inference import infer
from analysis.study.models import (
    load_handles,
    load_stored,
    model_card,
    store_weights,
    versions,
    warming_up,
)
from analysis.study.specs import StudentSpec
from analysis.study.stages import CompareConfig, Products, Workbench, silent
from analysis.study.thumbnails import make_thumbnails


def compare(
    *,
    teacher: str,
    students: Mapping[str, str | StudentSpec],
    images: str,
    out: str | Path,
    config: CompareConfig | None = None,
    trusted_code: Sequence[str | Path] = (),
    class_names: Mapping[str, Sequence[str]] | None = None,
    name: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    device: str = "cpu",
    progress: Progress = silent,
) -> Study:
    """Compare ``teacher`` with ``students`` on ``images``; return the study at ``out``.

    ``teacher`` and ``students`` are model specs (``ARCH@WEIGHTS[,option=value]``), ``images`` a
    source that :func:`analysis.data.sources.load_images` reads. A study that is already at
    ``out`` is completed when it has the same teacher, images and configuration, refused
    otherwise. ``class_names`` names the outputs of students whose files do not, ``provenance``
    is kept beside the result and is no part of it. Raises
    :class:`~analysis.errors.InputError` before anything is written.
    """
    folder = Path(out)
    specs = _specs(students)
    config = config or CompareConfig()
    with writing(folder):
        bench = Workbench(workspace_cache(folder.resolve().parent), config, progress)
        writer = StudyWriter(folder)
        handle, handles = load_handles(teacher, specs, trusted_code, device)
        assert handle is not None
        pixels = load_image_set(
            bench.cache,
            images,
            size=config.size or _square(handle),
            channels=handle.in_channels,
            limit=config.limit,
            seed=config.seed,
            progress=progress,
        )
        plan = plan_classes(pixels, handle, handles, given=class_names)
        pixels = _relabel(pixels, plan)
        existing = _existing(folder, handle, pixels, config)
        title = name or folder.name
        run = _Run(bench, writer, handle, pixels, plan, existing, title, provenance or {})
        return run.finish(specs, handles)


def add_students(
    folder: str | Path,
    students: Mapping[str, str | StudentSpec],
    *,
    trusted_code: Sequence[str | Path] = (),
    class_names: Mapping[str, Sequence[str]] | None = None,
    device: str = "cpu",
    progress: Progress = silent,
) -> Study:
    """Add students to the study in ``folder``; only what is new is computed."""
    path = Path(folder)
    specs = _specs(students)
    with writing(path):
        existing = Study.open(path)
        for new in specs:
            check_student_name(new, tuple(other for other in existing.models if other != new))
        config = CompareConfig.from_mapping(dict(existing.manifest.config))
        bench = Workbench(workspace_cache(path.resolve().parent), config, progress)
        handle = load_stored(existing, TEACHER, trusted_code, device)
        handles = load_handles(None, specs, trusted_code, device)[1]
        pixels = images_of_study(existing)
        plan = plan_classes(pixels, handle, handles, given=class_names)
        writer = StudyWriter(path)
        run = _Run(bench, writer, handle, pixels, plan, existing, existing.name)
        return run.finish(specs, handles)


def _specs(students: Mapping[str, str | StudentSpec]) -> dict[str, StudentSpec]:
    specs: dict[str, StudentSpec] = {}
    for name, spec in students.items():
        check_student_name(name, tuple(specs))
        specs[name] = spec if isinstance(spec, StudentSpec) else StudentSpec(spec=spec)
    if not specs:
        raise StudyError("no student was given", remedy="add --student [NAME=]SPEC")
    return specs


def _square(handle: ModelHandle) -> int | None:
    return None if handle.input_size is None else handle.input_size[0]


def _relabel(images: ImageSet, plan: ClassPlan) -> ImageSet:
    return ImageSet(
        name=images.name,
        images=images.images,
        labels=plan.labels,
        sample_ids=images.sample_ids,
        class_names=plan.names,
        source=images.source,
    )


def _existing(
    folder: Path, teacher: ModelHandle, images: ImageSet, config: CompareConfig
) -> Study | None:
    """Return the study at ``folder`` when this comparison completes it; refuse another one."""
    if not (folder / MANIFEST).exists():
        return None
    study = Study.open(folder)
    differs = [
        what
        for what, same in (
            ("teacher", study.teacher.digest == teacher.digest),
            ("images", study.inspection.digest == images.digest),
            ("configuration", dict(study.manifest.config) == config.key()),
        )
        if not same
    ]
    if differs:
        raise StudyError(
            f"{folder} holds a study with another {' and another '.join(differs)}",
            remedy="choose another --out, or delete that folder",
        )
    return study


@dataclass
class _Run:
    """One comparison under way."""

    bench: Workbench
    writer: StudyWriter
    teacher: ModelHandle
    images: ImageSet
    plan: ClassPlan
    existing: Study | None
    title: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    products: Products = field(default_factory=Products)
    models: dict[str, Student] = field(default_factory=dict)

    def finish(self, specs: Mapping[str, StudentSpec], handles: Mapping[str, ModelHandle]) -> Study:
        """Run every stage that is missing and publish the study."""
        new = {name: handle for name, handle in handles.items() if self._is_new(name, handle)}
        if self.existing is not None and not new:
            return self.existing
        with self._compiling():
            self._teacher()
            for name, handle in new.items():
                self._student(name, specs[name], handle)
        return self._publish(new)

    def _is_new(self, name: str, handle: ModelHandle) -> bool:
        old = self.existing.models.get(name) if self.existing else None
        if old is not None and old.digest != handle.digest:
            raise StudyError(
                f"the study already has another student {name!r}",
                remedy="give this one another name",
            )
        return old is None

    @contextlib.contextmanager
    def _compiling(self) -> Iterator[None]:
        with warming_up() if self.bench.config.projection else contextlib.nullcontext():
            yield

    def _have(self, *products: Products) -> None:
        for item in products:
            self.products.add(arrays=item.arrays, records=item.records, seconds=item.seconds)

    def _teacher(self) -> None:
        if self.existing is not None:
            manifest = self.existing.manifest
            self.products.add(
                arrays={key: self.existing.array_file(key) for key in manifest.arrays}
            )
            return
        self._have(infer(self.bench, TEACHER, self.teacher, self.images))
        logits = self.products.arrays[f"logits/{TEACHER}/{CLEAN}"]
        self._have(divergence.measure_answers(self.bench, TEACHER, logits, self.plan.labels))
        self._neighborhood(TEACHER)
        self.models[TEACHER] = self._card(TEACHER, self.teacher, StudentSpec(role="teacher"))

    def _neighborhood(self, name: str) -> None:
        features = self.products.arrays[f"features/{name}/{CLEAN}/{PENULTIMATE}"]
        self._have(embedding.find_neighbors(self.bench, name, features))
        if self.bench.config.projection:
            start = None if name == TEACHER else self.products.arrays.get(f"layout/{TEACHER}")
            self._have(embedding.lay_out(self.bench, name, self.products.arrays, start=start))

    def _student(self, name: str, spec: StudentSpec, handle: ModelHandle) -> None:
        order = self.plan.orders[name]
        self._have(infer(self.bench, name, handle, self.images, order=order))
        arrays = self.products.arrays
        teacher, own = (arrays[f"logits/{model}/{CLEAN}"] for model in (TEACHER, name))
        self._have(
            divergence.measure_divergence(
                self.bench, name, teacher, own, self.plan.labels, names=self.plan.names
            )
        )
        self._findings(name, teacher, own)
        self._neighborhood(name)
        self._have(embedding.measure_overlap(self.bench, name, arrays))
        if spec.role != "checkpoint":
            self._attributions(name, handle, teacher, own)
        self.models[name] = self._card(name, handle, spec)

    def _findings(self, name: str, teacher: Path, own: Path) -> None:
        findings = list(self.plan.notes[name])
        logits = [np.load(path, mmap_mode="r") for path in (teacher, own)]
        permuted = permutation_finding(name, self.plan.names, *logits)
        self.products.records[f"findings/{name}"] = findings + ([permuted] if permuted else [])

    def _attributions(self, name: str, handle: ModelHandle, teacher: Path, own: Path) -> None:
        kl = np.load(self.products.arrays[f"divergence/{name}/{CLEAN}/kl_teacher_student"])
        both = {
            "teacher": read_answers(np.load(teacher, mmap_mode="r")).answer,
            "student": read_answers(np.load(own, mmap_mode="r")).answer,
        }
        self._have(
            attribution.attribute_probe(
                self.bench,
                name,
                self.teacher,
                handle,
                self.images,
                kl,
                both,
                order=self.plan.orders[name],
            )
        )

    def _card(self, name: str, handle: ModelHandle, spec: StudentSpec) -> Student:
        shape = self.images.images.shape
        self.bench.progress(f"cost of {name}", 0, 1)
        card = model_card(self.bench.cache, name, handle, spec, shape[1:])
        self.bench.progress(f"cost of {name}", 1, 1)
        names = self.plan.own_names(name)
        self.writer.put_weights(name, store_weights(self.bench.cache, handle, names))
        return card

    def _publish(self, new: Mapping[str, ModelHandle]) -> Study:
        if self.existing is None:
            self._put_images()
        old = set(self.existing.manifest.arrays) if self.existing else set()
        for key, path in self.products.arrays.items():
            if key not in old:
                self.writer.put_array(key, path)
        measured = ([] if self.existing else [TEACHER]) + list(new)
        for name in measured:
            table = samples.sample_table(
                name, self.images.sample_ids, self.plan.labels, self.products.arrays
            )
            self.writer.put_samples(name, CLEAN, table)
            self._add_overlap(name)
        self.writer.records.update(self.products.records)
        return self.writer.publish(self._manifest())

    def _add_overlap(self, name: str) -> None:
        mean = self.products.records.pop(f"overlap/{name}/{CLEAN}", None)
        if name != TEACHER:
            measures = self.products.records[f"measures/{name}/{CLEAN}"]
            record = {**measures, "mean_neighborhood_overlap": mean}
            self.products.records[f"measures/{name}/{CLEAN}"] = record

    def _put_images(self) -> None:
        folder = self.bench.cache.root / "inspection" / self.images.digest
        for key, values in (
            ("images", self.images.images),
            ("ids", self.images.sample_ids),
            ("labels", self.plan.labels),
        ):
            if values is None:
                continue
            path = folder / f"{key}.npy"
            if not path.exists():
                write_array(path, np.asarray(values))
            self.writer.put_array(f"{key}/inspection", path)
        self.writer.put_thumbnails(CLEAN, make_thumbnails(self.bench, self.images))

    def _manifest(self) -> Manifest:
        seconds: dict[str, Any] = {k: round(v, 3) for k, v in self.products.seconds.items()}
        new = Manifest(
            name=self.title,
            class_names=self.plan.names,
            models=self.models,
            image_sets={"inspection": self.images.card()},
            conditions={CLEAN: clean_condition(self.images)},
            config=self.bench.config.key(),
            provenance={
                **self.provenance,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": seconds,
                "versions": versions(),
            },
        )
        return new if self.existing is None else _merge(self.existing.manifest, new)


def _merge(old: Manifest, new: Manifest) -> Manifest:
    """Return ``old`` with the models and the provenance of ``new`` added."""
    seconds = {**old.provenance.get("seconds", {}), **new.provenance["seconds"]}
    return dataclasses.replace(
        old,
        models={**old.models, **new.models},
        provenance={**old.provenance, **new.provenance, "seconds": seconds},
    )
