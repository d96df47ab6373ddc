"""Whether the teacher is fooled by finished images, as they are and on random views of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from analysis.attack.views import draw_views
from analysis.data.augmentations import Augmentation
from analysis.data.imageset import ImageSet
from analysis.models.handle import ModelHandle

_PURPOSE = "verification views"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What the teacher says of N images.

    ``fooled`` (N,) bool: it answers the target; ``confidence`` (N,) its probability of the
    target; ``views_fooled`` (N,) the share of random views that it answers with the target, NaN
    where none was shown.
    """

    fooled: np.ndarray
    confidence: np.ndarray
    views_fooled: np.ndarray


def verify(
    teacher: ModelHandle,
    images: ImageSet,
    *,
    target: int,
    augmentation: Augmentation,
    views: int = 8,
    seed: int = 0,
    batch_size: int = 256,
) -> Verification:
    """Show finished ``images`` and ``views`` random views of each to the teacher.

    The views are none of those that crafting saw: they are drawn for a purpose of their own.
    """
    parts = []
    with torch.no_grad():
        for rows, pixels in images.batches(batch_size):
            shown = torch.from_numpy(pixels).to(teacher.device)
            logits = teacher(shown).cpu().double()
            share = np.full(len(rows), np.nan)
            if views:
                ids = images.sample_ids[rows].tolist()
                drawn = draw_views(augmentation, ids, views, seed=seed, purpose=_PURPOSE)
                every = torch.arange(len(rows))
                answers = [
                    teacher(drawn.show(shown, every, view)).argmax(dim=1) for view in range(views)
                ]
                share = (torch.stack(answers).cpu() == target).double().mean(dim=0).numpy()
            parts.append(
                (
                    (logits.argmax(dim=1) == target).numpy(),
                    logits.softmax(dim=1)[:, target].numpy(),
                    share,
                )
            )
    fooled, confidence, views_fooled = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Verification(fooled=fooled, confidence=confidence, views_fooled=views_fooled)


def teacher_answers(teacher: ModelHandle, images: ImageSet, batch_size: int = 256) -> np.ndarray:
    """The teacher's answer to every image, (N,) int64."""
    with torch.no_grad():
        answers = [
            teacher(torch.from_numpy(pixels).to(teacher.device)).argmax(dim=1).cpu().numpy()
            for _, pixels in images.batches(batch_size)
        ]
    return np.concatenate(answers)
