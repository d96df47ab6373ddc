"""Trustworthiness and continuity against scikit-learn and a loop from the paper."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from analysis.embedding import quality as module
from analysis.embedding.neighbors import normalize_rows
from analysis.embedding.quality import layout_quality
from analysis.errors import InputError


def _case(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(n, 6)).astype(np.float32)
    layout = features[:, :2] + generator.normal(size=(n, 2)) * 0.5
    return features, layout


def _order(points: np.ndarray, row: int) -> list[int]:
    distances = np.square(points - points[row]).sum(axis=1).tolist()
    return sorted((j for j in range(len(points)) if j != row), key=lambda j: (distances[j], j))


def _oracle(features: np.ndarray, layout: np.ndarray, k: int) -> tuple[float, float]:
    n = len(features)
    points = normalize_rows(features).astype(np.float64)
    intruders = leavers = 0
    for row in range(n):
        near, shown = _order(points, row), _order(layout, row)
        intruders += sum(near.index(j) + 1 - k for j in shown[:k] if j not in near[:k])
        leavers += sum(shown.index(j) + 1 - k for j in near[:k] if j not in shown[:k])
    scale = 2 / (n * k * (2 * n - 3 * k - 1))
    return 1 - scale * intruders, 1 - scale * leavers


@pytest.mark.parametrize(("n", "k"), [(3, 1), (31, 15), (60, 4)])
def test_both_match_a_loop(n: int, k: int) -> None:
    features, layout = _case(n)
    found = layout_quality(features, layout, k=k)
    assert (found.trustworthiness, found.continuity) == pytest.approx(_oracle(features, layout, k))
    assert (found.k, found.n) == (k, n)


def test_both_match_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_CELLS", 5000)
    features, layout = _case(400)
    points = normalize_rows(features)
    found = layout_quality(features, layout)
    assert found.trustworthiness == pytest.approx(trustworthiness(points, layout, n_neighbors=15))
    assert found.continuity == pytest.approx(trustworthiness(layout, points, n_neighbors=15))
    assert found.trustworthiness != pytest.approx(found.continuity, abs=1e-4)


def test_equal_distances_are_ranked_by_row() -> None:
    generator = np.random.default_rng(4)
    features = np.eye(3)[generator.integers(0, 3, 30)]
    layout = generator.integers(0, 3, (30, 2)).astype(float)
    found = layout_quality(features, layout, k=5)
    assert (found.trustworthiness, found.continuity) == pytest.approx(_oracle(features, layout, 5))


def test_a_subset_estimates_the_whole() -> None:
    features, layout = _case(900)
    whole = layout_quality(features, layout)
    part = layout_quality(features, layout, subset=300, seed=1)
    assert part.n == 300
    assert part.trustworthiness == pytest.approx(whole.trustworthiness, abs=0.02)
    assert part.trustworthiness != whole.trustworthiness
    assert part == layout_quality(features, layout, subset=300, seed=1)
    assert part != layout_quality(features, layout, subset=300, seed=2)


def test_few_rows_lower_k() -> None:
    assert layout_quality(*_case(10)).k == 4


@pytest.mark.parametrize(
    ("features", "layout", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 2)), "2 rows of features and 2 of layout"),
        (np.ones((5, 3)), np.ones((4, 2)), "5 rows of features and 4 of layout"),
        (np.ones((5, 3)), np.ones((5, 3)), r"layout of shape \(5, 3\)"),
        (np.ones((5, 3)), np.full((5, 2), np.nan), "all finite"),
    ],
)
def test_bad_input_is_named(features: np.ndarray, layout: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        layout_quality(features, layout)
