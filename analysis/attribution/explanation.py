"""The one entry point: maps of teacher, student and pair, for one image or for many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from analysis.attribution.catalog import CUSTOM
from analysis.attribution.copies import InferenceCopy, Precision
from analysis.attribution.images import Pixels, as_pixels
from analysis.attribution.pair import attribute_pair
from analysis.attribution.settings import AttributionConfig
from analysis.errors import InputError
from analysis.models.handle import ModelHandle
from analysis.records import AttributionMaps
from analysis.store import Progress

Model = ModelHandle | InferenceCopy


def explain_images(
    teacher: Model,
    student: Model,
    images: np.ndarray | Pixels,
    config: AttributionConfig | None = None,
    *,
    labels: np.ndarray | None = None,
    baseline_image: np.ndarray | None = None,
    student_order: Sequence[int] | None = None,
    precision: Precision = "auto",
    sample_ids: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> dict[str, AttributionMaps]:
    """Compute maps of ``teacher``, ``student`` and the ``pair``, under these keys.

    ``images`` are an image set or pixels (N, C, H, W) float in [0, 1]; one image is N = 1.
    ``labels`` (N,) are needed to explain the label, ``baseline_image`` (C, H, W) for the baseline
    ``custom``. With ``explained="own"`` each model's map explains its own answer and the pair's
    the student's; otherwise all three explain the same class. Handles are copied for speed when
    there are many images; a worker that answers many requests passes copies of its own. The same
    request gives the same maps.

    Raises :class:`InputError`, in one line, for anything that cannot be used; ask
    :func:`~analysis.attribution.methods.unsupported` beforehand whether a method serves a model.
    """
    config = config or AttributionConfig()
    pixels = as_pixels(images, sample_ids)
    _check(config, labels, baseline_image, len(pixels))
    own = None
    if config.explained in ("own", "teacher"):
        own = answers(teacher, pixels, config.batch)
    classes = {"label": labels, "teacher": own}.get(str(config.explained))
    if isinstance(config.explained, int):
        classes = np.asarray(config.explained)
    options: dict[str, Any] = dict(config.options)
    return attribute_pair(
        teacher,
        student,
        pixels,
        classes,
        teacher_class=own,
        student_order=student_order,
        method=config.method,
        baseline=baseline_image if config.baseline == CUSTOM else config.baseline,
        scalar=config.scalar,
        batch=config.batch,
        precision=precision,
        seed=config.seed,
        progress=progress,
        **options,
    )


def answers(model: Model, images: np.ndarray | Pixels, batch: int = 64) -> np.ndarray:
    """Return the class (N,) int64 that ``model`` answers each image with."""
    found = []
    for _, values in as_pixels(images).batches(batch):
        with torch.no_grad():
            found.append(model(torch.from_numpy(values)).argmax(dim=1).cpu().numpy())
    return np.concatenate(found)


def _check(
    config: AttributionConfig,
    labels: np.ndarray | None,
    baseline_image: np.ndarray | None,
    count: int,
) -> None:
    if config.explained == "label" and labels is None:
        raise InputError("the label cannot be explained: there are no labels", remedy="choose own")
    if labels is not None and len(labels) != count:
        raise InputError(f"{len(labels)} labels for {count} images", expected="one per image")
    if (config.baseline == CUSTOM) != (baseline_image is not None):
        given = "no image" if baseline_image is None else "an image"
        raise InputError(
            f"baseline {config.baseline!r} with {given}", remedy="give both, or neither"
        )
