"""Calibration against loops written from the definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from analysis.divergence.calibration import ece, reliability, wilson_interval
from analysis.errors import InputError


@pytest.fixture(name="sample")
def _sample() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    confidence = generator.beta(5, 2, size=300)
    return confidence, generator.random(300) < confidence**2


def _bins(confidence: np.ndarray, bins: int) -> list[list[int]]:
    edges = np.linspace(0, 1, bins + 1)
    members: list[list[int]] = []
    for number in range(bins):
        low, high = edges[number], edges[number + 1]
        members.append(
            [
                i
                for i, value in enumerate(confidence)
                if low < value <= high or (number == 0 and value == 0)
            ]
        )
    return members


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_ece_matches_a_loop(sample: tuple[np.ndarray, np.ndarray], bins: int) -> None:
    confidence, correct = sample
    total = 0.0
    for rows in _bins(confidence, bins):
        if rows:
            gap = abs(correct[rows].mean() - confidence[rows].mean())
            total += len(rows) / len(confidence) * gap
    assert ece(confidence, correct, bins) == pytest.approx(total, abs=1e-12)


def test_reliability_matches_a_loop(sample: tuple[np.ndarray, np.ndarray]) -> None:
    confidence, correct = sample
    found = reliability(confidence, correct)
    for number, rows in enumerate(_bins(confidence, 15)):
        assert found.count[number] == len(rows)
        if not rows:
            assert np.isnan([found.accuracy[number], found.low[number]]).all()
            continue
        assert found.confidence[number] == pytest.approx(confidence[rows].mean())
        assert found.accuracy[number] == pytest.approx(correct[rows].mean())
        exact = binomtest(int(correct[rows].sum()), len(rows)).proportion_ci(method="wilson")
        assert found.low[number] == pytest.approx(exact.low)
        assert found.high[number] == pytest.approx(exact.high)
    assert found.ece == ece(confidence, correct)
    assert len(found.edges) == 16


def test_edges_belong_to_the_bin_below() -> None:
    edges = np.linspace(0, 1, 16)
    found = reliability(edges, np.ones(16, bool))
    assert found.count.tolist() == [2] + [1] * 14


@pytest.mark.parametrize(
    ("confidence", "correct", "expected"),
    [([1.0, 1.0], [True, True], 0.0), ([1.0, 1.0], [False, False], 1.0), ([0.75], [True], 0.25)],
)
def test_known_values(confidence: list[float], correct: list[bool], expected: float) -> None:
    assert ece(np.array(confidence), np.array(correct)) == pytest.approx(expected)


def test_wilson_stays_inside_zero_and_one() -> None:
    low, high = wilson_interval(np.array([0, 5, 0]), np.array([5, 5, 0]))
    assert low[0] == 0
    assert high[1] == 1
    assert np.isnan(low[2])


@pytest.mark.parametrize(
    ("confidence", "correct", "bins", "message"),
    [
        ([0.5], [True, False], 15, r"shape \(1,\) and correctness of shape \(2,\)"),
        ([], [], 15, "at least one sample"),
        ([1.2], [True], 15, "confidence 1.2; expected a probability"),
        ([float("nan")], [True], 15, "confidence nan"),
        ([0.5], [True], 0, "0 calibration bins"),
    ],
)
def test_bad_input_is_named(
    confidence: list[float], correct: list[bool], bins: int, message: str
) -> None:
    for function in (ece, reliability):
        with pytest.raises(InputError, match=message):
            function(np.array(confidence), np.array(correct, bool), bins)
