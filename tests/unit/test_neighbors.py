"""Nearest neighbors against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.embedding import neighbors as module
from analysis.embedding.neighbors import nearest_neighbors, neighborhood_overlap, normalize_rows
from analysis.errors import InputError, ModelError
from analysis.records import Neighbors


def _brute_force(
    features: np.ndarray, k: int, queries: np.ndarray | None = None
) -> tuple[list[list[int]], list[list[float]]]:
    points = normalize_rows(features)
    asked = points if queries is None else normalize_rows(queries)
    indices, distances = [], []
    for row, query in enumerate(asked):
        others = [
            (float(np.sqrt(np.square(point - query).sum())), other)
            for other, point in enumerate(points)
            if queries is not None or other != row
        ]
        nearest = sorted(others)[:k]
        indices.append([other for _, other in nearest])
        distances.append([distance for distance, _ in nearest])
    return indices, distances


def _normal(n: int, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


@pytest.mark.parametrize(("n", "k"), [(2, 1), (5, 4), (40, 3), (120, 15)])
def test_neighbors_match_brute_force(n: int, k: int) -> None:
    found = nearest_neighbors(_normal(n), k)
    indices, distances = _brute_force(_normal(n), k)
    assert found.indices.tolist() == indices
    np.testing.assert_allclose(found.distances, distances, atol=1e-6)
    assert found.indices.dtype == np.int32
    assert found.distances.dtype == np.float32


def test_queries_exclude_nobody() -> None:
    features, queries = _normal(60), _normal(20, seed=1)
    queries[3] = features[7] * 5
    found = nearest_neighbors(features, 4, queries=queries)
    indices, distances = _brute_force(features, 4, queries)
    assert found.indices.tolist() == indices
    np.testing.assert_allclose(found.distances, distances, atol=1e-6)
    assert found.indices[3, 0] == 7
    assert found.distances[3, 0] == pytest.approx(0, abs=1e-6)
    assert nearest_neighbors(features[:3], 9, queries=queries).indices.shape == (20, 3)


@pytest.mark.parametrize("copies", [2, 10, 40])
def test_duplicates_are_excluded_by_row_and_ordered_by_index(copies: int) -> None:
    features = np.repeat(_normal(8), copies, axis=0)
    found = nearest_neighbors(features, 15)
    for row, (indices, distances) in enumerate(zip(found.indices, found.distances, strict=True)):
        assert row not in indices
        first = row - row % copies
        twins = [other for other in range(first, first + copies) if other != row][:15]
        assert indices[: len(twins)].tolist() == twins
        assert (distances[: len(twins)] == 0).all()
        assert (distances[len(twins) :] > 0.01).all()
    assert found.indices.tolist() == _brute_force(features, 15)[0]


def test_equal_distances_at_the_border_are_resolved_by_index() -> None:
    # Every axis is equally far from every other one.
    found = nearest_neighbors(np.eye(60), 5)
    assert found.indices[0].tolist() == [1, 2, 3, 4, 5]
    assert found.indices[59].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(found.distances, np.sqrt(2), rtol=1e-6)


def test_close_neighbors_keep_their_order() -> None:
    # They drown in the rounding of inner products, which the index uses from this size on.
    features = np.ones(512) + _normal(260, 512) * 1e-5
    assert nearest_neighbors(features, 6).indices.tolist() == _brute_force(features, 6)[0]


def test_rows_of_zeros_stay_at_the_origin() -> None:
    features = _normal(30)
    features[[4, 9]] = 0
    found = nearest_neighbors(features, 29)
    assert found.indices[4, 0] == 9
    assert found.distances[4, 0] == 0
    np.testing.assert_allclose(found.distances[4, 1:], 1, atol=1e-6)


def test_huge_and_tiny_features_keep_their_direction() -> None:
    features = _normal(30).astype(np.float64)
    expected = nearest_neighbors(features, 5)
    for scale in (1e-300, 1e300):
        np.testing.assert_array_equal(
            nearest_neighbors(features * scale, 5).indices, expected.indices
        )


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.concatenate([_normal(100), np.repeat(_normal(2, seed=3), 30, axis=0)])
    whole = nearest_neighbors(features, 7)
    monkeypatch.setattr(module, "_BLOCK_CELLS", 500)
    pieces = nearest_neighbors(features, 7)
    np.testing.assert_array_equal(pieces.indices, whole.indices)
    np.testing.assert_array_equal(pieces.distances, whole.distances)


def test_few_rows_lower_k() -> None:
    assert nearest_neighbors(_normal(4), 15).indices.shape == (4, 3)


@pytest.mark.parametrize("k", [3, 20])
def test_overlap_matches_sets(k: int) -> None:
    a, b = nearest_neighbors(_normal(80), k), nearest_neighbors(_normal(80, seed=1), k)
    expected = [
        len({*first} & {*second}) / k
        for first, second in zip(a.indices.tolist(), b.indices.tolist(), strict=True)
    ]
    np.testing.assert_allclose(neighborhood_overlap(a, b), expected)
    assert 0 < np.mean(expected) < 1


def test_overlap_of_unrelated_models_is_chance() -> None:
    a, b = nearest_neighbors(_normal(600), 15), nearest_neighbors(_normal(600, seed=1), 15)
    assert neighborhood_overlap(a, b).mean() == pytest.approx(15 / 599, rel=0.2)


def test_overlap_counts_all_of_few_neighbors() -> None:
    few = nearest_neighbors(_normal(4), 15)
    other = nearest_neighbors(_normal(4, seed=1), 15)
    assert neighborhood_overlap(few, other).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("features", "k", "queries", "message"),
    [
        (_normal(1), 15, None, "15 nearest neighbors among 1 samples"),
        (_normal(0), 15, None, "among 0 samples"),
        (_normal(5), 0, None, "0 nearest neighbors among 5"),
        (_normal(5)[0], 2, None, r"features of shape \(8,\)"),
        (_normal(5), 2, _normal(3, width=4), "queries of width 4 among features of width 8"),
    ],
)
def test_bad_input_is_named(
    features: np.ndarray, k: int, queries: np.ndarray | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        nearest_neighbors(features, k, queries)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    features = _normal(5)
    features[3, 2] = value
    with pytest.raises(ModelError, match="features of sample 3 are not finite"):
        nearest_neighbors(features, 2)


def test_overlap_of_different_samples_is_refused() -> None:
    few, many = nearest_neighbors(_normal(9), 3), nearest_neighbors(_normal(10), 3)
    with pytest.raises(InputError, match=r"neighbors of shape \(9, 3\) and \(10, 3\)"):
        neighborhood_overlap(few, many)
    shorter = Neighbors(indices=few.indices[:, :2], distances=few.distances[:, :2])
    with pytest.raises(InputError, match="the same number of neighbors"):
        neighborhood_overlap(few, shorter)
