"""Agreement of attribution maps against slow readings of the definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.attribution.agreement import (
    AGREEMENTS,
    cosine,
    find_agreement,
    rank_correlation,
    strongest,
    top_overlap,
)
from analysis.attribution.null import against_shifts
from analysis.attribution.region import area_inside, changed_pixels, mass_inside, mass_of_shifted
from analysis.attribution.similarity import structural_similarity
from analysis.attribution.transport import earth_movers_distance
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

    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        if any(len(set(np.abs(values).ravel().tolist())) == 1 for values in (a, b)):
            return np.nan
        return len(strongest(a) & strongest(b)) / len(strongest(a) | strongest(b))

    expected = [overlap(a, b) for a, b in zip(first, second, strict=True)]
    assert top_overlap(first, second, share).tolist() == pytest.approx(expected, nan_ok=True)


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


def similarity_by_loops(x: np.ndarray, y: np.ndarray) -> float:
    """The paper's equation 13 in every window that fits, written out."""
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    side = min(11, min(x.shape) - (1 - min(x.shape) % 2))
    offsets = np.arange(side) - side // 2
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2, found = (0.01 * 2) ** 2, (0.03 * 2) ** 2, []
    for i, j in itertools.product(*(range(s - side + 1) for s in x.shape)):
        a, b = (m[i : i + side, j : j + side] for m in (x, y))
        mu_a, mu_b = (weights * a).sum(), (weights * b).sum()
        va, vb = (weights * (a - mu_a) ** 2).sum(), (weights * (b - mu_b) ** 2).sum()
        ab = (weights * (a - mu_a) * (b - mu_b)).sum()
        scale = (mu_a**2 + mu_b**2 + c1) * (va + vb + c2)
        found.append((2 * mu_a * mu_b + c1) * (2 * ab + c2) / scale)
    return float(np.mean(found))


@pytest.mark.parametrize("shape", [(14, 17), (5, 8), (1, 3), (4, 4)])
def test_structural_similarity_by_loops(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    one = rng.normal(size=(3, *shape))
    other = 2 * one + rng.normal(size=(3, *shape))
    expected = [similarity_by_loops(a, b) for a, b in zip(one, other, strict=True)]
    assert structural_similarity(one, other) == pytest.approx(expected, abs=1e-9)


def work_by_transport(a: np.ndarray, b: np.ndarray) -> float:
    """The transport problem as Rubner states it: a variable for every pair of cells."""
    supply, demand = (np.abs(m).ravel() / np.abs(m).sum() for m in (a, b))
    cells = np.array(list(itertools.product(*map(range, a.shape))))
    cost = np.abs(cells[:, None] - cells[None]).sum(-1)
    n = len(cells)
    leaves, arrives = np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))
    found = scipy.optimize.linprog(
        cost.ravel(), A_eq=np.vstack([leaves, arrives]), b_eq=np.concatenate([supply, demand])
    )
    return found.fun / (sum(a.shape) - 2)


@pytest.mark.parametrize("shape", [(4, 5), (1, 6), (3, 3)])
def test_earth_movers_distance_is_the_cheapest_transport(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 3, *shape))
    expected = [work_by_transport(a, b) for a, b in zip(one, other, strict=True)]
    assert earth_movers_distance(one, other) == pytest.approx(expected, abs=1e-6)


def test_earth_movers_distance_of_corners_and_of_coarse_cells() -> None:
    one, other = np.zeros((2, 1, 40, 40))
    one[0, 0, 0], other[0, -1, -1] = 3.0, -0.5
    assert earth_movers_distance(one, other) == pytest.approx([1.0])
    near = np.roll(one, 1, axis=2)
    assert earth_movers_distance(one, near, cells=8) == pytest.approx([0.0]), "the same cell"
    coarse = [m.reshape(1, 8, 5, 8, 5).sum((2, 4)) for m in (one, near + other)]
    assert earth_movers_distance(one, near + other, cells=8) == pytest.approx(
        earth_movers_distance(*coarse)
    )


def test_cosine_against_the_formula() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=(2, 3, 4, 5))
    expected = [
        (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
        for a, b in zip(one, other, strict=True)
    ]
    assert cosine(one, other) == pytest.approx(expected)


@pytest.mark.parametrize("name", AGREEMENTS)
@settings(max_examples=20, deadline=None)
@given(first=maps, second=maps, scale=st.floats(0.1, 10))
def test_laws_of_every_measure(
    name: str, first: np.ndarray, second: np.ndarray, scale: float
) -> None:
    entry = AGREEMENTS[name]
    found = entry.function(first, second)
    known = found[~np.isnan(found)]
    assert ((known >= entry.low - 1e-9) & (known <= entry.high + 1e-9)).all()
    np.testing.assert_allclose(found, entry.function(second, first), atol=1e-7)
    np.testing.assert_allclose(found, entry.function(scale * first, second), atol=1e-7)
    itself = entry.function(first, first)
    best = entry.high if entry.direction == "higher_is_closer" else entry.low
    assert itself[~np.isnan(itself)] == pytest.approx(best)


@pytest.mark.parametrize("name", AGREEMENTS)
def test_bad_shapes_and_empty_maps(name: str) -> None:
    one = np.ones((2, 4, 4))
    with pytest.raises(InputError, match="equal shapes"):
        AGREEMENTS[name].function(one, one[:, :3])
    empty = AGREEMENTS[name].function(np.zeros((1, 4, 4)), np.ones((1, 4, 4)))
    assert np.isnan(empty).all()


def test_unknown_measures_are_named() -> None:
    with pytest.raises(InputError, match=r"unknown agreement of maps 'cosin'\. Did you mean"):
        find_agreement("cosin")


def blobs(count: int, seed: int) -> np.ndarray:
    """Maps with one bright spot each, at places that differ from map to map."""
    rng = np.random.default_rng(seed)
    maps = rng.normal(scale=0.05, size=(count, 12, 12))
    for one in maps:
        top, left = rng.integers(0, 9, size=2)
        one[top : top + 3, left : left + 3] += 1
    return maps


@pytest.mark.parametrize("name", AGREEMENTS)
def test_alike_maps_stand_out_of_their_null_and_foreign_ones_do_not(name: str) -> None:
    one = blobs(6, 0)
    noise = np.random.default_rng(1).normal(scale=0.02, size=one.shape)
    draws = 9 if name == "earth_movers_distance" else 19
    alike = against_shifts(one, one + noise, name, draws=draws)
    assert alike.draws.shape == (draws, 6)
    np.testing.assert_array_equal(alike.values, AGREEMENTS[name].function(one, one + noise))
    foreign = against_shifts(one, blobs(6, 5), name, draws=draws)
    assert np.median(alike.p_values) <= 2 / (draws + 1)
    assert np.median(foreign.p_values) > 0.2
    again = against_shifts(one, one + noise, name, draws=draws)
    np.testing.assert_array_equal(again.draws, alike.draws)
    other = against_shifts(one, one + noise, name, draws=draws, seed=1)
    assert (other.draws != alike.draws).any()


def test_p_values_count_draws_at_least_as_close() -> None:
    one = blobs(4, 0)
    for name in ("cosine", "earth_movers_distance"):
        chance = against_shifts(one, blobs(4, 2), name, draws=9)
        closer = AGREEMENTS[name].direction == "higher_is_closer"
        expected = [
            (1 + sum((d >= v) if closer else (d <= v) for d in chance.draws[:, i])) / 10
            for i, v in enumerate(chance.values)
        ]
        assert chance.p_values.tolist() == pytest.approx(expected)
    undefined = against_shifts(np.zeros((1, 3, 3)), np.ones((1, 3, 3)), "cosine", draws=3)
    assert np.isnan(undefined.p_values).all()


def test_shifts_keep_the_values_and_never_the_place() -> None:
    first = np.zeros((1, 3, 4))
    first[0, 1, 2] = 1.0
    chance = against_shifts(first, first, "top_overlap", draws=300)
    mirrored_back = (chance.draws == 1).mean()
    # Only a mirrored map can come back to where it was: half of the draws, one move in twelve.
    assert 0.0 < mirrored_back < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: against_shifts(m[:, :1, :1], m[:, :1, :1]), "maps of one pixel"),
        (lambda m: against_shifts(m, m, draws=0), "0 draws; expected at least 1"),
        (lambda m: against_shifts(m, m, "ssim"), "unknown agreement of maps 'ssim'"),
    ],
)
def test_impossible_nulls_are_refused(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(blobs(2, 0))


def test_mass_inside_a_region() -> None:
    values = np.array([[[1.0, -2.0], [3.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    region = np.array([[True, True], [False, False]])
    assert mass_inside(values, region)[0] == pytest.approx(0.5)
    assert mass_inside(values, region, signed=True)[0] == pytest.approx(-1 / 6)
    assert np.isnan(mass_inside(values, region)[1])
    assert area_inside(values, region).tolist() == [0.5, 0.5]
    flat = np.ones((2, 2, 2))
    own = np.stack([region, ~np.eye(2, dtype=bool) & region])
    assert mass_inside(flat, own).tolist() == area_inside(flat, own).tolist() == [0.5, 0.25]
    with pytest.raises(InputError, match=r"regions of type int64 and shape \(2, 2\)"):
        mass_inside(values, region.astype(int))
    with pytest.raises(InputError, match="expected bool of shape"):
        mass_inside(values, region[:1])


def test_a_region_elsewhere_holds_what_any_region_would() -> None:
    values = np.zeros((2, 8, 8))
    values[:, 2:4, 2:4] = 1.0
    region = np.zeros((8, 8), dtype=bool)
    region[2:4, 2:4] = True
    null = mass_of_shifted(values, region, draws=400)
    assert null.shape == (400, 2)
    assert mass_inside(values, region).tolist() == [1.0, 1.0]
    # All places but its own hold the whole mass between them: (4 - 1) of 63.
    assert null.mean() == pytest.approx(3 / 63, abs=0.02)
    np.testing.assert_array_equal(null, mass_of_shifted(values, region, draws=400))


def test_the_support_of_a_trigger_is_where_pixels_change() -> None:
    images = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    presented = images.copy()
    presented[0, 1, 2, 1] = 9
    marked = changed_pixels(images, presented)
    assert marked.sum() == 1
    assert marked[0, 1, 2]
    with pytest.raises(InputError, match="pictures of shapes"):
        changed_pixels(images, presented[:1])


def test_strongest_marks_the_largest_values_not_magnitudes() -> None:
    values = np.array([[[0.1, -9.0], [0.3, 0.2]]])
    assert strongest(values, 0.25).ravel().tolist() == [False, False, True, False]
    assert strongest(values, 1e-9).sum() == 1
