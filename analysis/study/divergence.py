"""Stage: the measures of two models' answers, with intervals, classes, drift and calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis.digest import digest_array
from analysis.divergence import classes as by_class
from analysis.divergence import outputs
from analysis.divergence.answers import read_answers
from analysis.divergence.calibration import Reliability, reliability
from analysis.records import CLEAN, Interval
from analysis.store.files import write_array
from analysis.study.stages import Products, Workbench

VERSION = 2
BINS = 15
PER_SAMPLE = (
    "agreement",
    "kl_teacher_student",
    "kl_student_teacher",
    "js",
    "top5_overlap",
    "top5_order",
    "dark_kl",
    "confidence_gap",
    "negative_flips",
)


def measure_answers(
    bench: Workbench, name: str, logits: Path, labels: np.ndarray | None, *, condition: str = CLEAN
) -> Products:
    """Measure what a model's answers are worth by themselves: accuracy, ECE, reliability."""

    def work(folder: Path) -> Mapping[str, Any]:
        values = np.load(logits, mmap_mode="r")
        measured = outputs.answer_measures(
            values, labels, seed=bench.config.seed, draws=bench.config.draws
        )
        return {
            "measures": {key: _json(item.value) for key, item in measured.items()},
            "reliability": _reliability(values, labels),
        }

    output = _run(bench, "answers", work, {"model": logits}, labels)
    return Products(
        records={
            f"measures/{name}/{condition}": output.record["measures"],
            f"reliability/{name}/{condition}": output.record["reliability"],
        },
        seconds={f"answers/{name}/{condition}": output.seconds},
    )


def measure_divergence(
    bench: Workbench,
    student: str,
    teacher_logits: Path,
    student_logits: Path,
    labels: np.ndarray | None,
    *,
    names: tuple[str, ...],
    condition: str = CLEAN,
) -> Products:
    """Measure how far ``student`` parts from the teacher on ``condition``."""

    def work(folder: Path) -> Mapping[str, Any]:
        config = bench.config
        teacher = np.load(teacher_logits, mmap_mode="r")
        other = np.load(student_logits, mmap_mode="r")
        measured = outputs.compare_outputs(
            teacher, other, labels, seed=bench.config.seed, draws=bench.config.draws
        )
        for key in PER_SAMPLE:
            if (values := measured[key].per_sample) is not None:
                write_array(folder / f"{key}.npy", values)
        write_array(folder / "drift.npy", by_class.drift_matrix(teacher, other))
        return {
            "measures": {key: _json(item.value) for key, item in measured.items()},
            "units": {
                key: {"unit": item.unit, "direction": item.direction, "n": item.n}
                for key, item in measured.items()
            },
            "per_class": [
                _class_json(row)
                for row in by_class.per_class(
                    teacher, other, labels, names, seed=config.seed, draws=config.draws
                )
            ],
            "reliability": _reliability(other, labels),
        }

    inputs = {"teacher": teacher_logits, "student": student_logits}
    output = _run(bench, "divergence", work, inputs, labels)
    base = f"{student}/{condition}"
    arrays = {f"drift/{base}": output.file("drift.npy")}
    for key in PER_SAMPLE:
        if output.file(f"{key}.npy").exists():
            arrays[f"divergence/{base}/{key}"] = output.file(f"{key}.npy")
    return Products(
        arrays=arrays,
        records={
            f"measures/{base}": output.record["measures"],
            f"units/{base}": output.record["units"],
            f"per_class/{base}": output.record["per_class"],
            f"reliability/{base}": output.record["reliability"],
        },
        seconds={f"divergence/{base}": output.seconds},
    )


def _run(bench: Workbench, stage: str, work: Any, logits: dict[str, Path], labels: Any) -> Any:
    inputs = {key: digest_array(np.load(path, mmap_mode="r")) for key, path in logits.items()}
    inputs["labels"] = "none" if labels is None else digest_array(np.asarray(labels))
    config = {"seed": bench.config.seed, "draws": bench.config.draws}
    return bench.cache.run(stage, work, version=VERSION, inputs=inputs, config=config)


def _json(value: Interval | None) -> dict[str, float | None] | None:
    return None if value is None else value.to_json()


def _reliability(logits: np.ndarray, labels: np.ndarray | None) -> dict[str, Any]:
    """Reliability bins where labels are known, and the histogram of confidence in any case."""
    answers = read_answers(logits)
    counts, edges = np.histogram(answers.confidence, bins=BINS, range=(0.0, 1.0))
    record: dict[str, Any] = {"histogram": counts.tolist(), "edges": edges.tolist(), "bins": None}
    if labels is not None:
        bins = reliability(answers.confidence, answers.answer == labels, BINS)
        record["bins"] = _bins_json(bins)
    return record


def _bins_json(bins: Reliability) -> list[dict[str, float | int]]:
    """The bins that hold samples: an empty one has neither accuracy nor interval."""
    columns = ("count", "confidence", "accuracy", "low", "high")
    return [
        {name: getattr(bins, name)[row].item() for name in columns}
        for row in np.flatnonzero(bins.count)
    ]


def _class_json(row: by_class.ClassDivergence) -> dict[str, Any]:
    measures = ("teacher_accuracy", "student_accuracy", "agreement", "kl_teacher_student")
    return {
        "class_index": row.index,
        "n": row.n,
        **{name: _json(getattr(row, name)) for name in measures},
    }
