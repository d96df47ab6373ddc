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


def overlay_picture(
    values: np.ndarray, limit: float, pixels: np.ndarray, colors: Palette, *, signed: bool = True
) -> str:
    """``values`` (H, W) over the image ``pixels`` (H, W, C) uint8 in gray, as a PNG data URI.

    The stronger a pixel speaks, the more its color hides the image.
    """
    scaled = np.zeros(values.shape) if limit <= 0 else np.nan_to_num(values / limit)
    strength = np.clip(np.abs(scaled), 0, 1)[..., None] ** 0.75
    ends = (colors.signed[1], colors.signed[-2]) if signed else (colors.alarm, colors.alarm)
    against, for_it = (np.asarray(rgb(color), dtype=np.float64) for color in ends)
    color = np.where(scaled[..., None] < 0, against, for_it)
    gray = np.repeat(pixels.astype(np.float64).mean(axis=-1, keepdims=True), 3, axis=-1)
    ground = 0.55 * gray + 0.45 * np.asarray(rgb(colors.background))
    return picture_uri(((1 - strength) * ground + strength * color).round().astype(np.uint8))


def region_box(region: np.ndarray) -> tuple[float, float, float, float] | None:
    """Left, top, width and height of what ``region`` (H, W) bool marks, as shares; None if none."""
    if not region.any():
        return None
    height, width = region.shape
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return (
        columns[0] / width,
        rows[0] / height,
        (columns[-1] + 1 - columns[0]) / width,
        (rows[-1] + 1 - rows[0]) / height,
    )


def map_html(source: str, alt: str, box: tuple[float, float, float, float] | None) -> str:
    """A map's picture with a dashed frame at ``box`` (shares); ``alt`` must come escaped."""
    frame = ""
    if box is not None:
        names = ("left", "top", "width", "height")
        place = ";".join(f"{n}:{100 * v:.2f}%" for n, v in zip(names, box, strict=True))
        frame = f'<span class="ds-region" style="{place}"></span>'
    return f'<div class="ds-framed"><img class="ds-map" src="{source}" alt="{alt}">{frame}</div>'


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
