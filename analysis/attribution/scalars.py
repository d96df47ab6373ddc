"""What is explained: one number per image, of one model or of teacher and student together.

Attribution methods that are linear in the output explain a difference of two models' numbers by
the difference of the two models' maps; such scalars are entered as what they are a difference of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from analysis.attribution.catalog import PAIR_FORMULAS
from analysis.errors import InputError, nearest

ModelFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
PairFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class ModelScalar:
    """A number of one model: ``function(logits (N, K), class (N,)) -> (N,)``.

    ``formula`` is how screens write it.
    """

    name: str
    formula: str
    function: ModelFunction


@dataclass(frozen=True, kw_only=True)
class PairScalar:
    """A number of a pair: ``function(teacher logits, student logits, class) -> (N,)``.

    ``difference_of`` names the model scalar whose value for the student minus that for the
    teacher it is, or is None. ``part`` names the model scalar that the two models' own maps
    explain beside it.
    """

    name: str
    formula: str
    function: PairFunction
    part: str
    difference_of: str | None = None


def probability(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Softmax probability (N,) in [0, 1] of ``classes`` (N,), by ``logits`` (N, K)."""
    return logits.softmax(dim=1).gather(1, classes[:, None])[:, 0]


def logit_margin(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Logit of each of ``classes`` (N,) minus the largest other one of ``logits`` (N, K) -> (N,).

    Positive where the class is the answer.
    """
    own = logits.gather(1, classes[:, None])[:, 0]
    others = logits.scatter(1, classes[:, None], float("-inf"))
    return own - others.amax(dim=1)


def kl_teacher_student(
    teacher_logits: torch.Tensor, student_logits: torch.Tensor, classes: torch.Tensor
) -> torch.Tensor:
    """KL(T || S) (N,) in nats of logits (N, K), at least 0; ``classes`` (N,) play no part."""
    log_t, log_s = teacher_logits.log_softmax(dim=1), student_logits.log_softmax(dim=1)
    return (log_t.exp() * (log_t - log_s)).sum(dim=1)


def _difference(function: ModelFunction) -> PairFunction:
    def pair(
        teacher_logits: torch.Tensor, student_logits: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        return function(student_logits, classes) - function(teacher_logits, classes)

    return pair


MODEL_SCALARS: Mapping[str, ModelScalar] = {
    entry.name: entry
    for entry in (
        ModelScalar(name="probability", formula="p(c)", function=probability),
        ModelScalar(name="logit_margin", formula="z(c) - max z(k), k != c", function=logit_margin),
    )
}

PAIR_SCALARS: Mapping[str, PairScalar] = {
    entry.name: entry
    for entry in (
        PairScalar(
            name="p_student_minus_teacher",
            formula=PAIR_FORMULAS["p_student_minus_teacher"],
            function=_difference(probability),
            part="probability",
            difference_of="probability",
        ),
        PairScalar(
            name="margin_student_minus_teacher",
            formula=PAIR_FORMULAS["margin_student_minus_teacher"],
            function=_difference(logit_margin),
            part="logit_margin",
            difference_of="logit_margin",
        ),
        PairScalar(
            name="kl_teacher_student",
            formula=PAIR_FORMULAS["kl_teacher_student"],
            function=kl_teacher_student,
            part="probability",
        ),
    )
}


def find_model_scalar(name: str) -> ModelScalar:
    """Return the scalar of one model; raises :class:`InputError` naming the nearest."""
    if name not in MODEL_SCALARS:
        raise InputError(f"unknown scalar {name!r} of a model", remedy=nearest(name, MODEL_SCALARS))
    return MODEL_SCALARS[name]


def find_pair_scalar(name: str) -> PairScalar:
    """Return the scalar of a pair; raises :class:`InputError` naming the nearest."""
    if name not in PAIR_SCALARS:
        raise InputError(f"unknown scalar {name!r} of a pair", remedy=nearest(name, PAIR_SCALARS))
    return PAIR_SCALARS[name]
