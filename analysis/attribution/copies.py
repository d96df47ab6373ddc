"""The copy of a model that attribution runs: the same answers in a fraction of the time.

Batch normalization is folded, convolutions are fused, activations are channels-last, and
bfloat16 is used where the processor multiplies in it and the maps stay the same. None of this
is taken on trust: each step is compared with the original on a sample of the images at hand, and
left out where it changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from analysis.attribution.folding import fold_batch_norm
from analysis.attribution.fusion import fuse_convolutions
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

    ``network`` does the work in ``precision``, ``exact_network`` the same in the weights' own;
    logits are never less than float32. ``class_order`` gives, for each class, which of the
    model's outputs it is.
    """

    def __init__(
        self,
        handle: ModelHandle,
        exact_network: nn.Module,
        network: nn.Module | None = None,
        *,
        class_order: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.handle, self.exact_network = handle, exact_network
        self.network = exact_network if network is None else network
        self.precision = "float32" if network is None else "bfloat16"
        self.class_order = None if class_order is None else list(class_order)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, which pixels should have."""
        return _parameter_dtype(self.handle)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Answer pixels (N, C, H, W) in [0, 1] with logits (N, K); differentiable."""
        if self.precision == "float32":
            return self.exact(pixels)
        with torch.autocast(self.handle.device.type, torch.bfloat16):
            return self._answer(self.network, pixels)

    def exact(self, pixels: torch.Tensor) -> torch.Tensor:
        """Answer as :meth:`forward` does, without bfloat16."""
        return self._answer(self.exact_network, pixels)

    def _answer(self, network: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        normalized = self.handle.normalization(pixels.to(self.handle.device, self.dtype))
        logits = network(normalized.contiguous(memory_format=torch.channels_last))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return logits if self.class_order is None else logits[:, self.class_order]


def inference_copy(
    handle: ModelHandle,
    sample: torch.Tensor,
    *,
    precision: Precision = "auto",
    class_order: Sequence[int] | None = None,
) -> InferenceCopy:
    """Make the fast copy of ``handle``, checked on ``sample`` (n, C, H, W) in [0, 1].

    With ``auto``, bfloat16 is used when the processor has units for it and maps computed in it
    agree with those in float32 (mean Spearman correlation of at least 0.995); asking for
    ``bfloat16`` skips that check. Raises :class:`InputError` for an unknown precision, and for
    classes that ``class_order`` does not list exactly once.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r}", remedy=nearest(str(precision), PRECISIONS))
    if class_order is not None and sorted(class_order) != list(range(handle.num_classes)):
        raise InputError(
            f"class order {list(class_order)}",
            expected=f"each of the outputs 0 to {handle.num_classes - 1} once",
        )
    sample = sample[:SAMPLE].to(handle.device)
    fast, folded = _float32_copy(handle, sample)
    exact = InferenceCopy(handle, fast, class_order=class_order)
    wanted = precision == "bfloat16" or (precision == "auto" and has_bfloat16(handle.device))
    if not wanted or exact.dtype != torch.float32:
        return exact
    network = folded if fast is folded else fuse_convolutions(folded, torch.bfloat16)
    quick = InferenceCopy(handle, fast, network, class_order=class_order)
    agrees = precision == "bfloat16" or map_agreement(exact, quick, sample) >= AGREEMENT
    return quick if agrees else exact


def has_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` multiplies matrices in bfloat16 faster than in float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    # Only processors count that multiply in bfloat16 themselves; emulation is slower.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def map_agreement(one: nn.Module, other: nn.Module, sample: torch.Tensor) -> float:
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
        maps.append(summed.flatten(1).cpu().numpy())
    pairs = zip(*maps, strict=True)
    return float(np.mean([spearmanr(a, b).statistic for a, b in pairs if np.ptp(a) and np.ptp(b)]))


def _float32_copy(handle: ModelHandle, sample: torch.Tensor) -> tuple[nn.Module, nn.Module]:
    """Return the fastest copy that answers as the original does, and the merely folded one."""
    original = handle.module
    folded = fold_batch_norm(original)
    if not _equivalent(original, folded, handle, sample):
        return original, original
    if handle.device.type == "cpu" and torch.backends.mkldnn.is_available():
        fused = fuse_convolutions(folded, torch.float32)
        if _equivalent(original, fused, handle, sample):
            return fused, folded
    return folded, folded


def _equivalent(
    original: nn.Module, changed: nn.Module, handle: ModelHandle, sample: torch.Tensor
) -> bool:
    """Whether two networks have the same logits and the same gradients on ``sample``."""
    try:
        results = [_answers(network, handle, sample) for network in (original, changed)]
    except RuntimeError:
        # A rewritten graph may meet shapes or in-place changes it cannot serve: use the original.
        return False
    return all(
        torch.isfinite(b).all() and (a - b).abs().max() <= TOLERANCE * a.abs().max()
        for a, b in zip(*results, strict=True)
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
