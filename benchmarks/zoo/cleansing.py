"""Neural Cleanse with its authors' own schedule on the students of a zoo that are there.

Beside the audit it gets as many passes as the audit takes, which its own schedule does not come to
an end with. Here it takes what it wants. Nothing that the audit does depends on what comes out.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch

from analysis.attribution.copies import inference_copy
from analysis.audit.null import mad_indices
from analysis.data.imageset import to_pixels
from analysis.models.loading import load_model
from analysis.store import Progress
from benchmarks.neural_cleanse import SAMPLES, Cleansed, neural_cleanse
from benchmarks.zoo.making import Workshop
from benchmarks.zoo.plan import Zoo
from benchmarks.zoo.results import Results, Row
from benchmarks.zoo.running import chosen_teachers

TABLE = "cleansed"


def cleanse_zoo(
    zoo: Zoo,
    *,
    state: Path,
    results: Results,
    data: Path | None,
    only: Sequence[str] = (),
    seconds: float = float("inf"),
    device: str = "cpu",
    workers: int = 1,
    progress: Progress,
) -> bool:
    """Search the audited students whose weights are in ``state``; return whether none is left.

    ``workers`` processes of one thread each share the students and, with ``device``, the
    accelerator. No student is begun after ``seconds``; what is done is not done again.
    """
    until = time.monotonic() + seconds
    searches = list(_left(zoo, state, results, data, only, device, until, progress))
    beside = workers > 1
    context = multiprocessing.get_context("spawn")
    finished = True
    with ProcessPoolExecutor(workers, context) if beside else nullcontext() as executor:
        if executor is None:
            rows: Iterator[Row | None] = (search() for search in searches)
        else:
            tasks = [executor.submit(search) for search in searches]
            rows = (task.result() for task in as_completed(tasks))
        for done, row in enumerate(rows, 1):
            finished = finished and row is not None
            if row is not None:
                results.put(TABLE, [row])
                progress(f"{row['student']} ({done} of {len(searches)})", 1, 1)
    results.sort([student.name for student in zoo.students])
    return finished


def _left(
    zoo: Zoo,
    state: Path,
    results: Results,
    data: Path | None,
    only: Sequence[str],
    device: str,
    until: float,
    progress: Progress,
) -> Iterator[Callable[[], Row | None]]:
    """What is to be called for every student that is left."""
    for teacher in chosen_teachers(zoo, only):
        shop = Workshop(plan=teacher, state=state, data=data, progress=progress)
        weights = {
            student.name: shop.folder / f"{student.name}.safetensors"
            for student in teacher.students
            if results.find("verdicts", student.name, "ours") is not None
            and results.find(TABLE, student.name) is None
        }
        weights = {name: path for name, path in weights.items() if path.exists()}
        if not weights:
            continue
        trusted = shop.trusted()
        pixels = to_pixels(np.asarray(trusted.images[:SAMPLES]))
        names = trusted.class_names or ()
        for name, path in weights.items():
            yield partial(_row, name, path, pixels, names, device, until)


def _row(
    name: str,
    weights: Path,
    pixels: np.ndarray,
    class_names: Sequence[str],
    device: str,
    until: float,
) -> Row | None:
    """In a worker: search one student; None where there is no time left."""
    if time.monotonic() >= until:
        return None
    torch.set_num_threads(1)
    handle = load_model(str(weights), device=device)
    shown = torch.from_numpy(pixels).to(handle.device)
    student = inference_copy(handle, shown, precision="float32")
    found = neural_cleanse(student, shown, handle.num_classes, device=handle.device)
    return cleansed_row(name, found, pixels.shape[-2:], class_names) | {"device": device}


def cleansed_row(
    name: str, found: Cleansed, shape: Sequence[int], class_names: Sequence[str]
) -> Row:
    """What was found of one student: the anomaly index of the class that has the highest.

    As published it is of the masks' sums; a class that no mask works for has the whole image.
    """
    sizes = np.where(np.isfinite(found.sizes), found.sizes, float(np.prod(shape)))
    index = mad_indices(sizes)
    label = int(index.argmax())
    return {
        "student": name,
        "statistic": float(index[label]),
        "named": class_names[label],
        "classes": " ".join(f"{size:.2f}" for size in found.sizes),
        "finished": found.finished,
        "rounds": found.rounds,
        "passes": found.passes,
        "seconds": round(found.seconds, 1),
    }
