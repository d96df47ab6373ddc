"""Laws of neighborhoods and of layout quality."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.embedding.neighbors import nearest_neighbors, neighborhood_overlap
from analysis.embedding.quality import layout_quality

_SEEDS = st.integers(0, 10_000)


def _features(seed: int, n: int = 40, width: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width))


def _rotation(seed: int, width: int = 6) -> np.ndarray:
    return np.linalg.qr(_features(seed, width, width))[0]


@given(_SEEDS, st.integers(2, 40), st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_neighbors_are_others_in_ascending_order(seed: int, n: int, k: int) -> None:
    found = nearest_neighbors(_features(seed, n), k)
    assert found.indices.shape == (n, min(k, n - 1))
    for row, (indices, distances) in enumerate(zip(found.indices, found.distances, strict=True)):
        assert row not in indices
        assert len(set(indices.tolist())) == len(indices)
        assert (np.diff(distances) >= 0).all()
        assert (distances >= 0).all()
        assert (distances <= 2 + 1e-6).all()


@given(_SEEDS, _SEEDS)
@settings(max_examples=40, deadline=None)
def test_overlap_is_a_symmetric_share(first: int, second: int) -> None:
    a, b = nearest_neighbors(_features(first), 15), nearest_neighbors(_features(second), 15)
    overlap = neighborhood_overlap(a, b)
    assert ((overlap >= 0) & (overlap <= 1)).all()
    np.testing.assert_array_equal(overlap, neighborhood_overlap(b, a))
    assert (neighborhood_overlap(a, a) == 1).all()


@given(_SEEDS, _SEEDS)
@settings(max_examples=40, deadline=None)
def test_rotation_and_the_scale_of_rows_change_no_neighbor(seed: int, turn: int) -> None:
    features = _features(seed)
    scales = np.random.default_rng(turn).uniform(0.01, 100, (len(features), 1))
    before = nearest_neighbors(features, 15)
    after = nearest_neighbors(features @ _rotation(turn) * scales, 15)
    assert neighborhood_overlap(before, after).min() > 14 / 15 - 1e-9
    np.testing.assert_allclose(before.distances, after.distances, atol=1e-5)


@given(_SEEDS, st.permutations(range(40)))
@settings(max_examples=40, deadline=None)
def test_reordering_samples_reorders_neighbors(seed: int, order: list[int]) -> None:
    features = _features(seed)
    before, after = nearest_neighbors(features, 7), nearest_neighbors(features[order], 7)
    np.testing.assert_array_equal(np.array(order)[after.indices], before.indices[order])


@given(_SEEDS, _SEEDS)
@settings(max_examples=40, deadline=None)
def test_quality_is_a_share_and_ignores_the_frame(seed: int, turn: int) -> None:
    features, layout = _features(seed), _features(turn, 40, 2)
    found = layout_quality(features, layout, k=5)
    assert 0 <= found.trustworthiness <= 1
    assert 0 <= found.continuity <= 1
    moved = layout_quality(features, layout @ _rotation(turn, 2) * 7 + 3, k=5)
    np.testing.assert_allclose(
        [found.trustworthiness, found.continuity],
        [moved.trustworthiness, moved.continuity],
        atol=1e-9,
    )


@given(_SEEDS)
@settings(max_examples=40, deadline=None)
def test_a_faithful_layout_is_perfect(seed: int) -> None:
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, 40)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = layout_quality(circle * 5, circle, k=6)
    # Features are rounded to float32, which may exchange two almost equally far neighbors.
    assert found.trustworthiness > 0.999
    assert found.continuity > 0.999
