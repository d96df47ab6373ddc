"""The copy of a model that attribution runs: the same answers in a fraction of the time.

Batch normalization is folded, convolutions are fused, activations are channels-last, and
gradients are multiplied in bfloat16 where the processor can and the maps stay the same. None of
this is taken on trust: each step is compared with the original on a sample of the images at
hand, and left out where it changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from analysis.attribution.agreement import rank_correlation
from analysis.attribution.folding import fold_batch_norm
from analysis.attribution.fusion import FusedConvolution, fuse_convolutions
from analysis.errors import InputError, nearest
from analysis.models.handle import ModelHandle

Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("auto", "float32", "bfloat16")

SAMPLE = 4
"""Images on which a fast copy is compared with the original."""
STEPS = 8
"""Points on the way from gray to each of these images at which maps are compared."""
AGREEMENT = 0.995
"""Mean Spearman correlation below which maps in bfloat16 are not used."""
TOLERANCE = 1e-3
"""Largest deviation of the fast copy's logits and gradients, relative to their largest value."""


class InferenceCopy(nn.Module):
    """A model that is called on pixels, as its handle is, and is faster.

    ``network`` does the work; ``precision`` is that of its gradients, ``float32`` or
    ``bfloat16`` (of float64 weights, ``float32`` means float64). Answers are never rounded.
    ``class_order`` gives, for each class, which of the model's outputs it is.
    """

    def __init__(
        self,
        handle: ModelHandle,
        network: nn.Module,
        *,
        precision: str = "float32",
        class_order: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.handle, self.network, self.precision = handle, network, precision
        self.class_order = None if class_order is None else list(class_order)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.handle.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, which pixels should have."""
        return _parameter_dtype(self.handle)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Answer pixels (N, C, H, W) in [0, 1] with logits (N, K); differentiable."""
        normalized = self.handle.normalization(pixels.to(self.handle.device, self.dtype))
        logits = self.network(normalized.contiguous(memory_format=torch.channels_last))
        return logits if self.class_order is None else logits[:, self.class_order]


def inference_copy(
    handle: ModelHandle,
    sample: torch.Tensor,
    *,
    precision: Precision = "auto",
    class_order: Sequence[int] | None = None,
) -> InferenceCopy:
    """Make the fast copy of ``handle``, checked on ``sample`` (n, C, H, W) in [0, 1].

    With ``auto``, gradients are multiplied in bfloat16 when the network's convolutions could be
    fused, the processor has units for it, and maps agree with those in float32 (mean Spearman
    correlation of at least 0.995); ``bfloat16`` skips the last two conditions. Raises
    :class:`InputError` for an unknown precision, and for classes that ``class_order`` does not
    list exactly once.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r}", remedy=nearest(str(precision), PRECISIONS))
    if class_order is not None and sorted(class_order) != list(range(handle.num_classes)):
        raise InputError(
            f"class order {list(class_order)}",
            expected=f"each of the outputs 0 to {handle.num_classes - 1} once",
        )
    sample = sample[:SAMPLE].to(handle.device)
    folded, fused = _float32_networks(handle, sample)
    exact = InferenceCopy(handle, fused or folded, class_order=class_order)
    if fused is None or precision == "float32" or not (precision == "bfloat16" or has_bfloat16()):
        return exact
    network = fuse_convolutions(folded, torch.bfloat16)
    quick = InferenceCopy(handle, network, precision="bfloat16", class_order=class_order)
    agrees = precision == "bfloat16" or map_agreement(exact, quick, sample) >= AGREEMENT
    return quick if agrees else exact


def has_bfloat16() -> bool:
    """Whether the processor itself multiplies in bfloat16; emulation would be slower."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def map_agreement(one: InferenceCopy, other: InferenceCopy, sample: torch.Tensor) -> float:
    """Mean Spearman correlation of two models' maps on ``sample``, 1 is the same ranking.

    The maps are gradients of the probability of the first model's answer, summed over a few
    points between mid-gray and each image: what integrated gradients are made of.
    """
    points = torch.linspace(0, 1, STEPS + 1, device=sample.device)[1:]
    path = torch.cat([0.5 + point * (sample - 0.5) for point in points])
    with torch.no_grad():
        classes = one(sample).argmax(dim=1).repeat(STEPS)
    maps = []
    for model in (one, other):
        inputs = path.clone().requires_grad_()
        scalar = model(inputs).softmax(dim=1).gather(1, classes[:, None]).sum()
        grads = torch.autograd.grad(scalar, inputs)[0] * (path - 0.5)
        summed = grads.reshape(STEPS, *sample.shape).sum(dim=(0, 2))
        maps.append(summed.cpu().numpy())
    correlations = rank_correlation(*maps)
    # A constant map ranks nothing, so it cannot disagree.
    ranked = correlations[~np.isnan(correlations)]
    return float(ranked.mean()) if len(ranked) else 1.0


def _float32_networks(
    handle: ModelHandle, sample: torch.Tensor
) -> tuple[nn.Module, nn.Module | None]:
    """Return the folded network and, where that can be had, the one that is fused as well.

    Both answer as the original does; the original itself stands in for a folded one that does
    not.
    """
    original = handle.module
    folded = fold_batch_norm(original)
    if not _equivalent(original, folded, handle, sample):
        folded = original
    on_cpu = handle.device.type == "cpu" and torch.backends.mkldnn.is_available()
    if not on_cpu or _parameter_dtype(handle) != torch.float32:
        return folded, None
    fused = fuse_convolutions(folded)
    has_any = any(isinstance(part, FusedConvolution) for part in fused.modules())
    return folded, fused if has_any and _equivalent(original, fused, handle, sample) else None


def _equivalent(
    original: nn.Module, changed: nn.Module, handle: ModelHandle, sample: torch.Tensor
) -> bool:
    """Whether two networks have the same logits and the same gradients on ``sample``."""
    expected = _answers(original, handle, sample)
    try:
        results = _answers(changed, handle, sample)
    except (RuntimeError, TypeError, ValueError):
        # A rewritten graph may meet shapes or in-place changes that it cannot serve.
        return False
    return all(
        bool((a - b).abs().max() <= TOLERANCE * a.abs().max())
        for a, b in zip(expected, results, strict=True)
    )


def _answers(
    network: nn.Module, handle: ModelHandle, sample: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    inputs = sample.to(_parameter_dtype(handle)).clone().requires_grad_()
    logits = network(handle.normalization(inputs).contiguous(memory_format=torch.channels_last))
    if not logits.requires_grad:
        return (logits.detach(),)
    # Unequal weights, so that classes cannot cancel one another.
    weights = torch.linspace(1, 2, logits.shape[1], dtype=logits.dtype, device=logits.device)
    return logits.detach(), torch.autograd.grad((logits * weights).sum(), inputs)[0]


def _parameter_dtype(handle: ModelHandle) -> torch.dtype:
    return next((p.dtype for p in handle.module.parameters()), torch.float32)
