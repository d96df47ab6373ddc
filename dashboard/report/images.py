"""Which images of a comparison a report carries: all that fit, else a drawn sample.

The images that part most come first; the others are drawn with a seed until the budget is used.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np

from analysis.errors import StudyError
from analysis.store.study import Thumbnails
from dashboard.comparison import Comparison
from dashboard.figures.gallery import gallery_order
from dashboard.loading import Pair


def drawn_order(pair: Pair, first: int, seed: int) -> np.ndarray:
    """All rows of ``pair``: the ``first`` that part most, then the others in a drawn order."""
    order = gallery_order(pair)
    rest = order[first:].copy()
    np.random.default_rng(seed).shuffle(rest)
    return np.concatenate([order[:first], rest])


def thumbnails_of(c: Comparison) -> Thumbnails | None:
    """The pictures of the condition, or None where the study holds none."""
    if c.condition not in c.study.manifest.thumbnails:
        return None
    return c.study.thumbnails(c.condition)


def picture_uri(thumbnails: Thumbnails | None, sample: str) -> str | None:
    """The picture of a sample as a data URI, or None where there is none."""
    if thumbnails is None or sample not in thumbnails:
        return None
    return "data:image/webp;base64," + base64.b64encode(thumbnails.webp(sample)).decode()


@dataclass(frozen=True, slots=True)
class Carried:
    """The pictures that fit: encoded WebP in base64 by row of the pair."""

    pictures: dict[int, str]
    of: int


def carried_pictures(
    pair: Pair, rows: np.ndarray, thumbnails: Thumbnails | None, budget: int
) -> Carried:
    """Pictures of ``rows`` in this order, as many as take no more than ``budget`` characters."""
    pictures: dict[int, str] = {}
    if thumbnails is None:
        return Carried(pictures, len(rows))
    left = budget
    for row in rows.tolist():
        sample = str(pair.sample_ids[row])
        if sample not in thumbnails:
            continue
        text = base64.b64encode(thumbnails.webp(sample)).decode()
        left -= len(text) + 16  # with its key in the data
        if left < 0:
            break
        pictures[row] = text
    return Carried(pictures, len(rows))


def pixels_of(c: Comparison, samples: list[str]) -> dict[str, np.ndarray]:
    """The pixels (H, W, C) of ``samples`` as the condition shows them; none without images."""
    try:
        images, ids = c.study.condition_images(c.condition), c.study.condition_ids(c.condition)
    except StudyError:
        return {}
    row_of = {str(name): row for row, name in enumerate(ids.tolist())}
    return {name: np.asarray(images[row_of[name]]) for name in samples if name in row_of}
