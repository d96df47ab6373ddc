"""Stage: how far one number repairs a model's confidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis.digest import digest_array
from analysis.divergence.temperature import scale_temperature
from analysis.records import CLEAN
from analysis.study.stages import Products, Workbench

VERSION = 2


def fit_temperatures(
    bench: Workbench, model: str, logits: Path, labels: np.ndarray | None, *, condition: str = CLEAN
) -> Products:
    """Fit the temperature of ``model`` on one half of a condition's images, measure the other.

    The record is None where there are no labels or too few images, or no temperature is best.
    """
    values = np.load(logits, mmap_mode="r")

    def work(folder: Path) -> Mapping[str, Any]:
        scaled = scale_temperature(values, labels, seed=bench.config.seed, draws=bench.config.draws)
        if scaled is None:
            return {"scaled": None}
        intervals = {key: getattr(scaled, key).to_json() for key in ("ece_before", "ece_after")}
        return {"scaled": {**dataclasses.asdict(scaled), **intervals}}

    output = bench.cache.run(
        "temperature",
        work,
        version=VERSION,
        inputs={
            "logits": digest_array(values),
            "labels": None if labels is None else digest_array(np.asarray(labels)),
        },
        config={"seed": bench.config.seed, "draws": bench.config.draws},
    )
    key = f"temperature/{model}/{condition}"
    return Products(records={key: output.record["scaled"]}, seconds={key: output.seconds})
