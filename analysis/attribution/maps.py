"""Attribution maps of one model: which pixels speak for the explained class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from analysis.attribution.copies import InferenceCopy, Precision, inference_copy
from analysis.attribution.images import Pixels, as_pixels
from analysis.attribution.passes import Explained, batches, explain
from analysis.attribution.plan import Plan, Report
from analysis.attribution.scalars import find_model_scalar
from analysis.attribution.subject import subject_of
from analysis.errors import InputError
from analysis.models.handle import ModelHandle
from analysis.records import AttributionMaps
from analysis.store import Progress

BATCH = 64
"""Images at a time: enough to keep matrix products busy, small enough for the cache."""
_WORTH_CHECKING = 32
"""Fewer images than this are explained sooner than bfloat16 is checked."""


def attribute(
    model: ModelHandle | InferenceCopy,
    images: np.ndarray | Pixels,
    explained_class: np.ndarray | int | None = None,
    *,
    method: str = "integrated_gradients",
    baseline: str | None = None,
    scalar: str = "probability",
    batch: int = BATCH,
    precision: Precision = "auto",
    name: str = "model",
    sample_ids: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **options: float,
) -> AttributionMaps:
    """Compute attribution maps of one model.

    ``images`` are an image set or pixels (N, C, H, W) float in [0, 1]. ``explained_class`` is a
    class, or (N,) of them; by default each image's answer. ``method``, ``baseline`` (default
    ``blurred``, where the method compares with one) and ``scalar`` are names in their registries;
    ``options`` are the method's (``steps`` of integrated gradients). ``batch`` images go through
    the model at once. ``precision`` is that of the copy made of a handle; an
    :class:`InferenceCopy` has its own. ``progress`` is called with (stage, images done, total).

    Raises :class:`InputError` where any of these cannot be used, in one line.
    """
    plan = Plan.settle(method, baseline, options, batch, seed)
    explained = find_model_scalar(scalar)
    pixels = as_pixels(images, sample_ids)
    copy = prepare(model, pixels, precision)
    plan.check(copy, image_shape=pixels.image_shape)
    classes = settle_classes(explained_class, copy, pixels, batch)
    report = Report(progress, len(pixels))
    result = explain(plan, subject_of(explained, copy), pixels, classes, report)
    return to_record(plan, result, (copy,), pixels, classes, name, explained.formula)


def prepare(
    model: ModelHandle | InferenceCopy,
    pixels: Pixels,
    precision: Precision = "auto",
    *,
    class_order: Sequence[int] | None = None,
) -> InferenceCopy:
    """Return the fast copy of ``model`` for these images; a copy is taken as it is."""
    handle = model.handle if isinstance(model, InferenceCopy) else model
    handle.check_images(pixels.image_shape)
    if isinstance(model, InferenceCopy):
        return model
    if precision == "auto" and len(pixels) < _WORTH_CHECKING:
        precision = "float32"
    _, sample = next(iter(pixels.batches(8)))
    return inference_copy(
        model, torch.from_numpy(sample), precision=precision, class_order=class_order
    )


def settle_classes(
    given: np.ndarray | int | None, copy: InferenceCopy, pixels: Pixels, batch: int
) -> np.ndarray:
    """Return the explained classes (N,) int64; the default is the model's answers."""
    if given is None:
        with torch.no_grad():
            answers = [copy(x).argmax(dim=1) for _, x in batches(copy, pixels, batch)]
        return torch.cat(answers).cpu().numpy()
    classes = np.asarray(given)
    known = copy.handle.num_classes
    if classes.dtype.kind not in "iu" or classes.shape not in ((), (len(pixels),)):
        raise InputError(
            f"explained classes of type {classes.dtype} and shape {classes.shape}",
            expected=f"one class, or ({len(pixels)},) of them",
        )
    if classes.min() < 0 or classes.max() >= known:
        wrong = classes.min() if classes.min() < 0 else classes.max()
        raise InputError(f"explained class {wrong}", expected=f"0 to {known - 1}")
    return np.broadcast_to(classes, (len(pixels),)).astype(np.int64)


def to_record(
    plan: Plan,
    result: Explained,
    models: Sequence[InferenceCopy],
    pixels: Pixels,
    classes: np.ndarray,
    name: str,
    formula: str,
) -> AttributionMaps:
    """Write maps down with all that is needed to read them."""
    return AttributionMaps(
        method=plan.method.name,
        model=name,
        scalar=formula,
        baseline=plan.baseline.name if plan.baseline else "none",
        sample_ids=np.asarray(pixels.sample_ids),
        explained_class=classes,
        values=result.values,
        signed=plan.method.signed,
        completeness_error=result.completeness_error,
        parameters=plan.parameters(pixels.image_shape, models),
    )
