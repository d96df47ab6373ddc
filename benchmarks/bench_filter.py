"""A filter over 200 000 rows against the same predicate in pyarrow's compute functions.

Ours is what a page does for an expression that somebody typed: it is parsed and written anew, a
locked database is opened on the Arrow table, and the rows that are left come back as a mask. The
peer only evaluates the predicate on columns in memory. One thread in both, both warmed up, and
interleaved, since machines drift.

python -m benchmarks.bench_filter [--rows N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dashboard.table_rows import rows_where

ROWS, ROUNDS = 200_000, 15
EXPRESSION = "teacher_confidence > 0.9 and not agree and kl > 1"


def samples(count: int) -> pa.Table:
    """The columns that the expression names, drawn from a seed."""
    draw = np.random.default_rng(7)
    return pa.table(
        {
            "sample_id": [f"inspection/{row}" for row in range(count)],
            "teacher_confidence": draw.beta(6, 1, count),
            "agree": draw.random(count) < 0.8,
            "kl": draw.exponential(0.8, count),
        }
    )


def bare(table: pa.Table) -> np.ndarray:
    """Which rows the same predicate leaves, (N,) bool."""
    sure = pc.greater(table["teacher_confidence"], 0.9)
    parted = pc.and_(pc.invert(table["agree"]), pc.greater(table["kl"], 1.0))
    return np.asarray(pc.and_(sure, parted).to_numpy())


def milliseconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - start)


def run(rows: int = ROWS) -> list[dict]:
    pa.set_cpu_count(1)
    table = samples(rows)
    assert (rows_where(table, EXPRESSION) == bare(table)).all()
    ours, peer = [], []
    for _ in range(ROUNDS):
        ours.append(milliseconds(lambda: rows_where(table, EXPRESSION)))
        peer.append(milliseconds(lambda: bare(table)))
    value, beside = statistics.median(ours), statistics.median(peer)
    return [
        {
            "name": f"filter over {rows} rows, typed expression to mask",
            "value": value, "unit": "ms", "peer": "the predicate alone in pyarrow compute",
            "peer_value": beside, "ratio": value / beside, "limit": None, "met": None,
            "threads": 1, "dtype": "float64", "warmup": "once each",
            "note": f"`{EXPRESSION}`; median of {ROUNDS}. Parsing and a locked database included.",
        }
    ]  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    print(json.dumps(run(parser.parse_args().rows), indent=1))
