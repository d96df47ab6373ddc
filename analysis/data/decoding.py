"""From an encoded image to the uint8 array that an image set holds."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from analysis.errors import ImageSetError

# Few and common formats: each further decoder is a further way in for a hostile file.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
MAX_PIXELS = 64_000_000
_MAX_SIDE = 4096
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")


@dataclass(frozen=True)
class Fit:
    """The shape that images are brought to.

    ``size`` is the side of a square that images are resized to, whatever their proportions
    (bilinear, antialiased), or None to keep them; ``channels`` is 1 (gray), 3 (RGB) or None: RGB
    for encoded images, as they are for arrays.
    """

    size: int | None = None
    channels: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not 1 <= self.size <= _MAX_SIDE:
            raise ImageSetError(f"size {self.size}", expected=f"1 to {_MAX_SIDE} pixels")
        if self.channels not in (None, 1, 3):
            raise ImageSetError(f"channels {self.channels}", expected="1 (gray) or 3 (RGB)")

    def decode(self, data: bytes, where: str) -> np.ndarray:
        """Decode one encoded image into (H, W, C) uint8; ``where`` names it in errors.

        EXIF orientation is applied; of an animation the first frame is taken. Raises
        :class:`~analysis.errors.ImageSetError` for what is corrupt, too large or no image.
        """
        # A decoder fed with hostile bytes raises nearly anything; all of it means the same here.
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                check_pixels(image, where)
                return self.convert(ImageOps.exif_transpose(image))
        except ImageSetError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise _too_large(where, f"more than {MAX_PIXELS:,}") from None
        except Exception as error:
            raise ImageSetError(
                f"{where} cannot be decoded ({_reason(error)})",
                expected=f"a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image",
                remedy="repair or remove it",
            ) from error

    def convert(self, image: Image.Image) -> np.ndarray:
        """Bring a PIL image of any mode to (H, W, C) uint8."""
        mode = "L" if self.channels == 1 else "RGB"
        flat = _flattened(image)
        flat = flat if flat.mode == mode else flat.convert(mode)
        if self.size is not None and flat.size != (self.size, self.size):
            flat = flat.resize((self.size, self.size), Image.Resampling.BILINEAR)
        array = np.asarray(flat)
        return array if array.ndim == 3 else array[:, :, None]

    def array(self, image: np.ndarray) -> np.ndarray:
        """Bring an array (H, W, C) uint8, C of 1, 3 or 4 (RGBA), to (H, W, C') uint8."""
        height, width, present = image.shape
        wanted = self.channels or min(present, 3)
        if present == wanted and self.size in (None, height) and self.size in (None, width):
            return image
        picture = Image.fromarray(image[:, :, 0] if present == 1 else image)
        return Fit(self.size, wanted).convert(picture)


@contextmanager
def refusing_bombs() -> Iterator[None]:
    """Turn PIL's warning about a decompression bomb into an error while many are decoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def check_pixels(image: Image.Image, where: str) -> None:
    """Raise :class:`ImageSetError` when the opened, not yet decoded ``image`` is too large."""
    # Only the header has been read so far: a bomb is refused before it is unpacked.
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(where, f"{image.width} x {image.height}")


def _too_large(where: str, size: str) -> ImageSetError:
    return ImageSetError(
        f"{where} has {size} pixels",
        expected=f"at most {MAX_PIXELS:,}",
        remedy="shrink or remove it",
    )


def _flattened(image: Image.Image) -> Image.Image:
    """Reduce 16-bit depth to 8 bits and lay transparent images on white."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        # PIL would clip everything above 255 to white.
        deep = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((deep + 128) // 257).astype(np.uint8))
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    return str(error) or type(error).__name__
