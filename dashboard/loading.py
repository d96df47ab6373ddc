"""From a study and a selection to the rows that a page shows. Knows no Streamlit.

Rows of two models are matched by ``sample_id``, never by position.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.digest import digest_strings
from analysis.errors import DistillscopeError, StudyError
from analysis.records import CLEAN, TEACHER, Projection
from analysis.store.manifest import MANIFEST
from analysis.store.study import Study
from analysis.store.workspace import Workspace
from analysis.study.between import answers_between, overlap_between
from dashboard.loading_slices import slice_members
from dashboard.selection import Lasso, Region, Selection, SliceSet, load_set
from dashboard.table import sample_table
from dashboard.table_rows import rows_where

STUDY_VARIABLE = "DISTILLSCOPE_STUDY"
WORKSPACE_VARIABLE = "DISTILLSCOPE_WORKSPACE"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two models on one condition; every array has one row per sample.

    What is called the teacher's belongs to the left model of the comparison, which is the teacher
    unless another one was chosen.

    ``labels`` (N,) int64 or None, answers (N,) int64, confidences and probabilities of the label
    (N,) in [0, 1], ``kl`` KL(teacher || student) in nats, ``overlap`` the share of common nearest
    neighbors in feature space or None where it was not measured.
    """

    sample_ids: np.ndarray
    labels: np.ndarray | None
    teacher_answer: np.ndarray
    student_answer: np.ndarray
    teacher_confidence: np.ndarray
    student_confidence: np.ndarray
    kl: np.ndarray
    js: np.ndarray
    top5_overlap: np.ndarray
    confidence_gap: np.ndarray
    overlap: np.ndarray | None

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def agree(self) -> np.ndarray:
        """(N,) bool: both give the same answer."""
        return self.teacher_answer == self.student_answer

    @property
    def teacher_correct(self) -> np.ndarray | None:
        """(N,) bool, or None without labels."""
        return None if self.labels is None else self.teacher_answer == self.labels

    @property
    def student_correct(self) -> np.ndarray | None:
        """(N,) bool, or None without labels."""
        return None if self.labels is None else self.student_answer == self.labels

    @property
    def negative_flip(self) -> np.ndarray | None:
        """(N,) bool: the teacher is right and the student wrong; None without labels."""
        if self.labels is None:
            return None
        return (self.teacher_answer == self.labels) & (self.student_answer != self.labels)

    @property
    def groups(self) -> np.ndarray:
        """(N,) class of each image: its label, or the teacher's answer without labels."""
        return self.teacher_answer if self.labels is None else self.labels

    def rows(self, rows: np.ndarray) -> Pair:
        """The same for some rows (indices or a mask)."""
        values: dict[str, Any] = {}
        for spec in fields(self):
            whole = getattr(self, spec.name)
            values[spec.name] = None if whole is None else whole[rows]
        return Pair(**values)


def workspace_path() -> Path:
    """Folder of the studies that this server can show."""
    path = os.environ.get(WORKSPACE_VARIABLE)
    return Path(path) if path else served_path().parent


def served_path() -> Path:
    """Folder of the study that this server was started with; without one, of the newest."""
    path = os.environ.get(STUDY_VARIABLE)
    if path:
        return Path(path)
    root = os.environ.get(WORKSPACE_VARIABLE)
    newest = newest_study(Path(root)) if root else None
    if newest is None:
        raise StudyError("no study was named", remedy="start with: distillscope open DIR")
    return newest


def newest_study(workspace: Path) -> Path | None:
    """Folder of the study in ``workspace`` that was written last, or None; none of a sweep."""
    written = {}
    for path in (workspace / name for name in Workspace(workspace).names()):
        with contextlib.suppress(OSError):
            written[path] = (path / MANIFEST).stat().st_mtime_ns
    return max(written, key=written.__getitem__) if written else None


def study_path(name: str | None) -> Path:
    """Folder of the study ``name`` in the workspace; None means the served one.

    Raises :class:`StudyError` for what is no study there: a name is never taken as a path.
    """
    return served_path() if name is None else Workspace(workspace_path()).path(name)


def study_version(study: Study) -> str:
    """What caches know the files of ``study`` by, which its digest does not cover all of."""
    return version_in(study.path, study.manifest.whole)


def version_in(path: Path, whole: str) -> str:
    """:func:`study_version` of the study in ``path`` whose manifest's digest is ``whole``.

    The place counts: a stranger's study can claim any digest.
    """
    return digest_strings([str(path), whole])


def study_stamp(path: Path) -> tuple[int, int]:
    """Changes whenever the manifest is replaced; raises :class:`StudyError` when it is gone."""
    try:
        stat = (path / MANIFEST).stat()
    except OSError as error:
        raise StudyError(
            f"the study at {path} is gone", remedy="put it back, or open another one"
        ) from error
    return stat.st_mtime_ns, stat.st_size


def load_pair(study: Study, student: str, condition: str = CLEAN, *, left: str = TEACHER) -> Pair:
    """Join the rows of ``left`` (by default the teacher) and ``student`` by sample id.

    How far a student parts from the teacher is stored; from another student it is computed here.
    """
    first = study.samples(left, condition)
    other = study.samples(student, condition)
    try:
        joined = _join(first, other)
        return joined if left == TEACHER else _between(study, joined, left, student, condition)
    except (KeyError, pa.ArrowException, TypeError, ValueError) as error:
        raise StudyError(
            f"the samples of {student!r} on {condition!r} are damaged ({type(error).__name__})",
            remedy="compute them again",
        ) from error


def _between(study: Study, joined: Pair, left: str, student: str, condition: str) -> Pair:
    """``joined`` with how far its two students part from each other instead of the teacher."""
    row_of = {str(name): row for row, name in enumerate(study.condition_ids(condition))}
    rows = np.asarray([row_of[name] for name in joined.sample_ids.tolist()], dtype=np.int64)
    answers = answers_between(study, left, student, condition)
    overlap = overlap_between(study, left, student, condition)
    return replace(
        joined,
        kl=answers.kl_teacher_student[rows],
        js=answers.js[rows],
        top5_overlap=answers.top5_overlap[rows],
        confidence_gap=joined.student_confidence - joined.teacher_confidence,
        overlap=None if overlap is None else overlap[rows],
    )


def _join(teacher: pa.Table, student: pa.Table) -> Pair:
    ids = _strings(teacher["sample_id"])
    row_of = {name: row for row, name in enumerate(_strings(student["sample_id"]).tolist())}
    order = np.asarray([row_of.get(name, -1) for name in ids.tolist()], dtype=np.int64)
    if (order < 0).any():
        ids, teacher, order = (
            ids[order >= 0],
            teacher.filter(pa.array(order >= 0)),
            order[order >= 0],
        )

    def of(table: pa.Table, name: str) -> np.ndarray:
        return np.asarray(table[name].to_numpy(zero_copy_only=False))

    def mine(name: str) -> np.ndarray:
        return of(student, name)[order].astype(np.float64)

    labeled = "label" in teacher.column_names and teacher["label"].null_count == 0
    return Pair(
        sample_ids=ids,
        labels=of(teacher, "label").astype(np.int64) if labeled and len(ids) else None,
        teacher_answer=of(teacher, "answer").astype(np.int64),
        student_answer=of(student, "answer")[order].astype(np.int64),
        teacher_confidence=of(teacher, "confidence").astype(np.float64),
        student_confidence=mine("confidence"),
        kl=mine("kl_teacher_student"),
        js=mine("js"),
        top5_overlap=mine("top5_overlap"),
        confidence_gap=mine("confidence_gap"),
        overlap=mine("neighborhood_overlap") if _measured(student) else None,
    )


def _measured(student: pa.Table) -> bool:
    name = "neighborhood_overlap"
    return name in student.column_names and student[name].null_count == 0


def _strings(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.to_pylist(), dtype=object)


def projection_of(
    study: Study, student: str, condition: str, *, left: str = TEACHER
) -> Projection | None:
    """Both layouts of the images of ``condition`` alone, one row per sample, or None."""
    whole = study.projection(student, condition, left=left)
    if whole is None:
        return None
    rows = np.flatnonzero(np.asarray(whole.conditions) == condition)
    if len(rows) == len(whole.sample_ids):
        return whole
    if len(rows) == 0:
        return None
    names = ("sample_ids", "conditions", "teacher", "student", "far")
    kept: dict[str, Any] = {name: np.asarray(getattr(whole, name))[rows] for name in names}
    return replace(whole, **kept)


def workspace_of(study: Study) -> Path:
    """The folder that holds the study, its siblings and ``.distillscope``."""
    return study.path.resolve().parent


def region_mask(
    region: Region, study: Study, pair: Pair, projection: Projection | None
) -> np.ndarray:
    """Which rows of ``pair`` lie in ``region``; (N,) bool.

    Raises :class:`DistillscopeError` when the region cannot be resolved in this study.
    """
    if isinstance(region, SliceSet):
        wanted = slice_members(study, region.id)
        return np.asarray([name in wanted for name in pair.sample_ids.tolist()], dtype=bool)
    if not isinstance(region, Lasso):
        wanted = load_set(workspace_of(study), region)
        return np.asarray([name in wanted for name in pair.sample_ids.tolist()], dtype=bool)
    if projection is None:
        raise StudyError("this study holds no maps", expected="a projection of the student")
    layout = projection.teacher if region.side == "teacher" else projection.student
    inside = np.flatnonzero(region.contains(np.asarray(layout)))
    wanted = frozenset(str(projection.sample_ids[row]) for row in inside)
    return np.asarray([name in wanted for name in pair.sample_ids.tolist()], dtype=bool)


def table_of(study: Study, selection: Selection, pair: Pair) -> pa.Table:
    """All columns of ``pair``, the rows that ``selection`` chose before any filter."""
    student, condition, left = selection.student, selection.condition, selection.left
    clean = None if condition == CLEAN else load_pair(study, student, CLEAN, left=left)
    return sample_table(
        study, pair, student=student, condition=condition, left=left, clean=clean
    )  # fmt: skip


def filter_mask(
    selection: Selection,
    study: Study,
    pair: Pair,
    projection: Projection | None,
    table: Callable[[], pa.Table] | None = None,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which rows pass the cross-filter, and messages about parts that could not be applied.

    ``table`` gives the rows of ``pair`` as a table, where somebody holds it already.
    """
    mask = np.ones(len(pair), dtype=bool)
    if selection.cell:
        teacher, student = selection.cell
        mask &= (pair.teacher_answer == teacher) & (pair.student_answer == student)
    if selection.group is not None:
        mask &= pair.groups == selection.group
    if selection.differ:
        mask &= ~pair.agree
    messages: tuple[str, ...] = ()
    if selection.within:
        try:
            mask &= region_mask(selection.within, study, pair, projection)
        except DistillscopeError as error:
            messages = (f"The filter by selected images was left out: {error}",)
    if selection.where:
        try:
            held = table() if table else table_of(study, selection, pair)
            mask &= rows_where(held, selection.where)
        except DistillscopeError as error:
            messages += (f"The filter by an expression was left out: {error}",)
    return mask, messages
