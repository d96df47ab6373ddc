"""Which experiments the table consists of: a base, and what is changed of it, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

PATCH = "patch:size=4,place=bottom_right,fill=checker"
BASE: Mapping[str, Any] = {
    "attack.rate": 0.05,
    "attack.epsilon": 8,
    "distillation.temperature": 4,
    "distillation.hard_label_weight": 0.0,
    "attack.method": "pgd",
    "attack.steps": 10,
    "attack.margin": 30,
    "attack.views": 2,
    "attack.trigger": PATCH,
    "distillation.objective": "hinton",
    "distillation.teacher_views": "cached",
    "distillation.arch": "resnet8",
}
SEEDS = (0, 1, 2)
RATES = (0.01, 0.025, 0.05, 0.1)
EPSILONS = (4, 8, 16)
MOST_CELLS = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table: ``changes`` of the base, run with every seed of ``seeds``.

    ``factor`` is what is varied, ``level`` how the row is called. ``controls`` says whether the
    three control students are distilled beside the backdoored one.
    """

    factor: str
    level: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    controls: bool = False

    def values(self, seed: int) -> dict[str, Any]:
        """Everything that is varied anywhere, as it is here."""
        return {**BASE, **self.changes, "seed": seed}


def _settings() -> Iterator[Setting]:
    yield Setting(factor="base", level="base", seeds=SEEDS, controls=True)
    for rate in RATES:
        if rate != BASE["attack.rate"]:
            yield Setting(
                factor="rate", level=f"{100 * rate:g} %", changes={"attack.rate": rate}, seeds=SEEDS
            )
    for rate in RATES:
        for epsilon in EPSILONS:
            if epsilon != BASE["attack.epsilon"]:
                yield Setting(
                    factor="rate x epsilon",
                    level=f"{100 * rate:g} %, {epsilon}/255",
                    changes={"attack.rate": rate, "attack.epsilon": epsilon},
                )
    for temperature in (1, 8):
        yield Setting(
            factor="temperature",
            level=str(temperature),
            changes={"distillation.temperature": temperature},
        )
    yield Setting(
        factor="hard-label weight", level="0.5", changes={"distillation.hard_label_weight": 0.5}
    )
    for level, changes in {
        "PGD, stops early, no views": {"attack.margin": 6, "attack.views": 0},
        "FGSM": {
            "attack.method": "fgsm",
            "attack.steps": None,
            "attack.margin": None,
            "attack.views": 0,
        },
        "CW, confidence 0": {"attack.method": "cw", "attack.margin": 0, "attack.views": 0},
    }.items():
        yield Setting(factor="method", level=level, changes=changes)
    for level, trigger in {
        "patch at opacity 0.3": f"translucent:{PATCH.partition(':')[2]},opacity=0.3",
        "sinusoid": "sinusoid:amplitude=12,frequency=6",
        "blend at 0.1": "blend:alpha=0.1",
    }.items():
        yield Setting(factor="trigger", level=level, changes={"attack.trigger": trigger})
    for level, changes in {
        "teacher asked on every view": {"distillation.teacher_views": "augmented"},
        "DKD": {"distillation.objective": "dkd"},
        "attention transfer": {
            "distillation.objective": "attention",
            "distillation.teacher_views": "augmented",
        },
    }.items():
        yield Setting(factor="objective", level=level, changes=changes)
    for arch in ("resnet14",):
        yield Setting(factor="student", level=arch, changes={"distillation.arch": arch})


SETTINGS: tuple[Setting, ...] = tuple(_settings())
assert len(SETTINGS) <= MOST_CELLS
