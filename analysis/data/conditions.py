"""The condition under which images are shown as they are."""

from __future__ import annotations

from analysis.data.imageset import ImageSet
from analysis.records import CLEAN, Condition


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
