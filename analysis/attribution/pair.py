"""Teacher and student as one model: the pixels that make them part."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from analysis.attribution.copies import InferenceCopy, Precision
from analysis.attribution.images import Pixels, as_pixels
from analysis.attribution.maps import BATCH, prepare, settle_classes, to_record
from analysis.attribution.passes import Explained, explain
from analysis.attribution.plan import Plan, Report
from analysis.attribution.scalars import PairScalar, find_model_scalar, find_pair_scalar
from analysis.attribution.subject import subject_of
from analysis.errors import InputError
from analysis.models.handle import ModelHandle
from analysis.records import AttributionMaps
from analysis.store import Progress

Logits = Callable[[torch.Tensor], torch.Tensor]
Classes = np.ndarray | int | None


class PairModel(nn.Module):
    """Teacher and student as one model with one output per image.

    ``teacher`` and ``student`` map pixels to logits (N, K): handles, copies or modules.
    ``scalar`` names an entry of :data:`~analysis.attribution.scalars.PAIR_SCALARS`.
    """

    def __init__(
        self, teacher: Logits, student: Logits, scalar: str = "p_student_minus_teacher"
    ) -> None:
        super().__init__()
        self.teacher, self.student = teacher, student
        self.scalar = find_pair_scalar(scalar)

    def forward(self, pixels: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Map pixels (N, C, H, W) and classes (N,) to the pair's number (N,)."""
        return self.scalar.function(self.teacher(pixels), self.student(pixels), classes)


def attribute_pair(
    teacher: ModelHandle | InferenceCopy,
    student: ModelHandle | InferenceCopy,
    images: np.ndarray | Pixels,
    student_class: Classes = None,
    *,
    teacher_class: Classes = None,
    student_order: Sequence[int] | None = None,
    method: str = "integrated_gradients",
    baseline: str | None = None,
    scalar: str = "p_student_minus_teacher",
    batch: int = BATCH,
    precision: Precision = "auto",
    sample_ids: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **options: float,
) -> dict[str, AttributionMaps]:
    """Compute maps of ``teacher``, of ``student`` and of the ``pair``, under these keys.

    The student's and the pair's maps explain ``student_class``, by default the student's answer;
    the teacher's explains ``teacher_class``, by default the same class. ``student_order`` says
    which of the student's outputs each of the teacher's classes is, when they are ordered
    differently; classes are in the teacher's order. All else is as in
    :func:`~analysis.attribution.maps.attribute`.

    With a method that is linear in the output, the map of a difference of two models is exactly
    the difference of their maps, so the pair costs no pass of its own. Other methods, and
    scalars that are no such difference, run on :class:`PairModel`.

    Raises :class:`InputError` where something cannot be used, models with unequal numbers of
    classes included.
    """
    plan = Plan.settle(method, baseline, options, batch, seed)
    explained = find_pair_scalar(scalar)
    pixels = as_pixels(images, sample_ids)
    copies = prepare_pair(teacher, student, pixels, precision, student_order)
    plan.check(*copies, image_shape=pixels.image_shape)
    classes = settle_classes(student_class, copies[1], pixels, batch)
    own = classes if teacher_class is None else settle_classes(
        teacher_class, copies[0], pixels, batch
    )  # fmt: skip
    results = _explain(plan, copies, explained, pixels, classes, own, progress)
    part = find_model_scalar(explained.part).formula
    written = {
        "teacher": (copies[:1], own, part),
        "student": (copies[1:], classes, part),
        "pair": (copies, classes, explained.formula),
    }
    return {
        key: to_record(plan, results[key], used, pixels, about, key, formula)
        for key, (used, about, formula) in written.items()
    }


def prepare_pair(
    teacher: ModelHandle | InferenceCopy,
    student: ModelHandle | InferenceCopy,
    pixels: Pixels,
    precision: Precision = "auto",
    student_order: Sequence[int] | None = None,
) -> tuple[InferenceCopy, InferenceCopy]:
    """Return the fast copies of both models for these images; copies are taken as they are.

    Raises :class:`InputError` for models with unequal numbers of classes.
    """
    counts = [
        (model.handle if isinstance(model, InferenceCopy) else model).num_classes
        for model in (teacher, student)
    ]
    if counts[0] != counts[1]:
        raise InputError(
            f"a teacher of {counts[0]} classes and a student of {counts[1]}",
            expected="the same classes",
        )
    if student_order is not None and isinstance(student, InferenceCopy):
        raise InputError(
            "student_order with a copy that has its own",
            remedy="give it to inference_copy as class_order",
        )
    return (
        prepare(teacher, pixels, precision),
        prepare(student, pixels, precision, class_order=student_order),
    )


def _explain(
    plan: Plan,
    copies: tuple[InferenceCopy, InferenceCopy],
    scalar: PairScalar,
    pixels: Pixels,
    classes: np.ndarray,
    own: np.ndarray,
    progress: Progress | None,
) -> dict[str, Explained]:
    part = find_model_scalar(scalar.part)
    teacher, student = (subject_of(part, copy) for copy in copies)
    subtracts = plan.method.linear and scalar.difference_of is not None
    differing = np.flatnonzero(own != classes)
    passes = 2 * len(pixels) + (len(differing) if subtracts else len(pixels))
    report = Report(progress, passes)
    results = {"student": explain(plan, student, pixels, classes, report)}
    if not subtracts:
        results["teacher"] = explain(plan, teacher, pixels, own, report)
        results["pair"] = explain(plan, subject_of(scalar, *copies), pixels, classes, report)
        return results
    results["teacher"] = explain(plan, teacher, pixels, classes, report)
    results["pair"] = results["student"].minus(results["teacher"])
    if len(differing):
        others = explain(plan, teacher, pixels, own, report, differing)
        results["teacher"] = results["teacher"].replaced(differing, others)
    return results
