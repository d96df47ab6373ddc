"""Stage: how alike teacher's and student's maps are on the probe subset, beside chance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis.attribution.null import Chance, against_shifts
from analysis.digest import digest_array
from analysis.divergence.bootstrap import bootstrap_mean
from analysis.records import CLEAN, TEACHER
from analysis.store.files import write_array
from analysis.study.stages import Products, Workbench

VERSION = 2
STORED = ("rank_correlation", "top_overlap", "structural_similarity", "cosine")
"""Measures kept for every mapped image. Transport is solved on demand: it takes a hundred times as
long as these together.
"""
DRAWS = 9
"""Moved maps for each image; the null of a set is that of all its images."""


def measure_attribution_agreement(
    bench: Workbench, student: str, arrays: Mapping[str, Path], *, condition: str = CLEAN
) -> Products:
    """Measure the agreement of the teacher's map and ``student``'s, each for its own answer.

    Stores each of :data:`STORED` per sample, in the order of the attribution's sample ids, and
    for each its mean with an interval, the null of moved maps, and the share of images above the
    95th percentile of that null. Without attributions there is nothing to measure.
    """
    base = f"attribution/{student}/{condition}"
    files = [arrays.get(f"{base}/{part}/values") for part in (TEACHER, "student")]
    if files[0] is None or files[1] is None:
        return Products()
    teacher, own = (np.load(path, mmap_mode="r") for path in files if path is not None)

    def work(folder: Path) -> Mapping[str, Any]:
        record = {}
        for name in STORED:
            chance = against_shifts(teacher, own, name, draws=DRAWS, seed=bench.config.seed)
            write_array(folder / f"{name}.npy", chance.values.astype(np.float32))
            record[name] = _summary(chance, bench)
        return record

    output = bench.cache.run(
        "attribution_agreement",
        work,
        version=VERSION,
        inputs={"teacher": digest_array(teacher), "student": digest_array(own)},
        config={"seed": bench.config.seed, "draws": bench.config.draws},
    )
    key = f"attribution_agreement/{student}/{condition}"
    return Products(
        arrays={f"{key}/{name}": output.file(f"{name}.npy") for name in STORED},
        records={key: dict(output.record)},
        seconds={key: output.seconds},
    )


def _summary(chance: Chance, bench: Workbench) -> dict[str, Any] | None:
    """Mean with interval, the null, and how many stand out of it; None where all are undefined."""
    values = chance.values[~np.isnan(chance.values)]
    null = chance.draws[~np.isnan(chance.draws)]
    if len(values) == 0 or len(null) == 0:
        return None
    low, high = np.percentile(null, (5, 95)).tolist()
    mean = bootstrap_mean(values, seed=bench.config.seed, draws=bench.config.draws)
    return {
        "n": len(values),
        "mean": mean.to_json(),
        "null": {"mean": float(null.mean()), "low": low, "high": high, "draws": len(null)},
        "above_null": float((values > high).mean()),
    }
