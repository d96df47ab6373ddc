"""What one model answers: the class, and how sure it is of it.

Softmax in float64 at temperature 1, in chunks of rows, so that memory-mapped logits of any number
of images take a bounded amount of memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis.errors import InputError, ModelError

# 1 million float64 are 8 MiB; a comparison holds about a dozen such arrays at a time.
_CHUNK_CELLS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """``answer`` (N,) int64, ``confidence`` (N,) its probability, ``entropy`` (N,) in nats.

    Equal logits are resolved in favor of the lower class index.
    """

    answer: np.ndarray
    confidence: np.ndarray
    entropy: np.ndarray


def read_answers(logits: np.ndarray, *, owner: str = "the model") -> Answers:
    """Answer, confidence and entropy of every row of ``logits`` (N, K).

    Raises :class:`InputError` for another shape and :class:`ModelError` for values that are not
    finite; ``owner`` names the model in the message.
    """
    check_logits(logits, owner)
    n = len(logits)
    answer, confidence, entropy = np.empty(n, np.int64), np.empty(n), np.empty(n)
    for rows in row_chunks(*logits.shape):
        log_p = log_softmax(finite_rows(logits, rows, owner))
        answer[rows] = logits[rows].argmax(axis=1)
        confidence[rows] = np.exp(log_p.max(axis=1))
        entropy[rows] = np.maximum(-(np.exp(log_p) * log_p).sum(axis=1), 0.0)
    return Answers(answer=answer, confidence=confidence, entropy=entropy)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithm of the softmax of ``logits`` (N, K) along the classes, float64."""
    shifted = logits - logits.max(axis=1, keepdims=True).astype(np.float64)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def row_chunks(n: int, classes: int) -> Iterator[slice]:
    """Cut ``n`` rows of ``classes`` values into slices of bounded size."""
    step = max(1, _CHUNK_CELLS // classes)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def finite_rows(logits: np.ndarray, rows: slice, owner: str) -> np.ndarray:
    """Return ``logits[rows]`` in float64, or raise :class:`ModelError` naming the first bad row."""
    chunk = np.asarray(logits[rows], dtype=np.float64)
    finite = np.isfinite(chunk).all(axis=1)
    if not finite.all():
        row = rows.start + int(np.argmin(finite))
        raise ModelError(
            f"{owner} answers {logits[row][~np.isfinite(logits[row])][0]} on sample {row}",
            expected="finite logits",
            remedy="check the weights and the normalization",
        )
    return chunk


def check_logits(logits: np.ndarray, owner: str) -> None:
    """Raise :class:`InputError` unless ``logits`` is (N >= 1, K >= 2)."""
    if np.ndim(logits) != 2 or len(logits) < 1 or logits.shape[1] < 2:
        raise InputError(
            f"logits of {owner} have shape {np.shape(logits)}",
            expected="(samples, classes) with at least 1 sample and 2 classes",
        )


def check_labels(labels: np.ndarray | None, n: int, classes: int) -> np.ndarray | None:
    """Return ``labels`` (n,) as int64 when each names one of ``classes``; None stays None."""
    if labels is None:
        return None
    labels = np.asarray(labels)
    if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"labels of shape {labels.shape} and type {labels.dtype}",
            expected=f"({n},) integers, one for each sample",
        )
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        raise InputError(
            f"label {labels[outside][0]} of sample {int(np.argmax(outside))}",
            expected=f"0 to {classes - 1}, as the models answer {classes} classes",
            remedy="leave the labels out when some are unknown",
        )
    return labels.astype(np.int64)
