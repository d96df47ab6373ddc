"""One pass of a method over all images, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from analysis.attribution.copies import InferenceCopy
from analysis.attribution.images import Pixels
from analysis.attribution.method import Task
from analysis.attribution.plan import Plan, Report
from analysis.attribution.subject import Subject
from analysis.errors import ModelError

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
    model: Subject | InferenceCopy, pixels: Pixels, size: int, rows: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Hand out (rows, pixels as a tensor for ``model``, where it wants them)."""
    for chosen, values in pixels.batches(size, rows):
        yield chosen, torch.from_numpy(values).to(model.device, model.dtype)


def explain(
    plan: Plan,
    subject: Subject,
    pixels: Pixels,
    classes: np.ndarray,
    report: Report,
    rows: np.ndarray | None = None,
) -> Explained:
    """Explain ``subject`` on all images, or on ``rows``; ``classes`` (N,) are those of all."""
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for chosen, x in batches(subject, pixels, plan.batch, rows):
        c = torch.from_numpy(classes[chosen]).to(x.device)
        parts.append(_explain_batch(plan, subject, x, c))
        report(len(chosen))
    return Explained(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _explain_batch(
    plan: Plan, subject: Subject, x: torch.Tensor, c: torch.Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    base = plan.baseline.make(x) if plan.baseline else torch.zeros_like(x)
    task = Task(
        subject=subject,
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
            differences = subject(x, c) - subject(base, c)
    sums = maps.sum(dim=(1, 2), dtype=torch.float64)
    return maps.float().cpu().numpy(), sums.cpu().numpy(), differences.double().cpu().numpy()
