"""Stage: screen the images that a student was distilled on, without knowing which are poisoned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.audit.latent import LATENT_SCREENS
from analysis.audit.screening import Screening, ScreeningConfig, screen_answers
from analysis.data.filters import Filter, find_filter
from analysis.data.imageset import ImageSet
from analysis.digest import digest_array
from analysis.inference import run_inference
from analysis.models.handle import ModelHandle
from analysis.records import CLEAN, PENULTIMATE
from analysis.store import StageOutput, Study, StudyWriter, writing
from analysis.store.files import write_array
from analysis.study.inference import infer
from analysis.study.stages import Products, Workbench
from analysis.study.thumbnails import make_thumbnails

VERSION = 1
SET = "distillation"
PREFIX = "screening"
_BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class Screened:
    """Scores of every image, the alarms, and how to store both.

    ``scores`` {name: (N,)}: ``score`` (all filters combined), each filter, ``labels`` where there
    are labels, and the standard screens where a student was given; higher is stranger.
    """

    images: ImageSet
    screening: Screening
    scores: Mapping[str, np.ndarray]
    products: Products = field(default_factory=Products)
    thumbnails: Path | None = None


def screen_images(
    bench: Workbench,
    teacher: ModelHandle,
    images: ImageSet,
    *,
    student: ModelHandle | None = None,
    config: ScreeningConfig | None = None,
) -> Screened:
    """Score every one of ``images`` by how brittle the teacher's answer is, and raise alarms.

    With the suspect ``student`` the standard screens by its features stand beside, for contrast.
    ``products`` hold ``records["screening"]`` and the arrays ``screening/ids``,
    ``screening/score``, ``screening/answer`` and one of each further score; ``thumbnails`` the
    pictures of the most brittle images, under the condition name ``screening``. The truth about
    the images plays no part.
    """
    config = config or ScreeningConfig()
    teacher.check_images(images.image_shape)
    asked = infer(bench, PREFIX, teacher, images)
    plain = np.load(asked.arrays[f"logits/{PREFIX}/{CLEAN}"])
    made = {name: _filtered(bench, teacher, images, name) for name in config.names}
    filtered = {name: np.load(one.file(one.record["logits"])) for name, one in made.items()}
    # What the stages took when they ran: a screening that is read again costs no less.
    seconds = sum(asked.seconds.values()) + sum(one.seconds for one in made.values())
    passes = len(images) * (1 + len(config.names))
    names = images.class_names or tuple(f"class {place}" for place in range(plain.shape[1]))
    found = screen_answers(plain, filtered, images.labels, config, names)
    # All alarms read the same answers; the first one, which needs them all, carries the cost.
    first, *others = found.alarms
    first = replace(first, seconds=seconds, passes=float(passes))
    found = replace(found, alarms=(first, *others))
    scores = {"score": found.score, **found.parts}
    if student is not None:
        scores |= _latent(bench, student, images, found.answer)
    record = {
        "images": {"source": images.source, "n": len(images), "digest": images.digest},
        "labeled": images.labels is not None,
        "config": config.key(),
        **found.to_json(),
        "scores": list(scores),
        "passes": passes,
    }
    shown = found.most_brittle(config.gallery)
    record["most_brittle"] = images.sample_ids[shown].tolist()
    products = Products(
        arrays=_kept(bench, images, found, scores),
        records={PREFIX: record},
        seconds={PREFIX: seconds},
    )
    pictures = make_thumbnails(bench, images.rows(shown)) if len(shown) else None
    return Screened(
        images=images, screening=found, scores=scores, products=products, thumbnails=pictures
    )


def suspicion(bench: Workbench, teacher: ModelHandle, images: ImageSet) -> np.ndarray:
    """The combined score (N,) of every image, by the default configuration."""
    return screen_images(bench, teacher, images).screening.score


def store_screening(folder: Path, screened: Screened) -> Study:
    """Add the result to the study in ``folder``."""
    with writing(folder):
        study, writer = Study.open(folder), StudyWriter(folder)
        put_screening(writer, screened)
        return writer.publish(study.manifest)


def put_screening(writer: StudyWriter, screened: Screened) -> None:
    """Hand arrays, record and pictures to ``writer``, which publishes them with all else."""
    for key, path in screened.products.arrays.items():
        writer.put_array(key, path)
    writer.records.update(screened.products.records)
    if screened.thumbnails is not None:
        writer.put_thumbnails(PREFIX, screened.thumbnails)


def _filtered(bench: Workbench, teacher: ModelHandle, images: ImageSet, name: str) -> StageOutput:
    """The teacher's ``logits`` (N, K) on ``images`` through the filter ``name``."""
    chosen = find_filter(name)

    def work(folder: Path) -> Mapping[str, Any]:
        pixels = folder / "pixels.npy"
        _write_filtered(chosen, images, pixels)
        files = run_inference(
            teacher,
            replace(images, images=np.load(pixels, mmap_mode="r")),
            layers=(),
            workdir=folder,
            progress=lambda _, done, total: bench.progress(
                f"screening: {chosen.title}", done, total
            ),
        )
        # Made anew from the images at any time; a cache is no place for copies of them.
        pixels.unlink()
        return {"logits": files.logits.name}

    return bench.cache.run(
        "filtered",
        work,
        version=VERSION,
        inputs={"model": teacher.digest, "images": images.digest},
        config={"filter": name},
    )


def _write_filtered(chosen: Filter, images: ImageSet, path: Path) -> None:
    """Write filtered images block by block, so that memory stays flat."""
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=images.images.shape)
    for start in range(0, len(images), _BLOCK):
        block = np.asarray(images.images[start : start + _BLOCK])
        pixels[start : start + _BLOCK] = chosen.apply(block)
    pixels.flush()


def _latent(
    bench: Workbench, student: ModelHandle, images: ImageSet, answer: np.ndarray
) -> dict[str, np.ndarray]:
    """The standard screens by the student's features, within the classes that it was taught."""
    made = infer(bench, PREFIX, student, images)
    features = np.load(made.arrays[f"features/{PREFIX}/{CLEAN}/{PENULTIMATE}"])
    scores = {}
    for name, entry in LATENT_SCREENS.items():
        bench.progress(f"screening: {entry.title}", 0, 1)
        scores[name] = entry.score(features, answer)
        bench.progress(f"screening: {entry.title}", 1, 1)
    return scores


def _kept(
    bench: Workbench, images: ImageSet, found: Screening, scores: Mapping[str, np.ndarray]
) -> dict[str, Path]:
    """Write the arrays where the cache keeps them; names are those of the study."""
    arrays = {"ids": images.sample_ids, "answer": found.answer, **scores}

    def work(folder: Path) -> Mapping[str, Any]:
        for name, values in arrays.items():
            write_array(folder / f"{name}.npy", np.asarray(values))
        return {}

    inputs = {
        "images": images.digest,
        **{name: digest_array(np.asarray(v)) for name, v in arrays.items()},
    }
    output = bench.cache.run("screening", work, version=VERSION, inputs=inputs)
    return {f"{PREFIX}/{name}": output.file(f"{name}.npy") for name in arrays}
