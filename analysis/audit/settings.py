"""How triggers are searched for: the settings, and the budgets that name them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.config import Config, field
from analysis.errors import ConfigError, nearest

MASK_ONLY = ("mask",)
STANDARD = ("mask", "coarse", "spatial", "frequency")
"""What is searched unless somebody says otherwise; planted warps are found by these, too."""
ALL_FAMILIES = (*STANDARD, "warp")
BUDGETS = ("fast", "standard", "thorough")
BASELINES: Mapping[str, str] = {
    "sticker_bank": "Ready stickers",
    "strip": "STRIP",
    "neural_cleanse": "Neural Cleanse, student alone (for contrast)",
}
"""Tests beside the inversion by name, with the title of one that was not run."""


@dataclass(frozen=True, kw_only=True)
class InversionConfig(Config):
    """How the smallest trigger of every class is searched for."""

    use: str = field("forbid", "what the teacher must do", choices=("forbid", "keep", "none"))
    families: tuple[str, ...] = field(STANDARD, "models of a trigger")
    restarts: int = field(2, "searches from different starts; the smallest trigger counts", low=1)
    steps: int = field(100, "steps of each search", low=4)
    batch: int = field(16, "images of each class at each step", low=2)
    asked: int = field(4, "of these, images that the teacher is asked about", low=1)
    learning_rate: float = field(0.3, "of Adam, falling to a tenth", low=1e-4, high=10)
    weight: float = field(0.1, "weight of the size at the start, adapted per class", low=0)
    factor: float = field(1.5, "by what the weight is adapted", low=1.0)
    patience: int = field(3, "successes, or failures, in a row before it is", low=1)
    success: float = field(0.9, "share of a batch that must be moved", low=0.05, high=1)
    level: float = field(0.8, "share of unseen images at which the size is read", low=0.05, high=1)
    eliminate_after: float = field(0.3, "share of the steps before classes are given up", low=0)
    keep: int = field(8, "so many classes are never given up", low=2)
    images: int = field(256, "trusted images that triggers are searched on", low=8)
    measured: int = field(64, "trusted images that triggers are measured on", low=8)
    seed: int = field(0, "seed of starts and batches", low=0)
    precision: str = field(
        "auto",
        "gradients in bfloat16 where the processor has it and maps agree",
        choices=("auto", "float32", "bfloat16"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.asked > self.batch:
            raise ConfigError(f"asked = {self.asked}", expected=f"at most batch = {self.batch}")
        check_families(self.families)

    def kept(self, classes: int) -> int:
        """How many of ``classes`` are searched to the end: twice the root, at least ``keep``."""
        return min(classes, max(self.keep, math.ceil(2 * math.sqrt(classes))))


def check_families(names: Sequence[str]) -> None:
    """Refuse an empty list, what is no model of a trigger, and one that is named twice."""
    if not names:
        raise ConfigError("families = []", expected="at least one trigger model")
    for name in names:
        if name not in ALL_FAMILIES:
            raise ConfigError(f"trigger model {name!r}", remedy=nearest(name, ALL_FAMILIES))
    if len(set(names)) < len(names):
        raise ConfigError(f"families = {list(names)}", expected="each trigger model once")


@dataclass(frozen=True, slots=True)
class Budget:
    """What an audit may cost: families, restarts, references, and the tests beside the inversion.

    ``baselines`` are of :data:`BASELINES`; ``localize`` says whether the recovered trigger is
    explained on images.
    """

    name: str
    families: tuple[str, ...]
    restarts: int
    references: int
    baselines: tuple[str, ...] = ()
    localize: bool = False


_BUDGETS: Mapping[str, Budget] = {
    budget.name: budget
    for budget in (
        Budget("fast", MASK_ONLY, 2, 0),
        Budget("standard", STANDARD, 2, 5, ("sticker_bank",), localize=True),
        Budget("thorough", ALL_FAMILIES, 3, 19, tuple(BASELINES), localize=True),
    )
}


def budgets_with(baseline: str) -> tuple[str, ...]:
    """The budgets that ``baseline`` is part of, the cheapest first."""
    return tuple(name for name, budget in _BUDGETS.items() if baseline in budget.baselines)


def find_budget(name: str) -> Budget:
    """Return the budget called ``name``; the nearest is named when there is none."""
    if name not in _BUDGETS:
        raise ConfigError(f"budget {name!r}", remedy=nearest(name, _BUDGETS))
    return _BUDGETS[name]
