"""Do two models name the same classes in a different order?

Two files of the same model with classes sorted differently look like a student that lost
everything. The suspicion has to hold on samples that it was not formed on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom

from analysis.divergence.answers import read_answers
from analysis.divergence.classes import count_answers
from analysis.divergence.outputs import check_pair

MINIMUM_GAIN = 0.20
_SIGNIFICANCE = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class PermutationFinding:
    """The student's class ``c`` is probably the teacher's class ``permutation[c]``.

    Agreements are shares of all ``n`` samples, before and after renaming the student's answers.
    """

    permutation: tuple[int, ...]
    agreement_before: float
    agreement_after: float
    n: int

    @property
    def moved(self) -> tuple[int, ...]:
        """The student's classes that the permutation renames."""
        return tuple(c for c, target in enumerate(self.permutation) if c != target)


def find_permutation(
    teacher_logits: np.ndarray, student_logits: np.ndarray, *, seed: int = 0
) -> PermutationFinding | None:
    """The permutation of the student's classes that explains its disagreement, or None.

    The best permutation is an assignment problem on the counts of joint answers (Kuhn, 1955). It
    is reported when permutations found on either random half, each applied to the other half,
    raise the agreement on both together by more than 20 points, raise it as much beyond what both
    models' class frequencies make likely (so a student that answers one class only does not
    count), and when a sign test on the answers won and lost (McNemar, 1947) leaves less than
    0.1 % to chance. Few or poor answers thus raise no alarm.

    Raises what :func:`~analysis.divergence.outputs.compare_outputs` raises.
    """
    check_pair(teacher_logits, student_logits)
    n, classes = teacher_logits.shape
    teacher = read_answers(teacher_logits, owner="the teacher").answer
    student = read_answers(student_logits, owner="the student").answer
    before = float((teacher == student).mean())
    if before >= 1 - MINIMUM_GAIN:
        return None
    renamed = _cross_fitted(teacher, student, classes, seed)
    permutation = best_permutation(count_answers(teacher, student, classes))
    after = float((teacher == permutation[student]).mean())
    if after - before <= MINIMUM_GAIN or not _holds(teacher, student, renamed):
        return None
    return PermutationFinding(
        permutation=tuple(permutation.tolist()),
        agreement_before=before,
        agreement_after=after,
        n=n,
    )


def best_permutation(counts: np.ndarray) -> np.ndarray:
    """Teacher's class (K,) for each of the student's, maximizing agreement on ``counts`` (K, K).

    Among equally good ones that which renames fewer classes: a class that the student never
    answers keeps its name where it can.
    """
    classes = len(counts)
    # One count outweighs every bonus for keeping names.
    score = counts.T * (classes + 1) + np.eye(classes, dtype=np.int64)
    return linear_sum_assignment(score, maximize=True)[1]


def _cross_fitted(teacher: np.ndarray, student: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """The student's answers (N,), each half renamed by the permutation of the other half."""
    order = np.random.default_rng(seed).permutation(len(teacher))
    halves = np.array_split(order, 2)
    renamed = np.empty_like(student)
    for fit, held_out in (halves, halves[::-1]):
        permutation = best_permutation(count_answers(teacher[fit], student[fit], classes))
        renamed[held_out] = permutation[student[held_out]]
    return renamed


def _holds(teacher: np.ndarray, student: np.ndarray, renamed: np.ndarray) -> bool:
    won = int(((renamed == teacher) & (student != teacher)).sum())
    lost = int(((renamed != teacher) & (student == teacher)).sum())
    gain = (won - lost) / len(teacher)
    beyond_chance = _kappa(teacher, renamed) - _kappa(teacher, student)
    chance = float(binom.sf(won - 1, won + lost, 0.5))
    return min(gain, beyond_chance) > MINIMUM_GAIN and chance < _SIGNIFICANCE


def _kappa(teacher: np.ndarray, student: np.ndarray) -> float:
    """Agreement beyond that of independent answers (Cohen, 1960); 0 is chance, 1 is identity."""
    classes = int(max(teacher.max(), student.max())) + 1
    share_t = np.bincount(teacher, minlength=classes) / len(teacher)
    share_s = np.bincount(student, minlength=classes) / len(student)
    expected = float(share_t @ share_s)
    agreement = float((teacher == student).mean())
    return (agreement - expected) / (1 - expected) if expected < 1 else 0.0
