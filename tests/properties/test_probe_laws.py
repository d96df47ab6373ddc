"""Laws of the images whose attributions are computed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.study.attribution import probe_rows

DIVERGENCES = st.integers(1, 40).flatmap(
    lambda rows: st.tuples(*[arrays(np.float64, rows, elements=st.floats(0, 50))] * 2)
)


@given(both=DIVERGENCES, count=st.integers(1, 50), seed=st.integers(0, 5))
def test_half_are_the_worst_and_none_is_chosen_twice(
    both: tuple[np.ndarray, np.ndarray], count: int, seed: int
) -> None:
    size = min(count, len(both[0]))
    for kl in both:
        rows = probe_rows(kl, count, seed)
        assert len(rows) == size
        assert (np.diff(rows) > 0).all(), "sorted, none twice"
        assert rows.min() >= 0
        assert rows.max() < len(kl)
        left = np.delete(kl, rows)
        by_kl = np.sort(kl[rows])[::-1][: size // 2]
        assert not len(left) or not len(by_kl) or by_kl.min() >= left.max()


def test_students_that_part_on_different_images_are_explained_on_the_same_usual_ones() -> None:
    kl = np.zeros((2, 2000))
    kl[0, :6], kl[1, 100:106] = 1.0, 1.0
    first, second = (set(probe_rows(one, 12, 0).tolist()) for one in kl)
    assert first - set(range(6)) == second - set(range(100, 106))
    assert len(first & second) == 6
    assert set(probe_rows(kl[0], 12, 1).tolist()) != first
