"""Stage: the smallest triggers of one model, one family and one start at a time.

Subject and references go through this very code. A search is made once per teacher, student,
images and settings, whoever asks for it; a run that was killed goes on with the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.audit.inversion import Inverted, Trusted, invert, smallest
from analysis.audit.settings import InversionConfig
from analysis.models.handle import ModelHandle
from analysis.store import Progress, StageCache, StageOutput
from analysis.store.files import write_array

VERSION = 1
_PER_CLASS = ("log_size", "censored", "flip_student", "flip_teacher")
_SEARCHED = ("families", "restarts")


@dataclass(frozen=True, slots=True)
class Bench:
    """Where searches run, and against which teacher and images."""

    cache: StageCache
    teacher: ModelHandle
    trusted: Trusted
    config: InversionConfig
    progress: Progress


def invert_all(
    bench: Bench, name: str, student: ModelHandle, order: tuple[int, ...] | None = None
) -> dict[str, Inverted]:
    """Return the smallest triggers of ``student`` by family, all starts together."""
    return {
        family: smallest(
            [
                _invert(bench, name, student, family, restart, order)
                for restart in range(bench.config.restarts)
            ]
        )
        for family in bench.config.families
    }


def _invert(
    bench: Bench,
    name: str,
    student: ModelHandle,
    family: str,
    restart: int,
    order: tuple[int, ...] | None,
) -> Inverted:
    config = bench.config

    def report(stage: str, done: int, total: int) -> None:
        which = f"{stage} of {name}, start {restart + 1} of {config.restarts}"
        bench.progress(which, done, total)

    def work(folder: Path) -> Mapping[str, Any]:
        found = invert(
            bench.teacher,
            student,
            bench.trusted,
            family=family,
            config=config,
            restart=restart,
            order=order,
            progress=report,
        )
        for key in _PER_CLASS:
            write_array(folder / f"{key}.npy", getattr(found, key))
        for key, values in found.parts.items():
            write_array(folder / f"part-{key}.npy", values)
        return {
            "parts": sorted(found.parts),
            "passes": found.passes,
            "seconds": found.seconds,
            "precision": found.precision,
        }

    searched = {key: value for key, value in config.key().items() if key not in _SEARCHED}
    output = bench.cache.run(
        "inversion",
        work,
        version=VERSION,
        inputs={
            "teacher": bench.teacher.digest,
            "student": student.digest,
            "optimize": bench.trusted.optimize.digest,
            "measure": bench.trusted.measure.digest,
            "order": order,
        },
        config={**searched, "family": family, "restart": restart},
    )
    return _read(output, family)


def _read(output: StageOutput, family: str) -> Inverted:
    record = output.record
    arrays = {key: np.load(output.file(f"{key}.npy")) for key in _PER_CLASS}
    return Inverted(
        family=family,
        **arrays,
        parts={key: np.load(output.file(f"part-{key}.npy")) for key in record["parts"]},
        passes=record["passes"],
        seconds=record["seconds"],
        precision=record["precision"],
    )
