"""Where the teacher's answers come from: nowhere, a file computed once, or every view."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from analysis.data.imageset import ImageSet
from analysis.distillation.signals import Answers
from analysis.errors import ModelError, nearest
from analysis.models.handle import ModelHandle
from analysis.models.layers import Tap, recording
from analysis.records import PENULTIMATE
from analysis.store.cache import Progress
from analysis.store.files import storage_errors, write_json

_BATCH = 256


class Teaching(Protocol):
    """Answers of a teacher for a batch of training."""

    def answers(self, rows: Tensor, pixels: Tensor) -> Answers | None:
        """Return what the teacher says of image set ``rows``, shown to the student as ``pixels``.

        ``pixels`` (B, C, H, W) float32 in [0, 1], augmented. None where there is no teacher.
        """


class NoTeaching:
    """No teacher."""

    def answers(self, rows: Tensor, pixels: Tensor) -> None:
        """Return None."""


class CachedTeaching:
    """Logits (N, K) that were computed once, on the images as they are."""

    def __init__(self, logits: np.ndarray, device: torch.device) -> None:
        self._logits = torch.from_numpy(np.array(logits)).to(device)

    def answers(self, rows: Tensor, pixels: Tensor) -> Answers:
        """Return the kept logits of ``rows``."""
        return Answers(self._logits[rows.to(self._logits.device)])


class LiveTeaching:
    """The teacher looks at every view, and shows its features."""

    def __init__(self, teacher: ModelHandle, layers: tuple[str, ...]) -> None:
        self._teacher = teacher
        self._taps = taps(teacher.module, layers, teacher.penultimate)

    def answers(self, rows: Tensor, pixels: Tensor) -> Answers:
        """Return the teacher's answers to ``pixels``."""
        with torch.no_grad(), recording(self._teacher.module, self._taps, as_is) as features:
            return Answers(self._teacher(pixels), dict(features))


def taps(module: nn.Module, layers: Sequence[str], classifier: str) -> dict[str, Tap]:
    """Where the features of ``layers`` are taken: any module's output, or ``penultimate``.

    ``classifier`` is the module whose input is the penultimate feature. Raises
    :class:`~analysis.errors.ModelError` for a layer that ``module`` does not have.
    """
    known = {name: Tap(name) for name, _ in module.named_modules() if name}
    if classifier:
        known[PENULTIMATE] = Tap(classifier, "input")
    for name in layers:
        if name not in known:
            raise ModelError(
                f"{type(module).__name__} has no layer {name!r}", remedy=nearest(name, known)
            )
    return {name: known[name] for name in layers}


def as_is(features: Tensor) -> Tensor:
    """Return ``features``: objectives see layers unpooled."""
    return features


def kept_logits(
    teacher: ModelHandle,
    images: ImageSet,
    path: Path,
    *,
    device: torch.device,
    progress: Progress,
    stage: str,
) -> np.ndarray:
    """Return the teacher's logits (N, K) float32 on ``images``, computed at most once.

    They are kept in ``path`` (``.npy``), with a ``.json`` beside it that says whose they are and
    how many rows are done; after a kill the work goes on from there.
    Raises :class:`~analysis.errors.ModelError` when the teacher answers NaN or infinity.
    """
    key = {"teacher": teacher.digest, "images": images.pixels_digest}
    logits, done = _opened(path, key, (len(images), teacher.num_classes))
    for rows, pixels in images.batches(_BATCH, np.arange(done, len(images))):
        progress(stage, done, len(images))
        with torch.no_grad():
            answer = teacher(torch.from_numpy(pixels).to(device)).float().cpu().numpy()
        if not np.isfinite(answer).all():
            raise ModelError(
                f"the teacher answers NaN or infinity on image {str(images.sample_ids[rows[0]])!r} "
                "or one of its batch",
                remedy="check its weights and its normalization",
            )
        with storage_errors(path):
            logits[rows] = answer
            logits.flush()
        done = int(rows[-1]) + 1
        write_json(_marker(path), {"key": key, "rows": done})
    progress(stage, len(images), len(images))
    return np.array(logits)


def _marker(path: Path) -> Path:
    return path.with_suffix(".json")


def _opened(path: Path, key: dict[str, str], shape: tuple[int, int]) -> tuple[np.memmap, int]:
    """Open or create the file of logits; return it with the number of finished rows."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        marker = json.loads(_marker(path).read_text(encoding="utf-8"))
        logits = np.lib.format.open_memmap(path, mode="r+")
        if marker["key"] == key and logits.shape == shape and logits.dtype == np.float32:
            return logits, int(marker["rows"])
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _marker(path).unlink(missing_ok=True)
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape), 0
