"""What is asked for when pixels are to be explained, as one value. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.attribution.catalog import (
    BASELINE_DESCRIPTIONS,
    CUSTOM,
    EXPLAINED,
    PAIR_FORMULAS,
    find_card,
)
from analysis.config import Config
from analysis.config import field as setting
from analysis.errors import ConfigError, nearest


@dataclass(frozen=True, kw_only=True)
class AttributionConfig(Config):
    """How maps of teacher, student and pair are made. Everything here but the batch decides them.

    ``options`` are the method's numbers, given as a mapping and kept as sorted pairs with all
    defaults filled in, so that equal requests are equal values. Raises
    :class:`~analysis.errors.InputError` for unknown names, naming the nearest.
    """

    method: str = setting("integrated_gradients", "attribution method")
    baseline: str | None = setting(
        None, "what the image is compared with: blurred, mean, black or custom (default: blurred)"
    )
    scalar: str = setting("p_student_minus_teacher", "number of the pair that is explained")
    explained: str | int = setting(
        "own", "class that is explained: own, student, teacher, label or a number"
    )
    options: tuple[tuple[str, float], ...] | Mapping[str, float] = setting(
        (), "the method's numbers, such as steps=32"
    )
    seed: int = setting(0, "seed of methods that draw numbers", low=0)
    batch: int = setting(64, "images that go through a model at once", low=1, provenance=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        method = find_card(self.method)
        if self.scalar not in PAIR_FORMULAS:
            raise ConfigError(
                f"unknown scalar {self.scalar!r} of a pair",
                remedy=nearest(self.scalar, PAIR_FORMULAS),
            )
        object.__setattr__(self, "baseline", self._settled_baseline(method.uses_baseline))
        try:
            settled = method.settle(dict(self.options))
        except (TypeError, ValueError):
            raise ConfigError(
                f"options = {self.options!r}", expected="numbers by name, such as {'steps': 32}"
            ) from None
        object.__setattr__(self, "options", tuple(sorted(settled.items())))
        self._check_explained()

    def _settled_baseline(self, used: bool) -> str | None:
        if not used:
            if self.baseline is not None:
                raise ConfigError(
                    f"baseline {self.baseline!r} for {self.method}", remedy="it compares with none"
                )
            return None
        name, known = self.baseline or "blurred", (*BASELINE_DESCRIPTIONS, CUSTOM)
        if name not in known:
            raise ConfigError(f"unknown baseline {name!r}", remedy=nearest(name, known))
        return name

    def _check_explained(self) -> None:
        if isinstance(self.explained, int):
            if self.explained < 0:
                raise ConfigError(f"explained class {self.explained}", expected="0 or above")
        elif self.explained not in EXPLAINED:
            raise ConfigError(
                f"explained = {self.explained!r}",
                expected=f"one of {', '.join(EXPLAINED)}, or the number of a class",
            )


@dataclass(frozen=True, kw_only=True)
class FaithfulnessConfig(Config):
    """How maps are checked. Everything here but the batch decides the result."""

    steps: int = setting(16, "points of a deletion or insertion curve after the first", low=2)
    orders: int = setting(9, "random orders beside each curve, and moved maps", low=1)
    squares: int = setting(64, "random squares that infidelity removes", low=2)
    baseline: str = setting("blurred", "what hidden pixels show: blurred, mean or black")
    seed: int = setting(0, "seed of orders, moves and squares", low=0)
    batch: int = setting(64, "images that go through a model at once", low=1, provenance=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.baseline not in BASELINE_DESCRIPTIONS:
            raise ConfigError(
                f"unknown baseline {self.baseline!r}",
                remedy=nearest(self.baseline, BASELINE_DESCRIPTIONS),
            )
