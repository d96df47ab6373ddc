"""What the teacher is asked while a trigger is searched for: one registry.

A trigger that nobody planted, a weakness that the student took over from its teacher, moves both.
``forbid`` and ``keep`` ask for one that moves the student alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from analysis.errors import InputError, nearest

QUIET = 0.05
"""Probability of a wrong answer below which the teacher's gradient is not worth its cost."""


@dataclass(frozen=True, slots=True)
class TeacherUse:
    """One use: ``asks`` says what the teacher must do under the trigger."""

    name: str
    title: str
    source: str
    asks: Literal["own_answer", "not_the_class", "nothing"]

    @property
    def needs_teacher(self) -> bool:
        """Whether the teacher is run at all."""
        return self.asks != "nothing"

    def wrong(self, logits: Tensor, classes: Tensor, own: Tensor) -> Tensor:
        """Probability (N,) that the teacher does what it must not.

        ``logits`` (N, K) under the trigger, ``classes`` (N,) searched for, ``own`` (N,) the
        teacher's answers without the trigger.
        """
        if self.asks == "own_answer":
            return 1 - logits.softmax(1).gather(1, own[:, None])[:, 0]
        return logits.softmax(1).gather(1, classes[:, None])[:, 0]

    def loss(self, logits: Tensor, classes: Tensor, own: Tensor) -> Tensor:
        """-log of the probability (N,) that the teacher does what it must; differentiable."""
        if self.asks == "own_answer":
            return functional.cross_entropy(logits, own, reduction="none")
        # log(1 - p_k) as a difference of two log-sums, stable where p_k is almost 1.
        rest = logits.masked_fill(
            functional.one_hot(classes, logits.shape[1]).bool(), float("-inf")
        )
        return logits.logsumexp(1) - rest.logsumexp(1)

    def violated(self, logits: Tensor, classes: Tensor, own: Tensor) -> Tensor:
        """Whether the teacher's answer (N,) is one that it must not give."""
        answers = logits.argmax(1)
        return answers != own if self.asks == "own_answer" else answers == classes


USES: Mapping[str, TeacherUse] = {
    use.name: use
    for use in (
        TeacherUse("keep", "teacher keeps its answer", "this project", "own_answer"),
        TeacherUse("forbid", "teacher does not say the class", "this project", "not_the_class"),
        TeacherUse("none", "student alone (Neural Cleanse)", "Wang et al. 2019", "nothing"),
    )
}


def find_use(name: str) -> TeacherUse:
    """Return the use called ``name``; the nearest is named when there is none."""
    if name not in USES:
        raise InputError(f"use of the teacher {name!r}", remedy=nearest(name, USES))
    return USES[name]


def loud(wrong: Tensor) -> Tensor:
    """Rows (M,) whose probability of a wrong answer is worth a gradient."""
    return torch.nonzero(wrong > QUIET)[:, 0]
