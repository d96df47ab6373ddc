"""The filter's benchmark compares equal work and says what it is."""

from __future__ import annotations

import numpy as np

from benchmarks import bench_filter
from dashboard.table_rows import rows_where


def test_both_leave_the_same_rows_and_the_row_is_complete() -> None:
    table = bench_filter.samples(3000)
    wanted = bench_filter.bare(table)
    assert 0 < wanted.sum() < 3000
    np.testing.assert_array_equal(rows_where(table, bench_filter.EXPRESSION), wanted)
    (row,) = bench_filter.run(400)
    assert row["ratio"] == row["value"] / row["peer_value"]
    assert row["met"] is None
