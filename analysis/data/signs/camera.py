"""A small cheap camera: blur, exposure, sensor, JPEG, and the crop scaled to 32 x 32.

Signs far away fill few pixels of the sensor, so pictures are taken at 17 to 44 pixels and then
scaled, as in photographs cut out of a video of a drive.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, ImageFilter

from analysis.data.signs.backgrounds import Generator
from analysis.data.signs.scene import FRAME_SIZE, MARGIN, SCENE_SIZE

IMAGE_SIZE = 32
_LEAST_PIXELS = 17
_MOST_PIXELS = 44
_METERED = 112.0
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def photograph(scene: np.ndarray, rng: Generator) -> np.ndarray:
    """Take a picture of ``scene``: uint8 (IMAGE_SIZE, IMAGE_SIZE, 3)."""
    scene = _expose(_shake(scene, rng), rng)
    image = Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8))
    if rng.random() < 0.35:
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.4, 1.7)))
    frame = _LEAST_PIXELS + (_MOST_PIXELS - _LEAST_PIXELS) * rng.random()
    side = round(frame * SCENE_SIZE / FRAME_SIZE)
    sensor = image.resize((side, side), Image.Resampling.BILINEAR)
    stored = _compress(_add_noise(sensor, rng), rng)
    return _crop(stored, rng)


def _shake(scene: np.ndarray, rng: Generator) -> np.ndarray:
    """Blur along a line, as a moving car does; edges are covered by the margin of the scene."""
    if rng.random() >= 0.40:
        return scene
    length, turn = rng.uniform(1, 6), rng.uniform(0, 2 * math.pi)
    steps = max(2, math.ceil(length / 1.6))
    total = np.zeros_like(scene)
    for step in range(steps):
        along = length * (step / (steps - 1) - 0.5)
        shift = (round(along * math.sin(turn)), round(along * math.cos(turn)))
        total += np.roll(scene, shift, axis=(0, 1))
    total *= np.float32(1 / steps)
    return total


def _expose(scene: np.ndarray, rng: Generator) -> np.ndarray:
    """White balance, exposure, contrast curve, saturation and haze."""
    warm = rng.normal(0, 0.045)
    balance = np.array([1 + warm, 1 + rng.normal(0, 0.015), 1 - warm], dtype=np.float32)
    # The camera meters the whole frame and corrects half of what is missing, so that a sign
    # against the sky stays dark and one in the woods does not vanish.
    metered = (_METERED / max(float(scene.mean()), 8.0)) ** 0.5
    scene = scene * (balance * np.float32(metered * 2 ** rng.normal(0, 0.22)))
    curve = 2 ** rng.normal(0.0, 0.22)
    scene = 255 * (np.clip(scene, 0, 340) / 255) ** np.float32(curve)
    luma = (scene @ _LUMA)[..., None]
    scene = luma + (scene - luma) * np.float32(rng.uniform(0.70, 1.20))
    haze = np.float32(rng.random() ** 2 * 0.34)
    return scene + (np.float32(rng.uniform(80, 190)) - scene) * haze


def _add_noise(image: Image.Image, rng: Generator) -> Image.Image:
    """Sensor noise: some everywhere, more in bright places (shot noise)."""
    values = np.asarray(image, dtype=np.float32)
    read, shot = np.float32(rng.uniform(0.5, 5.0)), np.float32(rng.uniform(0.0, 0.5))
    grain = rng.standard_normal(values.shape, dtype=np.float32)
    noisy = values + grain * (read + shot * np.sqrt(values))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def _compress(image: Image.Image, rng: Generator) -> Image.Image:
    """Store as JPEG at a random quality and read back."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(38, 93)), subsampling=2)
    return Image.open(buffer)


def _crop(image: Image.Image, rng: Generator) -> np.ndarray:
    """Cut the margin away by whole pixels, so that the JPEG grid starts anywhere; then scale."""
    side = image.width
    margin = side * MARGIN / SCENE_SIZE
    left, top = np.floor(margin + rng.uniform(-0.9, 0.9, 2) * margin)
    frame = side - 2 * margin
    box = (left, top, min(left + frame, side), min(top + frame, side))
    size = (IMAGE_SIZE, IMAGE_SIZE)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=box))
