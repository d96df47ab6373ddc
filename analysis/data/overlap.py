"""Which images of one set occur in another, pixel for pixel."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from analysis.data.imageset import ImageSet

_DIGEST_BYTES = 16


def shared_images(images: ImageSet, other: ImageSet) -> np.ndarray:
    """Return which of ``images`` (N,) bool have exactly the pixels of some image of ``other``.

    Images of another size or other channels are never the same. A copy that was resized or
    compressed anew is not found.
    """
    if images.image_shape != other.image_shape:
        return np.zeros(len(images), dtype=bool)
    known = set(_digests(other))
    return np.fromiter((key in known for key in _digests(images)), dtype=bool, count=len(images))


def _digests(images: ImageSet) -> Iterator[bytes]:
    for image in images.images:
        yield hashlib.blake2b(image.tobytes(), digest_size=_DIGEST_BYTES).digest()
