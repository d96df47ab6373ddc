"""Studies in which something is missing or strange: copies of the golden one, and predictions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.store import Study
from analysis.study.predictions import compare_predictions
from analysis.study.stages import CompareConfig
from dashboard.loading import projection_of
from dashboard.selection import Lasso

GOLDEN = Path(__file__).parent / "golden" / "study-v1"
HOSTILE = "<img src=x onerror=alert(1)>\u202e**[x](javascript:y)"

Manifest = dict[str, Any]


def golden(folder: Path, *changes: Callable[[Manifest], None]) -> Path:
    """A copy of the golden study in ``folder``, with ``changes`` made to its manifest."""
    copy = Path(shutil.copytree(GOLDEN, folder / "study"))
    manifest = json.loads((copy / "study.json").read_text())
    for change in changes:
        change(manifest)
    (copy / "study.json").write_text(json.dumps(manifest))
    return copy


def without_labels(manifest: Manifest) -> None:
    """As if nobody had labeled the images; the tables keep their labels (:func:`unlabel`)."""
    del manifest["arrays"]["labels/inspection"]
    manifest["image_sets"]["inspection"]["labeled"] = False


def unlabel(study: Path) -> None:
    """Take labels out of the tables of samples."""
    for path in (study / "samples").rglob("*.parquet"):
        table = pq.read_table(path)
        for name in ("label", "p_label", "correct", "negative_flips"):
            at = table.column_names.index(name)
            field = table.schema.field(name)
            table = table.set_column(at, field, pa.nulls(len(table), field.type))
        pq.write_table(table, path)


def with_one_student(manifest: Manifest) -> None:
    """Take the second student out."""
    del manifest["models"]["beta"]


def dropping(*beginnings: str) -> Callable[[Manifest], None]:
    """Take out arrays and records whose keys begin so."""

    def change(manifest: Manifest) -> None:
        for kind in ("arrays", "records"):
            for key in [key for key in manifest[kind] if key.startswith(beginnings)]:
                del manifest[kind][key]

    return change


def with_hostile_names(manifest: Manifest) -> None:
    """Names that would be code, links or direction marks anywhere but in a text."""
    manifest["name"] = HOSTILE
    manifest["class_names"] = [f"{HOSTILE}{index}" for index in range(len(manifest["class_names"]))]


def predicted(folder: Path, n: int, class_names: Sequence[str], *, labeled: bool = True) -> Path:
    """A study of predictions of ``n`` images over ``class_names``; student and teacher differ."""
    draw = np.random.default_rng(0)
    teacher = draw.normal(size=(n, len(class_names))) * 3
    columns: dict[str, Any] = {"sample_id": [f"image {index}" for index in range(n)]}
    if labeled:
        columns["label"] = draw.integers(0, len(class_names), n)
    for name, logits in {
        "t": teacher,
        "s": teacher + draw.normal(size=teacher.shape) * 2,
    }.items():
        table = pa.table(columns | {"logits": logits.tolist()})
        pq.write_table(table, folder / f"{name}.parquet")
    compare_predictions(
        teacher=folder / "t.parquet",
        students={"alpha": folder / "s.parquet"},
        out=folder / "space" / "study",
        config=CompareConfig(probe=0, epochs=10, draws=100),
        class_names=list(class_names),
    )
    return folder / "space" / "study"


def lasso_of_half(study: Study, student: str, condition: str) -> Lasso:
    """A lasso on the teacher's map around the right half of the images of ``condition``."""
    found = projection_of(study, student, condition)
    assert found is not None
    x = float(np.median(found.teacher[:, 0]))
    return Lasso.around("teacher", ((x, -1e3), (x + 1e3, -1e3), (x + 1e3, 1e3), (x, 1e3)))
