"""What every edit promises: a change of pixels in [0, 1] that depends on one image alone.

The same edits make the live answer for one image and a condition of all images: :func:`edited`
is their only way to 8 bits.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from analysis.config import Config
from analysis.errors import ConfigError, ImageSetError

LUMA = np.array([0.299, 0.587, 0.114])
_CHUNK = 256
_SUBPIXELS = 4


@dataclass(frozen=True, kw_only=True)
class Edit(Config, abc.ABC):
    """One change of an image. Subclasses set ``name`` (the registry's key) and ``title``."""

    name: ClassVar[str]
    title: ClassVar[str]

    @abc.abstractmethod
    def apply(self, pixels: np.ndarray, sample_ids: Sequence[str]) -> np.ndarray:
        """Change pixels (N, H, W, C) float64 in [0, 1]; shape and range stay."""

    def key(self) -> dict[str, Any]:
        """The values that decide what it does, and which edit it is."""
        return {"edit": self.name, **super().key()}

    @property
    def text(self) -> str:
        """The edit in words of the command line; values that are the default are left out."""
        parts = [
            f"{spec.name}={_written(getattr(self, spec.name))}"
            for spec in dataclasses.fields(self)
            if getattr(self, spec.name) != spec.default and spec.name != "picture"
        ]
        return f"{self.name}:{','.join(parts)}" if parts else self.name

    @classmethod
    def of_text(cls, values: dict[str, str]) -> Self:
        """Build the edit from texts, each read as its field's type demands."""
        kinds = {spec.name: str(spec.type) for spec in dataclasses.fields(cls)}
        return cls.from_mapping(
            {key: _read(key, kinds.get(key, ""), values[key]) for key in values}
        )


def edited(images: np.ndarray, edits: Sequence[Edit], sample_ids: Sequence[str]) -> np.ndarray:
    """Apply ``edits`` in order to images (N, H, W, C) uint8 with their sample ids.

    Rounded to 8 bits once, at the end: floor(255 x + 1/2). Raises :class:`ImageSetError` unless
    there is one id per image.
    """
    if len(images) != len(sample_ids):
        raise ImageSetError(
            f"{len(sample_ids)} sample ids for {len(images)} images", expected="one per image"
        )
    result = np.empty(images.shape, dtype=np.uint8)
    for start in range(0, len(images), _CHUNK):
        rows = slice(start, start + _CHUNK)
        pixels = np.asarray(images[rows], dtype=np.float64) / 255
        for edit in edits:
            pixels = edit.apply(pixels, sample_ids[rows])
        result[rows] = to_bytes(pixels)
    return result


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Round pixels in [0, 1] to uint8, halves upward."""
    return np.clip(np.floor(pixels * 255 + 0.5), 0, 255).astype(np.uint8)


def coverage(
    height: int, width: int, size: float, across: float | None, down: float | None
) -> np.ndarray:
    """How much of every pixel a square of ``size`` covers, (H, W) in [0, 1]."""
    inside = (np.arange(_SUBPIXELS) + 0.5) / _SUBPIXELS
    shares = []
    for side, middle in ((height, place_of(down, height)), (width, place_of(across, width))):
        points = np.arange(side)[:, None] + inside
        # Half open, so that a square of whole pixels covers just these.
        hit = (points >= middle - size / 2) & (points < middle + size / 2)
        shares.append(hit.mean(axis=1))
    return np.outer(*shares)


def place_of(given: float | None, side: int) -> float:
    """Where a middle lies: as ``given``, else in the middle of ``side``."""
    return side / 2 if given is None else given


def _written(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _read(key: str, kind: str, text: str) -> object:
    for start, number in (("int", int), ("float", float)):
        if kind.startswith(start):
            try:
                return number(text)
            except ValueError:
                raise ConfigError(f"{key} = {text!r}", expected="a number") from None
    return text
