"""How far the answers of a student are from its teacher's, sample by sample and in the mean.

Natural logarithm, temperature 1, softmax in float64. Intervals are 95 % percentile bootstraps
over samples; all measures of one comparison share their draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.divergence.answers import (
    Answers,
    check_labels,
    check_logits,
    finite_rows,
    log_softmax,
    read_answers,
    row_chunks,
)
from analysis.divergence.bootstrap import (
    DRAWS,
    bootstrap_sums,
    mean_interval,
    percentile_interval,
)
from analysis.divergence.calibration import calibration_gaps
from analysis.divergence.dark_knowledge import TOP, dark_divergence, order_agreement
from analysis.errors import InputError
from analysis.records import Direction, Divergence, Interval

Unit = Literal["share", "nats", "difference"]

# In the order in which they are shown. Accuracy and calibration speak of the student alone.
MEASURES: dict[str, tuple[Direction, Unit]] = {
    "agreement": ("higher_is_closer", "share"),
    "churn": ("higher_is_farther", "share"),
    "kl_teacher_student": ("higher_is_farther", "nats"),
    "kl_student_teacher": ("higher_is_farther", "nats"),
    "js": ("higher_is_farther", "nats"),
    "top5_overlap": ("higher_is_closer", "share"),
    "top5_order": ("higher_is_closer", "difference"),
    "dark_kl": ("higher_is_farther", "nats"),
    "confidence_gap": ("neutral", "difference"),
    "accuracy": ("neutral", "share"),
    "negative_flips": ("higher_is_farther", "share"),
    "ece": ("neutral", "share"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAnswers:
    """The answers of both models and their divergence, one row per sample.

    ``kl_teacher_student`` is KL(T||S), ``kl_student_teacher`` KL(S||T), ``js`` the Jensen-Shannon
    divergence without root (at most ln 2), all (N,) in nats; ``top5_overlap`` (N,) the shared
    part of both top-5 sets (top-K below five classes); ``top5_order`` (N,) in [-1, 1] how far both
    put the teacher's top 5 in the same order, ``dark_kl`` (N,) in nats how differently they share
    out what the teacher's answer leaves (:mod:`~analysis.divergence.dark_knowledge`).
    """

    teacher: Answers
    student: Answers
    kl_teacher_student: np.ndarray
    kl_student_teacher: np.ndarray
    js: np.ndarray
    top5_overlap: np.ndarray
    top5_order: np.ndarray
    dark_kl: np.ndarray

    @property
    def agree(self) -> np.ndarray:
        """(N,) bool: both models give the same answer."""
        return self.teacher.answer == self.student.answer


def compare_outputs(
    teacher_logits: np.ndarray,
    student_logits: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Divergence]:
    """Every measure of :data:`MEASURES` between two models on the same samples.

    Logits are (N, K), rows and classes aligned; labels (N,) in [0, K). ``accuracy`` and ``ece``
    are the student's; ``negative_flips`` is the share of all samples that the teacher gets right
    and the student wrong (Yan et al., 2021, arXiv 2011.09161). Those three have the value None
    without labels. ``ece`` has no value per sample, and its interval may lie above it: resampling
    adds noise to every bin, and each bin counts with its absolute gap.

    Raises :class:`InputError` when shapes, class counts or labels do not fit together, and
    :class:`ModelError` for logits that are not finite.
    """
    pair = answer_pair(teacher_logits, student_logits)
    known = check_labels(labels, *teacher_logits.shape)
    columns = _per_sample(pair, known)
    gaps = _gaps(pair.student, known)
    values = _intervals(columns, gaps, seed=seed, draws=draws)
    return {
        name: Divergence(
            name=name,
            direction=direction,
            unit=unit,
            value=values.get(name),
            n=len(teacher_logits),
            per_sample=columns.get(name),
        )
        for name, (direction, unit) in MEASURES.items()
    }


def answer_measures(
    logits: np.ndarray, labels: np.ndarray | None = None, *, seed: int = 0, draws: int = DRAWS
) -> dict[str, Divergence]:
    """``accuracy`` and ``ece`` of one model alone; both None without labels.

    With equal seeds the draws are those of :func:`compare_outputs`. Same errors.
    """
    answers = read_answers(logits)
    known = check_labels(labels, *logits.shape)
    columns = {} if known is None else {"accuracy": (answers.answer == known).astype(np.float64)}
    values = _intervals(columns, _gaps(answers, known), seed=seed, draws=draws)
    return {
        name: Divergence(
            name=name,
            direction=MEASURES[name][0],
            unit=MEASURES[name][1],
            value=values.get(name),
            n=len(logits),
            per_sample=columns.get(name),
        )
        for name in ("accuracy", "ece")
    }


def answer_pair(teacher_logits: np.ndarray, student_logits: np.ndarray) -> PairAnswers:
    """Compare two models row by row, in chunks; arguments as of :func:`compare_outputs`."""
    check_pair(teacher_logits, student_logits)
    n = len(teacher_logits)
    kl_ts, kl_st, js, overlap, order, dark = (np.empty(n) for _ in range(6))
    for rows in row_chunks(*teacher_logits.shape):
        teacher = finite_rows(teacher_logits, rows, "the teacher")
        student = finite_rows(student_logits, rows, "the student")
        log_t, log_s = log_softmax(teacher), log_softmax(student)
        kl_ts[rows] = _kl(log_t, log_s)
        kl_st[rows] = _kl(log_s, log_t)
        log_mean = np.logaddexp(log_t, log_s) - math.log(2)
        js[rows] = (_kl(log_t, log_mean) + _kl(log_s, log_mean)) / 2
        top = top_mask(teacher, min(TOP, teacher.shape[1]))
        overlap[rows] = (top & top_mask(student, min(TOP, teacher.shape[1]))).sum(1) / top[0].sum()
        order[rows] = order_agreement(teacher, student, top)
        dark[rows] = dark_divergence(teacher, student)
    return PairAnswers(
        teacher=read_answers(teacher_logits, owner="the teacher"),
        student=read_answers(student_logits, owner="the student"),
        kl_teacher_student=kl_ts,
        kl_student_teacher=kl_st,
        js=np.minimum(js, math.log(2)),
        top5_overlap=overlap,
        top5_order=order,
        dark_kl=dark,
    )


def check_pair(teacher_logits: np.ndarray, student_logits: np.ndarray) -> None:
    """Raise :class:`InputError` unless both are (N, K) with the same N and K."""
    check_logits(teacher_logits, "the teacher")
    check_logits(student_logits, "the student")
    (rows, classes), (other_rows, other_classes) = teacher_logits.shape, student_logits.shape
    if classes != other_classes:
        raise InputError(
            f"the teacher answers {classes} classes, the student {other_classes}",
            expected="the same classes in both models",
        )
    if rows != other_rows:
        raise InputError(
            f"the teacher answered {rows} samples, the student {other_rows}",
            expected="the same samples for both models",
        )


def top_mask(logits: np.ndarray, k: int) -> np.ndarray:
    """(N, K) bool: the ``k`` highest classes of each row, the lower index first among equals."""
    threshold = np.partition(logits, -k, axis=1)[:, -k, None]
    above, tied = logits > threshold, logits == threshold
    room = k - above.sum(axis=1, keepdims=True)
    return above | (tied & (np.cumsum(tied, axis=1) <= room))


def _kl(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    # Rounding can leave a tiny negative sum; the divergence has none.
    return np.maximum((np.exp(log_p) * (log_p - log_q)).sum(axis=1), 0.0)


def _per_sample(pair: PairAnswers, labels: np.ndarray | None) -> dict[str, np.ndarray]:
    columns = {
        "agreement": pair.agree.astype(np.float64),
        "churn": (~pair.agree).astype(np.float64),
        "kl_teacher_student": pair.kl_teacher_student,
        "kl_student_teacher": pair.kl_student_teacher,
        "js": pair.js,
        "top5_overlap": pair.top5_overlap,
        "top5_order": pair.top5_order,
        "dark_kl": pair.dark_kl,
        "confidence_gap": pair.student.confidence - pair.teacher.confidence,
    }
    if labels is not None:
        right = pair.student.answer == labels
        columns["accuracy"] = right.astype(np.float64)
        columns["negative_flips"] = ((pair.teacher.answer == labels) & ~right).astype(np.float64)
    return columns


def _gaps(answers: Answers, labels: np.ndarray | None) -> np.ndarray | None:
    if labels is None:
        return None
    return calibration_gaps(answers.confidence, answers.answer == labels)


def _intervals(
    columns: dict[str, np.ndarray], gaps: np.ndarray | None, *, seed: int, draws: int
) -> dict[str, Interval]:
    """Interval of every column's mean and, from the bins' ``gaps`` (N, B), of ``ece``."""
    if gaps is None and not columns:
        return {}
    parts = [*columns.values()] + ([] if gaps is None else list(gaps.T))
    table = np.column_stack(parts)
    n = len(table)
    means = bootstrap_sums(table, draws=draws, seed=seed) / n
    intervals = {
        name: mean_interval(column, resampled)
        for (name, column), resampled in zip(columns.items(), means.T, strict=False)
    }
    if gaps is not None:
        value = float(np.abs(gaps.sum(axis=0)).sum() / n)
        resampled_ece = np.abs(means[:, len(columns) :]).sum(axis=1)
        intervals["ece"] = percentile_interval(value, resampled_ece)
    return intervals
