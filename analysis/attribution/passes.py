"""One pass of a method over all images, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from analysis.attribution.copies import InferenceCopy
from analysis.attribution.images import Pixels
from analysis.attribution.methods import Forward, Method, Task
from analysis.attribution.plan import Plan, Report
from analysis.attribution.scalars import ModelScalar
from analysis.errors import InputError, ModelError

SMALLEST_DIFFERENCE = 0.01
"""Completeness errors are relative to the explained difference, but to no less than this."""


@dataclass(frozen=True)
class Explained:
    """Maps (N, H, W) float32, their sums (N,) and the differences (N,) that these should be."""

    values: np.ndarray
    sums: np.ndarray
    differences: np.ndarray

    def minus(self, other: Explained) -> Explained:
        """Return the maps of the difference of two explained numbers, for a linear method."""
        return Explained(
            self.values - other.values,
            self.sums - other.sums,
            self.differences - other.differences,
        )

    def replaced(self, rows: np.ndarray, other: Explained) -> Explained:
        """Return a copy in which ``rows`` are those of ``other``."""
        parts = []
        for mine, theirs in (
            (self.values, other.values),
            (self.sums, other.sums),
            (self.differences, other.differences),
        ):
            parts.append(mine.copy())
            parts[-1][rows] = theirs
        return Explained(*parts)

    @property
    def completeness_error(self) -> np.ndarray:
        """|sum - difference| / max(|difference|, 0.01), (N,) float32; NaN is not promised."""
        scale = np.maximum(np.abs(self.differences), SMALLEST_DIFFERENCE)
        return (np.abs(self.sums - self.differences) / scale).astype(np.float32)


def batches(
    copy: InferenceCopy, pixels: Pixels, size: int, rows: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, torch.Tensor, torch.device]]:
    """Hand out (rows, pixels as a tensor for ``copy``, its device)."""
    device = copy.handle.device
    for chosen, values in pixels.batches(size, rows):
        yield chosen, torch.from_numpy(values).to(device, copy.dtype), device


def explain_model(
    plan: Plan,
    copy: InferenceCopy,
    scalar: ModelScalar,
    pixels: Pixels,
    classes: np.ndarray,
    report: Report,
    rows: np.ndarray | None = None,
) -> Explained:
    """Explain ``scalar`` of one model, on all images or on ``rows``."""

    def forward(x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return scalar.function(copy(x), c)

    return explain(plan, copy, forward, pixels, classes, report, rows)


def explain(
    plan: Plan,
    copy: InferenceCopy,
    forward: Forward,
    pixels: Pixels,
    classes: np.ndarray,
    report: Report,
    rows: np.ndarray | None = None,
) -> Explained:
    """Explain ``forward``; ``copy`` says on which device, and in which type, pixels are wanted."""
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for chosen, x, device in batches(copy, pixels, plan.batch, rows):
        c = torch.from_numpy(classes[chosen]).to(device)
        if not parts and plan.method.uses_gradients:
            _check_gradient(plan.method, forward, x[:1], c[:1])
        parts.append(_explain_batch(plan, forward, x, c))
        report(len(chosen))
    return Explained(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _explain_batch(
    plan: Plan, forward: Forward, x: torch.Tensor, c: torch.Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    base = plan.baseline.make(x) if plan.baseline else torch.zeros_like(x)
    task = Task(
        forward=forward,
        pixels=x,
        baselines=base,
        classes=c,
        options=plan.options,
        batch=plan.batch,
        seed=plan.seed,
    )
    maps = plan.method.explain(task).detach().sum(dim=1)
    if not torch.isfinite(maps).all():
        raise ModelError(f"{plan.method.name} gave NaN or infinite maps", remedy="check the model")
    differences = torch.full((len(x),), torch.nan)
    if plan.method.complete:
        with torch.no_grad():
            differences = forward(x, c) - forward(base, c)
    sums = maps.sum(dim=(1, 2), dtype=torch.float64)
    return maps.float().cpu().numpy(), sums.cpu().numpy(), differences.double().cpu().numpy()


def _check_gradient(method: Method, forward: Forward, x: torch.Tensor, c: torch.Tensor) -> None:
    with torch.enable_grad():
        if forward(x.detach().clone().requires_grad_(), c).requires_grad:
            return
    raise InputError(
        f"{method.name} needs gradients, and this model passes none to its pixels",
        remedy="use a method that needs none: occlusion",
    )
