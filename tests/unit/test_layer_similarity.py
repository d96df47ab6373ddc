from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from analysis.divergence.hsic import FEWEST, LayerCKA, hsic, hsic_without, u_center
from analysis.divergence.layers import NEIGHBORS, SIMILARITIES
from analysis.errors import InputError


def related(n: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(n, 6)) + 3
    return first, first @ rng.normal(size=(6, 9)) + 2 * rng.normal(size=(n, 9))


def gram(values: np.ndarray) -> np.ndarray:
    return values @ values.T


# --- slow oracles, written from the papers ---------------------------------------------------


def hsic_by_counting(k: np.ndarray, m: np.ndarray) -> float:
    """Song et al. 2012, section 2.2: the U-statistic over all four different samples."""
    tuples = list(itertools.permutations(range(len(k)), 4))
    return sum(k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in tuples) / len(tuples)


def hsic_by_matrices(k: np.ndarray, m: np.ndarray) -> float:
    """Nguyen et al. 2021, eq. 3."""
    n, one = len(k), np.ones(len(k))
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    inner = np.trace(k @ m) + one @ k @ one * (one @ m @ one) / ((n - 1) * (n - 2))
    return (inner - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def cka_by_matrices(batches: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Nguyen et al. 2021, eq. 2: a ratio of means over the minibatches."""
    means = [
        np.mean([hsic_by_matrices(gram(pair[a]), gram(pair[b])) for pair in batches])
        for a, b in ((0, 1), (0, 0), (1, 1))
    ]
    return means[0] / np.sqrt(means[1] * means[2])


def knn_by_sorting(first: np.ndarray, second: np.ndarray) -> float:
    shared = 0.0
    for i in range(len(first)):
        found = []
        for values in (first, second):
            unit = values / np.linalg.norm(values, axis=1, keepdims=True)
            others = [j for j in range(len(unit)) if j != i]
            others.sort(key=lambda j: np.linalg.norm(unit[i] - unit[j]))
            found.append(set(others[:NEIGHBORS]))
        shared += len(found[0] & found[1]) / len(found[0])
    return shared / len(first)


def procrustes_by_rotating(first: np.ndarray, second: np.ndarray) -> float:
    """Ding et al. 2021: rotate one onto the other, both centered and of length 1."""
    width = max(first.shape[1], second.shape[1])
    placed = []
    for values in (first, second):
        centered = values - values.mean(axis=0)
        padded = np.pad(centered, ((0, 0), (0, width - values.shape[1])))
        placed.append(padded / np.linalg.norm(padded))
    turn, _ = orthogonal_procrustes(placed[0], placed[1])
    distance = np.linalg.norm(placed[0] @ turn - placed[1]) ** 2
    return 1 - distance / 2


ORACLES = {
    "cka": lambda a, b: cka_by_matrices([(a, b)]),
    "knn": knn_by_sorting,
    "procrustes": procrustes_by_rotating,
    "rsa": lambda a, b: spearmanr(pdist(a), pdist(b)).statistic,
}


@pytest.mark.parametrize("name", SIMILARITIES)
def test_every_measure_equals_its_oracle(name: str) -> None:
    for seed in range(3):
        first, second = related(seed=seed)
        expected = ORACLES[name](first, second)
        assert SIMILARITIES[name].value(first, second) == pytest.approx(expected, abs=1e-6)


def test_the_estimate_of_hsic_is_the_u_statistic() -> None:
    first, second = related(n=7)
    k, m = gram(first), gram(second)
    counted = hsic_by_counting(k, m)
    assert hsic_by_matrices(k, m) == pytest.approx(counted)
    assert hsic(u_center(k), u_center(m)) == pytest.approx(counted)


def test_u_centered_rows_sum_to_zero_and_shifts_do_not_matter() -> None:
    first, _ = related()
    centered = u_center(gram(first))
    np.testing.assert_allclose(centered.sum(axis=1), 0, atol=1e-9)
    assert (np.diag(centered) == 0).all()
    np.testing.assert_allclose(u_center(gram(first + 100)), centered, atol=1e-6)
    with pytest.raises(InputError, match="3 samples in a minibatch; expected at least 4"):
        u_center(np.eye(3))


def test_samples_are_left_out_exactly() -> None:
    first, second = related(n=20)
    k, m = gram(first), gram(second)
    for rows in ([3], [0, 19], [1, 2, 8, 9, 10]):
        kept = np.delete(np.arange(20), rows)
        expected = hsic_by_matrices(k[np.ix_(kept, kept)], m[np.ix_(kept, kept)])
        left = hsic_without(u_center(k), u_center(m), np.array(rows))
        assert left == pytest.approx(expected)
    assert hsic_without(u_center(k), u_center(m), np.array([], int)) == pytest.approx(
        hsic_by_matrices(k, m)
    )


# --- minibatches ------------------------------------------------------------------------------


def streamed(
    first: list[np.ndarray], second: list[np.ndarray], parts: int, **options: int
) -> LayerCKA:
    cka = LayerCKA(**options)
    for rows in np.array_split(np.arange(len(first[0])), parts):
        cka.add(*(np.stack([gram(layer[rows]) for layer in side]) for side in (first, second)))
    return cka


def test_streamed_cka_is_the_ratio_of_means_over_minibatches() -> None:
    first, second = related(n=64)
    batches = [(first[rows], second[rows]) for rows in np.array_split(np.arange(64), 4)]
    cka = streamed([first, second], [second], 4)
    assert cka.values[0, 0] == pytest.approx(cka_by_matrices(batches))
    assert cka.values[1, 0] == pytest.approx(1)


def test_minibatches_come_close_to_all_samples_at_once() -> None:
    first, second = related(n=1024, seed=3)
    whole = streamed([first], [second], 1).values[0, 0]
    assert streamed([first], [second], 16).values[0, 0] == pytest.approx(whole, abs=0.01)
    # A biased estimate would not: in minibatches of 8 it is far too high for unrelated layers.
    unrelated = np.random.default_rng(9).normal(size=(1024, 50))
    assert abs(streamed([first], [unrelated], 128).values[0, 0]) < 0.03


def test_the_null_permutes_within_minibatches_and_is_seeded() -> None:
    first, second = related(n=128)
    null = streamed([first], [second], 4, permutations=50, seed=1).null
    assert null.shape == (50, 1, 1)
    assert abs(null.mean()) < 0.03
    assert streamed([first], [second], 4).values[0, 0] > null.max() + 0.3
    again = streamed([first], [second], 4, permutations=50, seed=1).null
    np.testing.assert_array_equal(null, again)
    assert not np.array_equal(null, streamed([first], [second], 4, permutations=50, seed=2).null)


def test_a_few_samples_that_carry_cka_are_found() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(400, 5)), rng.normal(size=(400, 5))
    # Two in one minibatch: an unbiased estimate does not see a single one, a biased one would.
    for row in (17, 130):
        first[row], second[row] = 60, -60
    cka = streamed([first], [second], 2, checked=400)
    whole, trimmed = cka.without_outliers()
    assert whole[0, 0] == pytest.approx(cka.values[0, 0], abs=1e-5)
    assert whole[0, 0] > 0.9
    assert abs(trimmed[0, 0]) < 0.1
    knn = SIMILARITIES["knn"].value(first, second)
    assert knn == pytest.approx(10 / 399, abs=0.02), "which k-NN is not fooled by"


def test_what_is_left_out_is_what_moves_the_value_most() -> None:
    first, second = related(n=40, seed=5)
    whole, trimmed = streamed([first], [second], 2, checked=40).without_outliers(share=0.025)
    parts = np.array_split(np.arange(40), 2)
    alone = [
        cka_by_matrices([(first[p[p != i]], second[p[p != i]]) for p in parts]) for i in range(40)
    ]
    strongest = int(np.argmax(np.abs(np.array(alone) - whole[0, 0])))
    assert trimmed[0, 0] == pytest.approx(alone[strongest], abs=1e-5)


def test_only_so_many_samples_are_kept_for_the_check() -> None:
    first, second = related(n=96)
    cka = streamed([first], [second], 4, checked=50)
    assert [own.shape[-1] for own, _ in cka._kept] == [24, 24]
    whole, _ = cka.without_outliers()
    assert whole[0, 0] == pytest.approx(
        streamed([first[:48]], [second[:48]], 2).values[0, 0], abs=1e-5
    )


def test_minibatches_must_be_of_the_same_and_enough_samples() -> None:
    with pytest.raises(InputError, match=f"expected the same samples, at least {FEWEST}"):
        LayerCKA().add(np.eye(4)[None], np.eye(4)[None])
    with pytest.raises(InputError, match="minibatches of 16 and 8 samples"):
        LayerCKA().add(np.eye(16)[None], np.eye(8)[None])


# --- the registry -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIMILARITIES)
def test_unrelated_layers_lie_within_the_null_and_related_ones_above(name: str) -> None:
    rng = np.random.default_rng(2)
    first, second = related(n=120, seed=2)
    unrelated = rng.normal(size=(120, 9))
    values, null = SIMILARITIES[name].grid([first], [second, unrelated], permutations=30, seed=4)
    assert null.shape == (30, 1, 2)
    assert values[0, 0] > null[:, 0, 0].max()
    low, high = null[:, 0, 1].min(), null[:, 0, 1].max()
    assert low - 0.05 < values[0, 1] < high + 0.05


@pytest.mark.parametrize("name", SIMILARITIES)
def test_a_null_draw_is_the_measure_of_reordered_samples(name: str) -> None:
    first, second = related(n=30)
    _, null = SIMILARITIES[name].grid([first], [second], permutations=3, seed=11)
    rng = np.random.default_rng(11)
    for draw in null[:, 0, 0]:
        order = rng.permutation(30)
        assert draw == pytest.approx(SIMILARITIES[name].value(first, second[order]), abs=1e-6)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_constant_layers_have_no_similarity(name: str) -> None:
    first, _ = related()
    constant = np.full((40, 3), 0.7, np.float32)
    values, null = SIMILARITIES[name].grid([first, constant], [constant, first], permutations=2)
    assert np.isnan(values[:, 0]).all()
    assert np.isnan(values[1]).all()
    assert np.isnan(null[:, :, 0]).all()
    assert values[0, 1] == pytest.approx(1)


def test_bad_input_is_named() -> None:
    first, second = related()
    with pytest.raises(InputError, match="layers of \\[39, 40\\] samples"):
        SIMILARITIES["cka"].value(first, second[1:])
    with pytest.raises(InputError, match="1 samples; expected at least 4"):
        SIMILARITIES["rsa"].value(first[:1], second[:1])
