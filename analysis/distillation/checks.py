"""Whether model, images, teacher and objective fit together, before hours are spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.data.imageset import ImageSet, to_pixels
from analysis.distillation.signals import Shape
from analysis.distillation.task import TrainingTask
from analysis.distillation.teaching import LiveTeaching, as_is, taps
from analysis.errors import ConfigError, ImageSetError, ModelError
from analysis.models.layers import discover, recording

_PROBE = 2


@dataclass(frozen=True, slots=True)
class Probe:
    """What two images found out: the student's classifier module, the shapes of features."""

    classifier: str
    student_shapes: Mapping[str, Shape]
    teacher_shapes: Mapping[str, Shape]


def check_task(task: TrainingTask, device: torch.device) -> Probe:
    """Refuse what cannot be trained; return what a first look at the student found.

    Raises :class:`~analysis.errors.ModelError`, :class:`~analysis.errors.ImageSetError` or
    :class:`~analysis.errors.ConfigError`, as said in :func:`~analysis.distillation.training.train`.
    """
    images, module = task.images, task.module
    _check_teacher(task)
    task.normalization.check_channels(images.image_shape[2])
    _check_same_shape(images, task.validation)
    pixels = torch.from_numpy(to_pixels(np.asarray(images.images[:_PROBE]))).to(device)
    module.eval()
    try:
        layout = discover(module, task.normalization(pixels))
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"the model does not take images of shape {tuple(images.image_shape)}: "
            f"{str(error).splitlines()[0]}",
            remedy="check its number of channels and its image size",
        ) from error
    classes = _classes(layout.output, len(pixels))
    _check_teacher_logits(task, classes)
    _check_classes(task, classes)
    found = taps(module, task.objective.layers_of_student, layout.classifier)
    with torch.no_grad(), recording(module, found, as_is) as features:
        module(task.normalization(pixels))
    student = {name: tuple(value.shape) for name, value in features.items()}
    return Probe(layout.classifier, student, _teacher_shapes(task, pixels))


def _teacher_shapes(task: TrainingTask, pixels: Tensor) -> Mapping[str, Shape]:
    if task.teacher is None:
        return {}
    live = LiveTeaching(task.teacher, task.objective.layers_of_teacher)
    answers = live.answers(torch.arange(len(pixels)), pixels)
    return {name: tuple(value.shape) for name, value in answers.features.items()}


def _check_teacher(task: TrainingTask) -> None:
    name = task.objective.name
    answered = task.teacher is not None or task.teacher_logits is not None
    if task.objective.needs_teacher and not answered:
        raise ConfigError(f"objective {name!r} without a teacher", remedy="name a teacher")
    kept = task.config.teacher_views == "cached" or task.teacher_logits is not None
    if task.objective.layers_of_teacher and kept:
        raise ConfigError(
            f"objective {name!r} reads the teacher's features, which are not cached",
            expected="teacher_views = augmented",
        )


def _check_teacher_logits(task: TrainingTask, classes: int) -> None:
    logits = task.teacher_logits
    if logits is not None and logits.shape != (len(task.images), classes):
        raise ModelError(
            f"teacher logits of shape {logits.shape}",
            expected=f"({len(task.images)}, {classes}), one row per training image",
        )


def _check_same_shape(images: ImageSet, validation: ImageSet | None) -> None:
    if validation is not None and validation.image_shape != images.image_shape:
        raise ImageSetError(
            f"validation images of shape {tuple(validation.image_shape)}",
            expected=f"{tuple(images.image_shape)}, as the training images",
            remedy="resize them",
        )


def _classes(output: object, count: int) -> int:
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != count:
        shape = tuple(output.shape) if isinstance(output, Tensor) else ()
        raise ModelError(
            f"the model answers {type(output).__name__} {shape}", expected="logits (N, classes)"
        )
    return output.shape[1]


def _check_classes(task: TrainingTask, classes: int) -> None:
    teacher, objective, images = task.teacher, task.objective, task.images
    if teacher is not None and teacher.num_classes != classes:
        raise ModelError(
            f"the teacher has {teacher.num_classes} classes, the student {classes}",
            expected="the same number",
        )
    if objective.needs_labels and images.labels is None:
        raise ImageSetError(
            f"image set {images.name!r} has no labels, objective {objective.name!r} needs them",
            remedy="give labeled images, or distill without a hard-label weight",
        )
    for given in (images, task.validation):
        if given is not None:
            _check_labels(given, classes)
            _check_class_names(given, task)


def _check_labels(images: ImageSet, classes: int) -> None:
    if images.labels is not None and int(images.labels.max()) >= classes:
        raise ImageSetError(
            f"label {int(images.labels.max())} in image set {images.name!r}",
            expected=f"0 to {classes - 1}, as the model has {classes} classes",
        )
    if images.class_names is not None and len(images.class_names) != classes:
        raise ImageSetError(
            f"image set {images.name!r} has {len(images.class_names)} classes",
            expected=f"{classes}, as the model has",
        )


def _check_class_names(images: ImageSet, task: TrainingTask) -> None:
    """Refuse labels that accuracy would be counted against the wrong classes with."""
    theirs, whose = None if task.teacher is None else task.teacher.class_names, "the teacher's"
    if theirs is None:
        theirs, whose = task.images.class_names, "the training images'"
    if images.labels is None or theirs is None or images.class_names is None:
        return
    wrong = [a for a, b in zip(images.class_names, theirs, strict=True) if a != b]
    if wrong:
        raise ImageSetError(
            f"class {wrong[0]!r} of image set {images.name!r} is not at its place in {whose} "
            "classes",
            remedy="give both the same class names in the same order",
        )
