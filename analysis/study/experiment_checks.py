"""What can be wrong with an experiment that only its files tell, found before anything runs."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from analysis.data.imageset import ImageSet
from analysis.data.listing import locate
from analysis.data.sources import load_images
from analysis.errors import ImageSetError, InputError
from analysis.models.handle import ModelHandle
from analysis.models.loading import load_model, wrap_module
from analysis.study.attack import find_target
from analysis.study.experiment_settings import Experiment, Recipe, section
from analysis.study.images import BUILT_IN
from analysis.study.trial import try_network

# Images that are numbered only say how many classes there are when all of them are read.
_LEAST_CLASSES = 2
_NUMBER = re.compile(r"(class )?\d+")


def check_experiment(experiment: Experiment, trusted_code: Collection[str | Path] = ()) -> None:
    """Raise :class:`~analysis.errors.InputError` for what would fail hours later.

    Sources must hold images, a given teacher must load and take them, so must every network that
    is to be trained, with the layers that its objective reads; the target must be one of the
    teacher's classes, the trigger must fit, labels must be there where they are needed. Code of
    the user's own must be among ``trusted_code``.
    """
    if isinstance(experiment.teacher, str):
        handle = load_model(experiment.teacher, trusted_code=trusted_code)
        size, names = handle.input_size, handle.class_names
    else:
        handle, size, names = None, None, None
    seen = {use: glance(source) for use, source in experiment.images.sources().items()}
    first = seen["distillation"]
    if handle is not None:
        shape = (*(size or first.image_shape[:2]), handle.in_channels)
        handle.check_images(shape)
    else:
        shape = first.image_shape
        names = _taught_classes(seen.get("teacher", first))
    if experiment.audit is not None and experiment.audit.distillation_set is not None:
        glance(experiment.audit.distillation_set)
    _check_labels(experiment, first)
    experiment.attack.make_trigger().support(*shape[:2])
    known = names or first.class_names
    if known is None and handle is not None:
        known = tuple(f"class {number}" for number in range(handle.num_classes))
    classes = handle.num_classes if handle is not None else len(known or ()) or _LEAST_CLASSES
    _check_networks(experiment, handle, shape, classes)
    condition = experiment.comparison.attack
    targets = (experiment.attack.target, *(() if condition is None else (condition.target,)))
    for target in targets:
        _check_target(str(target), known)


def _check_networks(
    experiment: Experiment, handle: ModelHandle | None, shape: tuple[int, ...], classes: int
) -> None:
    """Try what is to be trained on images of ``shape`` (H, W, C)."""
    if handle is None:
        assert isinstance(experiment.teacher, Recipe)
        network = experiment.teacher.network
        with section("teacher"):
            handle = wrap_module(
                try_network(experiment.teacher, None, shape, classes),
                architecture=network.arch,
                width=network.width,
                num_classes=classes,
                in_channels=shape[2],
            )
    for name, student in experiment.students.items():
        with section(name):
            try_network(student.recipe, handle, shape, classes)


def _check_target(target: str, names: tuple[str, ...] | None) -> None:
    if names is not None:
        find_target(target, names)
    elif not _NUMBER.fullmatch(target.strip()):
        raise InputError(f"target class {target!r}", expected="a number: the classes have no names")


def glance(source: str) -> ImageSet:
    """Load one image of ``source``; generators make no more than that."""
    location = locate(source, BUILT_IN)
    count = location.options.get("n", "1")
    if location.name == "signs" and count.isdecimal() and int(count) > 0:
        options = {**location.options, "n": "1"}
        split = f":{location.split}" if location.split else ""
        source = f"signs{split},{','.join(f'{key}={value}' for key, value in options.items())}"
    return load_images(source, limit=1)


def _taught_classes(images: ImageSet) -> tuple[str, ...] | None:
    if images.labels is None:
        raise ImageSetError(
            "the images that the teacher is to be trained on have no labels",
            expected="labeled images",
            remedy="give a trained teacher: [teacher] spec",
        )
    return images.class_names


def _check_labels(experiment: Experiment, images: ImageSet) -> None:
    for name, student in experiment.students.items():
        if student.recipe.objective.needs_labels and images.labels is None:
            raise ImageSetError(
                f"student {name!r} needs labels, the distillation images have none",
                remedy="give labeled images, or distill without a hard-label weight",
            )
