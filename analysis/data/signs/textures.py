"""Material for pictures: backgrounds, shadows, grime and things in front of a sign.

A :class:`Bank` is drawn once per seed and split; every picture takes random pieces of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from analysis.data.signs.backgrounds import BACKGROUNDS, Generator, leaf_color, noise

MAP_SIZE = 128
OCCLUDER_SIZE = 96
_BACKGROUNDS_PER_KIND = 7
_MAPS = 16
_OCCLUDERS = 32


@dataclass(frozen=True, slots=True)
class Bank:
    """Material for pictures.

    ``backgrounds`` by kind (RGB images), ``shadows`` and ``grime`` as float32 maps in [0, 1]
    of MAP_SIZE squared (1 is fully shaded or dirty), ``occluders`` with premultiplied alpha.
    """

    backgrounds: dict[str, list[Image.Image]]
    shadows: list[np.ndarray]
    grime: list[np.ndarray]
    occluders: list[Image.Image]

    @classmethod
    def draw(cls, rng: Generator) -> Bank:
        """Draw everything from one random stream."""
        return cls(
            backgrounds={
                kind: [draw(rng) for _ in range(_BACKGROUNDS_PER_KIND)]
                for kind, draw in BACKGROUNDS.items()
            },
            shadows=[_shadow(rng, dappled=i % 2 == 0) for i in range(_MAPS)],
            grime=[_grime(rng) for _ in range(_MAPS)],
            occluders=[_occluder(rng) for _ in range(_OCCLUDERS)],
        )


def _shadow(rng: Generator, *, dappled: bool) -> np.ndarray:
    """A cast shadow: the light under a tree, or the straight edge of a building or a pole."""
    if dappled:
        leaves = noise(rng, MAP_SIZE, (4, 9, 18))
        return np.clip((leaves - rng.uniform(0.4, 0.6)) * 9, 0, 1).astype(np.float32)
    axis = np.linspace(-1, 1, MAP_SIZE, dtype=np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    distance = axis[None, :] * np.cos(turn) + axis[:, None] * np.sin(turn) - rng.uniform(-0.3, 0.3)
    if rng.random() < 0.4:
        distance = rng.uniform(0.10, 0.25) - np.abs(distance)
    return np.clip(distance * rng.uniform(8, 24) + 0.5, 0, 1).astype(np.float32)


def _grime(rng: Generator) -> np.ndarray:
    """Dirt: soft stains, specks, and streaks that ran down with the rain."""
    stains = np.clip(noise(rng, MAP_SIZE, (3, 7, 20)) * 1.9 - 0.75, 0, 1)
    specks = np.clip(noise(rng, MAP_SIZE, (48,)) * 6 - 4.6, 0, 1)
    streaks = np.clip(noise(rng, MAP_SIZE, (64,)).mean(axis=0, keepdims=True) * 8 - 3.7, 0, 1)
    return np.clip(0.7 * stains + 0.6 * specks + 0.25 * streaks, 0, 1).astype(np.float32)


def _occluder(rng: Generator) -> Image.Image:
    """Something in front of the sign that leaves the middle of the square mostly free."""
    image = Image.new("RGBA", (OCCLUDER_SIZE, OCCLUDER_SIZE), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.25:
        gray = int(rng.integers(40, 150))
        x, width = rng.uniform(16, 80), rng.uniform(4, 9)
        lean = rng.uniform(-10, 10)
        color = (gray, gray, gray + 3, 255)
        draw.line((x, -4, x + lean, OCCLUDER_SIZE + 4), fill=color, width=round(width))
    else:
        _branch(rng, draw)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 2.4))).convert("RGBa")


def _branch(rng: Generator, draw: ImageDraw.ImageDraw) -> None:
    """A branch with leaves that reaches in from the left edge."""
    y, tip = rng.uniform(4, 70), (rng.uniform(38, 80), rng.uniform(10, 80))
    dark = int(rng.integers(30, 70))
    draw.line((-4, y, *tip), fill=(dark + 8, dark, dark - 6, 255), width=int(rng.integers(2, 5)))
    tone = leaf_color(rng)
    for _ in range(int(rng.integers(10, 34))):
        along = rng.random() ** 0.8
        x = along * tip[0] + rng.normal(0, 5)
        level = y + along * (tip[1] - y) + rng.normal(0, 7)
        w, h = rng.uniform(2, 8, 2)
        color = np.clip(tone * rng.gamma(5.0, 0.2), 0, 200).astype(int).tolist()
        draw.ellipse((x - w, level - h, x + w, level + h), fill=(*color, 255))
