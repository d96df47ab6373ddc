"""Stage: one pass of one model over one condition."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.imageset import ImageSet
from analysis.inference import run_inference
from analysis.models.handle import ModelHandle
from analysis.records import CLEAN, PENULTIMATE
from analysis.store.files import write_array
from analysis.study.stages import Products, Workbench

VERSION = 1
KEPT_BATCH = 16
"""Images at a time under a condition that a person kept: few, so that one can be asked alone."""


def kept_batch(row: int, of: int) -> tuple[int, int]:
    """Where row ``row`` of ``of`` images comes in a pass by ``KEPT_BATCH``: (place, batch size).

    A network adds its products in an order that depends on the shape of the batch, and may on
    the place in it, but not on the other images: the same shape and place give the same bits, on
    the same machine with the same number of threads.
    """
    start = row - row % KEPT_BATCH
    return row - start, min(KEPT_BATCH, of - start)


def infer(
    bench: Workbench,
    name: str,
    handle: ModelHandle,
    images: ImageSet,
    *,
    condition: str = CLEAN,
    order: tuple[int, ...] | None = None,
    batch_size: int | None = None,
) -> Products:
    """Compute logits and penultimate features of model ``name`` on ``images``.

    ``order`` reorders the logits: column j of the result is the model's output ``order[j]``.
    ``batch_size`` is that of the pass, where it matters.
    """
    batched = {} if batch_size is None else {"batch_size": batch_size}

    def work(folder: Path) -> Mapping[str, Any]:
        files = run_inference(
            handle,
            images,
            layers=(PENULTIMATE,),
            workdir=folder,
            **batched,
            progress=lambda _, done, total: bench.progress(f"answers of {name}", done, total),
        )
        if order is not None:
            logits = np.load(files.logits, mmap_mode="r")
            write_array(folder / "ordered.npy", np.asarray(logits)[:, list(order)])
        return {
            "logits": "ordered.npy" if order is not None else files.logits.name,
            "features": files.features[PENULTIMATE].name,
        }

    output = bench.cache.run(
        "inference",
        work,
        version=VERSION,
        inputs={"model": handle.digest, "images": images.digest},
        config={"order": order, **batched},
    )
    return Products(
        arrays={
            f"logits/{name}/{condition}": output.file(output.record["logits"]),
            f"features/{name}/{condition}/{PENULTIMATE}": output.file(output.record["features"]),
        },
        seconds={f"inference/{name}/{condition}": output.seconds},
    )
