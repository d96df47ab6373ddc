"""Stage: neighborhoods in feature space and both layouts in one frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis.digest import digest_array
from analysis.divergence.bootstrap import bootstrap_mean
from analysis.embedding.neighbors import nearest_neighbors, neighborhood_overlap
from analysis.embedding.projection import fit_layout, place
from analysis.embedding.quality import layout_quality
from analysis.records import CLEAN, PENULTIMATE, TEACHER, Neighbors
from analysis.store.files import write_array
from analysis.study.stages import Products, Workbench

NEIGHBORS_VERSION = 1
LAYOUT_VERSION = 1
OVERLAP_VERSION = 2
PLACEMENT_VERSION = 1
FEWEST_ON_A_MAP = 3


def find_neighbors(bench: Workbench, model: str, features: Path) -> Products:
    """Find every clean image's nearest clean images in the features of ``model``."""
    values = np.load(features, mmap_mode="r")
    if len(values) < 2:
        return Products()

    def work(folder: Path) -> Mapping[str, Any]:
        bench.progress(f"neighbors of {model}", 0, 1)
        found = nearest_neighbors(values, bench.config.neighbors)
        write_array(folder / "indices.npy", found.indices)
        write_array(folder / "distances.npy", found.distances)
        bench.progress(f"neighbors of {model}", 1, 1)
        return {}

    output = bench.cache.run(
        "neighbors",
        work,
        version=NEIGHBORS_VERSION,
        inputs={"features": digest_array(values)},
        config={"k": bench.config.neighbors},
    )
    base = f"neighbors/{model}/{CLEAN}"
    return Products(
        arrays={
            f"{base}/indices": output.file("indices.npy"),
            f"{base}/distances": output.file("distances.npy"),
        },
        seconds={base: output.seconds},
    )


def place_condition(
    bench: Workbench, model: str, condition: str, arrays: Mapping[str, Path]
) -> Products:
    """Find the nearest clean images of ``condition``'s images, and place these on the map.

    An image lies at the weighted mean of its nearest clean neighbors in the features of
    ``model``, and is marked ``far`` when it is farther from them than clean images ever are.
    """
    names = (f"features/{model}/{slug}/{PENULTIMATE}" for slug in (CLEAN, condition))
    clean, shown = (np.load(arrays[name], mmap_mode="r") for name in names)
    layout = arrays.get(f"layout/{model}")
    if len(clean) < FEWEST_ON_A_MAP:
        return Products()

    def work(folder: Path) -> Mapping[str, Any]:
        found = nearest_neighbors(clean, bench.config.neighbors, queries=shown)
        write_array(folder / "indices.npy", found.indices)
        write_array(folder / "distances.npy", found.distances)
        if layout is not None:
            placed, far = place(clean, np.load(layout), shown, bench.config.neighbors)
            write_array(folder / "layout.npy", placed)
            write_array(folder / "far.npy", far)
        return {}

    output = bench.cache.run(
        "placement",
        work,
        version=PLACEMENT_VERSION,
        inputs={
            "clean": digest_array(clean),
            "shown": digest_array(shown),
            "layout": None if layout is None else digest_array(np.load(layout)),
        },
        config={"k": bench.config.neighbors},
    )
    base = f"{model}/{condition}"
    made = {
        f"neighbors/{base}/indices": output.file("indices.npy"),
        f"neighbors/{base}/distances": output.file("distances.npy"),
    }
    if layout is not None:
        made[f"placed/{base}/layout"] = output.file("layout.npy")
        made[f"placed/{base}/far"] = output.file("far.npy")
    return Products(arrays=made, seconds={f"placement/{base}": output.seconds})


def measure_overlap(
    bench: Workbench, student: str, arrays: Mapping[str, Path], *, condition: str = CLEAN
) -> Products:
    """Measure how much of each image's clean neighborhood teacher and ``student`` share."""
    files = [arrays.get(f"neighbors/{name}/{condition}/indices") for name in (TEACHER, student)]
    if files[0] is None or files[1] is None:
        return Products()
    teacher, other = (np.load(path, mmap_mode="r") for path in files if path is not None)

    def work(folder: Path) -> Mapping[str, Any]:
        overlap = neighborhood_overlap(_indices(teacher), _indices(other))
        write_array(folder / "overlap.npy", overlap)
        interval = bootstrap_mean(overlap, seed=bench.config.seed, draws=bench.config.draws)
        return {"mean": interval.to_json()}

    output = bench.cache.run(
        "overlap",
        work,
        version=OVERLAP_VERSION,
        inputs={"teacher": digest_array(teacher), "student": digest_array(other)},
        config={"seed": bench.config.seed, "draws": bench.config.draws},
    )
    base = f"{student}/{condition}"
    return Products(
        arrays={f"divergence/{base}/neighborhood_overlap": output.file("overlap.npy")},
        records={f"overlap/{base}": output.record["mean"]},
        seconds={f"overlap/{base}": output.seconds},
    )


def _indices(indices: np.ndarray) -> Neighbors:
    return Neighbors(indices=indices, distances=np.zeros(indices.shape, dtype=np.float32))


def lay_out(
    bench: Workbench, model: str, arrays: Mapping[str, Path], *, start: Path | None = None
) -> Products:
    """Lay out the clean images by the features of ``model``, started from the layout ``start``.

    The teacher is laid out first; every student starts from it, which puts all into one frame.
    """
    if f"neighbors/{model}/{CLEAN}/indices" not in arrays:
        return Products()
    features = np.load(arrays[f"features/{model}/{CLEAN}/{PENULTIMATE}"], mmap_mode="r")
    if len(features) < FEWEST_ON_A_MAP:
        return Products()
    neighbors = Neighbors(
        indices=np.load(arrays[f"neighbors/{model}/{CLEAN}/indices"], mmap_mode="r"),
        distances=np.load(arrays[f"neighbors/{model}/{CLEAN}/distances"], mmap_mode="r"),
    )
    init = None if start is None else np.load(start)
    config = {"seed": bench.config.seed, "epochs": bench.config.epochs}

    def work(folder: Path) -> Mapping[str, Any]:
        stage = f"map of {model}"
        layout = fit_layout(
            features,
            neighbors,
            seed=bench.config.seed,
            init=init,
            n_neighbors=neighbors.indices.shape[1],
            epochs=bench.config.epochs,
            progress=lambda _, done, total: bench.progress(stage, done, total),
        )
        write_array(folder / "layout.npy", layout)
        return dataclasses.asdict(layout_quality(features, layout, seed=bench.config.seed))

    output = bench.cache.run(
        "layout",
        work,
        version=LAYOUT_VERSION,
        inputs={
            "features": digest_array(features),
            "neighbors": digest_array(neighbors.indices),
            "start": None if init is None else digest_array(init),
        },
        config=config,
    )
    return Products(
        arrays={f"layout/{model}": output.file("layout.npy")},
        records={f"layout_quality/{model}": dict(output.record)},
        seconds={f"layout/{model}": output.seconds},
    )
