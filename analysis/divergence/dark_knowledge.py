"""What two models say of the classes that they do not answer.

A teacher hands on more than its answer: in which order the other classes follow, and how they share
what is left. Hinton et al., 2015, arXiv 1503.02531, call it dark knowledge.
"""

from __future__ import annotations

import numpy as np

from analysis.divergence.answers import log_softmax

TOP = 5


def order_agreement(teacher: np.ndarray, student: np.ndarray, top: np.ndarray) -> np.ndarray:
    """Kendall's tau between both models' order of the classes in ``top``, (N,) in [-1, 1].

    Logits (N, K); ``top`` (N, K) bool marks the teacher's likeliest classes, equally many in each
    row and at least 2. The share of pairs of classes that both put in the same order minus the
    share that they put in opposite ones; of equal logits the lower class comes first. Higher is
    closer. Source: Kendall, Biometrika 30 (1938).
    """
    columns = np.nonzero(top)[1].reshape(len(top), -1)
    first, second = np.triu_indices(columns.shape[1], 1)
    orders = []
    for logits in (teacher, student):
        values = np.take_along_axis(np.asarray(logits), columns, axis=1)
        # Columns ascend by class, so of equal values the first one comes first.
        orders.append(values[:, first] >= values[:, second])
    return np.where(orders[0] == orders[1], 1.0, -1.0).mean(axis=1)


def dark_divergence(teacher: np.ndarray, student: np.ndarray) -> np.ndarray:
    """KL(T || S) of the distributions over all classes but the teacher's answer, (N,) in nats.

    Logits (N, K) float64. How sure the two are of the answer does not enter. 0 for two classes,
    where nothing is left to share. Higher is farther. Source: the non-target part of decoupled
    knowledge distillation, Zhao et al., 2022, arXiv 2203.08679, eq. 5, at temperature 1 and with
    the teacher's answer in the place of the label.
    """
    count, classes = teacher.shape
    if classes == 2:
        return np.zeros(count)
    rest = np.ones(teacher.shape, dtype=bool)
    rest[np.arange(count), teacher.argmax(axis=1)] = False
    log_t, log_s = (
        log_softmax(logits[rest].reshape(count, classes - 1)) for logits in (teacher, student)
    )
    return np.maximum((np.exp(log_t) * (log_t - log_s)).sum(axis=1), 0.0)
