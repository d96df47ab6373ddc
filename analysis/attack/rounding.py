"""From pixels in [0, 1] to the 8 bits that are written, without leaving the allowed ball."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def to_bytes(pixels: Tensor) -> Tensor:
    """Round pixels in [0, 1] to whole 1/255, returned as whole numbers 0 to 255 (float)."""
    # Not round(): that goes to the even neighbor, so that equal shifts of a half differ.
    return (pixels * 255 + 0.5).floor().clamp(0, 255)


def to_images(values: Tensor) -> np.ndarray:
    """Turn whole numbers (N, C, H, W) into images (N, H, W, C) uint8."""
    return values.permute(0, 2, 3, 1).to(device="cpu", dtype=torch.uint8).numpy()


def round_inward(plain: Tensor, changed: Tensor, epsilon: float, norm: str) -> Tensor:
    """Round ``changed`` to 8 bits so that it stays within ``epsilon`` of rounded ``plain``.

    Both (N, C, H, W) in [0, 1]; ``epsilon`` in 1/255, ``norm`` is ``linf`` or ``l2``. Returns
    whole numbers 0 to 255. The bound holds exactly, not up to half a step: where rounding would
    leave the ball, it goes towards ``plain``, in l2 for as few values of an image as will do.
    """
    base = to_bytes(plain)
    change = (changed - plain) * 255
    if norm == "linf":
        limit = math.floor(epsilon)
        whole = (change + 0.5).floor().clamp(-limit, limit)
    else:
        whole = _inside_l2(change, epsilon)
    return (base + whole).clamp(0, 255)


def _inside_l2(change: Tensor, epsilon: float) -> Tensor:
    length = change.flatten(1).norm(dim=1)[:, None, None, None]
    change = change * (epsilon / length.clamp(min=1e-12)).clamp(max=1)
    nearest, inner = (change + 0.5).floor().flatten(1), change.trunc().flatten(1)
    grown = nearest.abs() - change.flatten(1).abs()
    # What was rounded up most goes back first. With all of it back no value has grown, so
    # neither has the norm.
    order = grown.argsort(dim=1, descending=True, stable=True)
    square = nearest.long().square()
    saved = (square - inner.long().square()).gather(1, order)
    excess = square.sum(dim=1, keepdim=True) - math.floor(epsilon**2)
    back = torch.zeros_like(saved, dtype=torch.bool)
    back.scatter_(1, order, saved.cumsum(dim=1) - saved < excess)
    return torch.where(back, inner, nearest).reshape(change.shape)
