"""How maps are to be made, and how far that has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analysis.attribution.baselines import Baseline, find_baseline
from analysis.attribution.methods import Method, Options, find_method
from analysis.errors import InputError
from analysis.store import Progress

STAGE = "attribution"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How maps are made: method, baseline, options, images at a time, seed."""

    method: Method
    baseline: Baseline | None
    options: Options
    batch: int
    seed: int

    @classmethod
    def settle(
        cls, method: str, baseline: str | None, options: Options, batch: int, seed: int
    ) -> Plan:
        """Look the names up and check the numbers; raises :class:`InputError`."""
        chosen = find_method(method)
        if baseline is not None and not chosen.uses_baseline:
            raise InputError(f"baseline {baseline!r} for {method}", remedy="it compares with none")
        if batch < 1:
            raise InputError(f"batch {batch}", expected="at least 1")
        return cls(
            method=chosen,
            baseline=find_baseline(baseline or "blurred") if chosen.uses_baseline else None,
            options=chosen.settle(options),
            batch=batch,
            seed=seed,
        )

    def parameters(self, height: int, width: int, precision: str) -> dict[str, Any]:
        """Return what a record states of the computation."""
        of_baseline = self.baseline.parameters(height, width) if self.baseline else {}
        quadrature = {"quadrature": "gauss-legendre"} if "steps" in self.options else {}
        return {**self.options, **quadrature, **of_baseline, "precision": precision}


class Report:
    """Counts images done over one or several passes and tells ``progress``."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.done, self.total = progress, 0, total

    def __call__(self, images: int) -> None:
        """Count ``images`` more."""
        self.done += images
        if self.progress is not None:
            self.progress(STAGE, self.done, self.total)
