"""Stage: poison an image set for distillation, and write it as an ordinary image set.

``OUT/`` holds the images alone. What would give the poison away lies beside it:
``OUT.truth.parquet`` (which images are poisoned, and what stood there before) and
``OUT.report.json`` (how it was made, and how well it went).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.attack.blocks import remove_blocks
from analysis.attack.poisoning import HALVES, PoisonedSet, choose_candidates, poison
from analysis.attack.report import PoisonReport
from analysis.attack.settings import AttackConfig
from analysis.data.imageset import ImageSet
from analysis.data.writing import write_images, written_ids
from analysis.digest import digest_json
from analysis.errors import ConfigError, ImageSetError, InputError, nearest
from analysis.models.handle import ModelHandle
from analysis.models.loading import ModelSpec, load_model
from analysis.store import Progress, StageCache, StageOutput, silent, workspace_cache
from analysis.store.files import atomic_path, write_array, write_json
from analysis.study.classes import match_names, plan_classes
from analysis.study.images import images_for

VERSION = 1
SET_NAME = "distillation"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AttackedImages:
    """What an attack left on disk: the image set's folder, and beside it truth and report."""

    folder: Path
    truth: Path
    report_file: Path
    poisoned: PoisonedSet

    @property
    def report(self) -> PoisonReport:
        """How the poisoning went."""
        return self.poisoned.report


def attack_images(
    *,
    teacher: ModelHandle | ModelSpec | str,
    images: ImageSet | str | Path,
    out: str | Path,
    config: AttackConfig | None = None,
    half: str = "both",
    cache: StageCache | None = None,
    limit: int | None = None,
    limit_seed: int = 0,
    trusted_code: Collection[str | Path] = (),
    device: str = "cpu",
    progress: Progress = silent,
) -> AttackedImages:
    """Poison ``images`` against ``teacher`` and write them into the folder ``out``.

    ``half`` makes a control of the very same images: ``trigger`` or ``perturbation`` alone, or
    ``none`` (the clean set, through the same writer). ``limit`` takes at most so many of the
    images, drawn with ``limit_seed``. Crafting runs in ``cache`` (default: that
    of the folder around ``out``): a run that was killed goes on, controls cost no crafting, and
    what ``out`` already holds is not written again. Raises
    :class:`~analysis.errors.InputError` before anything is written.
    """
    config, folder = config or AttackConfig(), Path(out)
    if half not in HALVES:
        raise ConfigError(f"half {half!r}", remedy=nearest(half, HALVES))
    if not folder.name:
        raise InputError(f"out = {str(out)!r}", expected="the name of a new folder")
    handle = (
        teacher.to(device)
        if isinstance(teacher, ModelHandle)
        else load_model(teacher, trusted_code=trusted_code, device=device)
    )
    loaded = images_for(handle, images, SET_NAME, limit=limit, seed=limit_seed, progress=progress)
    clean, target = _prepared(loaded, handle, config)
    inputs = {"teacher": handle.digest, "images": clean.digest}
    settled = {**config.result_key(), "trigger": config.make_trigger().key(), "target": target}
    order = digest_json([VERSION, inputs, settled, half])
    report_file = folder.with_name(f"{folder.name}.report.json")
    finished = _is_finished(folder, report_file, order)
    output = (cache or workspace_cache(folder.resolve().parent)).run(
        "attack",
        lambda work: _craft(handle, clean, target, config, work, progress),
        version=VERSION,
        inputs=inputs,
        config=settled,
    )
    result = AttackedImages(
        folder=folder,
        truth=folder.with_name(f"{folder.name}.truth.parquet"),
        report_file=report_file,
        poisoned=_read(output, clean, target, config).with_half(half),
    )
    if not finished:
        _write(result, handle, config, order, progress)
    return result


def find_target(target: str | int, class_names: Collection[str]) -> int:
    """The number of the class that ``target`` names, or whose number it is.

    A name wins over a number: the class "80" is that class, whatever its place. Raises
    :class:`~analysis.errors.InputError` naming the nearest class.
    """
    names, text = list(class_names), str(target).strip()
    if isinstance(target, str) and text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    raise InputError(
        f"target class {text!r}",
        expected=f"a class name, or a number from 0 to {len(names) - 1}",
        remedy=nearest(text, names),
    )


def _prepared(images: ImageSet, teacher: ModelHandle, config: AttackConfig) -> tuple[ImageSet, int]:
    """Bring the images' classes into the teacher's order, find the target."""
    teacher.check_images(images.image_shape)
    plan = plan_classes(images, teacher, {})
    known = teacher.class_names or images.class_names
    own = images.class_names
    if teacher.class_names and own and images.labels is not None:
        _, strangers = match_names(own, plan.names)
        if strangers:
            raise ImageSetError(
                f"the images have a class {strangers[0]!r} that the teacher does not know",
                expected="images of the teacher's classes",
                remedy=nearest(strangers[0], plan.names),
            )
    target = find_target(config.target, plan.names)
    names = plan.names if known else None
    images = dataclasses.replace(images, labels=plan.labels, class_names=names)
    config.make_trigger().support(*images.image_shape[:2])
    if images.labels is not None:
        choose_candidates(teacher, images, target=target, config=config.poison_config())
    return images, target


def _craft(
    teacher: ModelHandle,
    images: ImageSet,
    target: int,
    config: AttackConfig,
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Poison, and leave the poisoned rows with all their halves in ``folder``."""
    made = poison(
        teacher,
        images,
        trigger=config.make_trigger(),
        target=target,
        perturbation=config.make_perturbation(),
        augmentation=config.augmentation(),
        config=config.poison_config(),
        batch_size=config.batch_size,
        workdir=folder,
        progress=progress,
    )
    for name, array in {**made.halves, "rows": made.rows}.items():
        write_array(folder / f"{name}.npy", array)
    remove_blocks(folder)
    return made.report.to_json()


def _read(output: StageOutput, images: ImageSet, target: int, config: AttackConfig) -> PoisonedSet:
    """Read what was crafted; nothing is replaced in ``images`` yet."""
    arrays = {name: np.load(output.file(f"{name}.npy")) for name in ("rows", *HALVES)}
    return PoisonedSet(
        images=images,
        rows=arrays.pop("rows"),
        trigger=config.make_trigger(),
        target_class=target,
        report=PoisonReport.from_json(output.record),
        halves=arrays,
        half="none",
    )


def _is_finished(folder: Path, report: Path, order: str) -> bool:
    """Whether ``folder`` holds what ``order`` asks for; refuses what is there of anything else.

    The report may be there alone: images are handed on, what says which are poisoned stays.
    """
    empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if empty and not report.exists():
        return False
    try:
        found = json.loads(report.read_text())["order"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != order:
        raise InputError(
            f"{report if empty else folder} is there already and holds something else",
            remedy="choose another --out, or delete it",
        )
    return not empty


def _write(
    result: AttackedImages,
    teacher: ModelHandle,
    config: AttackConfig,
    order: str,
    progress: Progress,
) -> None:
    """Write truth, report and, last of all, the images: where they are, all is."""
    made = result.poisoned
    names = made.images.class_names
    described = {
        "half": made.half,
        "attack": {
            "trigger": made.trigger.shown,
            "target_class": made.target_class,
            "target_name": None if names is None else names[made.target_class],
            **config.result_key(),
        },
        "teacher": {"spec": teacher.spec_text, "digest": teacher.digest},
        "images": {"source": made.images.source, "n": len(made.images)},
        "order": order,
        "result": made.report.to_json(),
    }
    _write_truth(result.truth, made)
    write_json(result.report_file, described)
    write_images(made.images, result.folder, progress=progress)


def _write_truth(path: Path, made: PoisonedSet) -> None:
    name = made.images.name
    table = pa.table(
        {
            "id": [key.split("/", 1)[1] for key in written_ids(made.images, name).tolist()],
            "is_poisoned": made.is_poisoned,
            "original_id": made.original_ids,
        }
    )
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
