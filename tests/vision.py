"""How far apart two colors look, also to those who see red and green alike."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dashboard.theme import rgb

Sight = Literal["normal", "deutan", "protan"]

# Machado, Oliveira, Fernandes, IEEE TVCG 2009, severity 1; they act on linear RGB.
SIGHTS: dict[Sight, np.ndarray] = {
    "normal": np.eye(3),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
}  # fmt: skip
# Ottosson, A perceptual color space for image processing, 2020.
_CONES = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
_OKLAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip


def distance(first: str, second: str, sight: Sight) -> float:
    """Distance in OKLab of two colors ``#RRGGBB`` as ``sight`` sees them."""
    return float(np.linalg.norm(_seen(first, sight) - _seen(second, sight)))


def _seen(color: str, sight: Sight) -> np.ndarray:
    share = np.array(rgb(color)) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.clip(SIGHTS[sight] @ linear, 0, 1)
    return np.asarray(_OKLAB @ np.cbrt(_CONES @ seen))
