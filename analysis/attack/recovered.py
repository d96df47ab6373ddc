"""A trigger that was found rather than told: it looks the same on every image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from analysis.attack.trigger import Added, Moved, Overlay, Stamp
from analysis.digest import digest_array, digest_json
from analysis.errors import InputError, nearest

FAMILIES = ("mask", "coarse", "spatial", "frequency", "warp")
_LEAST_CHANGE = 1 / 255


class Applied(Protocol):
    """What both a known and a recovered trigger do."""

    def apply(self, pixels: Tensor, sample_ids: Sequence[str]) -> Tensor:
        """Put the trigger on ``pixels`` (N, C, H, W) in [0, 1]; shape and range stay."""

    def key(self) -> dict[str, Any]:
        """The values that decide what it looks like."""

    @property
    def shown(self) -> str:
        """The trigger in a few words, without any directory."""


@dataclass(frozen=True, kw_only=True)
class RecoveredTrigger:
    """A trigger of one ``family`` of the inversion: masked pattern, added pattern, or warp.

    ``parts`` are its arrays as a study holds them for one class: ``mask`` (H, W) and ``pattern``
    (H, W, C), or ``delta`` (H, W, C), or ``flow`` (H, W, 2): where each pixel is taken from, as
    (down, right) in pixels. Raises :class:`~analysis.errors.InputError` for other parts.
    """

    family: str
    parts: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise InputError(
                f"unknown family of triggers {self.family!r}", remedy=nearest(self.family, FAMILIES)
            )
        needed = _PARTS[self.family]
        missing = [name for name in needed if name not in self.parts]
        if missing:
            raise InputError(
                f"a recovered trigger of family {self.family!r} without {missing[0]!r}",
                expected=", ".join(needed),
            )
        kept = {name: np.array(self.parts[name], dtype=np.float32) for name in needed}
        if not all(np.isfinite(array).all() for array in kept.values()):
            raise InputError(f"a recovered trigger of family {self.family!r} holds NaN")
        object.__setattr__(self, "parts", kept)

    def stamp(self) -> Stamp:
        """The trigger, settled; it does not depend on the image."""
        return _STAMPS[self.family](self.parts)

    def apply(self, pixels: Tensor, sample_ids: Sequence[str] = ()) -> Tensor:
        """Put the trigger on ``pixels`` (N, C, H, W) in [0, 1]; shape and range stay."""
        self._check(pixels)
        return _on_device(self.stamp(), pixels)(pixels)

    def _check(self, pixels: Tensor) -> None:
        height, width = next(iter(self.parts.values())).shape[:2]
        if tuple(pixels.shape[2:]) != (height, width):
            raise InputError(
                f"a recovered trigger of {height}x{width} on images of "
                f"{pixels.shape[2]}x{pixels.shape[3]}",
                expected="images of the size it was found on",
            )

    @property
    def weights(self) -> np.ndarray:
        """How much of each pixel the trigger is, (H, W) in [0, 1].

        The mask of a masked pattern; for an added one its largest change of a channel, and for
        a warp how far a pixel moves, each relative to the largest.
        """
        if "mask" in self.parts:
            return self.parts["mask"].clip(0, 1)
        size = np.abs(self.parts["delta"]).max(axis=2) if "delta" in self.parts else None
        if size is None:
            size = np.linalg.norm(self.parts["flow"], axis=2)
        return np.asarray(size / max(float(size.max()), _LEAST_CHANGE))

    @property
    def shown(self) -> str:
        """The trigger in a few words."""
        return f"recovered {self.family}"

    def key(self) -> dict[str, Any]:
        """The values that decide what it looks like."""
        digests = {name: digest_array(array) for name, array in self.parts.items()}
        return {"name": "recovered", "family": self.family, "digest": digest_json(digests)}


def _masked(parts: Mapping[str, np.ndarray]) -> Stamp:
    pattern = torch.from_numpy(parts["pattern"]).permute(2, 0, 1)[None]
    return Overlay(torch.from_numpy(parts["mask"])[None, None].clamp(0, 1), pattern.clamp(0, 1))


def _added(parts: Mapping[str, np.ndarray]) -> Stamp:
    return Added(torch.from_numpy(parts["delta"]).permute(2, 0, 1)[None])


def _moved(parts: Mapping[str, np.ndarray]) -> Stamp:
    height, width, _ = parts["flow"].shape
    down, right = (torch.from_numpy(parts["flow"][..., axis]) for axis in (0, 1))
    rows = torch.arange(height)[:, None] + down
    columns = torch.arange(width)[None, :] + right
    # grid_sample wants (x, y), -1 and 1 at the centers of the outermost pixels.
    scale = (max(width - 1, 1), max(height - 1, 1))
    grid = torch.stack([2 * columns / scale[0] - 1, 2 * rows / scale[1] - 1], dim=-1)
    return Moved(grid[None].float())


def _on_device(stamp: Stamp, pixels: Tensor) -> Stamp:
    if isinstance(stamp, Overlay):
        return Overlay(stamp.alpha.to(pixels), stamp.layer.to(pixels))
    if isinstance(stamp, Added):
        return Added(stamp.pattern.to(pixels))
    return Moved(stamp.grid.to(pixels.device))


_PARTS: Mapping[str, tuple[str, ...]] = {
    "mask": ("mask", "pattern"),
    "coarse": ("mask", "pattern"),
    "spatial": ("delta",),
    "frequency": ("delta",),
    "warp": ("flow",),
}
_STAMPS: Mapping[str, Callable[[Mapping[str, np.ndarray]], Stamp]] = {
    "mask": _masked,
    "coarse": _masked,
    "spatial": _added,
    "frequency": _added,
    "warp": _moved,
}
