"""The perturbations that a user can choose: targeted FGSM, PGD and CW-style margin descent.

Each says what is minimized and how the steps are taken; :mod:`analysis.attack.crafting` takes
them. A new one is a subclass of :class:`Perturbation` and a line in :data:`PERTURBATIONS`.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from analysis.config import Config, field
from analysis.errors import ConfigError, nearest

NORMS = ("linf", "l2")
# Counts the ways in which lengths were rounded to 8 bits.
_ROUNDING = 2


@dataclass(frozen=True, kw_only=True)
class Perturbation(Config, abc.ABC):
    """A change of the pixels, bounded in a norm, towards the target class.

    ``epsilon`` is in 1/255 of the range of a pixel, for both norms. Subclasses set ``name`` (the
    registry's key), ``title`` and ``source``.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]

    epsilon: float = field(8.0, "largest change, in 1/255 (8 is 8/255)", low=1.0)
    norm: str = field("linf", "what epsilon bounds: every pixel, or the length", choices=NORMS)
    views: int = field(
        0, "random views at every step that count beside the image itself", low=0, high=64
    )
    seed: int = field(0, "seed of start and views", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm == "linf" and self.epsilon > 255:
            raise ConfigError(
                f"epsilon = {self.epsilon:g}", expected="at most 255 in the norm linf"
            )

    @property
    @abc.abstractmethod
    def plan(self) -> Plan:
        """How the steps are taken."""

    def loss(self, logits: Tensor, target: int) -> Tensor:
        """What is minimized, (N,): the cross-entropy -log p(target)."""
        classes = torch.full((len(logits),), target, device=logits.device)
        return functional.cross_entropy(logits, classes, reduction="none")

    def key(self) -> dict[str, Any]:
        """The values that decide the result, and which perturbation it is."""
        rounding = {"rounding": _ROUNDING} if self.norm == "l2" else {}
        return {"name": self.name, **rounding, **super().key()}


@dataclass(frozen=True, slots=True)
class Plan:
    """How many steps, of which length (1/255), from where, and when an image is done.

    An image is done when the target leads every other class by ``margin`` (a difference of
    logits) on the image and on all views of the step.
    """

    steps: int
    step: float
    random_start: bool
    margin: float


@dataclass(frozen=True, kw_only=True)
class FGSM(Perturbation):
    """One step of length epsilon against the gradient's sign (for l2: its direction)."""

    name: ClassVar[str] = "fgsm"
    title: ClassVar[str] = "FGSM (one step)"
    source: ClassVar[str] = "Goodfellow, Shlens, Szegedy 2014, arXiv 1412.6572, targeted"

    @property
    def plan(self) -> Plan:
        """One step, for every image."""
        return Plan(steps=1, step=self.epsilon, random_start=False, margin=math.inf)


@dataclass(frozen=True, kw_only=True)
class PGD(Perturbation):
    """Steps of 2.5 epsilon / steps from a random start, back into the ball after each."""

    name: ClassVar[str] = "pgd"
    title: ClassVar[str] = "PGD (projected gradient descent)"
    source: ClassVar[str] = "Madry, Makelov, Schmidt, Tsipras, Vladu 2017, arXiv 1706.06083"

    steps: int = field(20, "steps at most", low=1, high=10_000)
    margin: float | None = field(
        6.0, "stop when the teacher's target logit leads by this; none takes every step", low=0.0
    )
    random_start: bool = field(True, "start anywhere in the ball rather than at the image")

    @property
    def plan(self) -> Plan:
        """The step that reaches the border from anywhere in the ball, and beyond."""
        return Plan(
            steps=self.steps,
            step=2.5 * self.epsilon / self.steps,
            random_start=self.random_start,
            margin=math.inf if self.margin is None else self.margin,
        )


@dataclass(frozen=True, kw_only=True)
class CW(PGD):
    """PGD on the margin: max(largest other logit - target logit, -confidence).

    The loss of Carlini and Wagner inside a fixed ball, rather than their search for the least
    change. ``margin`` is their confidence.
    """

    name: ClassVar[str] = "cw"
    title: ClassVar[str] = "CW (margin loss with confidence)"
    source: ClassVar[str] = "Carlini, Wagner 2016, arXiv 1608.04644, equation f6"

    margin: float | None = field(
        6.0, "confidence: by how much the target logit is to lead; none has no end", low=0.0
    )

    def loss(self, logits: Tensor, target: int) -> Tensor:
        """What is minimized, (N,): by how much the target trails, at least -confidence."""
        return (-lead(logits, target)).clamp(min=-self.plan.margin)


PERTURBATIONS: Mapping[str, type[Perturbation]] = {kind.name: kind for kind in (FGSM, PGD, CW)}


def make_perturbation(name: str, **settings: Any) -> Perturbation:
    """Build the perturbation called ``name``; ``epsilon`` may be ``8`` or ``"8/255"``.

    Raises :class:`~analysis.errors.ConfigError` for an unknown name or setting (the nearest
    known one is named) and for values out of bounds.
    """
    if name not in PERTURBATIONS:
        raise ConfigError(f"unknown perturbation {name!r}", remedy=nearest(name, PERTURBATIONS))
    if "epsilon" in settings:
        settings["epsilon"] = read_epsilon(settings["epsilon"])
    return PERTURBATIONS[name].from_mapping(settings)


def read_epsilon(value: str | float) -> float:
    """Read epsilon as a number of 1/255: ``8``, ``"8"`` or ``"8/255"``.

    Raises :class:`~analysis.errors.ConfigError`; a number below 1 is taken for a share of the
    range, and the hint says what it would be in 1/255.
    """
    text = str(value).strip()
    top, slash, bottom = text.partition("/")
    try:
        number = float(top)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or (slash and bottom.strip() != "255"):
        raise ConfigError(f"epsilon = {text!r}", expected="a number of 1/255, like 8 or 8/255")
    if not number >= 1:
        meant = f"write {max(1, round(number * 255))}" if 0 < number < 1 else "write 8"
        raise ConfigError(f"epsilon = {text}", expected="at least 1, in 1/255", remedy=meant)
    return number


def lead(logits: Tensor, target: int) -> Tensor:
    """By how much the target's logit exceeds the largest other, (N, K) -> (N,)."""
    others = logits.clone()
    others[:, target] = -math.inf
    return logits[:, target] - others.amax(dim=1)
