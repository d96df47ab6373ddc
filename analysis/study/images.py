"""Stage: decode an image source once into memory-mapped pixels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.imageset import ImageSet
from analysis.data.listing import locate
from analysis.data.sources import SOURCES, load_images
from analysis.digest import digest_file, digest_json
from analysis.models.handle import ModelHandle
from analysis.store import Progress, StageCache, Study, silent
from analysis.store.files import write_array

VERSION = 2
BUILT_IN = tuple(name for name, source in SOURCES.items() if source.built_in)


def load_image_set(
    cache: StageCache,
    source: str,
    *,
    name: str = "inspection",
    size: int | None = None,
    channels: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> ImageSet:
    """Return the images of ``source``, decoded once per content and memory-mapped.

    ``source`` is a path or a generator (``signs:test,n=500``, ``digits``); see
    :func:`analysis.data.sources.load_images` for the other arguments and the errors.
    """
    options: dict[str, Any] = {
        "name": name,
        "size": size,
        "channels": channels,
        "limit": limit,
        "seed": seed,
    }

    def work(folder: Path) -> Mapping[str, Any]:
        images = load_images(source, workdir=folder, progress=progress, **options)
        if not isinstance(images.images, np.memmap):
            write_array(folder / "images.npy", np.asarray(images.images))
        write_array(folder / "ids.npy", np.asarray(images.sample_ids))
        if images.labels is not None:
            write_array(folder / "labels.npy", images.labels)
        return {
            "name": images.name,
            "source": images.source,
            "class_names": None if images.class_names is None else list(images.class_names),
            "digest": images.digest,
            "labeled": images.labels is not None,
        }

    inputs = {"source": source_key(source)}
    output = cache.run("images", work, version=VERSION, inputs=inputs, config=options)
    labels = output.file("labels.npy")
    return ImageSet(
        name=output.record["name"],
        images=np.load(output.file("images.npy"), mmap_mode="r"),
        labels=np.load(labels) if output.record["labeled"] else None,
        sample_ids=np.load(output.file("ids.npy")),
        class_names=_tuple(output.record["class_names"]),
        source=output.record["source"],
    )


def images_for(
    model: ModelHandle | None,
    images: ImageSet | str | Path,
    name: str,
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> ImageSet:
    """``images``, or those of a source as ``model`` takes them, called ``name``.

    At most ``limit`` of them, drawn with ``seed``.
    """
    if isinstance(images, ImageSet):
        return images if limit is None else images.take(limit, seed=seed)
    return load_images(
        images,
        name=name,
        size=None if model is None else model.side,
        channels=None if model is None else model.in_channels,
        limit=limit,
        seed=seed,
        progress=progress,
    )


def _tuple(names: list[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def source_key(source: str) -> str:
    """Digest of what the image source ``source`` holds, and of the split that it names.

    File contents by relative name; the text of a built-in source. Raises
    :class:`~analysis.errors.ImageSetError` when nothing is there.
    """
    location = locate(source, BUILT_IN)
    if location.path is None:
        return digest_json(["generator", source])
    return digest_json([content_digest(location.path), location.split])


def content_digest(path: Path) -> str:
    """Digest of a file, or of a folder's files by relative name; empty folders are classes too."""
    if path.is_file():
        return digest_file(path)
    found = sorted(path.rglob("*"))
    rows = [
        [part.relative_to(path).as_posix(), digest_file(part) if part.is_file() else None]
        for part in found
        if part.is_file() or (part.is_dir() and not any(part.iterdir()))
    ]
    return digest_json([path.name, rows])


def images_of_study(study: Study) -> ImageSet:
    """Return the inspection images as a study holds them."""
    card = study.inspection
    return ImageSet(
        name=card.name,
        images=study.images,
        labels=study.labels,
        sample_ids=study.sample_ids,
        class_names=study.class_names,
        source=card.source,
    )
