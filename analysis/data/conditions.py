"""Conditions: named ways of presenting the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.imageset import ImageSet
from analysis.errors import ImageSetError, nearest
from analysis.records import CLEAN, Condition
from analysis.store.files import write_array

STORED = "stored"
Present = Callable[[ImageSet, Condition, Path | None], ImageSet]


def clean_condition(images: ImageSet) -> Condition:
    """Describe the images as they are."""
    return Condition(
        name="Clean",
        slug=CLEAN,
        kind=CLEAN,
        image_set=images.name,
        n=len(images),
        covers_all=True,
        pixels_digest=images.pixels_digest,
    )


def store_condition(
    images: ImageSet,
    presented: ImageSet,
    *,
    name: str,
    slug: str,
    folder: Path,
    parameters: Mapping[str, Any] | None = None,
) -> Condition:
    """Store how ``presented`` shows all or some of ``images``, and describe it.

    Pixels and sample ids become two ``.npy`` files in ``folder``, named by content. ``parameters``
    (JSON) say how the pixels were made. Raises :class:`~analysis.errors.ImageSetError` when a
    sample id is not among ``images``, :class:`~analysis.errors.StorageError` when the disk refuses.
    """
    images.rows_of(presented.sample_ids)
    stem = f"{slug}-{presented.digest[:16]}"
    condition = Condition(
        name=name,
        slug=slug,
        kind=STORED,
        image_set=images.name,
        n=len(presented),
        covers_all=len(presented) == len(images),
        pixels_digest=presented.pixels_digest,
        parameters={
            **(parameters or {}),
            "pixels": f"{stem}.pixels.npy",
            "sample_ids": f"{stem}.ids.npy",
        },
    )
    write_array(folder / condition.parameters["pixels"], presented.images)
    write_array(folder / condition.parameters["sample_ids"], presented.sample_ids)
    return condition


def present(images: ImageSet, condition: Condition, workdir: Path | None = None) -> ImageSet:
    """Show ``images`` under ``condition``: the covered samples with their presented pixels.

    ``workdir`` is the folder of the stored files. Labels and class names stay those of
    ``images``; rows are joined by sample id. Raises :class:`~analysis.errors.ImageSetError` when
    the condition belongs to other images, or its pixels are not those that it describes.
    """
    if condition.kind not in CONDITION_KINDS:
        raise ImageSetError(
            f"condition kind {condition.kind!r}", remedy=nearest(condition.kind, CONDITION_KINDS)
        )
    if condition.image_set != images.name:
        raise ImageSetError(
            f"condition {condition.slug!r} presents the image set {condition.image_set!r}",
            expected=repr(images.name),
        )
    shown = CONDITION_KINDS[condition.kind](images, condition, workdir)
    if len(shown) != condition.n or shown.pixels_digest != condition.pixels_digest:
        raise ImageSetError(
            f"the pixels of condition {condition.slug!r} are not those that it describes",
            remedy="use the images that it was made from, or make it again",
        )
    return shown


def _present_clean(images: ImageSet, condition: Condition, workdir: Path | None) -> ImageSet:
    return images


def _present_stored(images: ImageSet, condition: Condition, workdir: Path | None) -> ImageSet:
    pixels = _stored_array(condition, "pixels", workdir)
    sample_ids = _stored_array(condition, "sample_ids", workdir)
    rows = images.rows_of(sample_ids)
    return replace(
        images,
        images=pixels,
        sample_ids=np.asarray(sample_ids),
        labels=None if images.labels is None else images.labels[rows],
    )


def _stored_array(condition: Condition, key: str, workdir: Path | None) -> np.ndarray:
    name = condition.parameters.get(key)
    # A study may come from a stranger: its file names must not lead out of its folder.
    if not isinstance(name, str) or name in (".", "..") or {"/", "\\"} & set(name):
        raise ImageSetError(
            f"file name {name!r} of {key} in condition {condition.slug!r}",
            expected="the name of a file beside it, without folders",
        )
    if workdir is None:
        raise ImageSetError(f"condition {condition.slug!r} needs the folder of its stored pixels")
    if (workdir / name).is_symlink():
        raise ImageSetError(f"{name!r} of condition {condition.slug!r} is a link, not a file")
    try:
        return np.load(workdir / name, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ImageSetError(
            f"{name!r} of condition {condition.slug!r} cannot be read ({error})",
            remedy="restore the file, or make the condition again",
        ) from error


CONDITION_KINDS: dict[str, Present] = {CLEAN: _present_clean, STORED: _present_stored}
"""How each kind of condition is shown."""
