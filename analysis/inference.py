"""Inference: one pass of a model over an image set, streamed to disk and resumable.

Logits and pooled features go straight into ``.npy`` files of their final size; memory does not
grow with the number of images. After every shard the number of finished rows is recorded, and a
pass that was killed continues there. Batches start at fixed rows, so the result is the same to
the bit wherever it was interrupted.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from analysis.data.imageset import ImageSet
from analysis.digest import digest_json
from analysis.errors import InputError, ModelError
from analysis.models.handle import ModelHandle
from analysis.records import PENULTIMATE
from analysis.store import Progress, silent
from analysis.store.files import storage_errors, write_json

STAGE = "inference"

_SHARD_ROWS = 2048
_MARKER = "rows.done"
_LOGITS = "logits"


@dataclass(frozen=True, slots=True)
class InferenceFiles:
    """Where a pass left its arrays: ``logits`` (N, K) and ``features`` {layer: (N, D)}.

    All are ``.npy`` of float32 whose row i belongs to row i of the image set.
    """

    logits: Path
    features: dict[str, Path]


def run_inference(
    handle: ModelHandle,
    images: ImageSet,
    *,
    layers: Sequence[str] = (PENULTIMATE,),
    batch_size: int = 64,
    workdir: Path,
    progress: Progress | None = None,
) -> InferenceFiles:
    """Run ``handle`` once over ``images``; write logits and pooled features into ``workdir``.

    What an earlier, interrupted call for the same model, images, layers and batch size left
    there is continued; anything else is begun anew. ``progress`` hears of every batch and may
    raise :class:`~analysis.errors.Cancelled`.
    Raises :class:`ModelError` when the images do not fit the model, when an answer is NaN or
    infinite, and when all answers are the same although the images are not;
    :class:`~analysis.errors.StorageError` when the disk refuses.
    """
    if batch_size < 1:
        raise InputError(f"batch size {batch_size}", expected="at least 1")
    handle.check_images(images.image_shape)
    handle.taps(layers)
    run = _Run(handle, images, tuple(dict.fromkeys(layers)), batch_size, workdir)
    report = progress or silent
    for done in run.work():
        report(STAGE, done, len(images))
    return run.files


@dataclass(frozen=True, slots=True)
class _Run:
    """One pass: its key, its files, and the row it has come to."""

    handle: ModelHandle
    images: ImageSet
    layers: tuple[str, ...]
    batch_size: int
    workdir: Path

    @property
    def files(self) -> InferenceFiles:
        paths = self._paths()
        logits = paths.pop(_LOGITS)
        return InferenceFiles(logits, paths)

    def _paths(self) -> dict[str, Path]:
        # Layers of user code may have names that no file can have.
        names = {
            layer: f"features-{i}-{re.sub(r'[^A-Za-z0-9._-]', '_', layer)[:80]}.npy"
            for i, layer in enumerate(self.layers)
        }
        return {
            name: self.workdir / file for name, file in {_LOGITS: "logits.npy", **names}.items()
        }

    def key(self) -> str:
        """Identity of everything that decides the contents of the files."""
        parts = [self.handle.digest, self.images.digest, self.layers, self.batch_size]
        return digest_json([*parts, str(self.handle.device)])

    def work(self) -> Iterator[int]:
        """Compute what is missing; yield the number of finished rows after every batch."""
        total = len(self.images)
        done = self._finished()
        yield done
        if done == total:
            return
        shard = self.batch_size * -(-_SHARD_ROWS // self.batch_size)
        varies = done > 0 and self._varies(done)
        if done == 0:
            # It may vouch for files that are about to be overwritten.
            (self.workdir / _MARKER).unlink(missing_ok=True)
        with _ArrayFiles(self._paths(), total, keep=done > 0) as arrays:
            for rows, outputs in self._batches(done):
                arrays.write(int(rows[0]), outputs)
                done = int(rows[-1]) + 1
                if done % shard == 0 or done == total:
                    arrays.sync()
                    varies = varies or self._varies(done)
                    self._mark(done)
                yield done

    def _batches(self, start: int) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        rest = None if start == 0 else np.arange(start, len(self.images))
        for rows, pixels in self.images.batches(self.batch_size, rest):
            with torch.inference_mode():
                logits, features = self.handle.traced(torch.from_numpy(pixels), self.layers)
            outputs = {_LOGITS: logits, **features}
            arrays = {name: value.float().cpu().numpy() for name, value in outputs.items()}
            self._refuse_nonfinite(rows, arrays)
            yield rows, arrays

    def _refuse_nonfinite(self, rows: np.ndarray, arrays: dict[str, np.ndarray]) -> None:
        for name, values in arrays.items():
            # One sum is far cheaper than a mask; only a suspicious one is looked into.
            with np.errstate(invalid="ignore"):
                if np.isfinite(values.sum(dtype=np.float64)):
                    continue
            bad = ~np.isfinite(values).all(axis=1)
            if bad.any():
                sample = self.images.sample_ids[rows[int(bad.argmax())]]
                raise ModelError(
                    f"{self.handle.spec_text} answers NaN or infinity ({name}) on {sample}",
                    expected="finite numbers",
                    remedy="check normalize= and the weights",
                )

    def _varies(self, done: int) -> bool:
        """Whether the logits of the first ``done`` rows differ; refuse those that should."""
        logits = np.load(self._paths()[_LOGITS], mmap_mode="r")[:done]
        if _rows_differ(logits):
            return True
        if _rows_differ(self.images.images[:done]):
            raise ModelError(
                f"{self.handle.spec_text} gives the same answer to {done} different images",
                expected="logits that depend on the image",
                remedy="check the weights and normalize=",
            )
        return False

    def _finished(self) -> int:
        """Rows that an earlier call has finished; 0 when its files are not there or not ours."""
        try:
            marker = json.loads((self.workdir / _MARKER).read_text())
            if marker["key"] != self.key():
                return 0
            shapes = [np.load(path, mmap_mode="r").shape for path in self._paths().values()]
            whole = all(len(shape) == 2 and shape[0] == len(self.images) for shape in shapes)
            return int(marker["done"]) if whole else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def _mark(self, done: int) -> None:
        write_json(self.workdir / _MARKER, {"key": self.key(), "done": done})


def _rows_differ(array: np.ndarray) -> bool:
    starts = range(0, len(array), _SHARD_ROWS)
    return any((array[i : i + _SHARD_ROWS] != array[0]).any() for i in starts)


class _ArrayFiles:
    """``.npy`` files of known length that are filled row by row.

    They are written, not mapped: mapped pages would count as this process's memory, and a full
    disk would kill it instead of raising an error.
    """

    def __init__(self, paths: dict[str, Path], total: int, *, keep: bool) -> None:
        self._paths, self._total, self._keep = paths, total, keep
        self._files: dict[str, BinaryIO] = {}
        self._starts: dict[str, int] = {}

    def __enter__(self) -> _ArrayFiles:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            # What matters was synced; closing only repeats an error that is already on its way.
            with contextlib.suppress(OSError):
                file.close()

    def write(self, row: int, arrays: dict[str, np.ndarray]) -> None:
        """Put the arrays (B, D) float32 at ``row`` of their files, all by name."""
        for name, values in arrays.items():
            with storage_errors(self._paths[name]):
                if name not in self._files:
                    self._open(name, values.shape[1])
                file = self._files[name]
                file.seek(self._starts[name] + row * values.shape[1] * values.itemsize)
                file.write(np.ascontiguousarray(values).data)

    def sync(self) -> None:
        """Return when everything written is on the disk."""
        for name, file in self._files.items():
            with storage_errors(self._paths[name]):
                file.flush()
                os.fsync(file.fileno())

    def _open(self, name: str, columns: int) -> None:
        path = self._paths[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._keep:
            self._starts[name] = int(np.load(path, mmap_mode="r").offset)
            self._files[name] = path.open("rb+")
            return
        file = self._files[name] = path.open("wb")
        header = {"descr": "<f4", "fortran_order": False, "shape": (self._total, columns)}
        np.lib.format.write_array_header_1_0(file, header)
        self._starts[name] = file.tell()
        file.truncate(file.tell() + self._total * columns * 4)
