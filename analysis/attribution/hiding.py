"""A check for the eye: hide the pixels that part two models, and see whether they still part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from analysis.attribution.agreement import TOP_SHARE, strongest
from analysis.attribution.baselines import find_baseline
from analysis.attribution.copies import InferenceCopy
from analysis.attribution.curves import hide
from analysis.attribution.evidence import Hidden
from analysis.attribution.images import Pixels, as_pixels
from analysis.attribution.pair import prepare_pair
from analysis.errors import InputError
from analysis.models.handle import ModelHandle

DRAWS = 9


def check_by_hiding(
    teacher: ModelHandle | InferenceCopy,
    student: ModelHandle | InferenceCopy,
    images: np.ndarray | Pixels,
    maps: np.ndarray,
    *,
    share: float = TOP_SHARE,
    baseline: str = "blurred",
    draws: int = DRAWS,
    student_order: Sequence[int] | None = None,
    seed: int = 0,
    batch: int = 64,
) -> dict[str, Hidden]:
    """Ask ``teacher`` and ``student`` again without the strongest pixels of ``maps`` (N, H, W).

    The ``share`` of pixels with the largest values (for the explained number, not in magnitude)
    show the ``baseline`` instead; so do, ``draws`` times, as many pixels drawn at random. Raises
    :class:`InputError` for maps that do not belong to the images and a share outside (0, 1].
    """
    pixels = as_pixels(images)
    height, width, _ = pixels.image_shape
    if maps.shape != (len(pixels), height, width):
        raise InputError(f"maps of shape {maps.shape}", expected=f"{(len(pixels), height, width)}")
    copies = prepare_pair(teacher, student, pixels, "float32", student_order)
    top = strongest(maps, share)
    masks = np.stack([np.zeros_like(top), top, *_random_masks(top, draws, seed)])
    kept: dict[str, list[np.ndarray]] = {"teacher": [], "student": []}
    for rows, values in pixels.batches(batch):
        for part, model in zip(kept, copies, strict=True):
            x = torch.from_numpy(values).to(model.device, model.dtype)
            base = find_baseline(baseline).make(x)
            shown = [_probabilities(model, x, masks[i, rows], base) for i in range(len(masks))]
            kept[part].append(np.stack(shown))
    count = int(top[0].sum())
    found = {part: np.concatenate(parts, axis=1) for part, parts in kept.items()}
    return {
        part: Hidden(count=count, whole=values[0], top=values[1], random=values[2:])
        for part, values in found.items()
    }


def _random_masks(top: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """As many pixels as ``top`` marks, anywhere: (draws, N, H, W), the same for every image."""
    if draws < 1:
        raise InputError(f"{draws} draws", expected="at least 1")
    generator = np.random.default_rng(seed)
    count = int(top[0].sum())
    masks = np.zeros((draws, top[0].size), dtype=bool)
    for mask in masks:
        mask[generator.choice(mask.size, size=count, replace=False)] = True
    wide = masks.reshape(draws, 1, *top.shape[1:])
    return np.broadcast_to(wide, (draws, *top.shape))


def _probabilities(
    model: InferenceCopy, x: torch.Tensor, hidden: np.ndarray, base: torch.Tensor
) -> np.ndarray:
    with torch.no_grad():
        logits = model(hide(x, torch.from_numpy(hidden).to(x.device), base))
    return logits.double().softmax(dim=1).cpu().numpy()
