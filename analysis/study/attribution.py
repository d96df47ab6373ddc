"""Stage: which pixels part teacher and student, on a probe subset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis.attribution.pair import attribute_pair
from analysis.data.imageset import ImageSet
from analysis.models.handle import ModelHandle
from analysis.records import CLEAN, AttributionMaps
from analysis.store.files import write_array
from analysis.study.stages import Products, Workbench

VERSION = 1
_ARRAYS = ("explained_class", "values", "completeness_error")


def probe_rows(kl: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Choose the rows whose attributions are computed, sorted.

    Half are the rows on which the two part most (largest KL), half the first others of a seeded
    order, so that the subset shows both the worst and the usual. The order is the same whatever
    ``kl`` is: students of one study are explained on the same usual images.
    """
    count = min(count, len(kl))
    worst = np.argsort(-kl, kind="stable")[: count // 2]
    order = np.random.default_rng(seed).permutation(len(kl))
    drawn = order[~np.isin(order, worst)][: count - len(worst)]
    return np.sort(np.concatenate([worst, drawn]))


def attribute_probe(
    bench: Workbench,
    student: str,
    teacher: ModelHandle,
    handle: ModelHandle,
    images: ImageSet,
    kl: np.ndarray,
    answers: Mapping[str, np.ndarray],
    *,
    order: tuple[int, ...] | None = None,
    condition: str = CLEAN,
) -> Products:
    """Compute integrated gradients of teacher, ``student`` and the pair on the probe subset.

    Teacher and student explain their own answers; the pair explains p_S(c) - p_T(c) for the
    student's answer c. ``answers`` holds both models' answers (N,) in the study's order of
    classes; ``order`` says which of the student's outputs each of these classes is.
    """
    if bench.config.probe == 0:
        return Products()
    rows = probe_rows(kl, bench.config.probe, bench.config.seed)
    probe = images.rows(rows)

    stage = f"attributions of {student}" + ("" if condition == CLEAN else f", {condition}")

    def work(folder: Path) -> Mapping[str, Any]:
        maps = attribute_pair(
            teacher,
            handle,
            probe,
            teacher_class=answers["teacher"][rows],
            student_class=answers["student"][rows],
            student_order=order,
            steps=bench.config.steps,
            progress=lambda _, done, total: bench.progress(stage, done, total),
        )
        for part, record in maps.items():
            for name in _ARRAYS:
                write_array(folder / f"{part}-{name}.npy", getattr(record, name))
        write_array(folder / "sample_ids.npy", np.asarray(probe.sample_ids))
        return {part: _header(record) for part, record in maps.items()}

    output = bench.cache.run(
        "attribution",
        work,
        version=VERSION,
        inputs={
            "teacher": teacher.digest,
            "student": handle.digest,
            "images": images.digest,
            "rows": rows.tolist(),
            "classes": {key: value[rows].tolist() for key, value in answers.items()},
        },
        config={"steps": bench.config.steps, "order": order},
    )
    base = f"attribution/{student}/{condition}"
    arrays = {f"{base}/sample_ids": output.file("sample_ids.npy")}
    for part in output.record:
        for name in _ARRAYS:
            arrays[f"{base}/{part}/{name}"] = output.file(f"{part}-{name}.npy")
    return Products(
        arrays=arrays,
        records={
            f"{base}/{part}": {**header, "model": _model(part, student)}
            for part, header in output.record.items()
        },
        seconds={base: output.seconds},
    )


def _header(record: AttributionMaps) -> dict[str, Any]:
    return {
        "method": record.method,
        "scalar": record.scalar,
        "baseline": record.baseline,
        "signed": record.signed,
        "parameters": dict(record.parameters),
    }


def _model(part: str, student: str) -> str:
    return {"teacher": "teacher", "student": student, "pair": f"teacher + {student}"}[part]
