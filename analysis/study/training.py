"""Stage: train a teacher, or distill a student, into a weights file.

Beside ``W.safetensors`` stands ``W.run/``: ``history.json``, the checkpoints, and what an
interrupted run goes on from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import nn

from analysis.data.imageset import ImageSet
from analysis.distillation.batches import epoch_seed
from analysis.distillation.history import History
from analysis.distillation.objectives import HintonKD, Objective, Supervised
from analysis.distillation.training import TrainingConfig, train
from analysis.errors import BusyError, ImageSetError, InputError, ModelError
from analysis.models.architectures import build, find_architecture
from analysis.models.handle import ModelHandle
from analysis.models.loading import ModelSpec, load_model, save_model
from analysis.models.normalization import Normalization
from analysis.models.saving import Header
from analysis.models.weights import read_header
from analysis.store import Progress, silent
from analysis.store.files import storage_errors
from analysis.study.classes import relabeled
from analysis.study.images import images_for

_ROWS = 1024
_LOCK = ".lock"


@dataclasses.dataclass(frozen=True, slots=True)
class TrainedModel:
    """What a run left on disk: the weights (a model spec by itself), its folder, the epochs."""

    weights: Path
    run: Path
    history: History
    checkpoints: dict[int, Path]


def run_folder(out: str | Path) -> Path:
    """The folder beside the weights file ``out``: ``W.run`` for ``W.safetensors``."""
    return Path(out).with_suffix(".run")


def train_model(
    *,
    architecture: str,
    images: ImageSet | str | Path,
    out: str | Path,
    width: int | None = None,
    config: TrainingConfig | None = None,
    objective: Supervised | None = None,
    validation: ImageSet | str | Path | None = None,
    normalize: str = "dataset",
    limit: int | None = None,
    limit_seed: int = 0,
    progress: Progress = silent,
) -> TrainedModel:
    """Train a built-in ``architecture`` on labeled ``images`` and write its weights to ``out``.

    ``images`` and ``validation`` are image sets, or sources that
    :func:`~analysis.data.sources.load_images` reads; labels go by the names of the classes where
    both name them. ``normalize`` is ``dataset`` (mean and standard deviation of the training
    images) or what a model spec allows. ``limit`` takes at most so many images of each, drawn with
    ``limit_seed``. A run that was interrupted goes on, a finished one is not repeated, and a
    file of another model is not replaced. Raises :class:`~analysis.errors.InputError` before
    anything is written.
    """
    config = config or TrainingConfig()
    out = _checked(out)
    load = functools.partial(images_for, None, limit=limit, seed=limit_seed, progress=progress)
    pixels = load(images, "training")
    normalization = (
        dataset_normalization(pixels) if normalize == "dataset" else Normalization.parse(normalize)
    )
    order = _Order(
        kind="train",
        architecture=architecture,
        width=_width(architecture, width),
        num_classes=_count_classes(pixels),
        class_names=pixels.class_names,
        normalization=normalization,
        objective=objective or Supervised(),
        config=config,
    )
    held_out = None if validation is None else load(validation, "validation")
    return _make(order, pixels, held_out, None, out, progress)


def distill_model(
    *,
    teacher: ModelHandle | ModelSpec | str,
    architecture: str,
    images: ImageSet | str | Path,
    out: str | Path,
    width: int | None = None,
    config: TrainingConfig | None = None,
    objective: Objective | None = None,
    validation: ImageSet | str | Path | None = None,
    normalize: str = "teacher",
    metadata: Mapping[str, Any] | None = None,
    limit: int | None = None,
    limit_seed: int = 0,
    trusted_code: Collection[str | Path] = (),
    progress: Progress = silent,
) -> TrainedModel:
    """Distill ``teacher`` into a built-in ``architecture`` on ``images``; write it to ``out``.

    ``objective`` defaults to Hinton's with temperature 4 and needs no labels; labels go by the
    names of the teacher's classes. ``normalize`` is ``teacher`` (its own), ``dataset`` or what a
    model spec allows. ``metadata`` is kept in the files beside the recipe; all else is as in
    :func:`train_model`.
    """
    config = config or TrainingConfig()
    out = _checked(out)
    handle = (
        teacher
        if isinstance(teacher, ModelHandle)
        else load_model(teacher, trusted_code=trusted_code)
    )
    load = functools.partial(images_for, handle, limit=limit, seed=limit_seed, progress=progress)
    # The name is part of the ids: a run on a part of the images keeps the one it always had.
    pixels = load(images, "distillation" if limit is None else "training")
    handle.check_images(pixels.image_shape)
    order = _Order(
        kind="distill",
        architecture=architecture,
        width=_width(architecture, width),
        num_classes=handle.num_classes,
        class_names=handle.class_names or _class_names(pixels, handle.num_classes),
        normalization=_normalization(normalize, pixels, handle),
        objective=objective or HintonKD(),
        config=config,
        metadata=metadata or {},
    )
    held_out = None if validation is None else load(validation, "validation")
    return _make(order, pixels, held_out, handle, out, progress)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """The model that is to be made."""

    kind: str
    architecture: str
    width: int
    num_classes: int
    class_names: tuple[str, ...] | None
    normalization: Normalization
    objective: Objective
    config: TrainingConfig
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def new_module(self, images: ImageSet) -> nn.Module:
        """Build the network with weights that the seed decides."""
        height, width, channels = images.image_shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(epoch_seed(self.config.seed, 0, "weights"))
            return build(
                self.architecture,
                num_classes=self.num_classes,
                width=self.width,
                in_channels=channels,
                image_size=(height, width),
            )

    def header(self, images: ImageSet, recipe: Mapping[str, Any]) -> Header:
        """What the file of the model, made by ``recipe``, says of it."""
        height, width, channels = images.image_shape
        return Header(
            architecture=self.architecture,
            num_classes=self.num_classes,
            in_channels=channels,
            width=self.width,
            class_names=self.class_names,
            normalization=self.normalization,
            image_size=(height, width),
            recipe=recipe,
        )

    def recipe(self, images: ImageSet, teacher: ModelHandle | None) -> dict[str, Any]:
        """How the model was made, for the header of its file; no path enters it."""
        made_from = {
            "source": images.source,
            "n": len(images),
            "digest": images.digest,
            "pixels": images.pixels_digest,
        }
        asked = None if teacher is None else {"spec": teacher.spec_text, "digest": teacher.digest}
        return {
            "kind": self.kind,
            "objective": self.objective.recipe(),
            "training": self.config.result_key(),
            "images": made_from,
            "teacher": asked,
            **self.metadata,
        }


def _make(
    order: _Order,
    images: ImageSet,
    validation: ImageSet | None,
    teacher: ModelHandle | None,
    out: Path,
    progress: Progress,
) -> TrainedModel:
    folder = run_folder(out)
    recipe = order.recipe(images, teacher)
    named = teacher is not None and teacher.class_names is not None
    names, of = order.class_names, "the teacher" if named else "the training images"
    # After the recipe, which says what was given.
    images = relabeled(images, names, of=of)
    validation = None if validation is None else relabeled(validation, names, of=of)
    module = order.new_module(images)

    def save(path: Path, trained: nn.Module, epoch: int) -> None:
        header = order.header(images, {**recipe, "epoch": epoch})
        named = {part.name: getattr(header, part.name) for part in dataclasses.fields(header)}
        save_model(path, trained, metadata=named.pop("recipe"), **named)

    with _only_run(folder):
        _refuse_another(out, order.header(images, {**recipe, "epoch": order.config.epochs}))
        result = train(
            module,
            images,
            objective=order.objective,
            config=order.config,
            normalization=order.normalization,
            workdir=folder,
            teacher=teacher,
            validation=validation,
            progress=progress,
            save_checkpoint=save,
        )
        save(out, result.module, order.config.epochs)
    return TrainedModel(out, folder, result.history, dict(result.checkpoints))


@contextlib.contextmanager
def _only_run(folder: Path) -> Iterator[None]:
    """Hold the run's folder; raises :class:`BusyError` when another process trains there."""
    lock = FileLock(folder / _LOCK, timeout=0)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            raise BusyError(
                f"another process is training in {folder}",
                remedy="wait for it, or choose another --out",
            ) from None
    try:
        yield
    finally:
        lock.release()
        _remove_if_unused(folder)


def _refuse_another(out: Path, header: Header) -> None:
    """Raise :class:`InputError` where ``out`` is there and is not the model of ``header``."""
    if not out.exists():
        return
    try:
        found = read_header(out)
    except ModelError:
        found = None
    if found is None or _identity(found) != _identity(header):
        raise InputError(
            f"{out} is there already and is another model",
            remedy="choose another --out, or delete it",
        )


def _identity(header: Header) -> dict[str, Any]:
    """What decides a model: all that its header says, but for what teacher and images are called.

    Digests tell those apart, and a file that was moved is the same teacher.
    """
    said = dict(json.loads(header.to_text()))
    for part, name in (("teacher", "spec"), ("images", "source")):
        given = said["recipe"].get(part)
        if isinstance(given, dict):
            given.pop(name, None)
    return said


def _remove_if_unused(folder: Path) -> None:
    """Leave nothing behind of a run that was refused before it began."""
    if {path.name for path in folder.iterdir()} <= {_LOCK}:
        (folder / _LOCK).unlink(missing_ok=True)
        folder.rmdir()


def dataset_normalization(images: ImageSet) -> Normalization:
    """Mean and standard deviation of each channel over all pixels, rounded to four digits.

    A channel that never changes gets a standard deviation of 1.
    """
    total, squares = np.zeros(images.image_shape[2]), np.zeros(images.image_shape[2])
    for start in range(0, len(images), _ROWS):
        part = images.images[start : start + _ROWS].astype(np.float64) / 255
        total += part.sum(axis=(0, 1, 2))
        squares += np.square(part).sum(axis=(0, 1, 2))
    count = len(images) * images.image_shape[0] * images.image_shape[1]
    mean = total / count
    std = np.round(np.sqrt(np.maximum(squares / count - mean**2, 0)), 4)
    std[std == 0] = 1.0
    return Normalization(tuple(np.round(mean, 4).tolist()), tuple(std.tolist()))


def _width(architecture: str, width: int | None) -> int:
    return find_architecture(architecture).width if width is None else width


def _checked(out: str | Path) -> Path:
    path = Path(out)
    if path.suffix != ".safetensors":
        raise ModelError(f"weights file {path.name!r}", expected="a name ending in .safetensors")
    return path


def _normalization(normalize: str, images: ImageSet, teacher: ModelHandle) -> Normalization:
    if normalize == "teacher":
        return teacher.normalization
    return (
        dataset_normalization(images) if normalize == "dataset" else Normalization.parse(normalize)
    )


def _class_names(images: ImageSet, num_classes: int) -> tuple[str, ...] | None:
    # Names of another set of classes would be wrong names for the teacher's outputs.
    names = images.class_names
    return names if names is not None and len(names) == num_classes else None


def _count_classes(images: ImageSet) -> int:
    if images.class_names is not None:
        return len(images.class_names)
    if images.labels is None:
        raise ImageSetError(
            f"image set {images.name!r} has no labels",
            expected="labeled images",
            remedy="sort them into one folder per class, or distill a teacher instead",
        )
    return int(images.labels.max()) + 1
