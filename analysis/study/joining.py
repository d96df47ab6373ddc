"""Put predictions of several models side by side: by sample id and by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.data.imageset import ImageSet
from analysis.data.predictions import Predictions
from analysis.errors import InputError, ModelError
from analysis.records import TEACHER
from analysis.study.classes import labels_in_order

_SET = "inspection/"


@dataclass(frozen=True)
class Joined:
    """All models' predictions on the samples that all of them know, in the teacher's order.

    ``labels`` (N,) int64 or None, ``images`` of the same samples or None; ``dropped`` is how many
    more samples the largest file holds; ``notes`` are JSON findings about all of them.
    """

    models: Mapping[str, Predictions]
    names: tuple[str, ...]
    labels: np.ndarray | None
    images: ImageSet | None
    dropped: int
    notes: tuple[dict[str, Any], ...] = ()

    @property
    def ids(self) -> np.ndarray:
        """(N,) sample ids."""
        return self.models[TEACHER].sample_ids


def join_predictions(
    files: Mapping[str, Predictions], images: ImageSet | None, given: Sequence[str] | None
) -> Joined:
    """Join the ``files`` of all models, the teacher's among them, and the ``images``.

    ``given`` names the classes where the files do not. Raises
    :class:`~analysis.errors.InputError` where they do not belong together.
    """
    files = {name: _prefixed(item) for name, item in files.items()}
    teacher = files[TEACHER]
    # The order of the first that names its classes: the teacher's, where it does.
    named = next((item.class_names for item in files.values() if item.class_names), None)
    for name, item in files.items():
        if item.logits.shape[1] != teacher.logits.shape[1]:
            raise ModelError(
                f"{name!r} answers {item.logits.shape[1]} classes, the teacher "
                f"{teacher.logits.shape[1]}",
                expected="two classifiers of the same classes",
            )
        if item.class_names and named and item.class_names != named:
            files[name] = _reordered(name, item, named)
    common = set(teacher.sample_ids.tolist())
    for item in files.values():
        common &= set(item.sample_ids.tolist())
        if not common:
            raise ModelError(
                f"{item.name} and {teacher.name} have no sample_id in common",
                expected=f"ids like {str(teacher.sample_ids[0])[:60]!r}",
            )
    if images is not None:
        known = common & set(images.sample_ids.tolist())
        if not known:
            raise ModelError(
                f"the images have none of the sample ids of {teacher.name}",
                expected=f"ids like {str(images.sample_ids[0])[:60]!r}",
            )
        common = known
    rows = [row for row, key in enumerate(teacher.sample_ids.tolist()) if key in common]
    ids = teacher.sample_ids[rows]
    models = {name: _taken(item, ids) for name, item in files.items()}
    if images is not None:
        images = images.rows(images.rows_of(ids.tolist()))
    names = _names(models, images, given)
    labels, notes = _labels(models, images, names, known=given is not None or named is not None)
    return Joined(
        models=models,
        names=names,
        labels=labels,
        images=images,
        dropped=max(len(item.sample_ids) for item in files.values()) - len(ids),
        notes=tuple(notes),
    )


def _prefixed(item: Predictions) -> Predictions:
    """Sample ids are unique in a study, so they carry the name of their set."""
    ids = [key if key.startswith(_SET) else _SET + key for key in item.sample_ids.tolist()]
    return replace(item, sample_ids=np.asarray(ids, dtype=object))


def _reordered(name: str, item: Predictions, names: tuple[str, ...]) -> Predictions:
    """The predictions with their classes in the order of ``names``."""
    own = item.class_names or ()
    if set(own) != set(names):
        foreign = next(each for each in own if each not in names)
        raise ModelError(
            f"{name!r} has a class {foreign!r} that the others do not know",
            expected="the same classes in all files",
        )
    order = [own.index(each) for each in names]
    labels = None if item.labels is None else np.argsort(order)[item.labels]
    return replace(item, logits=item.logits[:, order], labels=labels, class_names=names)


def _taken(item: Predictions, ids: np.ndarray) -> Predictions:
    row_of = {key: row for row, key in enumerate(item.sample_ids.tolist())}
    rows = np.asarray([row_of[key] for key in ids.tolist()], dtype=np.int64)
    return replace(
        item,
        sample_ids=ids,
        logits=np.ascontiguousarray(item.logits[rows]),
        labels=None if item.labels is None else item.labels[rows],
        features=None if item.features is None else np.ascontiguousarray(item.features[rows]),
    )


def _names(
    models: Mapping[str, Predictions], images: ImageSet | None, given: Sequence[str] | None
) -> tuple[str, ...]:
    classes = models[TEACHER].logits.shape[1]
    own = (models[name].class_names for name in models)
    of_images = None if images is None else images.class_names
    for names in (given, *own, of_images):
        if names is not None and len(names) == classes:
            return tuple(names)
        if names is not None and names is given:
            raise InputError(f"{len(names)} class names", expected=f"{classes}, one per class")
    return tuple(f"class {index}" for index in range(classes))


def _labels(
    models: Mapping[str, Predictions],
    images: ImageSet | None,
    names: tuple[str, ...],
    *,
    known: bool,
) -> tuple[np.ndarray | None, list[dict[str, Any]]]:
    """The labels that the files tell, else the images'; files that contradict are refused.

    ``known`` says whether somebody named the classes: then the images' are matched by name.
    """
    told = {name: item.labels for name, item in models.items() if item.labels is not None}
    if not told:
        if images is None or images.labels is None:
            return None, []
        labels, notes = labels_in_order(images, names, known=known)
        return None if labels is None else np.asarray(labels, dtype=np.int64), notes
    first, labels = next(iter(told.items()))
    for name, other in told.items():
        if not np.array_equal(labels, other):
            row = int(np.argmax(labels != other))
            raise ModelError(
                f"{models[name].name} has another label than {models[first].name} for "
                f"{str(models[name].sample_ids[row])[:60]!r}",
                expected="the same labels in all files",
            )
    return labels, []
