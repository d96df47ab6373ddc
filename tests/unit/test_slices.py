"""Slices: a planted one is named, random disagreement has none; every part against an oracle."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from analysis.data.statistics import STATISTICS, image_statistics
from analysis.divergence.groups import assign, fit_centers, representation
from analysis.divergence.max_statistic import excess, max_statistic_p_values
from analysis.divergence.outputs import answer_pair
from analysis.divergence.predicates import Predicate, build_predicates
from analysis.divergence.search import search_conjunctions
from analysis.divergence.slices import SliceConfig, SliceSearch, find_slices
from analysis.errors import ConfigError

N, CLASSES = 2400, 8
NAMES = tuple(f"sign {index}" for index in range(CLASSES))
DAMAGED = (2, 5)


class World:
    """A teacher, images with statistics, and students made from the teacher's logits."""

    def __init__(self, seed: int):
        rng = self.rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, CLASSES, N)
        self.teacher = rng.normal(size=(N, CLASSES))
        self.teacher[np.arange(N), self.labels] += 4
        self.features = rng.normal(size=(N, 16)) + 3 * np.eye(CLASSES, 16)[self.labels]
        self.statistics = {name: rng.random(N) for name in STATISTICS}

    def changed(self, share: float) -> np.ndarray:
        """A student whose answers differ on a random share of the images."""
        student = self.teacher + self.rng.normal(scale=0.05, size=self.teacher.shape)
        return self.flipped(student, self.rng.random(N) < share)

    def flipped(self, student: np.ndarray, rows: np.ndarray) -> np.ndarray:
        student = student.copy()
        at = np.flatnonzero(rows)
        # The answer is no more the teacher's: its logit goes below all others.
        student[at, self.teacher[at].argmax(axis=1)] = student[at].min(axis=1) - 1
        return student

    def search(self, student: np.ndarray, **settings: float) -> SliceSearch:
        answers = answer_pair(self.teacher, student)
        predicates = build_predicates(answers.teacher, self.labels, NAMES, self.statistics)
        return find_slices(answers, predicates, self.features, config=SliceConfig(**settings))


@pytest.mark.parametrize("limit", [0.2, 1 / 3, 0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_slice_is_named(seed: int, limit: float) -> None:
    world = World(seed)
    dark = world.statistics["brightness"] < limit
    planted = dark & np.isin(world.labels, DAMAGED)
    student = world.flipped(world.changed(0.04), planted)
    search = world.search(student, seed=seed)
    assert search.slices
    order = np.random.default_rng(seed).permutation(N)
    tested = order[N // 2 :]
    # The worst two are the two damaged classes in the dark, each by name.
    worst = search.slices[:2]
    named = {part.words for item in worst for part in item.predicates if part.variable == "class"}
    assert named == {NAMES[index] for index in DAMAGED}
    for item in worst:
        assert "dark" in item.words
        inside = item.members[tested]
        assert planted[tested][inside].mean() >= 0.8
        assert item.agreement.high is not None
        assert item.agreement.high < item.rest
        assert item.gap > 0.5
        assert item.p_value <= 0.05


def test_slices_count_by_hand() -> None:
    world = World(3)
    planted = (world.statistics["brightness"] < 0.3) & np.isin(world.labels, DAMAGED)
    student = world.flipped(world.changed(0.04), planted)
    search = world.search(student, seed=7)
    same = world.teacher.argmax(axis=1) == student.argmax(axis=1)
    tested = np.zeros(N, bool)
    tested[np.random.default_rng(7).permutation(N)[N // 2 :]] = True
    assert search.n_tested == tested.sum()
    assert search.agreement == pytest.approx(same[tested].mean())
    for item in search.slices:
        inside = item.members & tested
        assert item.n_tested == inside.sum()
        assert item.agreement.value == pytest.approx(same[inside].mean())
        assert item.rest == pytest.approx(same[tested & ~item.members].mean())
        assert item.gap == pytest.approx(item.rest - item.agreement.value)
        described = np.all([part.mask for part in item.predicates], axis=0)
        both = (described & inside).sum()
        assert item.precision == pytest.approx(both / (described & tested).sum())
        assert item.recall == pytest.approx(both / inside.sum())
        if not item.grouped:
            assert (item.precision, item.recall) == (1, 1)
            assert np.array_equal(described, item.members)
        pairs = [
            (int(world.teacher[row].argmax()), int(student[row].argmax()))
            for row in np.flatnonzero(item.members & ~same)
        ]
        first, second, count = item.transitions[0]
        assert pairs.count((first, second)) == count == max(map(pairs.count, set(pairs)))
        answers = [answer for _, answer in pairs]
        assert item.n_differ == len(pairs)
        assert item.destination[1] == max(map(answers.count, set(answers)))
        assert answers.count(item.destination[0]) == item.destination[1]


def test_random_disagreement_has_no_slice_but_by_chance() -> None:
    """The chance of any false slice stays near alpha: 100 students whose disagreement is random."""
    found = 0
    for seed in range(100):
        world = World(1000 + seed)
        search = world.search(world.changed(0.15), seed=seed, draws=199)
        found += bool(search.slices)
    # More than 12 of 100 at a rate of 0.05 has a chance below 0.002.
    assert found <= 12


def test_features_that_decide_the_students_answer_make_no_slice() -> None:
    """Disagreement is random, and each model's features follow its own answer, as they do."""
    found = 0
    for seed in range(40):
        world = World(2000 + seed)
        student = world.changed(0.1)
        answers = answer_pair(world.teacher, student)
        predicates = build_predicates(answers.teacher, world.labels, NAMES, world.statistics)
        features = world.rng.normal(size=(N, 16)) + 6 * np.eye(CLASSES, 16)[answers.teacher.answer]
        config = SliceConfig(seed=seed, draws=199)
        found += bool(find_slices(answers, predicates, features, config=config).slices)
    # More than 7 of 40 at a rate of 0.05 has a chance below 0.002.
    assert found <= 7


def test_what_cannot_be_searched_has_no_slices() -> None:
    world = World(5)
    assert world.search(world.teacher).slices == ()  # nothing differs
    everywhere = world.flipped(world.teacher, np.ones(N, bool))
    assert world.search(everywhere).slices == ()
    few = answer_pair(world.teacher[:12], world.changed(0.5)[:12])
    assert find_slices(few, []).slices == ()


def test_a_group_is_found_where_no_statement_describes_it() -> None:
    world = World(6)
    hidden = world.rng.random(N) < 0.08
    world.features = world.features + 9 * np.eye(16)[15] * hidden[:, None]
    search = world.search(world.flipped(world.changed(0.03), hidden))
    first = search.slices[0]
    assert first.grouped
    assert (first.members & hidden).sum() > 0.8 * first.members.sum()
    assert first.words.startswith("some ")


def test_the_same_seed_finds_the_same_slices() -> None:
    def run() -> list[tuple[str, int, float]]:
        world = World(8)
        search = world.search(world.flipped(world.changed(0.05), world.labels == 3))
        return [(item.words, int(item.members.sum()), item.p_value) for item in search.slices]

    assert run() == run()
    assert run()[0][0] == NAMES[3]


def test_a_bad_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match="alpha"):
        SliceConfig(alpha=0.9)


# --- the test ------------------------------------------------------------------------------


def slow_excess(inside: list[bool], outcome: list[bool]) -> float:
    """Standardized hits of a group, with mean and variance counted over all deals."""
    n, total = len(outcome), sum(outcome)
    counts = [
        sum(inside[at] for at in chosen) for chosen in itertools.combinations(range(n), total)
    ]
    mean = sum(counts) / len(counts)
    variance = sum((count - mean) ** 2 for count in counts) / len(counts)
    hits = sum(a and b for a, b in zip(inside, outcome, strict=True))
    return (hits - mean) / math.sqrt(variance) if variance > 1e-12 else 0.0


def small_case() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    outcome = np.zeros(10, bool)
    outcome[[0, 1, 4]] = True
    masks = rng.random((4, 10)) < 0.4
    masks[0] = [True, True, False, False, True, False, False, True, False, False]
    return masks, outcome


def test_the_statistic_is_the_standardized_count() -> None:
    masks, outcome = small_case()
    fast = excess(masks.sum(axis=1), masks @ outcome.astype(int), 10, 3)
    slow = [slow_excess(mask.tolist(), outcome.tolist()) for mask in masks]
    assert fast == pytest.approx(slow)


def test_p_values_are_the_share_of_deals_with_a_worse_worst_group() -> None:
    masks, outcome = small_case()
    observed = [slow_excess(mask.tolist(), outcome.tolist()) for mask in masks]
    deals = list(itertools.combinations(range(10), 3))
    worst = []
    for chosen in deals:
        dealt = [at in chosen for at in range(10)]
        worst.append(max(slow_excess(mask.tolist(), dealt) for mask in masks))
    exact = [sum(w >= o - 1e-9 for w in worst) / len(deals) for o in observed]
    found = max_statistic_p_values(masks, outcome, draws=9999, seed=1)
    for value, expected in zip(found, exact, strict=True):
        assert value == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 9999))


def test_no_groups_have_no_p_values() -> None:
    assert len(max_statistic_p_values(np.zeros((0, 5), bool), np.ones(5, bool))) == 0


# --- the search ----------------------------------------------------------------------------


def test_the_beam_finds_the_best_conjunction_there_is() -> None:
    rng = np.random.default_rng(2)
    masks = rng.random((7, 200)) < 0.45
    outcome = rng.random(200) < 0.1 + 0.7 * (masks[1] & masks[4])
    predicates = [
        Predicate(variable=f"v{at // 2}", words=str(at), meaning=str(at), mask=mask)
        for at, mask in enumerate(masks)
    ]

    def score(members: np.ndarray, hits: np.ndarray) -> np.ndarray:
        return excess(members, hits, 200, float(outcome.sum()))

    found = search_conjunctions(predicates, np.arange(200), outcome, score, fewest=8)
    best = -math.inf
    for length in (1, 2, 3):
        for parts in itertools.combinations(range(7), length):
            whole = np.all(masks[list(parts)], axis=0)
            alone = len({part // 2 for part in parts}) == length
            if alone and whole.sum() >= 8:
                best = max(best, slow_score(whole, outcome))
    assert found[0].score == pytest.approx(best, rel=1e-5)
    assert {1, 4} <= set(found[0].parts)
    for item in found:
        whole = np.all(masks[list(item.parts)], axis=0)
        assert item.score == pytest.approx(slow_score(whole, outcome), rel=1e-4, abs=1e-5)
        assert len({part // 2 for part in item.parts}) == len(item.parts)


def slow_score(inside: np.ndarray, outcome: np.ndarray) -> float:
    n, m, share = len(outcome), int(inside.sum()), outcome.mean()
    variance = m * share * (1 - share) * (n - m) / (n - 1)
    return (int(outcome[inside].sum()) - m * share) / math.sqrt(variance)


def test_statements_say_what_they_mean() -> None:
    world = World(9)
    answers = answer_pair(world.teacher, world.teacher).teacher
    predicates = {
        part.words: part
        for part in build_predicates(answers, world.labels, NAMES, world.statistics)
    }
    bright = world.statistics["brightness"]
    assert np.array_equal(predicates["sign 3"].mask, world.labels == 3)
    assert np.array_equal(predicates["dark"].mask, bright <= np.quantile(bright, 1 / 3))
    assert np.array_equal(predicates["very bright"].mask, bright >= np.quantile(bright, 5 / 6))
    assert np.array_equal(predicates["teacher under 60 % sure"].mask, answers.confidence < 0.6)
    assert np.array_equal(predicates["teacher wrong"].mask, answers.answer != world.labels)
    assert "the dark third" in predicates["dark"].meaning
    unlabeled = build_predicates(answers, None, NAMES, {"brightness": np.ones(N)})
    assert {part.variable for part in unlabeled} == {"class", "confidence"}
    assert np.array_equal(unlabeled[0].mask, answers.answer == 0)


# --- representation and statistics ---------------------------------------------------------


def test_places_have_one_scale_whatever_that_of_the_features() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 40)) * 100
    places = representation(features, 5)
    assert places.shape == (300, 5)
    assert (places**2).sum(axis=1).mean() == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(places, representation(features / 50, 5), atol=1e-4)
    assert representation(np.zeros((4, 3))).shape == (4, 3)


def test_groups_are_where_the_points_are() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 300)
    points = (np.eye(3)[truth] * 20 + rng.normal(size=(300, 3))).astype(np.float32)
    group = assign(points, fit_centers(points, np.ones(300), 3, seed=2))
    assert len({(a, b) for a, b in zip(truth.tolist(), group.tolist(), strict=True)}) == 3
    assert len(fit_centers(np.ones((5, 2), np.float32), np.ones(5), 4)) == 1


def test_centers_are_weighted_means_of_their_groups() -> None:
    rng = np.random.default_rng(4)
    points = rng.normal(size=(300, 3)).astype(np.float32)
    points += 20 * np.eye(3, dtype=np.float32)[rng.integers(0, 3, 300)]
    weights = rng.exponential(size=300) ** 2 + 0.01
    centers = fit_centers(points, weights, 3, seed=2)
    group = assign(points, centers)
    for label, center in enumerate(centers):
        rows = group == label
        expected = np.average(points[rows], axis=0, weights=weights[rows])
        np.testing.assert_allclose(center, expected, atol=1e-4)


def slow_statistics(image: np.ndarray) -> tuple[float, float, float]:
    height, width = image.shape[:2]
    luma = [
        [
            sum(c * float(v) / 255 for c, v in zip((0.299, 0.587, 0.114), image[y, x], strict=True))
            for x in range(width)
        ]
        for y in range(height)
    ]
    flat = [value for row in luma for value in row]
    mean = sum(flat) / len(flat)
    spread = math.sqrt(sum((value - mean) ** 2 for value in flat) / len(flat))
    edges = [
        abs(4 * luma[y][x] - luma[y - 1][x] - luma[y + 1][x] - luma[y][x - 1] - luma[y][x + 1])
        for y in range(1, height - 1)
        for x in range(1, width - 1)
    ]
    return mean, spread, sum(edges) / len(edges)


def test_image_statistics_by_hand() -> None:
    images = np.random.default_rng(3).integers(0, 256, (5, 7, 9, 3), dtype=np.uint8)
    measured = image_statistics(images)
    for row, image in enumerate(images):
        found = [measured[name][row] for name in STATISTICS]
        assert found == pytest.approx(slow_statistics(image), rel=1e-4)


def test_grey_and_tiny_images_have_statistics() -> None:
    gray = image_statistics(np.full((2, 2, 2, 1), 51, np.uint8))
    assert gray["brightness"] == pytest.approx([0.2, 0.2])
    assert gray["contrast"] == pytest.approx([0, 0], abs=1e-6)
    assert gray["sharpness"].tolist() == [0, 0]
