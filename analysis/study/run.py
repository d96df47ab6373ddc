"""One comparison under way: which stage follows which, for every model and condition."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.imageset import ImageSet
from analysis.divergence.answers import read_answers
from analysis.errors import StudyError
from analysis.models.handle import ModelHandle
from analysis.records import (
    CLEAN,
    LISTED_ROLES,
    PENULTIMATE,
    REFERENCE,
    TEACHER,
    TRIGGER,
    Student,
)
from analysis.store import Progress, Study, StudyWriter
from analysis.store.files import write_array
from analysis.store.manifest import Manifest
from analysis.study import attribution, divergence, embedding, samples, slices, temperature
from analysis.study.attribution_agreement import measure_attribution_agreement
from analysis.study.classes import ClassPlan, permutation_finding
from analysis.study.conditions import (
    Presented,
    measure_attack,
    present_attack,
    present_clean,
    stored_conditions,
    stored_config,
    target_of,
)
from analysis.study.inference import infer
from analysis.study.models import model_card, store_weights, versions
from analysis.study.pairwise import two_at_a_time
from analysis.study.specs import StudentSpec
from analysis.study.stages import Products, Workbench
from analysis.study.thumbnails import make_thumbnails

ATTRIBUTED = (CLEAN, TRIGGER)
# Nobody looks at these students one by one: no maps are drawn and no pixels explained.
UNATTRIBUTED_ROLES = ("checkpoint", REFERENCE)


@dataclass
class ComparisonRun:
    """The stages of one comparison; :meth:`finish` runs what is missing and publishes."""

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
    shown: list[Presented] = field(default_factory=list)
    target: int | None = None

    def finish(self, specs: Mapping[str, StudentSpec], handles: Mapping[str, ModelHandle]) -> Study:
        """Run every stage that is missing and publish the study."""
        new = {
            name: handle
            for name, handle in handles.items()
            if self._is_new(name, handle, specs[name])
        }
        if self.existing is not None and not new:
            return self.existing
        self._teacher()
        self._students(specs, new)
        return self._publish(([] if self.existing else [TEACHER]) + list(new))

    def _students(
        self, specs: Mapping[str, StudentSpec], handles: Mapping[str, ModelHandle]
    ) -> None:
        """Measure every student; none needs another one's results.

        What traces or counts a network's modules changes how all modules are called meanwhile, so
        that has its turn when no other model runs.
        """

        def measured(name: str, progress: Progress) -> ComparisonRun:
            bench = replace(self.bench, progress=progress)
            alone = replace(self, bench=bench, products=self.products.copy())
            alone._student(name, specs[name], handles[name])
            return alone

        done = two_at_a_time(
            [functools.partial(measured, name) for name in handles],
            progress=self.bench.progress,
            device=str(self.teacher.device),
        )
        for alone in done:
            self._have(alone.products)
        for name, handle in handles.items():
            if specs[name].role not in UNATTRIBUTED_ROLES:
                self._attributions(name, handle)
            self.models[name] = self._card(name, handle, specs[name])

    def _is_new(self, name: str, handle: ModelHandle, spec: StudentSpec) -> bool:
        old = self.existing.models.get(name) if self.existing else None
        if old is not None and old.digest != handle.digest:
            raise StudyError(
                f"the study already has another student {name!r}",
                remedy="give this one another name",
            )
        if old is not None and (old.role, old.parent) != (spec.role, spec.parent):
            raise StudyError(
                f"the study has {name!r} as {old.role}, not as {spec.role}",
                remedy="give it another name for its other part",
            )
        if old is not None:
            self._same_order(name)
        return old is None

    def _same_order(self, name: str) -> None:
        assert self.existing is not None
        if self.existing.class_order(name) != self.plan.orders[name]:
            raise StudyError(
                f"the study has the student {name!r} with its classes in another order",
                remedy="give it another name, or another --out, to compare it with these names",
            )

    def _have(self, item: Products) -> None:
        self.products.add(arrays=item.arrays, records=item.records, seconds=item.seconds)

    def _array(self, key: str) -> Path:
        return self.products.arrays[key]

    @property
    def _others(self) -> list[Presented]:
        return [shown for shown in self.shown if shown.slug != CLEAN]

    def _teacher(self) -> None:
        self.shown = [present_clean(self.images, self.plan.labels)]
        if self.existing is not None:
            self._take_from(self.existing)
            return
        clean = self.shown[0]
        self._have(infer(self.bench, TEACHER, self.teacher, self.images))
        self._measure_teacher(clean)
        if self.bench.config.attack is not None:
            logits = self._array(f"logits/{TEACHER}/{CLEAN}")
            attacks, self.target = present_attack(self.bench, self.teacher, self.images, logits)
            self.shown += attacks
        for shown in self._others:
            self._have(infer(self.bench, TEACHER, self.teacher, shown.images, condition=shown.slug))
            self._measure_teacher(shown)
        # The last of these: by now the projections are compiled.
        self._neighborhood(TEACHER)
        self._place(TEACHER, self._others)
        self.models[TEACHER] = self._card(TEACHER, self.teacher, StudentSpec(role="teacher"))

    def _take_from(self, study: Study) -> None:
        study.check_files()
        keys = study.manifest.arrays
        self.products.add(arrays={key: study.array_file(key) for key in keys})
        self.shown += stored_conditions(study, self.images)
        self.target = target_of(self.shown, self.plan.names)

    def _measure_teacher(self, shown: Presented) -> None:
        logits = self._array(f"logits/{TEACHER}/{shown.slug}")
        self._have(
            divergence.measure_answers(
                self.bench, TEACHER, logits, shown.labels, condition=shown.slug
            )
        )
        self._temperature(TEACHER, shown)

    def _temperature(self, name: str, shown: Presented) -> None:
        self._have(
            temperature.fit_temperatures(
                self.bench,
                name,
                self._array(f"logits/{name}/{shown.slug}"),
                shown.labels,
                condition=shown.slug,
            )
        )

    def _neighborhood(self, name: str, *, on_map: bool = True) -> None:
        features = self._array(f"features/{name}/{CLEAN}/{PENULTIMATE}")
        self._have(embedding.find_neighbors(self.bench, name, features))
        if on_map and self.bench.config.projection:
            start = None if name == TEACHER else self.products.arrays.get(f"layout/{TEACHER}")
            self._have(embedding.lay_out(self.bench, name, self.products.arrays, start=start))

    def _place(self, name: str, conditions: list[Presented]) -> None:
        """Place the images of ``conditions`` among the clean ones; count answers of the target."""
        for shown in conditions:
            self._have(
                embedding.place_condition(self.bench, name, shown.slug, self.products.arrays)
            )
        if self.target is None:
            return
        self._have(
            measure_attack(
                self.bench, name, conditions, self.images, self.target, self.products.arrays
            )
        )

    def _student(self, name: str, spec: StudentSpec, handle: ModelHandle) -> None:
        for shown in self.shown:
            self._have(
                infer(
                    self.bench,
                    name,
                    handle,
                    shown.images,
                    condition=shown.slug,
                    order=self.plan.orders[name],
                    batch_size=shown.batch_size,
                )
            )
            self._diverge(name, shown)
            if spec.role != "checkpoint":
                self._temperature(name, shown)
        self._findings(name)
        self._neighborhood(name, on_map=spec.role != REFERENCE)
        self._place(name, self._others)
        for shown in self.shown:
            overlap = embedding.measure_overlap(
                self.bench, name, self.products.arrays, condition=shown.slug
            )
            self._have(overlap)
            if spec.role in LISTED_ROLES:
                self._slices(name, shown)

    def _diverge(self, name: str, shown: Presented) -> None:
        teacher, own = (self._array(f"logits/{model}/{shown.slug}") for model in (TEACHER, name))
        self._have(
            divergence.measure_divergence(
                self.bench,
                name,
                teacher,
                own,
                shown.labels,
                names=self.plan.names,
                condition=shown.slug,
            )
        )

    def _slices(self, name: str, shown: Presented) -> None:
        arrays = self.products.arrays
        if f"statistics/{shown.slug}" not in arrays:
            self._have(slices.measure_statistics(self.bench, shown))
        found = slices.find_divergent_slices(
            self.bench, name, shown.slug, shown.labels, self.plan.names, arrays
        )
        self._have(found)

    def _findings(self, name: str) -> None:
        logits = [
            np.load(self._array(f"logits/{model}/{CLEAN}"), mmap_mode="r")
            for model in (TEACHER, name)
        ]
        order = self.plan.orders[name]
        permuted = permutation_finding(name, self.plan.names, *logits, order=order)
        findings = [*self.plan.notes[name], *([permuted] if permuted else [])]
        self.products.records[f"findings/{name}"] = findings
        self.products.records[f"order/{name}"] = None if order is None else list(order)

    def _attributions(self, name: str, handle: ModelHandle) -> None:
        for shown in self.shown:
            if shown.slug in ATTRIBUTED:
                self._attribute(name, handle, shown)

    def _attribute(self, name: str, handle: ModelHandle, shown: Presented) -> None:
        kl = np.load(self._array(f"divergence/{name}/{shown.slug}/kl_teacher_student"))
        answers = {
            part: read_answers(np.load(self._array(f"logits/{model}/{shown.slug}"))).answer
            for part, model in (("teacher", TEACHER), ("student", name))
        }
        self._have(
            attribution.attribute_probe(
                self.bench,
                name,
                self.teacher,
                handle,
                shown.images,
                kl,
                answers,
                order=self.plan.orders[name],
                condition=shown.slug,
            )
        )
        self._have(
            measure_attribution_agreement(
                self.bench, name, self.products.arrays, condition=shown.slug
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

    def _publish(self, measured: list[str]) -> Study:
        if self.existing is None:
            for shown in self.shown:
                self._put_images(shown)
        old = set(self.existing.manifest.arrays) if self.existing else set()
        for key, path in self.products.arrays.items():
            if key not in old:
                self.writer.put_array(key, path)
        for name in measured:
            for shown in self.shown:
                self._put_samples(name, shown)
        self.writer.records.update(self.products.records)
        return self.writer.publish(self._manifest())

    def _put_samples(self, name: str, shown: Presented) -> None:
        records = self.products.records
        table = samples.sample_table(
            name,
            shown.images.sample_ids,
            shown.labels,
            self.products.arrays,
            condition=shown.slug,
        )
        self.writer.put_samples(name, shown.slug, table)
        base = f"{name}/{shown.slug}"
        attack = records.pop(f"attack/{base}", {})
        rates = {key: value for key, value in attack.items() if key != "n"}
        records[f"measures/{base}"] = {**records[f"measures/{base}"], **rates}
        if name != TEACHER:
            records[f"measures/{base}"]["mean_neighborhood_overlap"] = records.pop(
                f"overlap/{base}", None
            )
        if attack:
            records[f"attack_n/{shown.slug}"] = attack["n"]

    def _put_images(self, shown: Presented) -> None:
        folder = self.bench.cache.root / "shown" / shown.images.digest
        clean = shown.slug == CLEAN
        place = "inspection" if clean else f"condition/{shown.slug}"
        parts = {"images": shown.images.images}
        if clean or not shown.condition.covers_all:
            parts["ids"] = shown.images.sample_ids
        if clean and shown.labels is not None:
            parts["labels"] = shown.labels
        for key, values in parts.items():
            path = folder / f"{key}.npy"
            if not path.exists():
                write_array(path, np.asarray(values))
            self.writer.put_array(f"{key}/{place}", path)
        self.writer.put_thumbnails(shown.slug, make_thumbnails(self.bench, shown.images))

    def _manifest(self) -> Manifest:
        seconds: dict[str, Any] = {k: round(v, 3) for k, v in self.products.seconds.items()}
        provenance = {
            **self.provenance,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": seconds,
            "versions": versions(),
        }
        if self.existing is not None:
            return self.existing.manifest.extended(self.models, provenance)
        return Manifest(
            name=self.title,
            class_names=self.plan.names,
            models=self.models,
            image_sets={"inspection": self.images.card()},
            conditions={shown.slug: shown.condition for shown in self.shown},
            config=stored_config(self.bench.config),
            provenance=provenance,
        )
