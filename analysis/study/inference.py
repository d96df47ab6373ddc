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


def infer(
    bench: Workbench,
    name: str,
    handle: ModelHandle,
    images: ImageSet,
    *,
    condition: str = CLEAN,
    order: tuple[int, ...] | None = None,
) -> Products:
    """Compute logits and penultimate features of model ``name`` on ``images``.

    ``order`` reorders the logits: column j of the result is the model's output ``order[j]``.
    """

    def work(folder: Path) -> Mapping[str, Any]:
        files = run_inference(
            handle,
            images,
            layers=(PENULTIMATE,),
            workdir=folder,
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
        config={"order": order},
    )
    return Products(
        arrays={
            f"logits/{name}/{condition}": output.file(output.record["logits"]),
            f"features/{name}/{condition}/{PENULTIMATE}": output.file(output.record["features"]),
        },
        seconds={f"inference/{name}/{condition}": output.seconds},
    )
