"""Attribution maps as pictures: signed colors, one symmetric scale for all maps of an image."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from dashboard.theme import Palette, rgb

LIMIT_PERCENTILE = 99.7


def common_limit(maps: Sequence[np.ndarray]) -> float:
    """The 99.7th percentile of the magnitude over all ``maps``: the end of their common scale."""
    magnitudes = np.concatenate([np.abs(values).ravel() for values in maps])
    finite = magnitudes[np.isfinite(magnitudes)]
    return float(np.percentile(finite, LIMIT_PERCENTILE)) if len(finite) else 0.0


def map_picture(values: np.ndarray, limit: float, colors: Palette, *, signed: bool = True) -> str:
    """``values`` (H, W) on the scale -limit to limit as a PNG data URI.

    A map without sign runs from 0 to limit in the divergence colors. A limit of 0 gives an even
    picture of the scale's neutral color.
    """
    scaled = np.zeros(values.shape) if limit <= 0 else np.nan_to_num(values / limit)
    ramp = colors.signed if signed else colors.divergence
    share = (np.clip(scaled, -1, 1) + 1) / 2 if signed else np.clip(np.abs(scaled), 0, 1)
    return picture_uri(_blend(share, ramp))


def _blend(share: np.ndarray, ramp: Sequence[str]) -> np.ndarray:
    stops = np.asarray([rgb(color) for color in ramp], dtype=np.float64)
    at = np.linspace(0, 1, len(stops))
    channels = [np.interp(share, at, stops[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def picture_uri(pixels: np.ndarray) -> str:
    """``pixels`` (H, W, 1 or 3) uint8 as a PNG data URI, pixel by pixel."""
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[..., :3])).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
