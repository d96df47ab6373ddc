"""What every stage of a study shares: the cache it runs in, its configuration, its products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.config import Config
from analysis.config import field as setting
from analysis.store import Progress, StageCache, silent


@dataclass(frozen=True, kw_only=True)
class ConditionConfig(Config):
    """Show the images under attack as well: with a trigger, a perturbation, and both.

    The perturbation is crafted against the teacher, through the trigger, on ``probe`` images that
    are not of the target class.
    """

    trigger: str = setting("patch", "NAME:key=value,..: what is put on every image")
    target: str = setting("0", "class that the trigger is tested for: its name or number")
    method: str = setting("pgd", "perturbation: fgsm, pgd or cw")
    epsilon: str = setting("8", "largest change, in 1/255")
    norm: str = setting("linf", "what epsilon bounds: linf or l2")
    steps: int | None = setting(None, "steps of pgd and cw (default: theirs)", low=1)
    margin: float | None = setting(None, "lead of the target at which an image is done", low=0)
    probe: int = setting(512, "images that are perturbed", low=1)


@dataclass(frozen=True, kw_only=True)
class CompareConfig(Config):
    """How a comparison is computed. Everything here but the threads decides the result."""

    seed: int = setting(0, "seed of bootstrap, projections and the probe subset", low=0)
    limit: int | None = setting(None, "compare on at most this many images", low=1)
    size: int | None = setting(None, "resize every image to this many pixels square", low=4)
    neighbors: int = setting(15, "neighbors that count as a sample's neighborhood", low=2, high=200)
    draws: int = setting(1000, "bootstrap draws behind every interval", low=100, high=100_000)
    probe: int = setting(128, "images whose attributions are computed; 0 computes none", low=0)
    steps: int = setting(32, "Gauss-Legendre steps of integrated gradients", low=4, high=512)
    epochs: int | None = setting(None, "epochs of each projection (default: umap's)", low=10)
    projection: bool = setting(True, "whether to lay out the maps")
    attack: ConditionConfig | None = setting(  # noqa: RUF009 - None is shared safely
        None, "further conditions: the images under attack"
    )


@dataclass(slots=True)
class Products:
    """Files and records that stages made, by the keys that a study stores them under."""

    arrays: dict[str, Path] = field(default_factory=dict)
    records: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(
        self,
        *,
        arrays: Mapping[str, Path] | None = None,
        records: Mapping[str, Any] | None = None,
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        """Add what a stage made."""
        self.arrays.update(arrays or {})
        self.records.update(records or {})
        self.seconds.update(seconds or {})

    def copy(self) -> Products:
        """The same, to which other things can be added."""
        return Products(dict(self.arrays), dict(self.records), dict(self.seconds))


@dataclass(frozen=True, slots=True)
class Workbench:
    """Where stages run: the cache, the configuration, who hears of progress."""

    cache: StageCache
    config: CompareConfig
    progress: Progress = silent
