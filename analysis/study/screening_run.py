"""Screen a set of images that somebody names: load, score, keep, and compare with the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from analysis.audit.detection import auroc, detection_rate
from analysis.audit.screening import ScreeningConfig
from analysis.errors import InputError, nearest
from analysis.models.handle import ModelHandle
from analysis.models.loading import load_model
from analysis.records import TEACHER
from analysis.store import Progress, Study, silent, workspace_cache
from analysis.store.files import atomic_path
from analysis.study.models import load_stored
from analysis.study.repair_case import load_for
from analysis.study.screening import SET, Screened, screen_images, store_screening
from analysis.study.stages import CompareConfig, Workbench

_TRUTH = ("id", "is_poisoned")


def screen_source(
    images: str,
    *,
    teacher: str | None = None,
    study: Path | None = None,
    student: str | None = None,
    config: ScreeningConfig | None = None,
    trusted_code: Sequence[str | Path] = (),
    device: str = "cpu",
    progress: Progress = silent,
) -> Screened:
    """Screen the source ``images`` by ``teacher`` (a spec), or by that of ``study``.

    A study keeps the result; ``student`` is then a name in it, else a spec. Stages are cached in
    the study's workspace, else in that of the working directory's ``studies``. Raises
    :class:`~analysis.errors.InputError` before anything is written.
    """
    opened = None if study is None else Study.open(study)
    workspace = Path("studies") if opened is None else opened.path.parent
    bench = Workbench(workspace_cache(workspace.resolve()), CompareConfig(), progress)

    def load(name: str) -> ModelHandle:
        if opened is not None:
            return load_stored(opened, opened.student(name).name if name != TEACHER else name,
                               trusted_code, device)  # fmt: skip
        return load_model(name, trusted_code=trusted_code, device=device)

    if opened is None and teacher is None:
        raise InputError("no teacher", expected="a teacher's spec, or a study")
    asked = load(TEACHER if opened is not None else str(teacher))
    suspect = None if student is None else load(student)
    screened = screen_images(
        bench, asked, load_for(bench, images, SET, asked), student=suspect, config=config
    )
    if opened is not None:
        store_screening(opened.path, screened)
    return screened


@dataclass(frozen=True, slots=True)
class Truth:
    """Which images are poisoned, by their ids in the set, and the file that says so."""

    path: Path
    poisoned: Mapping[str, bool]

    def of(self, sample_ids: np.ndarray) -> np.ndarray:
        """(N,) bool in the order of ``sample_ids``; :class:`~analysis.errors.InputError` for an
        image that the truth does not know."""
        own = [str(name).split("/", 1)[1] for name in sample_ids]
        missing = next((name for name in own if name not in self.poisoned), None)
        if missing is not None:
            raise InputError(
                f"truth {self.path.name} says nothing of image {missing!r}",
                remedy=nearest(missing, map(str, list(self.poisoned)[:1000])),
            )
        return np.array([bool(self.poisoned[name]) for name in own])


def read_truth(path: Path) -> Truth:
    """Read what ``attack`` wrote beside a poisoned set.

    Raises :class:`~analysis.errors.InputError` for a file of another form.
    """
    try:
        table = pq.read_table(path, columns=list(_TRUTH))
        return Truth(path, dict(zip(*(table[name].to_pylist() for name in _TRUTH), strict=True)))
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError(
            f"truth {path} cannot be read ({type(error).__name__})",
            expected="the .truth.parquet that attack writes beside a poisoned set",
        ) from error


def evaluate(screened: Screened, truth: Truth) -> dict[str, Any]:
    """How well each score finds what ``truth`` says is poisoned; the scores stay as they are."""
    poisoned = truth.of(screened.images.sample_ids)
    return {
        "n": len(poisoned),
        "poisoned": int(poisoned.sum()),
        "scores": {
            name: {"auroc": auroc(score, poisoned), "found": detection_rate(score, poisoned)}
            for name, score in screened.scores.items()
        },
    }


def check_scores_path(out: Path) -> None:
    """Raise :class:`~analysis.errors.InputError` for what :func:`write_scores` cannot write to."""
    if out.suffix not in (".parquet", ".csv") or out.is_dir():
        raise InputError(f"output {str(out)!r}", expected="a file ending in .parquet or .csv")


def write_scores(screened: Screened, out: Path) -> None:
    """Write one row per image: id, the teacher's class, every score, highest score first."""
    order = screened.screening.most_brittle(len(screened.images))
    names = screened.images.class_names or ()
    answer = screened.screening.answer[order]
    table = pa.table(
        {
            "sample_id": screened.images.sample_ids[order].tolist(),
            "teacher": [names[place] if names else str(place) for place in answer],
            **{name: score[order] for name, score in screened.scores.items()},
        }
    )
    check_scores_path(out)
    with atomic_path(out) as temporary:
        if out.suffix == ".csv":
            pa.csv.write_csv(table, temporary)
        else:
            pq.write_table(table, temporary)
