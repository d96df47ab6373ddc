"""The statistics of an audit, against slow oracles and by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from analysis.audit.null import (
    corroborated,
    holm,
    judge_sizes,
    mad_indices,
    null_fit,
    p_value_of,
    smallness,
    split_by_id,
)
from analysis.errors import ImageSetError


def sizes(rng: np.random.Generator, students: int, families: int = 2, classes: int = 8):
    """Honest students: some classes and some students are easy, classes differ in spread."""
    spread = np.exp(rng.normal(0, 0.5, (1, families, classes)))
    easy = rng.normal(4, 1, (1, families, classes))
    weak = rng.normal(0, 0.5, (students, families, 1))
    return easy + weak + 0.2 * spread * rng.normal(size=(students, families, classes))


def judged(values: np.ndarray):
    names = [f"family {number}" for number in range(values.shape[1])]
    subject = {name: values[0, row] for row, name in enumerate(names)}
    return judge_sizes(subject, {name: values[1:, row] for row, name in enumerate(names)})


def slow_statistic(values: np.ndarray, row: int) -> float:
    """The most extreme class of one student, straight from docs/measures.md."""
    students, families, classes = values.shape
    others = [i for i in range(students) if i != row]
    count, table = len(others), []
    for family in range(families):
        mean = [sum(values[i, family, k] for i in others) / count for k in range(classes)]

        def centered(i: int, mean: list = mean, family: int = family) -> list:
            deviation = [values[i, family, k] - mean[k] for k in range(classes)]
            middle = float(np.median(deviation))
            return [value - middle for value in deviation]

        total = sum(abs(value) for i in others for value in centered(i))
        scale = total / (count * classes) / math.sqrt((count - 1) / count)
        unit = max(scale, 0.02) * math.sqrt(1 + 1 / count)
        table.append([-value / unit for value in centered(row)])
    numbers = []
    for column in zip(*table, strict=True):
        first, second = sorted((max(value, 0.0) for value in column), reverse=True)[:2]
        numbers.append(math.sqrt((first**2 + second**2) / 2))
    return max(numbers)


def test_the_statistic_is_that_of_the_slow_oracle() -> None:
    values = sizes(np.random.default_rng(0), 6)
    scores = corroborated(smallness(values))
    for row in range(6):
        assert scores[row].max() == pytest.approx(slow_statistic(values, row), rel=1e-12)
    assert judged(values).statistic == pytest.approx(slow_statistic(values, 0), rel=1e-12)


def test_two_families_that_agree_count_more_than_one_alone() -> None:
    one, two = (np.zeros((1, 3, 4)) for _ in range(2))
    one[0, 0, 2], two[0, :2, 2] = 6.0, 6.0
    assert corroborated(one)[0].tolist() == pytest.approx([0, 0, 6 / math.sqrt(2), 0])
    assert corroborated(two)[0].tolist() == pytest.approx([0, 0, 6, 0])
    # A family in which the class is harder than in the others takes nothing away.
    one[0, 1, 2] = -9.0
    assert corroborated(one)[0, 2] == pytest.approx(6 / math.sqrt(2))
    assert corroborated(two[:, :1])[0].tolist() == two[0, 0].tolist()


def test_a_much_smaller_trigger_is_found_and_named() -> None:
    values = sizes(np.random.default_rng(1), 6)
    values[0, 1, 5] -= 6
    found = judged(values)
    assert (found.family, found.target_class) == ("family 1", 5)
    assert found.p_value is not None
    assert found.p_value <= 0.05
    assert found.p_kind == "model"
    assert found.floor == pytest.approx(1 / 6)
    assert int(np.argmax(found.scores)) == 5


def test_a_student_whose_triggers_are_all_small_is_weak_and_not_planted() -> None:
    values = sizes(np.random.default_rng(2), 6)
    before = judged(values).statistic
    values[0] -= 3
    assert judged(values).statistic == pytest.approx(before)


@pytest.mark.parametrize("references", [3, 5, 19])
def test_p_is_valid_on_honest_students(references: int) -> None:
    # 300 simulated audits: a true level of 0.05 exceeds 0.085 in one of 300 such tests.
    rng = np.random.default_rng(references)
    p = [judged(sizes(rng, references + 1)).p_value for _ in range(300)]
    assert np.mean(np.array(p) <= 0.05) <= 0.085
    assert min(p) > 0


def test_ranks_are_uniform_on_honest_students() -> None:
    rng = np.random.default_rng(3)
    p = np.array([judged(sizes(rng, 20)).p_value for _ in range(400)])
    # Exact p-values of 19 references are the multiples of 1/20, equally likely.
    counts = np.bincount(np.round(20 * p).astype(int), minlength=21)[1:]
    assert counts.sum() == 400
    assert ((counts - 20) ** 2 / 20).sum() < 43.8  # chi-square of 19 degrees at 0.001


def test_p_by_ranks_counts_as_the_definition_says() -> None:
    null = np.arange(19.0)
    assert p_value_of(100.0, null, tests=10) == (1 / 20, "exact")
    assert p_value_of(17.0, null, tests=10) == (3 / 20, "exact")
    assert p_value_of(-1.0, null, tests=10) == (1.0, "exact")


def test_few_references_get_a_fitted_tail_and_two_get_ranks() -> None:
    p, kind = p_value_of(9.0, [1.0, 2.0, 3.0, 2.0, 1.0], tests=64)
    assert kind == "model"
    assert p == pytest.approx(32 * (1 + 9 / 8) ** -8)
    assert p_value_of(9.0, [1.0, 2.0], tests=64) == (1 / 3, "exact")


def test_within_the_references_the_rank_counts() -> None:
    assert p_value_of(2.5, [1.0, 2.0, 3.0], tests=1)[0] >= 2 / 4


def test_without_references_there_is_no_p() -> None:
    values = {"mask": np.array([4.0, 4.1, 3.9, 4.2, 1.0])}
    found = judge_sizes(values, {"mask": np.empty((0, 5))})
    assert found.p_value is None
    assert found.p_kind is None
    assert found.floor is None
    assert found.target_class == 4


def test_classes_that_are_all_at_the_bound_are_no_evidence() -> None:
    values = np.full((6, 2, 8), 5.0)
    found = judged(values)
    assert found.statistic == 0
    assert found.p_value == 1


def slow_holm(p: list[float]) -> list[float]:
    """The closed test: a hypothesis falls when every intersection that holds it does."""
    count = len(p)
    result = []
    for row in range(count):
        worst = 0.0
        for size in range(1, count + 1):
            for group in itertools.combinations(range(count), size):
                if row in group:
                    worst = max(worst, min(1.0, size * min(p[i] for i in group)))
        result.append(worst)
    return result


def test_holm_is_the_closed_bonferroni_test() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        p = rng.random(5).tolist()
        assert holm(p) == pytest.approx(slow_holm(p))
    assert holm([]) == []


def test_the_index_is_the_definition() -> None:
    values = np.array([4.0, 5.0, 6.0, 7.0, 1.0])
    # median 5, absolute deviations 1 0 1 2 4, their median 1
    assert mad_indices(values)[4] == pytest.approx(4 / 1.4826)


def test_the_index_exceeds_two_in_many_honest_students() -> None:
    # Why it is displayed and never judged by.
    rng = np.random.default_rng(5)
    honest = [mad_indices(rng.normal(size=10)).max() for _ in range(300)]
    assert np.mean(np.array(honest) > 2) > 0.2


def test_parts_of_the_trusted_images_do_not_depend_on_the_rest_of_the_set() -> None:
    ids = np.array([f"trusted/{number}" for number in range(500)])
    whole, some = split_by_id(ids), split_by_id(ids[::2])
    assert sorted(np.concatenate(list(whole.values())).tolist()) == list(range(500))
    for name, rows in some.items():
        assert set(ids[::2][rows]) <= set(ids[whole[name]])
    assert len(whole["distill"]) > 2 * len(whole["measure"])


def test_parts_of_the_trusted_images_have_their_shares() -> None:
    parts = split_by_id(np.array([f"trusted/{number}" for number in range(5000)]))
    shares = {name: len(rows) / 5000 for name, rows in parts.items()}
    assert shares == pytest.approx({"distill": 0.6, "optimize": 0.2, "measure": 0.2}, abs=0.02)


def test_the_first_images_of_a_part_are_of_all_classes_even_of_a_sorted_source() -> None:
    ids = np.array([f"trusted/class-{row // 200}/{row}" for row in range(2000)])
    for name, rows in split_by_id(ids).items():
        drawn = rows[:100] // 200
        counts = np.bincount(drawn, minlength=10)
        assert counts.min() >= 2, f"{name}: {counts}"


def test_which_images_come_first_depends_neither_on_order_nor_on_the_name_of_the_set() -> None:
    ids = np.array([f"trusted/{number}" for number in range(300)])
    shuffled = np.random.default_rng(0).permutation(len(ids))
    named = np.array([f"inspection/{number}" for number in range(300)])
    first, again, other = split_by_id(ids), split_by_id(ids[shuffled]), split_by_id(named)
    for name, rows in first.items():
        assert ids[rows].tolist() == ids[shuffled][again[name]].tolist()
        assert rows.tolist() == other[name].tolist()


def test_too_few_trusted_images_are_refused() -> None:
    with pytest.raises(ImageSetError, match="at least 8"):
        split_by_id(np.array([f"trusted/{number}" for number in range(9)]))


def test_a_student_outside_the_references_range_is_said_to_be() -> None:
    references = [{"accuracy": 0.90, "agreement": 0.95}, {"accuracy": 0.92, "agreement": 0.96}]
    assert null_fit({"accuracy": 0.91, "agreement": 0.95}, references)["fits"]
    far = null_fit({"accuracy": 0.80, "agreement": 0.95}, references)
    assert not far["fits"]
    assert far["outside"] == pytest.approx({"accuracy": 5.0, "agreement": 0.0})
    assert null_fit({"accuracy": None}, references)["outside"] == {}
