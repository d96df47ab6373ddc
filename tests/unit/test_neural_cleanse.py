"""The peer of the audit's search: all classes at once, each by the schedule that was published."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks import neural_cleanse as cleanse
from benchmarks.neural_cleanse import (
    BATCH,
    FIRST_COST,
    MULTIPLIER,
    PATIENCE,
    STOP_PATIENCE,
    _Schedule,
    _Search,
    neural_cleanse,
)
from benchmarks.zoo.cleansing import cleansed_row

CLASSES, PLANTED = 4, 2


def student(pixels: torch.Tensor) -> torch.Tensor:
    """Linear in the pixels; one bright pixel means the planted class."""
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(pixels[0].numel(), CLASSES, generator=generator) * 0.3
    weights[7, PLANTED] = 40.0
    return (pixels.flatten(1) - 0.5) @ weights


def images(n: int = 64) -> torch.Tensor:
    pixels = torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(5))
    pixels[:, 0, 1, 1] = 0.2  # the pixel that the planted class wants bright
    return pixels


def test_the_planted_class_has_the_smallest_mask() -> None:
    found = neural_cleanse(student, images(), CLASSES)
    assert found.finished == CLASSES
    assert np.isfinite(found.sizes).all()
    assert found.sizes.argmin() == PLANTED
    assert found.sizes[PLANTED] < 0.5 * np.delete(found.sizes, PLANTED).min()
    row = cleansed_row("s", found, (6, 6), ["a", "b", "c", "d"])
    assert row["named"] == "c"
    assert row["statistic"] > 2


def test_the_same_seed_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanse, "ROUNDS", 6)
    first, again = (neural_cleanse(student, images(), CLASSES, seed=4) for _ in "12")
    assert np.array_equal(first.sizes, again.sizes)
    assert first.rounds == 6
    assert first.passes == 6 * CLASSES * len(images())


@pytest.mark.parametrize("steps", [0, 1, 3, 7])
def test_a_limit_is_shared_by_the_classes(steps: int) -> None:
    limit = CLASSES * BATCH * steps + BATCH - 1
    found = neural_cleanse(student, images(), CLASSES, limit=limit)
    assert found.passes == CLASSES * BATCH * steps
    assert found.finished == 0


def test_steps_are_those_of_torchs_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = images(BATCH)
    search, alone = (_Search(pixels, CLASSES, 9) for _ in "12")
    raw = [part[[PLANTED]].clone().requires_grad_() for part in alone.raw]
    adam = torch.optim.Adam(raw, lr=cleanse.RATE, betas=cleanse.BETAS)
    everything = torch.arange(BATCH)
    monkeypatch.setattr(torch, "randint", lambda n, shape, **_: everything.expand(shape))
    for _ in range(5):
        search.round(student, [0, PLANTED], [0.0, 0.02], 1)
        mask, pattern = (torch.tanh(part) / 2 + 0.5 for part in raw)
        logits = student((1 - mask) * pixels + mask * pattern)
        loss = torch.nn.functional.cross_entropy(logits, torch.full((BATCH,), PLANTED))
        adam.zero_grad()
        (loss + 0.02 * mask.sum()).backward()
        adam.step()
    for ours, torchs in zip(search.raw, raw, strict=True):
        torch.testing.assert_close(ours[PLANTED], torchs[0].detach(), rtol=1e-4, atol=1e-5)
    assert torch.equal(search.raw[0][1], alone.raw[0][1]), "that class was not to be searched"


def test_the_schedule_begins_rises_falls_and_stops() -> None:
    schedule = _Schedule()
    for _ in range(PATIENCE - 1):
        schedule.after_round(1.0, 9.0)
    assert schedule.cost == 0
    schedule.after_round(1.0, 9.0)
    assert schedule.cost == pytest.approx(FIRST_COST)
    for _ in range(PATIENCE - 1):
        schedule.after_round(1.0, 8.0)
    assert schedule.cost == pytest.approx(FIRST_COST * MULTIPLIER), "the round that set it counts"
    for _ in range(PATIENCE):
        schedule.after_round(0.5, 1.0)
    assert schedule.cost == pytest.approx(FIRST_COST * MULTIPLIER / MULTIPLIER**1.5)
    assert schedule.best == 8.0, "what does not succeed is no trigger"
    rounds = 0
    while not schedule.over:
        schedule.after_round(1.0, 8.0)
        rounds += 1
    assert rounds == STOP_PATIENCE - PATIENCE - (PATIENCE - 2)


def test_a_class_without_any_mask_counts_as_the_whole_image() -> None:
    sizes = np.array([10.0, 11.0, 12.0, math.inf, 1.0])
    found = cleanse.Cleansed(sizes=sizes, seconds=1.0, passes=9, finished=5, rounds=3)
    row = cleansed_row("s", found, (6, 6), list("abcde"))
    assert row["classes"] == "10.00 11.00 12.00 inf 1.00"
    known = np.array([10.0, 11.0, 12.0, 36.0, 1.0])
    median = np.median(known)
    spread = 1.4826 * np.median(np.abs(known - median))
    assert row["statistic"] == pytest.approx((median - 1.0) / spread, rel=1e-3)
    assert row["named"] == "e"
