"""Earth mover's distance of attribution maps: how far mass has to be carried.

Solved exactly, as a flow between neighboring cells of a coarsened grid (Ling and Okada 2007):
for distances along rows and columns, carrying mass from neighbor to neighbor costs as much as
carrying it there at once, and the linear program is hundreds of times smaller.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from analysis.attribution.similarity import check_pair

CELLS = 16
"""Largest side of the grid on which mass is carried; larger maps are summed into so many cells."""


def earth_movers_distance(first: np.ndarray, second: np.ndarray, cells: int = CELLS) -> np.ndarray:
    """Least work to turn one map's mass into the other's, for (N, H, W) -> (N,) in [0, 1].

    Mass is magnitude, normalized to 1, summed into at most ``cells`` x ``cells`` cells. Distance
    is along rows and columns, between cell centers, as a share of that from corner to corner of
    the grid: 0 is the same distribution, 1 all mass in opposite corners. NaN where a map is zero
    everywhere. Raises :class:`~analysis.errors.InputError` for unequal shapes. Source: Rubner,
    Tomasi, Guibas, IJCV 40 (2000); Ling, Okada, IEEE TPAMI 29 (2007).
    """
    check_pair(first, second)
    one, other = (_mass(maps, cells) for maps in (first, second))
    longest = sum(one.shape[1:]) - 2
    work = [_work(a, b) for a, b in zip(one, other, strict=True)]
    return np.asarray(work) / max(longest, 1)


def _mass(maps: np.ndarray, cells: int) -> np.ndarray:
    mass = np.abs(np.asarray(maps, dtype=np.float64))
    for axis in (1, 2):
        side = mass.shape[axis]
        count = min(cells, side)
        # The first pixel of each cell: cells differ by at most one pixel in size.
        starts = np.arange(count) * side // count
        mass = np.add.reduceat(mass, starts, axis=axis)
    total = mass.sum(axis=(1, 2), keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, mass / total, np.nan)


def _work(one: np.ndarray, other: np.ndarray) -> float:
    """Solve the flow for two masses (h, w) that sum to 1 each."""
    from scipy.optimize import linprog

    surplus = (one - other).ravel()
    if not np.isfinite(surplus).all():
        return float("nan")
    if len(surplus) == 1 or not surplus.any():
        return 0.0
    outflow = _outflow(*one.shape)
    # One balance follows from the others, and rounding would contradict it.
    found = linprog(
        np.ones(outflow.shape[1]), A_eq=outflow[:-1], b_eq=surplus[:-1], method="highs-ds"
    )
    return float(found.fun)


@cache
def _outflow(height: int, width: int) -> Any:
    """Sparse (cells, flows): +1 where a flow leaves, -1 where it arrives; both ways are flows."""
    from scipy.sparse import coo_array

    cell = np.arange(height * width).reshape(height, width)
    pairs = [(cell[:, :-1], cell[:, 1:]), (cell[:-1], cell[1:])]
    start = np.concatenate([a.ravel() for a, _ in pairs] + [b.ravel() for _, b in pairs])
    end = np.concatenate([b.ravel() for _, b in pairs] + [a.ravel() for a, _ in pairs])
    flow = np.arange(len(start))
    values = np.concatenate([np.ones(len(start)), -np.ones(len(start))])
    where = (np.concatenate([start, end]), np.concatenate([flow, flow]))
    return coo_array((values, where), shape=(cell.size, len(start))).tocsr()
