"""Agree on the classes: one order of names for images, teacher and students.

Names decide where there are names; positions decide where there are none, and then a
permutation that would explain much of the disagreement is reported (:func:`permutation_finding`)
instead of being applied silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.data.imageset import ImageSet
from analysis.divergence.permutation import find_permutation
from analysis.errors import ImageSetError, ModelError, nearest
from analysis.models.handle import ModelHandle


@dataclass(frozen=True, slots=True)
class ClassPlan:
    """The common order of classes.

    ``labels`` are the images' labels in that order (or None); ``orders[student]`` reorders a
    student's logits (column j is its output ``order[j]``), None where nothing is to be done.
    """

    names: tuple[str, ...]
    labels: np.ndarray | None
    orders: Mapping[str, tuple[int, ...] | None]
    notes: Mapping[str, Sequence[dict[str, Any]]]

    def own_names(self, model: str) -> tuple[str, ...]:
        """The class names in the order of the outputs of ``model``."""
        order = self.orders.get(model)
        if order is None:
            return self.names
        return tuple(self.names[order.index(output)] for output in range(len(order)))


def plan_classes(
    images: ImageSet,
    teacher: ModelHandle,
    students: Mapping[str, ModelHandle],
    *,
    given: Mapping[str, Sequence[str]] | None = None,
) -> ClassPlan:
    """Find the common order of classes.

    ``given`` names the outputs of students whose files do not. Raises
    :class:`~analysis.errors.ModelError` or :class:`~analysis.errors.ImageSetError` when the
    numbers of classes differ.
    """
    names = _common_names(images, teacher, students)
    labels, of_images = labels_in_order(images, names, known=teacher.class_names is not None)
    orders: dict[str, tuple[int, ...] | None] = {}
    notes: dict[str, list[dict[str, Any]]] = {}
    for name, handle in students.items():
        if handle.num_classes != len(names):
            raise ModelError(
                f"student {name!r} answers {handle.num_classes} classes, the teacher {len(names)}",
                expected="two classifiers of the same classes",
            )
        own = (given or {}).get(name) or handle.class_names
        orders[name], found = _student_order(name, own, names)
        notes[name] = [*of_images, *found]
    return ClassPlan(names, labels, orders, notes)


def _common_names(
    images: ImageSet, teacher: ModelHandle, students: Mapping[str, ModelHandle]
) -> tuple[str, ...]:
    if teacher.class_names:
        return tuple(teacher.class_names)
    if images.class_names and len(images.class_names) == teacher.num_classes:
        return tuple(images.class_names)
    of_students = {handle.class_names for handle in students.values() if handle.class_names}
    if len(of_students) == 1 and len(common := of_students.pop()) == teacher.num_classes:
        return common
    return tuple(f"class {index}" for index in range(teacher.num_classes))


def labels_in_order(
    images: ImageSet, names: tuple[str, ...], *, known: bool
) -> tuple[np.ndarray | None, list[dict[str, Any]]]:
    """The labels in the order of ``names``, and a note where they are matched by position.

    ``known`` says whether the teacher named its classes itself.
    """
    if images.labels is None:
        return None, []
    own = images.class_names
    places, foreign = match_names(own or (), names)
    if own and not foreign:
        return np.asarray(places)[images.labels], []
    if (own and len(own) != len(names)) or images.labels.max() >= len(names):
        count = len(own) if own else int(images.labels.max()) + 1
        raise ImageSetError(
            f"the images have {count} classes, the teacher answers {len(names)}",
            expected="images of the teacher's classes",
            remedy="check the folder names, or name the teacher's classes",
        )
    if not own or not known:
        return images.labels, []
    if len(foreign) < len(own):
        raise ImageSetError(
            f"the images have a class {foreign[0]!r} that the teacher does not know",
            expected="the teacher's class names, or none of them",
            remedy=nearest(foreign[0], names),
        )
    text = (
        f"The images' classes have other names than the teacher's ({own[0]!r} where it says "
        f"{names[0]!r}); labels are compared by position."
    )
    return images.labels, [{"kind": "image_classes", "text": text}]


def match_names(own: Sequence[str], names: Sequence[str]) -> tuple[list[int], list[str]]:
    """Where in ``names`` each known one of ``own`` is, and those that are not known.

    Whatever their case, unless two of ``names`` differ in it alone.
    """
    fold = str.casefold if len({name.casefold() for name in names}) == len(names) else str
    place = {fold(name): index for index, name in enumerate(names)}
    known = [fold(name) in place for name in own]
    return (
        [place[fold(name)] for name, there in zip(own, known, strict=True) if there],
        [name for name, there in zip(own, known, strict=True) if not there],
    )


def relabeled(images: ImageSet, names: tuple[str, ...] | None, *, of: str) -> ImageSet:
    """Return ``images`` with labels in the order of ``names``, the classes of ``of``.

    Nothing is done where either has no names or there are no labels, nor about another number of
    classes; where not one name is the same, they are compared by position. Raises
    :class:`~analysis.errors.ImageSetError` where only some are.
    """
    own = images.class_names
    if images.labels is None or own is None or names is None or own == names:
        return images
    if len(own) != len(names):
        return images
    places, foreign = match_names(own, names)
    if len(foreign) == len(own):
        return images
    if foreign:
        raise ImageSetError(
            f"image set {images.name!r} has a class {foreign[0]!r} that is not among those of {of}",
            expected="the same class names, in any order",
            remedy=nearest(foreign[0], names),
        )
    return replace(images, labels=np.asarray(places)[images.labels], class_names=names)


def _student_order(
    student: str, own: Sequence[str] | None, names: tuple[str, ...]
) -> tuple[tuple[int, ...] | None, list[dict[str, Any]]]:
    if own is None or tuple(own) == names:
        return None, []
    if len(own) != len(names):
        raise ModelError(
            f"student {student!r} has {len(names)} outputs but {len(own)} class names",
            remedy="give one name per output, in the order of the outputs",
        )
    if set(own) != set(names):
        foreign = next(name for name in own if name not in names)
        text = (
            f"Its class names differ from the study's (for one, {foreign!r}); "
            "outputs are compared by position."
        )
        return None, [{"kind": "class_names", "text": text}]
    order = tuple(list(own).index(name) for name in names)
    text = "Its outputs come in another order than the study's classes; they are compared by name."
    return order, [{"kind": "reordered", "text": text, "order": list(order)}]


def permutation_finding(
    student: str,
    names: Sequence[str],
    teacher_logits: np.ndarray,
    student_logits: np.ndarray,
    *,
    order: Sequence[int] | None = None,
) -> dict[str, Any] | None:
    """Say so when a permutation of the student's classes would raise agreement a lot.

    The logits are in the order of ``names``; ``order`` says which of the student's own outputs
    each of these is, where it was reordered. Returns a JSON finding that names the permutation
    and the remedy, in terms of the student's own outputs, or None.
    """
    found = find_permutation(teacher_logits, student_logits)
    if found is None:
        return None
    own = list(range(len(names))) if order is None else list(order)
    renamed, called = [""] * len(names), [""] * len(names)
    for place, output in enumerate(own):
        renamed[output], called[output] = names[found.permutation[place]], names[place]
    moved = [output for output, name in enumerate(renamed) if name != called[output]]
    listed = ", ".join(f"{output} = {renamed[output]}" for output in moved[:4])
    more = f" and {len(moved) - 4} more" if len(moved) > 4 else ""
    return {
        "kind": "permutation",
        "text": (
            f"The classes of {student} look permuted: with outputs {listed}{more} its agreement "
            f"with the teacher would be {100 * found.agreement_after:.1f} % instead of "
            f"{100 * found.agreement_before:.1f} %."
        ),
        "remedy": f"Name its outputs in their order: --class-names {student}=FILE",
        "permutation": [int(target) for target in found.permutation],
        "names": renamed,
        "agreement_before": found.agreement_before,
        "agreement_after": found.agreement_after,
    }
