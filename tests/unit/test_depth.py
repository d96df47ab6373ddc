from __future__ import annotations

import numpy as np
import pytest

from analysis.divergence.depth import (
    Profile,
    below_all,
    best_matches,
    distant_matches,
    parted_from,
)


def profile(values: list[float], *, null: float = 0.0, best: list[int] | None = None) -> Profile:
    count = len(values)
    return Profile(
        best=np.array(best or range(count)),
        values=np.array(values),
        null=np.full((5, count), null),
    )


def test_best_matches_compare_with_the_best_of_the_null() -> None:
    values = np.array([[0.2, 0.9], [0.7, 0.1], [0.3, 0.3]])
    null = np.stack([0.1 * np.eye(3)[:, :2], 0.2 * np.eye(3)[:, 1:]])
    found = best_matches(values, null)
    assert found.best.tolist() == [1, 0]
    np.testing.assert_allclose(found.values, [0.7, 0.9])
    np.testing.assert_allclose(found.null, [[0.1, 0.1], [0.2, 0.2]])
    np.testing.assert_allclose(found.corrected, [(0.7 - 0.15) / 0.85, (0.9 - 0.15) / 0.85])
    assert found.beyond_null.all()


def test_layers_that_were_not_measured_have_no_match() -> None:
    values = np.array([[np.nan, 0.5], [np.nan, np.nan]])
    found = best_matches(values, np.where(np.isnan(values), np.nan, 0.0)[None])
    assert found.best.tolist() == [-1, 0]
    assert np.isnan(found.values[0])
    assert not found.beyond_null[0]
    assert parted_from(found) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.9, 0.8, 0.7, 0.6], None),
        ([0.9, 0.8, 0.4, 0.3], 2),
        ([0.9, 0.3, 0.2, 0.8], None),  # they come together again
        ([0.9, 0.8, 0.8, 0.01], 3),
        ([0.0, 0.0, 0.0, 0.0], 0),  # nothing is beyond the null
    ],
)
def test_where_in_depth_the_two_part(values: list[float], expected: int | None) -> None:
    assert parted_from(profile(values)) == expected


def test_a_condition_is_held_against_clean_images() -> None:
    clean = profile([0.5, 0.4, 0.6])
    assert parted_from(profile([0.49, 0.35, 0.5]), clean) is None
    assert parted_from(profile([0.49, 0.25, 0.3]), clean) == 1
    assert parted_from(profile([0.1, 0.4, 0.3]), clean) == 2


def test_where_they_part_is_read_beyond_chance() -> None:
    # Beyond chance 5/6, 4/6 and 1/6 are left: the last is less than half of the first.
    assert parted_from(profile([0.9, 0.8, 0.5], null=0.4)) == 2
    # 1/6 is left of 1/3 on clean images, although 0.5 is most of 0.6.
    clean = profile([0.6, 0.6], null=0.4)
    assert parted_from(profile([0.6, 0.5], null=0.4), clean) == 1


def test_matches_far_apart_are_listed() -> None:
    first, second = profile([1, 1, 1], best=[0, 5, 9]), profile([1, 1, 1], best=[1, 9, -1])
    assert distant_matches(first, second, 12) == [1]
    assert distant_matches(first, first, 12) == []


def test_below_all_references() -> None:
    references = [np.array([0.5, 0.5]), np.array([0.6, 0.3])]
    assert below_all(np.array([0.4, 0.4]), references).tolist() == [True, False]
    assert below_all(np.array([0.4, 0.4]), []).tolist() == [False, False]
