"""One road sign in its place: background, pole, sign, weathering, light and shade.

Scenes are float32 (SCENE_SIZE, SCENE_SIZE, 3) arrays of display values 0 to 255; the camera
(``camera.py``) makes a photograph of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from analysis.data.signs.backgrounds import TEXTURE_SIZE, Generator
from analysis.data.signs.shapes import SIGN_CLASSES, TEMPLATE_SIZE, draw_templates
from analysis.data.signs.textures import MAP_SIZE, OCCLUDER_SIZE, Bank

FRAME_SIZE = 64
MARGIN = 4
SCENE_SIZE = FRAME_SIZE + 2 * MARGIN

_AXIS = np.linspace(-1, 1, SCENE_SIZE, dtype=np.float32)
_ACROSS, _DOWN = np.meshgrid(_AXIS, _AXIS)
_BLEACHED = np.full(3, 0.55 / 3, dtype=np.float32)
_BILINEAR = Image.Resampling.BILINEAR
_PLACES = ("foliage", "foliage", "sky", "sky", "twigs", "brick", "facade", "road", "road")


@dataclass(frozen=True, slots=True)
class Weather:
    """Light of one picture: gains on background and sign, both may differ (backlight, flash)."""

    place: str
    background_gain: float
    sign_gain: float
    sunny: bool

    @classmethod
    def draw(cls, rng: Generator) -> Weather:
        """Choose day, backlight or night."""
        kind = rng.random()
        if kind < 0.10:
            return cls("night", rng.uniform(0.5, 1.2), rng.uniform(0.40, 0.95), sunny=False)
        place = _PLACES[rng.integers(len(_PLACES))]
        if kind < 0.24:
            return cls(place, rng.uniform(0.6, 1.1), rng.uniform(0.28, 0.60), sunny=False)
        if kind < 0.38:
            gain = rng.uniform(0.25, 0.50)
            return cls(place, gain, gain * rng.uniform(0.8, 1.3), sunny=False)
        return cls(place, rng.uniform(0.55, 1.1), rng.uniform(0.65, 1.1), sunny=True)


class Studio:
    """Builds scenes from sign templates and a bank of textures, both drawn once."""

    def __init__(self, templates_rng: Generator, bank_rng: Generator):
        self._templates = draw_templates(templates_rng)
        self._bank = Bank.draw(bank_rng)

    def scene(self, label: int, rng: Generator) -> np.ndarray:
        """Put a sign of class ``label`` into a random scene."""
        weather = Weather.draw(rng)
        placement = _Placement.draw(rng)
        scene = self._background(weather, rng)
        if rng.random() < 0.75:
            _add_pole(scene, placement, weather, rng)
        if rng.random() < 0.14:
            self._add_neighbor(scene, placement, weather, rng)
        template = self._templates[label][rng.integers(len(self._templates[label]))]
        self._add_sign(scene, template, placement, weather, rng)
        if weather.sunny and rng.random() < 0.40:
            self._cast_shadow(scene, rng)
        if rng.random() < 0.12:
            self._occlude(scene, weather, rng)
        return scene

    def _background(self, weather: Weather, rng: Generator) -> np.ndarray:
        textures = self._bank.backgrounds[weather.place]
        texture = textures[rng.integers(len(textures))]
        side = rng.uniform(60, TEXTURE_SIZE - 2)
        left, top = rng.uniform(0, TEXTURE_SIZE - side, 2)
        box = (left, top, left + side, top + side)
        small = texture.resize((SCENE_SIZE, SCENE_SIZE), _BILINEAR, box=box)
        values = np.asarray(small, dtype=np.float32)
        values = values[:, ::-1] if rng.random() < 0.5 else values
        return values * np.float32(weather.background_gain)

    def _add_sign(
        self,
        scene: np.ndarray,
        template: Image.Image,
        placement: _Placement,
        weather: Weather,
        rng: Generator,
    ) -> None:
        layer = np.asarray(placement.warp(template), dtype=np.float32)
        color, alpha = layer[..., :3], layer[..., 3:] * np.float32(1 / 255)
        color = _fade(color, alpha, rng)
        grime = _piece(self._bank.grime, rng) * np.float32(rng.uniform(0.0, 0.75) ** 2)
        color = color * (1 - grime) + alpha * grime * np.float32(74)
        color = color * _light(weather.sign_gain, rng)
        if weather.sunny and rng.random() < 0.25:
            color = color + alpha * _gloss(rng)
        _over(scene, color, alpha)

    def _add_neighbor(
        self, scene: np.ndarray, placement: _Placement, weather: Weather, rng: Generator
    ) -> None:
        """Let the edge of another sign on the same pole reach into the picture."""
        row = self._templates[rng.integers(len(SIGN_CLASSES))]
        side = -1.0 if rng.random() < 0.5 else 1.0
        shift = side * rng.uniform(1.95, 2.15) * placement.radius
        layer = np.asarray(placement.moved(shift).warp(row[0]), dtype=np.float32)
        color, alpha = layer[..., :3] * np.float32(weather.sign_gain), layer[..., 3:] / 255
        _over(scene, color, alpha)

    def _cast_shadow(self, scene: np.ndarray, rng: Generator) -> None:
        strength = rng.uniform(0.25, 0.65)
        # Shade is lit by the sky alone, so it is bluer than sunlight.
        tint = np.array([1.0, 0.96, 0.86], dtype=np.float32) * np.float32(strength)
        scene *= 1 - _piece(self._bank.shadows, rng) * tint

    def _occlude(self, scene: np.ndarray, weather: Weather, rng: Generator) -> None:
        image = self._bank.occluders[rng.integers(len(self._bank.occluders))]
        turn = rng.integers(4) * math.pi / 2 + rng.normal(0, 0.25)
        scale = OCCLUDER_SIZE / SCENE_SIZE * rng.uniform(0.70, 1.05)
        cos, sin = math.cos(turn) * scale, math.sin(turn) * scale
        middle, half = OCCLUDER_SIZE / 2 + rng.normal(0, 5, 2), SCENE_SIZE / 2
        to_image = (
            cos, -sin, middle[0] - half * (cos - sin),
            sin, cos, middle[1] - half * (sin + cos),
        )  # fmt: skip
        size = (SCENE_SIZE, SCENE_SIZE)
        layer = image.transform(size, Image.Transform.AFFINE, to_image, _BILINEAR)
        values = np.asarray(layer, dtype=np.float32)
        # Headlights are aimed at the sign; what hangs before it stays dark at night.
        night = weather.place == "night"
        gain = 0.3 if night else (weather.background_gain + weather.sign_gain) / 2
        _over(scene, values[..., :3] * np.float32(gain), values[..., 3:] / 255)


@dataclass(frozen=True, slots=True)
class _Placement:
    """Where the sign hangs: middle and radius in scene pixels, turned by three angles (rad)."""

    x: float
    y: float
    radius: float
    roll: float
    yaw: float
    pitch: float

    @classmethod
    def draw(cls, rng: Generator) -> _Placement:
        radius = FRAME_SIZE * rng.uniform(0.29, 0.46)
        slack = FRAME_SIZE * 0.07
        x, y = SCENE_SIZE / 2 + rng.uniform(-slack, slack, 2)
        roll, yaw, pitch = rng.normal(0, (0.10, 0.34, 0.18))
        return cls(x, y, radius, roll, float(np.clip(yaw, -0.95, 0.95)), pitch)

    def moved(self, shift: float) -> _Placement:
        """The same placement, ``shift`` pixels farther down the pole."""
        x, y = self.x - shift * math.sin(self.roll), self.y + shift * math.cos(self.roll)
        return _Placement(x, y, self.radius, self.roll, self.yaw, self.pitch)

    def warp(self, template: Image.Image) -> Image.Image:
        """Project a template that faces the viewer to where it hangs."""
        unit = TEMPLATE_SIZE / 2
        to_plane = np.array([[1 / unit, 0, -1], [0, 1 / unit, -1], [0, 0, 1]])
        inverse = np.linalg.inv(self._homography() @ to_plane)
        inverse /= inverse[2, 2]
        size = (SCENE_SIZE, SCENE_SIZE)
        coefficients = inverse.ravel()[:8].tolist()
        return template.transform(size, Image.Transform.PERSPECTIVE, coefficients, _BILINEAR)

    def _homography(self) -> np.ndarray:
        """Map the sign's plane (unit radius) to scene pixels, seen from four radii away."""
        cos, sin = math.cos(self.roll), math.sin(self.roll)
        a, b = math.cos(self.yaw), math.sin(self.yaw)
        c, d = math.cos(self.pitch), math.sin(self.pitch)
        turned = np.array([[a, 0], [b * d, c], [-b * c, d]])
        x_row = cos * turned[0] - sin * turned[1]
        y_row = sin * turned[0] + cos * turned[1]
        depth = np.array([turned[2, 0] / 4, turned[2, 1] / 4, 1.0])
        rows = [
            self.radius * np.append(x_row, 0) + self.x * depth,
            self.radius * np.append(y_row, 0) + self.y * depth,
            depth,
        ]
        return np.stack(rows)


def _over(scene: np.ndarray, color: np.ndarray, alpha: np.ndarray) -> None:
    """Lay premultiplied ``color`` over the scene, in place."""
    scene *= 1 - alpha
    scene += color


def _piece(maps: list[np.ndarray], rng: Generator) -> np.ndarray:
    """A random window (SCENE_SIZE, SCENE_SIZE, 1) of a random map, randomly flipped."""
    chosen = maps[rng.integers(len(maps))]
    top, left = rng.integers(0, MAP_SIZE - SCENE_SIZE, 2)
    window = chosen[top : top + SCENE_SIZE, left : left + SCENE_SIZE, None]
    return window[:, ::-1] if rng.random() < 0.5 else window


def _fade(color: np.ndarray, alpha: np.ndarray, rng: Generator) -> np.ndarray:
    """Bleach the paint: red goes pink and gray first, black goes gray."""
    share = np.float32(rng.uniform(0, 1) ** 3 * 0.62)
    bleached = (color @ _BLEACHED)[..., None] + alpha * np.float32(92)
    return color + (bleached - color) * share


def _light(gain: float, rng: Generator) -> np.ndarray:
    """Brightness (SCENE_SIZE, SCENE_SIZE, 1): ``gain`` with a slope in a random direction."""
    slope, turn = rng.uniform(0, 0.30), rng.uniform(0, 2 * math.pi)
    tilt = slope * (math.cos(turn) * _ACROSS + math.sin(turn) * _DOWN)
    return np.float32(gain) * (1 + tilt[..., None]).astype(np.float32)


def _gloss(rng: Generator) -> np.ndarray:
    """A soft highlight where the sun is mirrored."""
    x, y, width = rng.uniform(-0.7, 0.7), rng.uniform(-0.7, 0.3), rng.uniform(0.25, 0.6)
    distance = ((_ACROSS - x) ** 2 + (_DOWN - y) ** 2) / np.float32(width**2)
    return np.exp(-distance)[..., None] * np.float32(rng.uniform(25, 110))


def _add_pole(scene: np.ndarray, placement: _Placement, weather: Weather, rng: Generator) -> None:
    """Draw the metal pole behind the sign, lit from one side like a cylinder."""
    width = placement.radius * rng.uniform(0.07, 0.13)
    lean = placement.roll * 0.7
    x0 = placement.x + rng.normal(0, 0.06) * placement.radius
    rows = np.arange(SCENE_SIZE, dtype=np.float32)[:, None]
    columns = np.arange(SCENE_SIZE, dtype=np.float32)[None, :]
    offset = (columns - x0 + (rows - placement.y) * np.float32(lean)) / np.float32(width)
    above = placement.radius * rng.choice([0.6, 1.0, 3.0])
    inside = np.clip((1.15 - np.abs(offset)) * np.float32(width), 0, 1)
    inside = inside * (rows > placement.y - above)
    side = 1.0 if rng.random() < 0.5 else -1.0
    shine = 0.75 - 0.45 * (offset * side - 0.3) ** 2
    gray = np.clip(shine, 0.15, 1) * np.float32(rng.uniform(90, 205) * weather.sign_gain)
    _over(scene, (gray * inside)[..., None], inside[..., None])
