"""What layers make of one minibatch: Gram matrices of activations, and pooled features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from analysis.errors import ModelError
from analysis.models.handle import ModelHandle
from analysis.models.layers import pool_features, recording

# Below this share of their size, what varies in float32 activations is rounding.
_RESOLUTION = 1e-6


@dataclass(frozen=True, slots=True)
class LayerBatch:
    """``grams`` (L, n, n) float32 and ``pooled`` L times (n, D) float32, for n images."""

    grams: np.ndarray
    pooled: list[np.ndarray]


def layer_grams(
    handle: ModelHandle, pixels: torch.Tensor, layers: Sequence[str], *, pooled: bool = True
) -> LayerBatch:
    """Run ``handle`` on ``pixels`` (n, C, H, W) and compare the images in every layer.

    The Gram matrix is that of the flattened activations, centered over the minibatch, which
    leaves every centered measure as it is and keeps float32 exact; 0 where the activations do
    not vary. Activations are gone when their layer is done. ``pooled`` is empty unless asked for.
    Raises :class:`ModelError` when a layer is not reached or puts out NaN or infinity.
    """

    def reduce(features: torch.Tensor) -> torch.Tensor:
        rows = _gram(features)
        # One tensor with a row per image: the Gram matrix, beside it the pooled features.
        parts = [rows, pool_features(features, handle.token_pooling)] if pooled else [rows]
        return torch.cat(parts, dim=1)

    with torch.inference_mode(), recording(handle.module, handle.taps(layers), reduce) as found:
        handle(pixels)
    n = len(pixels)
    arrays = []
    for layer in layers:
        if layer not in found:
            raise ModelError(
                f"{handle.spec_text} did not reach layer {layer!r} on these images",
                remedy="choose another layer",
            )
        rows = found[layer].float().cpu().numpy()
        if not np.isfinite(rows).all():
            raise ModelError(
                f"layer {layer!r} of {handle.spec_text} puts out NaN, infinity or too large values",
                expected="finite activations",
                remedy="check normalize= and the weights, or choose other layers",
            )
        arrays.append(rows)
    return LayerBatch(
        np.stack([rows[:, :n] for rows in arrays]), [rows[:, n:] for rows in arrays if pooled]
    )


def _gram(features: torch.Tensor) -> torch.Tensor:
    if features.ndim == 4 and features.is_contiguous(memory_format=torch.channels_last):
        # The order of positions is the same for every image; this one needs no copy.
        features = features.permute(0, 2, 3, 1)
    flat = features.reshape(len(features), -1).float()
    centered = flat - flat.mean(dim=0)
    if centered.abs().max() <= _RESOLUTION * flat.abs().max():
        return torch.zeros(len(flat), len(flat), device=flat.device)
    return centered @ centered.T
