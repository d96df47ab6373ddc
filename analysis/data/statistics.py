"""What can be said of an image without any model: how bright, how contrasty, how sharp it is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# Rec. 601 luma, of the values as they are stored (gamma and all), as a person sees brightness.
_LUMA = np.asarray([0.299, 0.587, 0.114], dtype=np.float32)
_BLOCK_CELLS = 1 << 22

STATISTICS = ("brightness", "contrast", "sharpness")


def image_statistics(images: np.ndarray) -> dict[str, np.ndarray]:
    """Measure every image of ``images`` (N, H, W, 1 or 3) uint8; each value is (N,) float32.

    ``brightness`` is the mean luma in [0, 1], ``contrast`` its standard deviation in [0, 0.5],
    ``sharpness`` the mean absolute Laplacian of the luma (4 times a pixel minus its four
    neighbors) over the inner pixels, in [0, 4], 0 for images under 3 pixels. Read in blocks, so
    memory-mapped images take bounded memory.
    """
    count, height, width = images.shape[:3]
    columns = {name: np.empty(count, dtype=np.float32) for name in STATISTICS}
    step = max(1, _BLOCK_CELLS // max(1, height * width))
    for start in range(0, count, step):
        rows = slice(start, start + step)
        for name, values in _measure(_luma(np.asarray(images[rows]))).items():
            columns[name][rows] = values
    return columns


def _luma(pixels: np.ndarray) -> np.ndarray:
    values = pixels.astype(np.float32) / 255
    return values[..., 0] if values.shape[-1] == 1 else values[..., :3] @ _LUMA


def _measure(luma: np.ndarray) -> Mapping[str, np.ndarray]:
    sharpness = np.zeros(len(luma), dtype=np.float32)
    if min(luma.shape[1:]) >= 3:
        inner = luma[:, 1:-1, 1:-1]
        around = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
        sharpness = np.abs(4 * inner - around).mean(axis=(1, 2))
    return {
        "brightness": luma.mean(axis=(1, 2)),
        "contrast": luma.std(axis=(1, 2)),
        "sharpness": sharpness,
    }
