"""How maps are checked, as one value. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.attribution.catalog import BASELINE_DESCRIPTIONS
from analysis.config import Config
from analysis.config import field as setting
from analysis.errors import ConfigError, nearest


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
