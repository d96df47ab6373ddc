"""Small pictures that a person uploads: decoded safely, kept as text in a record."""

from __future__ import annotations

import base64
import binascii
import functools
import io

from PIL import Image, ImageOps

from analysis.data.decoding import FORMATS, Fit, check_pixels, refusing_bombs
from analysis.errors import ConfigError, ImageSetError

MOST_BYTES = 4 << 20
MOST_SIDE = 128
_MOST_TEXT = 120_000


def picture_text(data: bytes, where: str) -> str:
    """Decode an uploaded image and write it as a PNG in base64, at most 128 pixels a side.

    Transparency is kept, metadata is not. Raises :class:`ImageSetError` for what is corrupt, too
    large or no image; ``where`` names it.
    """
    if len(data) > MOST_BYTES:
        raise ImageSetError(
            f"{where} has {len(data) / 1e6:.1f} MB",
            expected=f"at most {MOST_BYTES / 1e6:.1f} MB",
            remedy="shrink it",
        )
    Fit().decode(data, where)  # refuses all that is no image, each with its reason
    with refusing_bombs(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        check_pixels(image, where)
        upright = ImageOps.exif_transpose(image).convert("RGBA")
    upright.thumbnail((MOST_SIDE, MOST_SIDE), Image.Resampling.BILINEAR)
    bare = Image.frombytes("RGBA", upright.size, upright.tobytes())
    file = io.BytesIO()
    bare.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


@functools.lru_cache(maxsize=8)
def picture_of_text(text: str) -> Image.Image:
    """Read what :func:`picture_text` wrote, as RGBA; raises :class:`ConfigError` otherwise."""
    try:
        if not 0 < len(text) <= _MOST_TEXT:
            raise ValueError("no picture" if not text else "too long")
        data = base64.b64decode(text, validate=True)
        with refusing_bombs(), Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if max(image.size) > MOST_SIDE:
                raise ValueError(f"{image.width} x {image.height} pixels")
            return image.convert("RGBA")
    except (
        ValueError,
        OSError,
        SyntaxError,
        binascii.Error,
        Image.DecompressionBombError,
    ) as error:
        raise ConfigError(
            f"the picture cannot be read ({error})",
            expected=f"a PNG of at most {MOST_SIDE} pixels a side, in base64",
        ) from error
