"""Images that come with the program: handwritten digits and rendered road signs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import numpy as np

from analysis.data.decoding import Fit
from analysis.data.listing import Listing, Location
from analysis.errors import ImageSetError, nearest
from analysis.store import Progress

_DIGITS_TRAIN = 1297
_SIGNS_COUNT = {"train": 6000, "test": 2000}
_SIGNS_LIMIT = 1_000_000
RENDERERS = "DISTILLSCOPE_RENDERERS"
"""How many processes render road signs: more than one only where the program that runs may be
imported by them, as the command line may."""
_WORTH_A_PROCESS = 500


def list_digits(location: Location, progress: Progress | None = None) -> Listing:
    """List scikit-learn's handwritten digits: 1797 gray images of 8 x 8 pixels, 10 classes.

    ``digits:train`` are the first 1297, ``digits:test`` the last 500. Source: Alpaydin and
    Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository (1998).
    """
    from sklearn.datasets import load_digits

    _no_more_options(location, ())
    splits = {None: slice(None), "train": slice(_DIGITS_TRAIN), "test": slice(_DIGITS_TRAIN, None)}
    if location.split not in splits:
        raise _unknown_split(location)
    data, kept = load_digits(), splits[location.split]
    scaled = np.rint(data.images[kept] * (255 / 16)).astype(np.uint8)[..., None]
    ids = [f"{row:04d}" for row in range(len(data.images))[kept]]
    names = tuple(str(name) for name in data.target_names)
    return _from_arrays(location, scaled, data.target[kept].astype(np.int64), names, ids)


def renderers(count: int) -> int:
    """How many processes are to render ``count`` road signs."""
    asked = os.environ.get(RENDERERS, "")
    return int(asked) if count >= _WORTH_A_PROCESS and re.fullmatch("[1-9]", asked) else 1


def list_signs(location: Location, progress: Progress | None = None) -> Listing:
    """Render road signs: ``signs[:train|:test][,n=COUNT][,seed=SEED]``, 2 000 test images if bare.

    The same split, count and seed give the same images.
    """
    from analysis.data.signs import render_signs

    split = location.split or "test"
    if split not in _SIGNS_COUNT:
        raise _unknown_split(location)
    _no_more_options(location, ("n", "seed"))
    count = _whole_number(location, "n", _SIGNS_COUNT[split], low=1, high=_SIGNS_LIMIT)
    seed = _whole_number(location, "seed", 0, low=0, high=2**31 - 1)
    signs = render_signs(
        count, seed=seed, split=split, processes=renderers(count), progress=progress
    )
    ids = [key.split("/", 1)[1] for key in signs.sample_ids.tolist()]
    return _from_arrays(location, signs.images, signs.labels, signs.class_names, ids)


def _from_arrays(
    location: Location,
    images: np.ndarray,
    labels: np.ndarray | None,
    class_names: tuple[str, ...] | None,
    ids: list[str],
) -> Listing:
    def read(rows: np.ndarray, fit: Fit) -> Iterator[tuple[str, np.ndarray]]:
        for row in rows.tolist():
            yield f"{location.text}, image {row}", fit.array(images[row])

    return Listing(
        ids=ids,
        labels=labels,
        class_names=class_names,
        description=location.description,
        read=read,
    )


def _unknown_split(location: Location) -> ImageSetError:
    return ImageSetError(
        f"split {location.split!r} of {location.name}",
        expected="train or test",
        remedy=f"write {location.name}:train or {location.name}:test",
    )


def _no_more_options(location: Location, known: tuple[str, ...]) -> None:
    for key in location.options:
        if key not in known:
            remedy = (
                nearest(key, known) if known else f"leave it out: {location.name} takes no options"
            )
            raise ImageSetError(f"unknown option {key!r} in {location.text!r}", remedy=remedy)


def _whole_number(location: Location, key: str, default: int, *, low: int, high: int) -> int:
    text = location.options.get(key, str(default))
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
    if not low <= value <= high:
        raise ImageSetError(
            f"{key}={text} in {location.text!r}", expected=f"a whole number, {low} to {high}"
        )
    return value
