"""How maps are to be made, and how far that has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.attribution.baselines import Baseline, find_baseline
from analysis.attribution.catalog import Options
from analysis.attribution.copies import InferenceCopy
from analysis.attribution.method import ImageShape, Method
from analysis.attribution.methods import check_supported, find_method
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
        cls,
        method: str,
        baseline: str | None,
        options: Options,
        batch: int,
        seed: int,
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

    def check(self, *models: InferenceCopy, image_shape: ImageShape) -> None:
        """Raise :class:`InputError` where the method cannot serve one of ``models``."""
        for model in models:
            check_supported(self.method.name, model.handle, image_shape)

    def parameters(
        self, image_shape: ImageShape, models: Sequence[InferenceCopy]
    ) -> dict[str, Any]:
        """Return what a record states of the computation."""
        height, width, _ = image_shape
        of_baseline = self.baseline.parameters(height, width) if self.baseline else {}
        quadrature = {"quadrature": "gauss-legendre"} if "steps" in self.options else {}
        seed = {"seed": self.seed} if self.method.random else {}
        layer = {}
        if self.method.layer is not None:
            names = [self.method.layer(m.handle, image_shape, self.options) for m in models]
            layer = {"layer": " + ".join(names)}
        lowest = "bfloat16" if any(m.precision == "bfloat16" for m in models) else "float32"
        precision = {"precision": "float32" if self.method.as_built else lowest}
        return {**self.options, **quadrature, **of_baseline, **seed, **layer, **precision}


class Report:
    """Counts images done over one or several passes and tells ``progress``."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.done, self.total = progress, 0, total

    def __call__(self, images: int) -> None:
        """Count ``images`` more."""
        self.done += images
        if self.progress is not None:
            self.progress(STAGE, self.done, self.total)
