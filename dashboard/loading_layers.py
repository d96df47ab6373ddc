"""From a study to its layers: similarities by measure, and maps of single layers. No Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.divergence.depth import Profile, best_matches
from analysis.divergence.layers import CKA, SIMILARITIES
from analysis.errors import StudyError
from analysis.records import CLEAN, TEACHER, LayoutQuality, Projection
from analysis.store.study import Study


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class LayerGrid:
    """One measure of all pairs of layers: ``values`` (T, S), ``null`` (P, T, S)."""

    values: np.ndarray
    null: np.ndarray

    @property
    def profile(self) -> Profile:
        """Best match of every student layer."""
        return best_matches(self.values, self.null)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class LayerTable:
    """Layer x layer similarities of teacher and one student on one condition.

    CKA on ``n`` images, everything else on ``subset`` of them. ``checked`` and ``trimmed`` (T, S)
    are CKA on the subset, with all images and without the most influential ``outlier_share``.
    """

    teacher_layers: tuple[str, ...]
    student_layers: tuple[str, ...]
    n: int
    total: int
    subset: int
    permutations: int
    neighbors: int
    outlier_share: float
    grids: Mapping[str, LayerGrid]
    checked: np.ndarray
    trimmed: np.ndarray

    @property
    def shift(self) -> np.ndarray:
        """How CKA changes (T, S) without its most influential images."""
        return np.asarray(self.trimmed - self.checked)


def layer_table(study: Study, student: str, condition: str = CLEAN) -> LayerTable | None:
    """The layers of ``student`` on ``condition``, or None where they were not measured.

    Raises :class:`StudyError` when the stored arrays do not fit their record.
    """
    base = f"layers/{student}/{condition}"
    record = study.record(base)
    if record is None:
        return None
    try:
        names = tuple(
            tuple(str(name) for name in record[key]) for key in ("teacher_layers", "student_layers")
        )
        draws = int(record["permutations"])
        shape = (len(names[0]), len(names[1]))

        def array(key: str, *dimensions: int) -> np.ndarray:
            values = np.asarray(study.array(f"{base}/{key}"))
            if values.shape != dimensions:
                raise ValueError(key)
            return values

        return LayerTable(
            teacher_layers=names[0],
            student_layers=names[1],
            n=int(record["n"]),
            total=int(record["total"]),
            subset=int(record["subset"]),
            permutations=draws,
            neighbors=int(record["neighbors"]),
            outlier_share=float(record["outlier_share"]),
            grids={
                name: LayerGrid(
                    values=array(name, *shape), null=array(f"{name}_null", draws, *shape)
                )
                for name in SIMILARITIES
                if study.has_array(f"{base}/{name}")
            },
            checked=array(f"{CKA}_checked", *shape),
            trimmed=array(f"{CKA}_trimmed", *shape),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError(
            f"the layers of {student!r} on {condition!r} are damaged ({type(error).__name__})",
            remedy="compute them again with: distillscope layers",
        ) from error


def reference_profiles(study: Study, table: LayerTable, condition: str) -> dict[str, list[Profile]]:
    """Profiles by measure of the reference students that have the same layers as ``table``."""
    found: dict[str, list[Profile]] = {name: [] for name in table.grids}
    for name, model in study.models.items():
        other = layer_table(study, name, condition) if model.role == "reference" else None
        if other is None or other.student_layers != table.student_layers:
            continue
        for measure, grid in other.grids.items():
            found.setdefault(measure, []).append(grid.profile)
    return found


def layer_maps(study: Study, student: str) -> list[str]:
    """The pairs of layers, ``teacher layer:student layer``, that have a map of their own."""
    prefix = f"layer_map/{student}/"
    records = study.manifest.records
    return [key.removeprefix(prefix) for key in records if key.startswith(prefix)]


def layer_map_record(study: Study, student: str, pair: str) -> Mapping[str, Any]:
    """What is remembered of the map of ``pair``: layers, images, quality, shared neighbors."""
    record: Mapping[str, Any] = study.record(f"layer_map/{student}/{pair}", {})
    return record


def has_condition(study: Study, student: str, pair: str, condition: str) -> bool:
    """Whether the map of ``pair`` holds the images of ``condition``."""
    return condition in layer_map_record(study, student, pair).get("n", {})


def layer_projection(study: Study, student: str, pair: str, condition: str) -> Projection | None:
    """Both layers' layouts of the images of ``condition``, in one frame, or None."""
    base, record = f"layer_map/{student}/{pair}", layer_map_record(study, student, pair)
    keys = {CLEAN: "layout/{}"}.get(condition, f"placed/{{}}/{condition}/layout")
    parts = [f"{base}/{keys.format(part)}" for part in (TEACHER, "student")]
    if not all(study.has_array(key) for key in parts):
        return None
    ids = np.asarray(study.array(f"{base}/ids/{condition}"))
    teacher, other = (np.asarray(study.array(key)) for key in parts)
    quality = _qualities(record)
    if not (len(ids) == len(teacher) == len(other)) or quality is None:
        raise StudyError(f"the map of {pair!r} is damaged", remedy="compute it again")
    far = [
        np.asarray(study.array(f"{base}/placed/{part}/{condition}/far"))
        if condition != CLEAN
        else np.zeros(len(ids), dtype=bool)
        for part in (TEACHER, "student")
    ]
    return Projection(
        student_name=student,
        sample_ids=ids,
        conditions=np.full(len(ids), condition, dtype="<U64"),
        teacher=teacher,
        student=other,
        far=np.column_stack(far),
        teacher_quality=quality[0],
        student_quality=quality[1],
    )


def _qualities(record: Mapping[str, Any]) -> Sequence[LayoutQuality] | None:
    try:
        return [LayoutQuality(**record["quality"][part]) for part in (TEACHER, "student")]
    except (KeyError, TypeError):
        return None


def layer_overlap(
    study: Study, student: str, pair: str, condition: str, sample_ids: np.ndarray
) -> np.ndarray:
    """Share (N,) of neighbors that both layers have in common; NaN for images not on the map."""
    base = f"layer_map/{student}/{pair}"
    shared = np.full(len(sample_ids), np.nan)
    if study.has_array(f"{base}/overlap/{condition}"):
        ids = np.asarray(study.array(f"{base}/ids/{condition}")).tolist()
        values = dict(zip(ids, np.asarray(study.array(f"{base}/overlap/{condition}")), strict=True))
        shared = np.array([values.get(str(name), np.nan) for name in sample_ids], dtype=float)
    return shared
