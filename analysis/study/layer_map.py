"""Stage: one layer of the teacher and one of a student on the map, in one frame.

The teacher's layer is laid out from where the study's map has the images, the student's from
there. Stored under ``layer_map/<student>/<teacher layer>:<student layer>``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.imageset import ImageSet
from analysis.digest import digest_array
from analysis.inference import run_inference
from analysis.models.handle import ModelHandle
from analysis.records import CLEAN, PENULTIMATE, TEACHER
from analysis.store import Progress, Study, silent, workspace_cache, writing
from analysis.store.files import write_array
from analysis.study import embedding
from analysis.study.conditions import Presented
from analysis.study.layers import presented, publish
from analysis.study.models import load_stored, warming_up
from analysis.study.stages import CompareConfig, Products, Workbench

VERSION = 1
IMAGES = 2000


def map_layers(
    folder: str | Path,
    *,
    student: str,
    teacher_layer: str,
    student_layer: str,
    conditions: Sequence[str] = (),
    images: int = IMAGES,
    trusted_code: Sequence[str | Path] = (),
    device: str = "cpu",
    progress: Progress = silent,
) -> Study:
    """Lay out one layer of the teacher and one of ``student``, into the study in ``folder``.

    Layouts are of the clean images, at most ``images`` of them (seeded); those of
    ``conditions`` are placed among them. Layers are pooled globally. Raises
    :class:`~analysis.errors.InputError` for a student, layer or condition that is not there.
    """
    path = Path(folder)
    with writing(path):
        study = Study.open(path)
        study.student(student)
        config = CompareConfig.from_mapping(dict(study.manifest.config))
        bench = Workbench(workspace_cache(path.resolve().parent), config, progress)
        shown = presented(study, list(dict.fromkeys([CLEAN, *conditions])))
        handles = {
            TEACHER: load_stored(study, TEACHER, trusted_code, device),
            student: load_stored(study, student, trusted_code, device),
        }
        layers = {TEACHER: teacher_layer, student: student_layer}
        for name, handle in handles.items():
            handle.taps([layers[name]])
        stage = _LayerMap(bench, student, layers, handles, images)
        known = study.record(stage.key) is not None
        with contextlib.nullcontext() if known else warming_up():
            return publish(study, stage.run(study, shown))


class _LayerMap:
    """The stages of one such map, collected under keys of its own."""

    def __init__(
        self,
        bench: Workbench,
        student: str,
        layers: Mapping[str, str],
        handles: Mapping[str, ModelHandle],
        images: int,
    ):
        self.bench, self.student, self.layers = bench, student, layers
        self.handles, self.images = handles, images
        self.made = Products()

    @property
    def key(self) -> str:
        """Where the study keeps this map."""
        return f"layer_map/{self.student}/{self.layers[TEACHER]}:{self.layers[self.student]}"

    def run(self, study: Study, shown: Sequence[Presented]) -> Products:
        """Compute the layouts of the clean images, and where the others lie among them."""
        clean, *others = [self._drawn(condition) for condition in shown]
        start = self._start(study, clean[1])
        for name in self.layers:
            self._features(name, CLEAN, clean[0])
            features = self.made.arrays[f"features/{name}/{CLEAN}/{PENULTIMATE}"]
            self._have(embedding.find_neighbors(self.bench, name, features))
            self._have(embedding.lay_out(self.bench, name, self.made.arrays, start=start))
            start = self.made.arrays.get(f"layout/{name}", start)
        for condition, (images, _) in zip(shown[1:], others, strict=True):
            for name in self.layers:
                self._features(name, condition.slug, images)
                self._have(
                    embedding.place_condition(self.bench, name, condition.slug, self.made.arrays)
                )
        for condition in shown:
            self._have(
                embedding.measure_overlap(
                    self.bench, self.student, self.made.arrays, condition=condition.slug
                )
            )
        return self._under_own_keys([clean, *others], shown)

    def _have(self, item: Products) -> None:
        self.made.add(arrays=item.arrays, records=item.records, seconds=item.seconds)

    def _drawn(self, shown: Presented) -> tuple[ImageSet, np.ndarray]:
        """At most so many images of a condition, in its own order, and which rows these are."""
        rng = np.random.default_rng(self.bench.config.seed)
        rows = np.sort(rng.permutation(len(shown.images))[: self.images])
        return shown.images.rows(rows), rows

    def _start(self, study: Study, rows: np.ndarray) -> Path | None:
        """The study's own layout of the teacher, so that this map looks like that one."""
        if not study.has_array(f"layout/{TEACHER}"):
            return None
        layout = np.asarray(study.array(f"layout/{TEACHER}"))[rows]

        def work(folder: Path) -> Mapping[str, Any]:
            write_array(folder / "start.npy", layout)
            return {}

        output = self.bench.cache.run(
            "layer_map_start", work, version=VERSION, inputs={"layout": digest_array(layout)}
        )
        return output.file("start.npy")

    def _features(self, name: str, condition: str, images: ImageSet) -> None:
        handle, layer = self.handles[name], self.layers[name]
        stage = f"{layer} of {name}, {condition}"

        def work(folder: Path) -> Mapping[str, Any]:
            files = run_inference(
                handle,
                images,
                layers=(layer,),
                workdir=folder,
                progress=lambda _, done, total: self.bench.progress(stage, done, total),
            )
            return {"features": files.features[layer].name}

        output = self.bench.cache.run(
            "layer_features",
            work,
            version=VERSION,
            inputs={"model": handle.digest, "images": images.digest},
            config={"layer": layer},
        )
        # The stages of the map know one layer for a model; here it is this one.
        key = f"features/{name}/{condition}/{PENULTIMATE}"
        self.made.arrays[key] = output.file(output.record["features"])

    def _under_own_keys(
        self, drawn: Sequence[tuple[ImageSet, np.ndarray]], shown: Sequence[Presented]
    ) -> Products:
        made, base, own = self.made, self.key, self.student
        kept = {
            _without_name(key, own): path
            for key, path in made.arrays.items()
            if key.startswith(("layout/", "placed/"))
        }
        for condition, (images, _) in zip(shown, drawn, strict=True):
            kept[f"ids/{condition.slug}"] = self._ids(images)
            overlap = f"divergence/{own}/{condition.slug}/neighborhood_overlap"
            if overlap in made.arrays:
                kept[f"overlap/{condition.slug}"] = made.arrays[overlap]
        record = {
            "teacher_layer": self.layers[TEACHER],
            "student_layer": self.layers[own],
            "n": {c.slug: len(images) for c, (images, _) in zip(shown, drawn, strict=True)},
            "total": {c.slug: len(c.images) for c in shown},
            "quality": {
                part: made.records.get(f"layout_quality/{name}")
                for part, name in ((TEACHER, TEACHER), ("student", own))
            },
            "overlap": {c.slug: made.records.get(f"overlap/{own}/{c.slug}") for c in shown},
        }
        return Products(
            arrays={f"{base}/{key}": path for key, path in kept.items()},
            records={base: record},
            seconds={base: sum(made.seconds.values())},
        )

    def _ids(self, images: ImageSet) -> Path:
        def work(folder: Path) -> Mapping[str, Any]:
            write_array(folder / "ids.npy", np.asarray(images.sample_ids))
            return {}

        output = self.bench.cache.run(
            "layer_map_ids", work, version=VERSION, inputs={"images": images.digest}
        )
        return output.file("ids.npy")


def _without_name(key: str, student: str) -> str:
    """``layout/NAME..`` as ``layout/student..`` where NAME is the student's, whole."""
    kind, model, *rest = key.split("/")
    return "/".join([kind, "student" if model == student else model, *rest])
