"""Stage: make edits of the images a condition of the study, and ask every model again.

The pixels come from the same code as the live answers, and models see them in batches of the
same shape, so that what a person saw for one image is what the study then holds for it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.edit import Edit, edited
from analysis.data.edits import check_edits
from analysis.data.imageset import ImageSet, check_text
from analysis.data.pixels import gather
from analysis.errors import InputError, StudyError
from analysis.records import TEACHER, Condition
from analysis.store import Progress, Study, StudyWriter, silent, workspace_cache, writing
from analysis.store.manifest import Manifest
from analysis.study import embedding
from analysis.study.classes import ClassPlan
from analysis.study.conditions import EDITED, Presented
from analysis.study.images import images_of_study
from analysis.study.inference import infer
from analysis.study.models import load_stored
from analysis.study.run import ComparisonRun
from analysis.study.stages import CompareConfig, Workbench

VERSION = 1
_LONGEST_NAME, _LONGEST_SLUG = 40, 48


def keep_condition(
    folder: str | Path,
    *,
    name: str,
    edits: Sequence[Edit],
    trusted_code: Sequence[str | Path] = (),
    device: str = "cpu",
    progress: Progress = silent,
) -> str:
    """Add the condition ``name``, in which every image carries ``edits``; return its slug.

    Every model of the study is run on it and measured as on any other condition. Raises
    :class:`InputError` for a name that is taken or cannot be shown,
    :class:`~analysis.errors.TrustError` where a model needs user code that is not trusted, and
    :class:`~analysis.errors.BusyError` while another process writes the study.
    """
    path = Path(folder)
    with writing(path):
        study = Study.open(path)
        slug = new_slug(name, study)
        _check_models(study)
        config = CompareConfig.from_mapping(dict(study.manifest.config))
        bench = Workbench(workspace_cache(path.resolve().parent), config, progress)
        images = images_of_study(study)
        shown = _presented(bench, images, name.strip(), slug, check_edits(edits))
        run = KeptRun(
            bench,
            StudyWriter(path),
            load_stored(study, TEACHER, trusted_code, device),
            images,
            _plan(study),
            study,
            study.name,
        )
        run.keep(shown, trusted_code, device)
    return slug


def new_slug(name: str, study: Study) -> str:
    """Return the slug that ``name`` gets; raises :class:`InputError` when it cannot name one."""
    text = check_text("condition name", name).strip()
    slug = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:_LONGEST_SLUG].strip("_")
    if not slug or len(text) > _LONGEST_NAME:
        raise InputError(
            f"condition name {name[:80]!r}",
            expected=f"1 to {_LONGEST_NAME} characters, a letter or digit among them",
        )
    if slug in study.conditions:
        raise InputError(
            f"the study has a condition {study.conditions[slug].name!r} already",
            remedy="choose another name",
        )
    return slug


def _check_models(study: Study) -> None:
    bare = next((name for name in study.models if study.manifest.weights.get(name) is None), None)
    if bare is not None:
        raise StudyError(
            f"the study keeps no weights of {bare!r}",
            expected="models that can be asked again",
            remedy="make the study from models: compare --teacher .. --student ..",
        )


def _presented(
    bench: Workbench, images: ImageSet, name: str, slug: str, edits: tuple[Edit, ...]
) -> Presented:
    keys = [edit.key() for edit in edits]

    def each() -> Iterator[tuple[str, np.ndarray]]:
        for row, sample in enumerate(images.sample_ids.tolist()):
            yield sample, edited(images.images[row : row + 1], edits, [sample])[0]

    def work(folder: Path) -> Mapping[str, Any]:
        gather(each(), len(images), workdir=folder, progress=bench.progress)
        return {}

    output = bench.cache.run(
        "edited", work, version=VERSION, inputs={"images": images.digest}, config={"edits": keys}
    )
    pixels = np.load(output.file("images.npy"), mmap_mode="r")
    shown = dataclasses.replace(images, images=pixels)
    condition = Condition(
        name=name,
        slug=slug,
        kind=EDITED,
        image_set=images.name,
        n=len(images),
        covers_all=True,
        pixels_digest=shown.pixels_digest,
        parameters={"edits": keys},
    )
    return Presented(
        condition=condition, images=shown, rows=np.arange(len(images)), labels=images.labels
    )


def _plan(study: Study) -> ClassPlan:
    return ClassPlan(
        names=study.class_names,
        labels=study.labels,
        orders={name: study.class_order(name) for name in study.models if name != TEACHER},
        notes={},
    )


class KeptRun(ComparisonRun):
    """The stages that a further condition of a finished study needs."""

    def keep(self, shown: Presented, trusted_code: Sequence[str | Path], device: str) -> Study:
        """Ask and measure every model on ``shown``, and publish."""
        study = self.existing
        assert study is not None, "a condition is added to a study"
        self._take_from(study)
        for name in study.models:
            handle = self.teacher
            if name != TEACHER:
                handle = load_stored(study, name, trusted_code, device)
            self._have(
                infer(
                    self.bench,
                    name,
                    handle,
                    shown.images,
                    condition=shown.slug,
                    order=self.plan.orders.get(name),
                    batch_size=shown.batch_size,
                )
            )
            self._measure(name, shown)
        self.shown = [shown]
        self._put_images(shown)
        return self._publish(list(study.models))

    def _measure(self, name: str, shown: Presented) -> None:
        if name == TEACHER:
            self._measure_teacher(shown)
        else:
            self._diverge(name, shown)
        self._place(name, [shown])
        if name != TEACHER:
            arrays = self.products.arrays
            self._have(embedding.measure_overlap(self.bench, name, arrays, condition=shown.slug))

    def _manifest(self) -> Manifest:
        whole = super()._manifest()
        new = {shown.slug: shown.condition for shown in self.shown}
        return dataclasses.replace(whole, conditions={**whole.conditions, **new})
