"""Where images come from: one way in, ``load_images``, over a registry of sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.data.bundled import list_digits, list_signs
from analysis.data.decoding import Fit
from analysis.data.folder import list_folder
from analysis.data.imageset import ImageSet, subset_rows
from analysis.data.listing import Listing, Location, locate
from analysis.data.npz import list_npz
from analysis.data.parquet import holds_parquet, list_parquet
from analysis.data.pixels import gather
from analysis.errors import ImageSetError
from analysis.store import Progress


@dataclass(frozen=True, kw_only=True)
class Source:
    """One kind of source: how it is written, what it is, which locations it accepts."""

    example: str
    help: str
    accepts: Callable[[Location], bool]
    listing: Callable[[Location, Progress | None], Listing]
    built_in: bool = False


def _file(suffix: str) -> Callable[[Location], bool]:
    def accepts(location: Location) -> bool:
        path = location.path
        return path is not None and path.is_file() and path.suffix.lower() == suffix

    return accepts


def _is_parquet(location: Location) -> bool:
    folder = location.path is not None and location.path.is_dir() and holds_parquet(location.path)
    return folder or _file(".parquet")(location)


SOURCES: dict[str, Source] = {
    "signs": Source(
        example="signs:test,n=2000,seed=0",
        help="rendered road signs, 16 classes, 32 x 32 RGB",
        accepts=lambda location: location.name == "signs",
        listing=list_signs,
        built_in=True,
    ),
    "digits": Source(
        example="digits:test",
        help="scikit-learn's handwritten digits, 10 classes, 8 x 8 gray",
        accepts=lambda location: location.name == "digits",
        listing=list_digits,
        built_in=True,
    ),
    "parquet": Source(
        example="cifar10-test.parquet",
        help="a Parquet file in the Hugging Face layout, or a folder of shards",
        accepts=_is_parquet,
        listing=lambda location, _: list_parquet(location),
    ),
    "npz": Source(
        example="images.npz",
        help="a NumPy archive of images and labels",
        accepts=_file(".npz"),
        listing=lambda location, _: list_npz(location),
    ),
    "folder": Source(
        example="photos/test",
        help="an image folder with one sub-folder per class, or a flat one without labels",
        accepts=lambda location: location.path is not None and location.path.is_dir(),
        listing=lambda location, _: list_folder(location),
    ),
}


def load_images(
    path: str | Path,
    *,
    name: str = "inspection",
    size: int | None = None,
    channels: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    workdir: Path | None = None,
    progress: Progress | None = None,
) -> ImageSet:
    """Load images from any of the ``SOURCES``.

    ``size`` resizes every image to a square of that side, ``channels`` (1 or 3) makes them gray
    or RGB; by default encoded images become RGB and arrays stay as they are. ``limit`` takes a
    random subset, seeded by ``seed`` and kept in the order of the source, because sources are
    often sorted by class. With ``workdir`` pixels are streamed into ``workdir/images.npy`` and
    memory-mapped. Raises :class:`~analysis.errors.ImageSetError` for whatever cannot be used.
    """
    fit = Fit(size, channels)
    location = locate(str(path), [key for key, source in SOURCES.items() if source.built_in])
    listing = _source(location).listing(location, progress)
    total = len(listing.ids)
    if total == 0:
        raise ImageSetError(f"{listing.description!r} holds no images", expected="at least one")
    rows = subset_rows(total, limit, seed)
    pixels = gather(listing.read(rows, fit), len(rows), workdir=workdir, progress=progress)
    chosen = f", {len(rows)} of {total} (seed {seed})" if len(rows) < total else ""
    return ImageSet(
        name=name,
        images=pixels,
        labels=None if listing.labels is None else listing.labels[rows],
        sample_ids=np.array([f"{name}/{listing.ids[row]}" for row in rows]),
        class_names=listing.class_names,
        source=listing.description + chosen,
    )


def _source(location: Location) -> Source:
    for source in SOURCES.values():
        if source.accepts(location):
            return source
    examples = ", ".join(source.example for source in SOURCES.values())
    raise ImageSetError(
        f"images {location.text!r} are of no known kind",
        expected=f"something like {examples}",
        remedy="give the folder of an image rather than the image, and unpack archives first",
    )
