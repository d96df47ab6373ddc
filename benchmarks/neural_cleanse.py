"""Neural Cleanse as its authors published it, on the student alone.

Settings of the published code: batches of 32 of 1 000 images, Adam at 0.1 with betas 0.5 and 0.9,
first cost 1e-3, 1.5x up (and 1.5^1.5x down) after 5 successes (failures) at 99 %, and at most
1 000 rounds with early stop after 25 rounds without 1 % of progress. Source: Wang et al. 2019,
section IV and appendix; parameters of the code that they released.

The classes are searched beside one another, each with batches, cost and counters of its own, as if
it were alone: a device is busier so, and nothing else changes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

BATCH, SAMPLES, ROUNDS, RATE, BETAS, EPSILON = 32, 1000, 1000, 0.1, (0.5, 0.9), 1e-8
FIRST_COST, MULTIPLIER, PATIENCE, SUCCESS = 1e-3, 1.5, 5, 0.99
STOP_PATIENCE, STOP_PROGRESS = 5 * PATIENCE, 0.99


@dataclass(frozen=True)
class Cleansed:
    """Smallest mask sums (K,), infinite where none worked; seconds and passes of one image.

    ``finished`` counts the classes that came to the end of their schedule, ``rounds`` is how many
    the slowest of all took.
    """

    sizes: np.ndarray
    seconds: float
    passes: int
    finished: int
    rounds: int


def neural_cleanse(
    student: Callable[[torch.Tensor], torch.Tensor],
    pixels: torch.Tensor,
    classes: int,
    *,
    limit: float = math.inf,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Cleansed:
    """Invert a trigger for every class of ``student`` by ``pixels`` (N, C, H, W) in [0, 1].

    With a ``limit`` of passes, each class gets its share. ``device`` is where ``student`` answers.
    """
    started = time.perf_counter()
    pixels = pixels[:SAMPLES].to(device)
    search = _Search(pixels, classes, seed)
    schedules = [_Schedule() for _ in range(classes)]
    batches = max(1, len(pixels) // BATCH)
    steps, most = 0, limit / classes // BATCH
    rounds = 0
    for rounds in range(1, ROUNDS + 1):
        going = [label for label, schedule in enumerate(schedules) if not schedule.over]
        if not going:
            rounds -= 1
            break
        costs = [schedules[label].cost for label in going]
        taken = int(min(batches, most - steps))
        rates, sums = search.round(student, going, costs, taken)
        steps += taken
        for label in going:
            schedules[label].steps += taken
        if taken < batches:
            break
        for label, rate, size in zip(going, rates, sums, strict=True):
            schedules[label].after_round(rate, size)
    return Cleansed(
        sizes=np.array([schedule.best for schedule in schedules]),
        seconds=time.perf_counter() - started,
        passes=BATCH * sum(schedule.steps for schedule in schedules),
        finished=sum(schedule.over or rounds == ROUNDS for schedule in schedules),
        rounds=rounds,
    )


@dataclass
class _Schedule:
    """What the published code decides between two rounds of one class."""

    cost: float = 0.0
    best: float = math.inf
    over: bool = False
    steps: int = 0
    _stop_best: float = math.inf
    _waited: int = 0
    _set_up: int = 0
    _ups: int = 0
    _downs: int = 0
    _went_up: bool = False
    _went_down: bool = False

    def after_round(self, rate: float, size: float) -> None:
        """Take a round's mean success rate and mean mask sum; change the cost, or stop."""
        if rate >= SUCCESS and size < self.best:
            self.best = size
        if self.best < math.inf:
            self._waited = self._waited + 1 if self.best >= STOP_PROGRESS * self._stop_best else 0
            self._stop_best = min(self._stop_best, self.best)
        if self._waited >= STOP_PATIENCE and self._went_up and self._went_down:
            self.over = True
            return
        if self.cost == 0 and rate >= SUCCESS:
            self._set_up += 1
            if self._set_up >= PATIENCE:
                self.cost, self._set_up, self._ups, self._downs = FIRST_COST, 0, 0, 0
                self._went_up = self._went_down = False
        else:
            self._set_up = 0
        self._ups, self._downs = (self._ups + 1, 0) if rate >= SUCCESS else (0, self._downs + 1)
        if self._ups >= PATIENCE:
            self._ups, self.cost, self._went_up = 0, self.cost * MULTIPLIER, True
        elif self._downs >= PATIENCE:
            self._downs, self.cost, self._went_down = 0, self.cost / MULTIPLIER**1.5, True


class _Search:
    """Masks (K, 1, H, W) and patterns (K, C, H, W) of all classes, and Adam on them."""

    def __init__(self, pixels: torch.Tensor, classes: int, seed: int) -> None:
        self.pixels = pixels
        self.random = torch.Generator(pixels.device).manual_seed(seed)
        channels, height, width = pixels.shape[1:]
        self.raw = [
            _inverse(torch.rand(shape, generator=self.random, device=pixels.device))
            for shape in ((classes, 1, height, width), (classes, channels, height, width))
        ]
        self.means, self.squares = ([torch.zeros_like(raw) for raw in self.raw] for _ in "12")
        self.step = 0

    def round(
        self,
        student: Callable[[torch.Tensor], torch.Tensor],
        going: list[int],
        costs: list[float],
        steps: int,
    ) -> tuple[list[float], list[float]]:
        """Take ``steps`` steps for the classes ``going``; their mean success rates and sums."""
        device = self.pixels.device
        labels, cost = torch.tensor(going, device=device), torch.tensor(costs, device=device)
        targets = labels.repeat_interleave(BATCH)
        hits, sums = (torch.zeros(len(going), device=device) for _ in "12")
        for _ in range(steps):
            rows = torch.randint(
                len(self.pixels), (len(going), BATCH), generator=self.random, device=device
            )
            raw = [part[labels].requires_grad_() for part in self.raw]
            mask, pattern = (torch.tanh(part)[:, None] / 2 + 0.5 for part in raw)
            logits = student(((1 - mask) * self.pixels[rows] + mask * pattern).flatten(0, 1))
            size = mask.sum(dim=(1, 2, 3, 4))
            loss = functional.cross_entropy(logits, targets, reduction="sum") / BATCH
            gradients = torch.autograd.grad(loss + (cost * size).sum(), raw)
            self._adam(labels, gradients)
            hits += (logits.detach().argmax(1) == targets).view(-1, BATCH).float().mean(1)
            sums += size.detach()
        if steps == 0:
            return [], []
        return (hits / steps).tolist(), (sums / steps).tolist()

    def _adam(self, labels: torch.Tensor, gradients: tuple[torch.Tensor, ...]) -> None:
        self.step += 1
        first, second = BETAS
        for raw, mean, square, gradient in zip(
            self.raw, self.means, self.squares, gradients, strict=True
        ):
            mean[labels] = first * mean[labels] + (1 - first) * gradient
            square[labels] = second * square[labels] + (1 - second) * gradient**2
            size = (square[labels] / (1 - second**self.step)).sqrt() + EPSILON
            raw[labels] -= RATE * mean[labels] / (1 - first**self.step) / size


def _inverse(values: torch.Tensor) -> torch.Tensor:
    return torch.atanh((values - 0.5) * (2 - 1e-6))
