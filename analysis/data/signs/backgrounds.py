"""What stands behind a sign: skies, trees, walls, streets and nights.

Nothing here is yellow, see ``shapes.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Generator = np.random.Generator

TEXTURE_SIZE = 192


def noise(rng: Generator, size: int, octaves: tuple[int, ...], *, stretch: int = 1) -> np.ndarray:
    """Smooth noise (size, size) float32 in [0, 1]: grids of ``octaves`` points, finer is weaker.

    ``stretch`` makes the noise longer across than down.
    """
    total = np.zeros((size, size), dtype=np.float32)
    for level, points in enumerate(octaves):
        grid = rng.random((points, max(2, points // stretch)), dtype=np.float32)
        layer = Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC)
        total += np.asarray(layer) * 0.62**level
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def _between(low: np.ndarray, high: np.ndarray, share: np.ndarray) -> np.ndarray:
    return low + (high - low) * share[..., None]


def _image(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _sky_values(rng: Generator) -> np.ndarray:
    """Sky, darker blue at the top, with clouds; sometimes all gray."""
    down = np.linspace(0, 1, TEXTURE_SIZE, dtype=np.float32)[:, None].repeat(TEXTURE_SIZE, 1)
    if rng.random() < 0.45:
        top = np.full(3, rng.uniform(120, 215)) + rng.uniform(-4, 10, 3)
        bottom = top + rng.uniform(5, 35)
        weight = 0.35
    else:
        top = rng.uniform((52, 110, 178), (112, 160, 225))
        bottom = rng.uniform((150, 185, 215), (205, 220, 238))
        weight = 0.8
    clouds = noise(rng, TEXTURE_SIZE, (3, 6, 12, 24), stretch=2)
    cover = np.clip((clouds - rng.uniform(0.35, 0.65)) * 2.4, 0, 1) * weight
    sky = _between(top, bottom, down)
    return sky + (rng.uniform(205, 248) - sky) * cover[..., None]


def _sky(rng: Generator) -> Image.Image:
    return _image(_sky_values(rng))


def leaf_color(rng: Generator) -> np.ndarray:
    """A color of leaves: from blackish over green to gray-green, never near yellow."""
    green = rng.uniform(38, 150)
    return np.array([green * rng.uniform(0.45, 0.74), green, green * rng.uniform(0.44, 0.76)])


def _leafy(rng: Generator, values: np.ndarray, top: int, leaves: int) -> Image.Image:
    """Cover ``values`` with leaves from row ``top`` down."""
    base = leaf_color(rng) * 0.35
    image = _image(values)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, top, TEXTURE_SIZE, TEXTURE_SIZE), fill=tuple(base.astype(int).tolist()))
    tone = leaf_color(rng)
    xs = rng.uniform(-4, TEXTURE_SIZE + 4, leaves)
    # The square root thins the leaves out towards the top, so that sky shows through there.
    ys = top - 10 + (TEXTURE_SIZE - top + 14) * np.sqrt(rng.random(leaves))
    sizes = rng.gamma(2.2, 2.0, (leaves, 2)) + 1
    lights = rng.gamma(3.0, 0.33, leaves)
    for x, y, (w, h), light in zip(xs, ys, sizes, lights, strict=True):
        color = tuple(np.clip(tone * light, 0, 205).astype(int).tolist())
        draw.ellipse((x - w, y - h, x + w, y + h), fill=color)
    return image


def _foliage(rng: Generator) -> Image.Image:
    top = int(rng.integers(-60, 70))
    return _leafy(rng, _sky_values(rng), top, 420).filter(ImageFilter.GaussianBlur(0.8))


def _twigs(rng: Generator) -> Image.Image:
    """Bare branches against a sky."""
    image = _image(_sky_values(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(10, 26))):
        x, y, heading = rng.uniform(0, TEXTURE_SIZE), float(TEXTURE_SIZE), rng.uniform(-2.4, -0.7)
        width = rng.uniform(2, 9)
        dark = int(rng.integers(28, 90))
        while width > 0.8:
            length = rng.uniform(14, 34)
            tip = (x + length * np.cos(heading), y + length * np.sin(heading))
            draw.line((x, y, *tip), fill=(dark + 6, dark, dark - 4), width=max(1, round(width)))
            (x, y), heading = tip, heading + rng.normal(0, 0.45)
            width *= rng.uniform(0.68, 0.95)
    return image.filter(ImageFilter.GaussianBlur(0.7))


def _brick(rng: Generator) -> Image.Image:
    """A brick or block wall with mortar joints."""
    high = int(rng.integers(7, 15))
    wide = int(high * rng.uniform(2.0, 3.2))
    tone = rng.uniform((105, 62, 52), (160, 92, 80))
    if rng.random() < 0.3:
        tone = np.full(3, rng.uniform(105, 175))
    mortar = int(rng.integers(110, 180))
    image = Image.new("RGB", (TEXTURE_SIZE, TEXTURE_SIZE), (mortar, mortar, mortar))
    draw = ImageDraw.Draw(image)
    for row in range(TEXTURE_SIZE // high + 1):
        start = -wide // 2 if row % 2 else 0
        for x in range(start, TEXTURE_SIZE, wide):
            color = np.clip(tone * rng.normal(1.0, 0.12) + rng.normal(0, 4, 3), 12, 225)
            box = (x, row * high, x + wide - 2, row * high + high - 2)
            draw.rectangle(box, fill=tuple(color.astype(int).tolist()))
    stains = 0.72 + 0.45 * noise(rng, TEXTURE_SIZE, (3, 9, 40))
    return _image(np.asarray(image) * stains[..., None])


def _facade(rng: Generator) -> Image.Image:
    """A house front: plaster, rows of windows, a street below."""
    gray = rng.uniform(110, 215)
    wall = gray + rng.uniform((-6, -8, -16), (12, 4, 2))
    shade = 0.86 + 0.2 * noise(rng, TEXTURE_SIZE, (2, 5, 30))
    image = _image(np.broadcast_to(wall, (TEXTURE_SIZE, TEXTURE_SIZE, 3)) * shade[..., None])
    draw = ImageDraw.Draw(image)
    wide, high = int(rng.integers(16, 34)), int(rng.integers(22, 44))
    gap_x, gap_y = int(wide * rng.uniform(1.5, 2.2)), int(high * rng.uniform(1.4, 1.9))
    frame = int(rng.integers(170, 240))
    for y in range(int(rng.integers(-20, 10)), TEXTURE_SIZE, gap_y):
        for x in range(int(rng.integers(-20, 10)), TEXTURE_SIZE, gap_x):
            glass = int(rng.integers(22, 110))
            draw.rectangle((x - 2, y - 2, x + wide + 2, y + high + 2), fill=(frame,) * 3)
            draw.rectangle((x, y, x + wide, y + high), fill=(glass, glass + 5, glass + 12))
    return image.filter(ImageFilter.GaussianBlur(0.8))


def _road(rng: Generator) -> Image.Image:
    """A street: sky, a line of trees or roofs, asphalt with a white line, a car or two."""
    horizon = int(rng.integers(50, 125))
    image = _leafy(rng, _sky_values(rng), horizon - int(rng.integers(8, 34)), 260)
    draw = ImageDraw.Draw(image)
    gray = int(rng.integers(62, 135))
    draw.rectangle((0, horizon, TEXTURE_SIZE, TEXTURE_SIZE), fill=(gray, gray, gray + 4))
    verge = tuple((leaf_color(rng) * 0.9).astype(int).tolist())
    edge = int(rng.integers(40, 150))
    side = int(rng.choice([-60, TEXTURE_SIZE + 60]))
    draw.polygon([(edge, horizon), (side, horizon), (side, TEXTURE_SIZE + 90)], fill=verge)
    draw.line((edge, horizon, TEXTURE_SIZE - side, TEXTURE_SIZE), fill=(205, 207, 208), width=4)
    for _ in range(int(rng.integers(0, 3))):
        x, size = rng.uniform(0, TEXTURE_SIZE), rng.uniform(12, 30)
        paint = rng.choice([(190, 192, 196), (40, 42, 48), (120, 30, 34), (40, 62, 112)])
        body = tuple(int(value) for value in paint)
        draw.rectangle((x, horizon - size * 0.3, x + 2 * size, horizon + size * 0.6), fill=body)
        roof = (x + size * 0.3, horizon - size * 0.8, x + 1.7 * size, horizon - size * 0.3)
        draw.rectangle(roof, fill=(52, 60, 70))
    return image.filter(ImageFilter.GaussianBlur(1.3))


def _night(rng: Generator) -> Image.Image:
    """A dark street with lamps out of focus, white, red and bluish."""
    glow = 10 + 34 * noise(rng, TEXTURE_SIZE, (2, 4, 9))
    image = _image(glow[..., None] * rng.uniform((0.75, 0.8, 0.9), (1.0, 1.0, 1.25)))
    draw = ImageDraw.Draw(image)
    lamps = np.array([(235, 228, 222), (215, 42, 34), (175, 200, 240), (226, 196, 180)])
    for _ in range(int(rng.integers(4, 16))):
        (x, y), r = rng.uniform(0, TEXTURE_SIZE, 2), rng.uniform(2, 11)
        color = lamps[rng.integers(len(lamps))] * rng.uniform(0.35, 1.0)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(color.astype(int).tolist()))
    return image.filter(ImageFilter.GaussianBlur(1.6))


BACKGROUNDS: dict[str, Callable[[Generator], Image.Image]] = {
    "sky": _sky,
    "foliage": _foliage,
    "twigs": _twigs,
    "brick": _brick,
    "facade": _facade,
    "road": _road,
    "night": _night,
}
