"""STRIP: does an image keep its answer whatever is laid over it?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from analysis.data.imageset import ImageSet
from analysis.errors import InputError
from analysis.records import Finding

FALSE_REJECTIONS = 0.01
_BATCH = 256


@torch.no_grad()
def strip_entropy(
    model: Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet,
    overlays: ImageSet,
    *,
    draws: int = 32,
    opacity: float = 0.5,
    seed: int = 0,
) -> np.ndarray:
    """Mean entropy (N,) in nats of the answers to each image under ``draws`` random overlays.

    Lower is stranger: a trigger that decides the answer shines through. An image becomes
    (1 - ``opacity``) x + ``opacity`` o; each draws its own overlays, the same for one seed.
    Source: Gao et al. 2019, arXiv 1902.06531, equations 2 to 4 (there natural units are bits and
    draws 100).
    """
    if images.image_shape != overlays.image_shape:
        raise InputError(
            f"overlays of shape {overlays.image_shape}", expected=str(images.image_shape)
        )
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(overlays), size=(len(images), draws))
    pool = torch.from_numpy(next(iter(overlays.batches(len(overlays))))[1])
    entropy = np.empty(len(images))
    step = max(1, _BATCH // draws)
    for rows, pixels in images.batches(step):
        own = torch.from_numpy(pixels)[:, None]
        mixed = (1 - opacity) * own + opacity * pool[torch.from_numpy(chosen[rows])]
        log_p = model(mixed.flatten(0, 1)).double().log_softmax(dim=1)
        each = -(log_p.exp() * log_p).sum(dim=1).reshape(len(rows), draws)
        entropy[rows] = each.mean(dim=1).cpu().numpy()
    return entropy


def strip_finding(clean: np.ndarray, suspect: np.ndarray, *, what: str) -> Finding:
    """The share of ``suspect`` entropies (M,) below what 1 % of the ``clean`` ones (N,) reach.

    ``what`` says in words which images were suspected. 0.01 is what harmless images give.
    """
    threshold = float(np.quantile(clean, FALSE_REJECTIONS))
    share = float((suspect < threshold).mean())
    return Finding(
        test="strip",
        title="STRIP",
        sentence=(
            f"Under overlays {100 * share:.1f} % of {what} keep a surer answer than 99 % of the "
            "trusted images do."
        ),
        statistic=share,
        scores=tuple((-suspect).tolist()),
        scores_of="sample",
        threshold=-threshold,
    )
