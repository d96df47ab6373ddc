"""Neural Cleanse as its authors published it: one class after the other, on the student alone.

Settings of the published code: batches of 32 of 1 000 images, Adam at 0.1 with betas 0.5 and 0.9,
first cost 1e-3, 1.5x up (and 1.5^1.5x down) after 5 successes (failures) at 99 %, and at most
1 000 rounds with early stop after 25 rounds without 1 % of progress. Source: Wang et al. 2019,
section IV and appendix; parameters of the code that they released.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

BATCH, SAMPLES, ROUNDS, RATE, BETAS = 32, 1000, 1000, 0.1, (0.5, 0.9)
FIRST_COST, MULTIPLIER, PATIENCE, SUCCESS = 1e-3, 1.5, 5, 0.99
STOP_PATIENCE, STOP_PROGRESS = 5 * PATIENCE, 0.99


@dataclass(frozen=True)
class Cleansed:
    """Smallest mask sums (K,), infinite where none worked; seconds and passes of one image."""

    sizes: np.ndarray
    seconds: float
    passes: int
    finished: int


def neural_cleanse(
    student: Callable[[torch.Tensor], torch.Tensor],
    pixels: torch.Tensor,
    classes: int,
    *,
    limit: float = math.inf,
    seed: int = 0,
) -> Cleansed:
    """Invert a trigger for every class; with a ``limit`` of passes, each class gets its share."""
    torch.manual_seed(seed)
    started, sizes, passes, finished = time.perf_counter(), [], 0, 0
    for label in range(classes):
        size, used, stopped = _one_class(student, pixels[:SAMPLES], label, limit / classes)
        sizes.append(size)
        passes += used
        finished += stopped
    return Cleansed(np.array(sizes), time.perf_counter() - started, passes, finished)


def _one_class(
    student: Callable[[torch.Tensor], torch.Tensor],
    pixels: torch.Tensor,
    label: int,
    limit: float,
) -> tuple[float, int, bool]:
    channels, height, width = pixels.shape[1:]
    mask = nn.Parameter(_inverse(torch.rand(1, height, width)))
    pattern = nn.Parameter(_inverse(torch.rand(channels, height, width)))
    optimizer = torch.optim.Adam([mask, pattern], lr=RATE, betas=BETAS)
    cost, best, stop_best, passes = 0.0, math.inf, math.inf, 0
    set_up, ups, downs, waited = 0, 0, 0, 0
    went_up = went_down = False
    batches = max(1, len(pixels) // BATCH)
    for _ in range(ROUNDS):
        hits, regs = [], []
        for _ in range(batches):
            if passes + BATCH > limit:
                return best, passes, False
            x = pixels[torch.randint(len(pixels), (BATCH,))]
            m, p = (torch.tanh(raw) / 2 + 0.5 for raw in (mask, pattern))
            logits = student((1 - m) * x + m * p)
            target = torch.full((BATCH,), label)
            reg = m.sum()
            optimizer.zero_grad()
            (functional.cross_entropy(logits, target) + cost * reg).backward()
            optimizer.step()
            hits.append(float((logits.argmax(1) == label).float().mean()))
            regs.append(float(reg.detach()))
            passes += BATCH
        rate, reg_mean = float(np.mean(hits)), float(np.mean(regs))
        if rate >= SUCCESS and reg_mean < best:
            best = reg_mean
        if best < math.inf:
            waited = waited + 1 if best >= STOP_PROGRESS * stop_best else 0
            stop_best = min(stop_best, best)
        if waited >= STOP_PATIENCE and went_up and went_down:
            return best, passes, True
        if cost == 0 and rate >= SUCCESS:
            set_up += 1
            if set_up >= PATIENCE:
                cost, set_up, ups, downs = FIRST_COST, 0, 0, 0
                went_up = went_down = False
        else:
            set_up = 0
        ups, downs = (ups + 1, 0) if rate >= SUCCESS else (0, downs + 1)
        if ups >= PATIENCE:
            ups, cost, went_up = 0, cost * MULTIPLIER, True
        elif downs >= PATIENCE:
            downs, cost, went_down = 0, cost / MULTIPLIER**1.5, True
    return best, passes, True


def _inverse(values: torch.Tensor) -> torch.Tensor:
    return torch.atanh((values - 0.5) * (2 - 1e-6))
