"""Both projections of 10 000 samples against one fit of umap-learn.

Ours is everything that a study needs: exact neighbors of teacher and student and both layouts,
the student's started from the teacher's. The peer is ``umap.UMAP`` as it comes (NN-descent, its
fastest neighbor search at this size, and spectral start), seeded, with the same number of
neighbors, epochs and dtype. Both on one thread, both after a fit that compiles everything.

Memory is the peak of a fresh process that does the same for 100 000 samples, read from disk.

python -m benchmarks.bench_projection
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from analysis.embedding.neighbors import nearest_neighbors, normalize_rows
from analysis.embedding.projection import fit_layout, warm_up
from analysis.embedding.quality import layout_quality
from analysis.records import Neighbors
from benchmarks.bench_inference import own_peak

ROWS, WIDTH, CLASSES = 10_000, 64, 10
NEIGHBORS, EPOCHS = 15, 500
MODELS = ("teacher", "student")
LIMIT = 2.2
REPEATS = 3
MANY, MANY_EPOCHS = 100_000, 200
"""Samples whose memory is measured, and the epochs that umap-learn takes for so many."""
ROOT = Path(__file__).parent.parent


def features(seed: int = 0, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Clusters (N, D) of a teacher, and of a student that turns and blurs them; float32."""
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(CLASSES, WIDTH))
    teacher = centers[generator.integers(0, CLASSES, rows)]
    teacher = teacher + generator.normal(size=teacher.shape) * 0.8
    turn = np.linalg.qr(generator.normal(size=(WIDTH, WIDTH)))[0]
    student = teacher @ turn + generator.normal(size=teacher.shape) * 0.5
    return normalize_rows(teacher), normalize_rows(student)


def ours(teacher: np.ndarray, student: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    near = [nearest_neighbors(values, NEIGHBORS) for values in (teacher, student)]
    first = fit_layout(teacher, near[0], seed=0, epochs=EPOCHS)
    return first, fit_layout(student, near[1], seed=0, init=first, epochs=EPOCHS)


def peer(teacher: np.ndarray) -> np.ndarray:
    from umap import UMAP

    return UMAP(n_neighbors=NEIGHBORS, n_epochs=EPOCHS, random_state=0, n_jobs=1).fit_transform(
        teacher
    )


def memory_of(what: str, folder: Path) -> float:
    """Peak memory in GiB of a fresh process that does ``what`` with the features in ``folder``."""
    command = [sys.executable, "-m", "benchmarks.bench_projection"]
    command += ["--memory-of", what, str(folder)]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def work_for_memory(what: str, folder: Path) -> float:
    teacher, student = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in MODELS)
    if what == "umap-learn":
        from umap import UMAP

        numba.set_num_threads(1)
        UMAP(n_neighbors=NEIGHBORS, n_epochs=MANY_EPOCHS, random_state=0, n_jobs=1).fit_transform(
            np.asarray(teacher)
        )
    elif what == "neighbors":
        for values, name in ((teacher, "teacher"), (student, "student")):
            found = nearest_neighbors(np.asarray(values), NEIGHBORS)
            np.savez(folder / f"{name}-near.npz", indices=found.indices, distances=found.distances)
    else:
        first = None
        for values, name in ((teacher, "teacher"), (student, "student")):
            with np.load(folder / f"{name}-near.npz") as kept:
                near = Neighbors(indices=kept["indices"], distances=kept["distances"])
            first = fit_layout(np.asarray(values), near, seed=0, init=first, epochs=MANY_EPOCHS)
    return own_peak() / 2**20


def memory_rows() -> list[dict]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model, values in zip(MODELS, features(rows=MANY), strict=True):
            np.save(folder / f"{model}.npy", values)
        taken = {what: memory_of(what, folder) for what in ("neighbors", "layouts", "umap-learn")}
    shared = {
        "unit": "GiB",
        "peer": "one fit of umap-learn",
        "peer_value": taken["umap-learn"],
        "limit": None,
        "met": None,
        "threads": 1,
        "dtype": "float32",
        "warmup": "none",
    }
    return [
        {
            "name": f"peak memory of {what}, {MANY} samples, 2 models",
            "value": taken[key],
            "ratio": taken[key] / taken["umap-learn"],
            "note": f"{WIDTH} features, {NEIGHBORS} neighbors; {note}. The peer finds neighbors by "
            "NN-descent and lays out one model.",
            **shared,
        }
        for key, what, note in (
            ("neighbors", "exact neighbors", "one block of distances at a time"),
            ("layouts", "the two layouts", f"{MANY_EPOCHS} epochs, one after the other"),
        )
    ]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cold_start() -> float:
    """Wall seconds of a fresh process until everything is compiled, imports included."""
    code = "from analysis.embedding.projection import warm_up; warm_up()"
    return seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT))


def run() -> list[dict]:
    teacher, student = features()
    numba.set_num_threads(1)
    with threadpool_limits(1):
        warm_up()
        peer(teacher)
        times = [
            (seconds(lambda: ours(teacher, student)), seconds(lambda: peer(teacher)))
            for _ in range(REPEATS)
        ]
        note = _quality_note(teacher, student)
    value, peer_value = (statistics.median(column) for column in zip(*times, strict=True))
    shared = {"unit": "s", "threads": 1, "dtype": "float32"}
    return [
        {
            "name": f"both projections of {ROWS} samples, neighbors and two fits",
            "value": value,
            "peer": "one fit of umap-learn",
            "peer_value": peer_value,
            "ratio": value / peer_value,
            "limit": LIMIT,
            "met": value / peer_value <= LIMIT,
            "note": f"{WIDTH} features, {NEIGHBORS} neighbors, {EPOCHS} epochs, seeded, median of "
            f"{REPEATS} alternating runs. {note}",
            "warmup": "one full fit each",
            **shared,
        },
        {
            "name": "cold start of the projection: import and compile",
            "value": cold_start(),
            "peer": None,
            "peer_value": None,
            "ratio": None,
            "limit": None,
            "met": None,
            "note": "In a fresh process; a study compiles while its models run.",
            "warmup": "none",
            **shared,
        },
        *memory_rows(),
    ]


def _quality_note(teacher: np.ndarray, student: np.ndarray) -> str:
    first, second = ours(teacher, student)
    layouts = {"teacher": (teacher, first), "student": (student, second)}
    layouts["umap-learn"] = (teacher, peer(teacher))
    found = {name: layout_quality(*pair) for name, pair in layouts.items()}
    return "Trustworthiness / continuity: " + ", ".join(
        f"{name} {quality.trustworthiness:.3f} / {quality.continuity:.3f}"
        for name, quality in found.items()
    )


def main() -> None:
    from benchmarks.__main__ import describe

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        what, folder = arguments.memory_of
        print(work_for_memory(what, Path(folder)))
        return
    rows = run()
    print(json.dumps(rows))
    print("\n".join(map(describe, rows)))


if __name__ == "__main__":
    main()
