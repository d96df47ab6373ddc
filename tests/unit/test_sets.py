"""Maps of sets of images against sums written out."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.attribution.sets import disagreements, mean_map, rows_of
from analysis.errors import InputError
from analysis.records import AttributionMaps


def record(values: np.ndarray, errors: list[float] | None = None) -> AttributionMaps:
    n = len(values)
    return AttributionMaps(
        method="saliency",
        model="pair",
        scalar="p(c)",
        baseline="none",
        sample_ids=np.array([f"inspection/{i}" for i in range(n)]),
        explained_class=np.zeros(n, dtype=np.int64),
        values=values.astype(np.float32),
        signed=True,
        completeness_error=np.array([np.nan] * n if errors is None else errors, dtype=np.float32),
    )


VALUES = np.random.default_rng(0).normal(size=(5, 3, 4))


def test_mean_maps_are_means() -> None:
    maps = record(VALUES, [0.1, np.nan, 0.3, 0.5, 0.7])
    rows = np.array([0, 1, 3])
    found = mean_map(maps, rows)
    for i in range(3):
        for j in range(4):
            cell = [float(maps.values[row, i, j]) for row in rows]
            assert found.values[i, j] == pytest.approx(sum(cell) / 3)
            assert found.magnitude[i, j] == pytest.approx(sum(map(abs, cell)) / 3)
    assert found.n == 3
    assert found.completeness_error == pytest.approx(0.3)
    assert mean_map(record(VALUES)).completeness_error is None
    assert mean_map(maps).n == 5


def test_every_image_may_count_the_same() -> None:
    values = VALUES.copy()
    values[0] *= 1000
    values[1] = 0
    found = mean_map(record(values), normalized=True)
    shares = [np.zeros((3, 4)) if not v.any() else v / np.abs(v).sum() for v in values]
    np.testing.assert_allclose(found.values, sum(shares) / 5, atol=1e-7)
    assert found.magnitude.sum() == pytest.approx(0.8, abs=1e-6), "one of five maps is empty"


def test_rows_are_found_by_sample_id() -> None:
    maps = record(VALUES)
    assert rows_of(maps, ["inspection/3", "inspection/99", "inspection/0"]).tolist() == [0, 3]
    assert rows_of(maps, []).tolist() == []


def test_where_attribution_and_answers_disagree() -> None:
    agreement = np.array([0.9, 0.1, np.nan, 0.5, -0.2, 0.8])
    same = np.array([True, True, True, False, True, False])
    found = disagreements(agreement, same)
    assert found["same_answer_other_pixels"].tolist() == [4, 1, 0]
    assert found["other_answer_same_pixels"].tolist() == [5, 3]


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="no maps to average"):
        mean_map(record(VALUES), np.array([], dtype=int))
    with pytest.raises(InputError, match="answers of type int64"):
        disagreements(np.zeros(2), np.zeros(2, dtype=int))
