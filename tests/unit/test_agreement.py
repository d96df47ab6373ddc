"""Agreement of attribution maps against slow readings of the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.attribution.agreement import rank_correlation, top_overlap
from analysis.errors import InputError

values = st.integers(-5, 5).map(float)
maps = arrays(np.float64, (3, 4, 5), elements=values)


@given(maps, maps)
def test_rank_correlation_is_spearmans(first: np.ndarray, second: np.ndarray) -> None:
    found = rank_correlation(first, second)
    for row in range(3):
        constant = np.ptp(first[row]) == 0 or np.ptp(second[row]) == 0
        if constant:
            assert np.isnan(found[row])
        else:
            oracle = scipy.stats.spearmanr(first[row].ravel(), second[row].ravel()).statistic
            assert found[row] == pytest.approx(oracle, abs=1e-12)


@given(maps, maps, st.floats(0.01, 1.0))
def test_top_overlap_is_intersection_over_union(
    first: np.ndarray, second: np.ndarray, share: float
) -> None:
    count = max(1, round(share * 20))

    def strongest(values: np.ndarray) -> set[int]:
        flat = [abs(value) for value in values.ravel().tolist()]
        return set(sorted(range(len(flat)), key=lambda at: (-flat[at], at))[:count])

    expected = [
        len(strongest(a) & strongest(b)) / len(strongest(a) | strongest(b))
        for a, b in zip(first, second, strict=True)
    ]
    assert top_overlap(first, second, share).tolist() == pytest.approx(expected)


def test_equal_maps_agree_and_opposite_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(2, 8, 8))
    assert rank_correlation(one, one) == pytest.approx([1, 1])
    assert rank_correlation(one, -one) == pytest.approx([-1, -1])
    assert top_overlap(one, one).tolist() == [1, 1]
    other = np.zeros((1, 4, 5))
    other[0, 0, 0] = 1
    assert top_overlap(other, other[:, ::-1, ::-1]).tolist() == [0]


@given(maps.filter(lambda m: all(np.ptp(row) > 0 for row in m)))
def test_ranks_know_no_monotone_scale(first: np.ndarray) -> None:
    second = np.random.default_rng(1).normal(size=first.shape)
    assert rank_correlation(np.exp(first), second) == pytest.approx(rank_correlation(first, second))


def test_bad_input_is_named() -> None:
    one = np.zeros((2, 4, 4))
    with pytest.raises(InputError, match="equal shapes"):
        rank_correlation(one, one[:1])
    with pytest.raises(InputError, match="equal shapes"):
        top_overlap(one[0], one[0])
    with pytest.raises(InputError, match=r"share 1\.5 of the pixels"):
        top_overlap(one, one, 1.5)
