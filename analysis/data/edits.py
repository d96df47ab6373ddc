"""Edits, by name: what a person changes about an image to see what follows.

Menus and tests iterate over :data:`EDITS`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from analysis.config import field
from analysis.data.edit import LUMA, Edit, coverage, place_of, to_bytes
from analysis.data.pictures import picture_of_text, picture_text
from analysis.digest import digest_bytes
from analysis.errors import ConfigError, nearest

MOST_EDITS = 8
_COLOR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True, kw_only=True)
class Sticker(Edit):
    """A square of one color, antialiased (4 x 4 points a pixel).

    ``across`` and ``down`` say where its middle lies, in pixels from the image's upper left
    corner; by default it is the image's middle. On gray images the color is its luminance.
    """

    name: ClassVar[str] = "sticker"
    title: ClassVar[str] = "Sticker"

    size: float = field(7.5, "side of the square, in pixels", low=0.0, high=4096.0)
    across: float | None = field(None, "its middle from the left, in pixels", low=0.0, high=4096.0)
    down: float | None = field(None, "its middle from the top, in pixels", low=0.0, high=4096.0)
    color: str = field("#f7dc1e", "color as #rrggbb")
    opacity: float = field(1.0, "1 hides what is below, 0 shows it", low=0.0, high=1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _COLOR.fullmatch(self.color):
            raise ConfigError(
                f"color = {self.color!r}", expected="a color like #ffdd00, in lower case"
            )

    def apply(self, pixels: np.ndarray, sample_ids: Sequence[str]) -> np.ndarray:
        """Lay the square on every image."""
        _, height, width, channels = pixels.shape
        covered = coverage(height, width, self.size, self.across, self.down)
        alpha = self.opacity * covered[None, :, :, None]
        return (1 - alpha) * pixels + alpha * _color(self.color, channels)


@dataclass(frozen=True, kw_only=True)
class Picture(Edit):
    """An uploaded picture, pasted where a sticker would lie; its transparency counts.

    ``picture`` is a PNG in base64, at most 128 pixels a side
    (:func:`~analysis.data.pictures.picture_text` makes one). ``size`` is its longer side on the
    image; it is resized bilinearly, its proportions stay.
    """

    name: ClassVar[str] = "picture"
    title: ClassVar[str] = "Picture"

    picture: str = field("", "a small PNG in base64")
    size: float = field(12.0, "longer side on the image, in pixels", low=1.0, high=4096.0)
    across: float | None = field(None, "its middle from the left, in pixels", low=0.0, high=4096.0)
    down: float | None = field(None, "its middle from the top, in pixels", low=0.0, high=4096.0)
    opacity: float = field(1.0, "1 as it is, 0 not at all", low=0.0, high=1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        picture_of_text(self.picture)

    def apply(self, pixels: np.ndarray, sample_ids: Sequence[str]) -> np.ndarray:
        """Paste the picture on every image."""
        _, height, width, channels = pixels.shape
        layer = self._layer(height, width)
        alpha = self.opacity * layer[None, :, :, 3:]
        color = layer[:, :, :3] if channels == 3 else (layer[:, :, :3] @ LUMA)[:, :, None]
        return (1 - alpha) * pixels + alpha * color

    def _layer(self, height: int, width: int) -> np.ndarray:
        """The picture in its place, (H, W, 4) float64 in [0, 1]; what hangs over is cut."""
        image = picture_of_text(self.picture)
        scale = self.size / max(image.size)
        across, down = place_of(self.across, width), place_of(self.down, height)
        side = [max(1, round(length * scale)) for length in image.size]
        small = image.resize((side[0], side[1]), Image.Resampling.BILINEAR)
        canvas = Image.new("RGBA", (width, height))
        canvas.paste(small, (round(across - side[0] / 2), round(down - side[1] / 2)))
        return np.asarray(canvas, dtype=np.float64) / 255


@dataclass(frozen=True, kw_only=True)
class Blur(Edit):
    """A Gaussian blur; beyond the border the image is mirrored."""

    name: ClassVar[str] = "blur"
    title: ClassVar[str] = "Blur"

    sigma: float = field(1.0, "standard deviation, in pixels", low=0.0, high=64.0)

    def apply(self, pixels: np.ndarray, sample_ids: Sequence[str]) -> np.ndarray:
        """Blur every image."""
        if self.sigma == 0:
            return pixels
        from scipy.ndimage import gaussian_filter

        return np.asarray(
            gaussian_filter(pixels, (0, self.sigma, self.sigma, 0), mode="mirror", truncate=3.0)
        )


@dataclass(frozen=True, kw_only=True)
class Noise(Edit):
    """Gaussian noise on every pixel and channel, drawn for each sample id by ``seed``."""

    name: ClassVar[str] = "noise"
    title: ClassVar[str] = "Noise"

    amount: float = field(0.05, "standard deviation, as a share of full scale", low=0.0, high=1.0)
    seed: int = field(0, "seed of the noise", low=0, high=2**31 - 1)

    def apply(self, pixels: np.ndarray, sample_ids: Sequence[str]) -> np.ndarray:
        """Add noise to every image."""
        drawn = np.stack(
            [
                np.random.default_rng(
                    int(digest_bytes(f"{self.seed}/noise/{name}".encode())[:16], 16)
                ).standard_normal(pixels.shape[1:])
                for name in sample_ids
            ]
        )
        return np.clip(pixels + self.amount * drawn, 0, 1)


@dataclass(frozen=True, kw_only=True)
class Jpeg(Edit):
    """Compression as JPEG and back, without chroma subsampling."""

    name: ClassVar[str] = "jpeg"
    title: ClassVar[str] = "JPEG"

    quality: int = field(30, "quality as libjpeg counts it", low=1, high=95)

    def apply(self, pixels: np.ndarray, sample_ids: Sequence[str]) -> np.ndarray:
        """Compress every image."""
        return np.stack([self._through(image) for image in to_bytes(pixels)]) / 255.0

    def _through(self, image: np.ndarray) -> np.ndarray:
        gray = image.shape[2] == 1
        file = io.BytesIO()
        Image.fromarray(image[:, :, 0] if gray else image).save(
            file, "JPEG", quality=self.quality, subsampling=0
        )
        back = np.asarray(Image.open(file))
        return back[:, :, None] if gray else back


EDITS: Mapping[str, type[Edit]] = {
    entry.name: entry for entry in (Sticker, Picture, Blur, Noise, Jpeg)
}


def find_edit(name: str) -> type[Edit]:
    """Return the kind of edit called ``name``; raises :class:`ConfigError` naming the nearest."""
    if name not in EDITS:
        raise ConfigError(f"unknown edit {name!r}", remedy=nearest(name, EDITS))
    return EDITS[name]


def parse_edit(text: str) -> Edit:
    """Read an edit from ``NAME:key=value,..``, e.g. ``sticker:size=7,across=20,down=20``.

    A picture is named by its file: ``picture:file=PATH,size=12``. Raises :class:`ConfigError`
    naming the value, and :class:`~analysis.errors.ImageSetError` for a file that is no picture.
    """
    name, _, rest = text.partition(":")
    kind = find_edit(name.strip())
    values: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"{part!r} of edit {text!r}", expected="KEY=VALUE")
        values[key.strip()] = value.strip()
    if kind is Picture and "file" in values:
        values["picture"] = _read_picture(Path(values.pop("file")))
    return kind.of_text(values)


def _read_picture(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"picture {path} cannot be read ({error.strerror})", expected="an image file"
        ) from error
    return picture_text(data, path.name)


def edits_from_json(values: Sequence[Mapping[str, Any]]) -> tuple[Edit, ...]:
    """Read edits that ``[edit.key() for edit in edits]`` wrote; raises :class:`ConfigError`."""
    edits = []
    for value in values:
        rest = {key: item for key, item in value.items() if key != "edit"}
        edits.append(find_edit(str(value.get("edit"))).from_mapping(rest))
    return tuple(edits)


def check_edits(edits: Sequence[Edit]) -> tuple[Edit, ...]:
    """Return ``edits`` when there are 1 to ``MOST_EDITS`` of them; else :class:`ConfigError`."""
    if not 1 <= len(edits) <= MOST_EDITS:
        raise ConfigError(f"{len(edits)} edits", expected=f"1 to {MOST_EDITS}")
    return tuple(edits)


def _color(text: str, channels: int) -> np.ndarray:
    values = np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return values if channels == 3 else np.array([values @ LUMA])
