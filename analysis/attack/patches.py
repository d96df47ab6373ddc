"""Triggers of a small place: opaque and translucent patches, and the user's own picture."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from analysis.attack.trigger import (
    Overlay,
    Stamp,
    Trigger,
    check_color,
    check_fits,
    color_values,
    to_channels,
)
from analysis.config import field
from analysis.data.decoding import FORMATS, MAX_PIXELS
from analysis.digest import digest_file
from analysis.errors import ConfigError, ImageSetError, nearest

# In pixels: what is refused later for being larger than the images is not drawn first.
_LARGEST = 1024

PLACES = ("top_left", "top_right", "bottom_left", "bottom_right", "center")


@dataclass(frozen=True, kw_only=True)
class _Placed(Trigger):
    """What lies in one place of every image: a picture (3, h, w) with its opacity (h, w)."""

    place: str = field("bottom_right", f"where: {', '.join(PLACES)}")
    margin: int = field(1, "distance from the border, in pixels", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.place not in PLACES:
            raise ConfigError(f"place = {self.place!r}", remedy=nearest(self.place, PLACES))

    @abc.abstractmethod
    def picture(self) -> tuple[np.ndarray, np.ndarray]:
        """The picture (3, h, w) and its opacity (h, w), both in [0, 1]."""

    def stamp(self, pixels: Tensor, sample_ids: Sequence[str]) -> Stamp:
        """Settle the trigger; it is the same for all images."""
        _, channels, height, width = pixels.shape
        picture, opacity = self.picture()
        rows, columns = self._region(opacity.shape, height, width)
        alpha = np.zeros((1, 1, height, width))
        layer = np.zeros((1, channels, height, width))
        alpha[0, 0, rows, columns] = opacity
        layer[0, :, rows, columns] = to_channels(picture, channels)
        return Overlay(torch.as_tensor(alpha).to(pixels), torch.as_tensor(layer).to(pixels))

    def support(self, height: int, width: int) -> np.ndarray:
        """Mark the pixels of the picture that are not wholly transparent, (H, W) bool."""
        _, opacity = self.picture()
        mask = np.zeros((height, width), dtype=bool)
        mask[self._region(opacity.shape, height, width)] = opacity > 0
        return mask

    def _region(self, shape: Sequence[int], height: int, width: int) -> tuple[slice, slice]:
        tall, wide = shape
        if tall > height or wide > width:
            check_fits(self.name, max(shape), height, width)
        # A margin that does not fit gives way: the trigger is wholly inside.
        top, left = min(self.margin, height - tall), min(self.margin, width - wide)
        if self.place == "center":
            top, left = (height - tall) // 2, (width - wide) // 2
        if self.place.startswith("bottom"):
            top = height - tall - top
        if self.place.endswith("right"):
            left = width - wide - left
        return slice(top, top + tall), slice(left, left + wide)


@dataclass(frozen=True, kw_only=True)
class Patch(_Placed):
    """An opaque square."""

    name: ClassVar[str] = "patch"
    title: ClassVar[str] = "Opaque patch"
    source: ClassVar[str] = "Gu, Dolan-Gavitt, Garg 2017, arXiv 1708.06733"

    size: int = field(4, "side of the square, in pixels", low=1, high=_LARGEST)
    fill: str = field(
        "color",
        "one color, a checker of two, or seeded noise",
        choices=("color", "checker", "noise"),
    )
    color: str = field("#ffdd00", "color, as #rrggbb")
    second: str = field("#000000", "second color of the checker, as #rrggbb")
    seed: int = field(0, "seed of the noise", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_color("color", self.color)
        check_color("second", self.second)

    def picture(self) -> tuple[np.ndarray, np.ndarray]:
        """The square (3, size, size), opaque."""
        side = self.size
        if self.fill == "noise":
            square = np.random.default_rng(self.seed).random((3, side, side))
        else:
            first = color_values(self.color, 3)[:, None, None]
            second = color_values(self.second, 3)[:, None, None]
            odd = np.indices((side, side)).sum(axis=0) % 2 == 1
            square = np.where(odd & (self.fill == "checker"), second, first)
        return square, np.ones((side, side))


@dataclass(frozen=True, kw_only=True)
class TranslucentPatch(Patch):
    """A square through which the image shows."""

    name: ClassVar[str] = "translucent"
    title: ClassVar[str] = "Semi-transparent patch"
    source: ClassVar[str] = "Chen, Liu, Li, Lu, Song 2017, arXiv 1712.05526, blended accessory"

    opacity: float = field(0.3, "share of the patch in what is seen, 0 to 1", low=0.01, high=1.0)

    def picture(self) -> tuple[np.ndarray, np.ndarray]:
        """The square (3, size, size) with its opacity."""
        square, opaque = super().picture()
        return square, opaque * self.opacity


@dataclass(frozen=True, kw_only=True)
class Picture(_Placed):
    """The user's own picture; its alpha channel says where it covers the image."""

    name: ClassVar[str] = "image"
    title: ClassVar[str] = "Your own picture"
    source: ClassVar[str] = "any picture with an alpha channel"

    file: str = field("", "the picture: a PNG or WebP with transparency, or any other image")
    size: int = field(
        0, "longer side in pixels; 0 leaves the picture as it is", low=0, high=_LARGEST
    )
    opacity: float = field(1.0, "factor on the picture's alpha channel", low=0.01, high=1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.file or "," in self.file:
            raise ConfigError(
                f"file = {self.file!r}",
                expected="the path of a picture, without a comma",
                remedy="write image:file=logo.png",
            )
        with _opening(self.file) as image:
            object.__setattr__(self, "_rgba", _scaled(image.convert("RGBA"), self.size))
        object.__setattr__(self, "_digest", digest_file(Path(self.file)))

    def picture(self) -> tuple[np.ndarray, np.ndarray]:
        """The picture (3, h, w) with its alpha channel."""
        rgba = np.asarray(getattr(self, "_rgba"), dtype=np.float64) / 255  # noqa: B009
        return rgba[..., :3].transpose(2, 0, 1), rgba[..., 3] * self.opacity

    def key(self) -> dict[str, Any]:
        """The values that decide what it looks like: the file's contents, not its name."""
        return {**super().key(), "file": getattr(self, "_digest")}  # noqa: B009

    @property
    def shown(self) -> str:
        """The trigger's text with the file's name alone."""
        return self.text.replace(f"file={self.file}", f"file={Path(self.file).name}")


@contextlib.contextmanager
def _opening(file: str) -> Iterator[Image.Image]:
    # A decoder fed with hostile bytes raises nearly anything; all of it means the same here.
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageSetError(
                    f"trigger picture {file!r} has {image.width} x {image.height} pixels",
                    expected=f"at most {MAX_PIXELS:,}",
                )
            yield image
    except ImageSetError:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or "no image of a known format"
        raise ConfigError(
            f"trigger picture {file!r} cannot be read ({reason})",
            expected=f"a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image",
        ) from error


def _scaled(image: Image.Image, size: int) -> Image.Image:
    if size == 0:
        return image
    factor = size / max(image.size)
    width, height = (max(1, round(side * factor)) for side in image.size)
    # Premultiplied, or the color of transparent pixels would bleed into the edge; bilinear,
    # because a sharper filter rings and leaves specks in what is transparent.
    return image.convert("RGBa").resize((width, height), Image.Resampling.BILINEAR).convert("RGBA")
