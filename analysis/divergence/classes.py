"""Where the student parts from its teacher, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.divergence.answers import check_labels, read_answers
from analysis.divergence.bootstrap import DRAWS, bootstrap_means
from analysis.divergence.outputs import PairAnswers, answer_pair, check_pair
from analysis.errors import InputError
from analysis.records import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassDivergence:
    """Both models on the ``n`` samples of one class; None where nothing was measured.

    Accuracies (the share of the class that is recognized) and ``agreement`` are shares in
    [0, 1]; ``kl_teacher_student`` is in nats, higher is farther.
    """

    index: int
    name: str
    n: int
    teacher_accuracy: Interval | None
    student_accuracy: Interval | None
    agreement: Interval | None
    kl_teacher_student: Interval | None


def per_class(
    teacher_logits: np.ndarray,
    student_logits: np.ndarray,
    labels: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> tuple[ClassDivergence, ...]:
    """One record for each of the K classes, in their order, of logits (N, K) of both models.

    A sample counts for its label (N,), without labels for the teacher's answer; then the accuracies
    are None. ``classes`` are K names, by default the indices. Intervals are bootstrapped within
    the class. Raises :class:`InputError` when shapes, labels or the number of names do not fit
    together, and :class:`~analysis.errors.ModelError` for logits that are not finite.
    """
    pair = answer_pair(teacher_logits, student_logits)
    known = check_labels(labels, *teacher_logits.shape)
    names = _class_names(classes, teacher_logits.shape[1])
    group = pair.teacher.answer if known is None else known
    columns = _columns(pair, known)
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group, minlength=len(names)))
    records = []
    for index, (name, rows) in enumerate(zip(names, np.split(order, ends[:-1]), strict=True)):
        values = dict.fromkeys(columns) if len(rows) == 0 else _means(columns, rows, seed, draws)
        records.append(ClassDivergence(index=index, name=name, n=len(rows), **values))
    return tuple(records)


def worst_class(records: Sequence[ClassDivergence]) -> ClassDivergence | None:
    """The class with the lowest agreement, then the highest KL; None when all are empty.

    A small class is easily the worst one by chance: show ``n`` and the interval beside it.
    """
    measured = [record for record in records if record.agreement and record.kl_teacher_student]
    return min(measured, key=_closeness, default=None)


def drift_matrix(teacher_logits: np.ndarray, student_logits: np.ndarray) -> np.ndarray:
    """Counts (K, K) int64: rows are the teacher's answer, columns the student's.

    Raises what :func:`~analysis.divergence.outputs.compare_outputs` raises.
    """
    check_pair(teacher_logits, student_logits)
    return count_answers(
        read_answers(teacher_logits, owner="the teacher").answer,
        read_answers(student_logits, owner="the student").answer,
        teacher_logits.shape[1],
    )


def count_answers(
    teacher_answer: np.ndarray, student_answer: np.ndarray, classes: int
) -> np.ndarray:
    """Counts (K, K) int64 of each pair of answers (N,); rows are the teacher's."""
    pairs = np.bincount(teacher_answer * classes + student_answer, minlength=classes**2)
    return pairs.reshape(classes, classes)


def _class_names(classes: Sequence[str] | None, count: int) -> tuple[str, ...]:
    names = tuple(map(str, range(count))) if classes is None else tuple(classes)
    if len(names) != count:
        raise InputError(
            f"{len(names)} class names for models that answer {count} classes",
            expected="one name for each class",
        )
    return names


def _columns(pair: PairAnswers, labels: np.ndarray | None) -> dict[str, np.ndarray | None]:
    return {
        "teacher_accuracy": None if labels is None else pair.teacher.answer == labels,
        "student_accuracy": None if labels is None else pair.student.answer == labels,
        "agreement": pair.agree,
        "kl_teacher_student": pair.kl_teacher_student,
    }


def _means(
    columns: dict[str, np.ndarray | None], rows: np.ndarray, seed: int, draws: int
) -> dict[str, Interval | None]:
    known = {name: column[rows] for name, column in columns.items() if column is not None}
    table = np.column_stack(list(known.values()))
    found = dict(zip(known, bootstrap_means(table, draws=draws, seed=seed), strict=True))
    return {name: found.get(name) for name in columns}


def _closeness(record: ClassDivergence) -> tuple[float, float, int]:
    assert record.agreement is not None
    assert record.kl_teacher_student is not None
    return record.agreement.value, -record.kl_teacher_student.value, record.index
