"""Stage: where on affected images is what makes the two part, and is it where the trigger is?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.attack.recovered import Applied, RecoveredTrigger
from analysis.attribution.pair import attribute_pair
from analysis.attribution.region import changed_pixels
from analysis.audit.localization import pointing, region_of, region_overlap
from analysis.config import Config, field
from analysis.data.imageset import ImageSet
from analysis.models.handle import ModelHandle
from analysis.records import TEACHER, TRIGGER
from analysis.remedy.case import answer_logits, stamped_logits
from analysis.store import Study
from analysis.store.files import write_array
from analysis.study.images import images_of_study
from analysis.study.models import load_stored
from analysis.study.probes import Probed
from analysis.study.recovered import Suspect
from analysis.study.stages import Products, Workbench

VERSION = 1
_BATCH = 256
# What makes the student say the class more than the teacher does, and what covering a window
# does to the divergence of the two.
MAPS: Mapping[str, dict[str, Any]] = {
    "pair": {"method": "integrated_gradients", "scalar": "p_student_minus_teacher"},
    "occlusion": {"method": "occlusion", "scalar": "kl_teacher_student"},
}


@dataclass(frozen=True, kw_only=True)
class LocalizationConfig(Config):
    """On how many images, and how finely."""

    images: int = field(32, "affected images that are explained", low=1, high=10_000)
    window: int = field(4, "side of the covered square, in pixels", low=1)
    stride: int = field(2, "steps of the covered square, in pixels", low=1)
    steps: int = field(16, "Gauss-Legendre steps of integrated gradients", low=4, high=512)
    seed: int = field(0, "seed of the choice of images", low=0)


def localize(
    bench: Workbench,
    study: Study,
    student: str,
    suspect: Suspect,
    *,
    beside: Probed | None = None,
    config: LocalizationConfig | None = None,
    trusted_code: Sequence[str | Path] = (),
    device: str = "cpu",
) -> Products:
    """Explain the pair on affected images, and measure how the maps lie on the trigger.

    Affected are images not of the target class that ``student`` answers with it only when they
    carry the trigger. ``beside`` is an honest student, by default the study's first reference.
    ``records["localization/<student>"]`` holds, by map (``pair``,
    ``occlusion``) and for ``student`` and one reference student beside it, mass, pointing and
    overlap on the recovered region and on the true support where the study shows the trigger;
    arrays ``localization/<student>/{sample_ids, images, region, pair, occlusion}``. A study on
    which nothing is affected gets a record with ``n`` 0 and no arrays.
    """
    config = config or LocalizationConfig()
    images = images_of_study(study)
    models = _models(study, student, beside, trusted_code, device)
    rows = _affected(images, models, suspect, config)
    base = f"localization/{student}"
    record: dict[str, Any] = {
        "trigger": suspect.trigger.shown,
        "recovered": suspect.recovered,
        "target_class": suspect.target,
        "config": config.key(),
        "n": len(rows),
        "reference": models.reference_name,
    }
    if not len(rows):
        return Products(records={base: record})
    shown = _stamped(images.rows(rows), suspect.trigger)
    region = _region(shown, images.rows(rows), suspect.trigger)
    parts = {"sample_ids": np.asarray(shown.sample_ids), "images": np.asarray(shown.images)}
    output = _explained(bench, models, shown, suspect.target, config, {**parts, "region": region})
    truth = _true_support(study, rows)
    measured: dict[str, Any] = {}
    for name in MAPS:
        for whose in models.names:
            values = np.load(output[f"{whose}-{name}"])
            found = {"recovered": pointing(values, region).to_json()}
            if truth is not None:
                found["true"] = pointing(values, truth).to_json()
            measured.setdefault(name, {})[whose] = found
    record["maps"] = measured
    if truth is not None:
        both = zip(region, truth, strict=True)
        record["support_overlap"] = float(np.mean([region_overlap(*pair) for pair in both]))
    arrays = {f"{base}/{name}": output[name] for name in (*parts, "region")}
    arrays |= {f"{base}/{name}": output[f"student-{name}"] for name in MAPS}
    return Products(arrays=arrays, records={base: record})


@dataclass(frozen=True, kw_only=True)
class _Models:
    teacher: ModelHandle
    student: ModelHandle
    order: tuple[int, ...] | None
    reference: ModelHandle | None
    reference_order: tuple[int, ...] | None
    reference_name: str | None

    @property
    def names(self) -> tuple[str, ...]:
        return ("student",) if self.reference is None else ("student", "reference")

    def of(self, name: str) -> tuple[ModelHandle, tuple[int, ...] | None]:
        """A student with the order of its outputs."""
        if name == "student" or self.reference is None:
            return self.student, self.order
        return self.reference, self.reference_order


def _models(
    study: Study,
    student: str,
    given: Probed | None,
    trusted_code: Sequence[str | Path],
    device: str,
) -> _Models:
    beside = given
    own = next((name for name in study.references if name != student), None)
    if given is None and own is not None:
        handle = load_stored(study, own, trusted_code, device)
        beside = Probed(name=own, handle=handle, order=study.class_order(own))
    return _Models(
        teacher=load_stored(study, TEACHER, trusted_code, device),
        student=load_stored(study, student, trusted_code, device),
        order=study.class_order(student),
        reference=None if beside is None else beside.handle.to(device),
        reference_order=None if beside is None else beside.order,
        reference_name=None if beside is None else beside.name,
    )


def _affected(
    images: ImageSet, models: _Models, suspect: Suspect, config: LocalizationConfig
) -> np.ndarray:
    """Rows of a seeded choice of affected images, ascending."""

    def answers(logits: np.ndarray) -> np.ndarray:
        return (logits if models.order is None else logits[:, list(models.order)]).argmax(axis=1)

    own = images.labels
    if own is None:
        own = answer_logits(models.teacher, images).argmax(axis=1)
    before = answers(answer_logits(models.student, images))
    after = answers(stamped_logits(models.student, images, suspect.trigger))
    target = suspect.target
    rows = np.flatnonzero((own != target) & (before != target) & (after == target))
    rng = np.random.default_rng(config.seed)
    return np.sort(rng.permutation(rows)[: config.images])


def _stamped(images: ImageSet, trigger: Applied) -> ImageSet:
    """The images with the trigger, rounded to 8 bits."""
    parts = []
    for rows, pixels in images.batches(_BATCH):
        shown = trigger.apply(torch.from_numpy(pixels), images.sample_ids[rows].tolist())
        parts.append((shown * 255).round().byte().permute(0, 2, 3, 1).numpy())
    return replace(images, images=np.concatenate(parts))


def _region(shown: ImageSet, clean: ImageSet, trigger: Applied) -> np.ndarray:
    """The trigger's pixels on each image, (N, H, W) bool."""
    if isinstance(trigger, RecoveredTrigger):
        region = region_of(trigger.weights)
        return np.repeat(region[None], len(shown), axis=0)
    changed = changed_pixels(np.asarray(clean.images), np.asarray(shown.images))
    return _never_empty(changed)


def _true_support(study: Study, rows: np.ndarray) -> np.ndarray | None:
    """Where the study's own trigger changed each image, (N, H, W) bool, or None."""
    condition = study.conditions.get(TRIGGER)
    if condition is None or not condition.covers_all:
        return None
    marked = np.asarray(study.condition_images(TRIGGER)[rows])
    return _never_empty(changed_pixels(np.asarray(study.images[rows]), marked))


def _never_empty(regions: np.ndarray) -> np.ndarray:
    # A trigger that happens to be what the image shows there is everywhere as much as anywhere.
    empty = np.asarray(~regions.any(axis=(1, 2)))
    return np.asarray(regions | empty[:, None, None])


def _explained(
    bench: Workbench,
    models: _Models,
    shown: ImageSet,
    target: int,
    config: LocalizationConfig,
    parts: Mapping[str, np.ndarray],
) -> dict[str, Path]:
    """Maps of the pair on the stamped images, student and reference: files by name."""

    def work(folder: Path) -> Mapping[str, Any]:
        for name, values in parts.items():
            write_array(folder / f"{name}.npy", values)
        for whose in models.names:
            for name in MAPS:
                values = _map(bench, models, whose, name, shown, target, config)
                write_array(folder / f"{whose}-{name}.npy", values)
        return {}

    inputs = {
        "teacher": models.teacher.digest,
        "images": shown.digest,
        **{name: models.of(name)[0].digest for name in models.names},
        "region": parts["region"].sum(axis=0).tolist(),
    }
    orders = {name: models.of(name)[1] for name in models.names}
    output = bench.cache.run(
        "localization",
        work,
        version=VERSION,
        inputs=inputs,
        config={**config.key(), "target": target, "orders": orders},
    )
    names = [*parts, *(f"{whose}-{name}" for whose in models.names for name in MAPS)]
    return {name: output.file(f"{name}.npy") for name in names}


def _map(
    bench: Workbench,
    models: _Models,
    whose: str,
    name: str,
    shown: ImageSet,
    target: int,
    config: LocalizationConfig,
) -> np.ndarray:
    handle, order = models.of(whose)
    options: dict[str, Any] = {"steps": config.steps}
    if name == "occlusion":
        window = min(config.window, *shown.image_shape[:2])
        options = {"window": window, "stride": min(config.stride, window)}
    maps = attribute_pair(
        models.teacher,
        handle,
        shown,
        student_class=target,
        student_order=order,
        precision="float32",
        progress=lambda _, done, total: bench.progress(f"localization: {name}", done, total),
        **MAPS[name],
        **options,
    )
    return maps["pair"].values
