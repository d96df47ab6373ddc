"""Two-dimensional layouts of features: teacher and student in one frame.

The layout is UMAP (McInnes, Healy, Melville, 2018, arXiv 1802.03426) on exact neighbors. Fits are
seeded, optimize on one thread and are bit-identical on one machine. The student's fit starts from
the teacher's layout and is moved back onto it as a rigid body, which changes no neighborhood, so
that the two maps can be read side by side; displacement between them is still not a measurement.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator

import numpy as np

from analysis.embedding.neighbors import NEIGHBORS, nearest_neighbors, normalize_rows
from analysis.errors import InputError
from analysis.records import Neighbors
from analysis.store import Progress, silent

# What umap-learn chooses: fewer epochs where there are many rows.
_MANY_ROWS = 10_000
_EPOCHS_FEW, _EPOCHS_MANY = 500, 200
_MIN_DIST = 0.1
_EXTENT = 10.0
_WARM_UP_ROWS = 64
# Some of numba's threading layers end the process when two threads compute at once.
_ONE_FIT = threading.Lock()


def fit_layout(
    features: np.ndarray,
    neighbors: Neighbors,
    *,
    seed: int,
    init: np.ndarray | None = None,
    n_neighbors: int = NEIGHBORS,
    epochs: int | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Lay out ``features`` (N, D) in the plane; (N, 2) float32.

    ``neighbors`` are those of the same features; as in umap-learn, ``n_neighbors`` counts the row
    itself. ``init`` (N, 2) is the layout to start from and to stay in the frame of; without it the
    first two principal components are. ``epochs`` defaults to umap-learn's: 500, above 10 000 rows
    200. No more than ``n_neighbors`` rows are all neighbors of each other, which leaves UMAP
    nothing to separate: their layout is the principal components, in the frame of ``init``.

    ``progress("layout", epoch, epochs)`` may raise to stop. Raises :class:`InputError` when rows
    do not match or too few neighbors are known.
    """
    points = normalize_rows(features)
    _check_rows(points, neighbors, init)
    if n_neighbors < 2 or neighbors.indices.shape[1] < min(n_neighbors, len(points)) - 1:
        raise InputError(
            f"a layout on {n_neighbors} neighbors of {neighbors.indices.shape[1]} known",
            expected="at least 2, and all but the row itself known",
        )
    if len(points) <= n_neighbors:
        return _in_frame(principal_layout(points), init)
    epochs = epochs or (_EPOCHS_FEW if len(points) <= _MANY_ROWS else _EPOCHS_MANY)
    report = progress or silent
    report("layout", 0, epochs)
    start = principal_layout(points) if init is None else np.asarray(init, np.float32)
    with _ONE_FIT:
        layout = _umap(points, neighbors, start, seed, n_neighbors, epochs, report)
    report("layout", epochs, epochs)
    return _in_frame(layout, init)


def place(
    clean_features: np.ndarray,
    clean_layout: np.ndarray,
    features: np.ndarray,
    k: int = NEIGHBORS,
    *,
    clean_neighbors: Neighbors | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Place ``features`` (M, D) into a layout that was fitted on clean ones, (N, D) and (N, 2).

    Returns the layout (M, 2) float32, the mean of the k nearest clean neighbors' places, weighted
    by 1 / distance, and (M,) bool: whether the nearest clean image is farther than any clean
    image is from its own nearest one. ``clean_neighbors`` spares searching for those.
    Raises :class:`InputError` when rows or widths do not match.
    """
    clean = nearest_neighbors(clean_features, 1) if clean_neighbors is None else clean_neighbors
    _check_rows(np.asarray(clean_features), clean, clean_layout)
    near = nearest_neighbors(clean_features, k, queries=features)
    # The floor lets an identical image take the place of its twin without dividing by zero.
    weights = 1.0 / np.maximum(near.distances.astype(np.float64), 1e-9)
    weights /= weights.sum(axis=1, keepdims=True)
    layout = np.einsum("mk,mkd->md", weights, np.asarray(clean_layout, np.float64)[near.indices])
    return layout.astype(np.float32), near.distances[:, 0] > clean.distances[:, 0].max()


def principal_layout(points: np.ndarray) -> np.ndarray:
    """First two principal components of ``points`` (N, D), scaled to [-10, 10]; (N, 2) float32.

    The largest loading of each component is positive, so that the layout has one orientation.
    """
    centered = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centered.T @ centered)
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    layout = np.zeros((len(points), 2))
    layout[:, : axes.shape[1]] = centered @ axes
    extent = np.abs(layout).max()
    return (layout * (_EXTENT / extent if extent > 0 else 1.0)).astype(np.float32)


def warm_up() -> None:
    """Compile what :func:`fit_layout` needs, on a few rows: seconds that can pass elsewhere."""
    features = np.random.default_rng(0).normal(size=(_WARM_UP_ROWS, 4))
    fit_layout(features, nearest_neighbors(features), seed=0, epochs=2)


def _umap(
    points: np.ndarray,
    neighbors: Neighbors,
    start: np.ndarray,
    seed: int,
    n_neighbors: int,
    epochs: int,
    report: Progress,
) -> np.ndarray:
    # The functions under umap.UMAP, as the class warns about given neighbors and hashes its input.
    from umap.umap_ import find_ab_params, fuzzy_simplicial_set, simplicial_set_embedding

    random_state = np.random.RandomState(seed)
    indices, distances = _with_self(neighbors, n_neighbors)
    graph, _, _ = fuzzy_simplicial_set(
        points, n_neighbors, random_state, "euclidean", knn_indices=indices, knn_dists=distances
    )
    a, b = find_ab_params(1.0, _MIN_DIST)
    with _lock_given_back():
        layout, _ = simplicial_set_embedding(
            points,
            graph,
            n_components=2,
            initial_alpha=1.0,
            a=a,
            b=b,
            gamma=1.0,
            negative_sample_rate=5,
            n_epochs=epochs,
            init=_spread(start, random_state),
            random_state=random_state,
            metric="euclidean",
            metric_kwds={},
            densmap=False,
            densmap_kwds={},
            output_dens=False,
            parallel=False,
            tqdm_kwds=_epoch_reports(report, epochs),
        )
    return np.asarray(layout, np.float32)


@contextlib.contextmanager
def _lock_given_back() -> Iterator[None]:
    """Release tqdm's lock when a report raised: tqdm keeps it, and other threads would wait."""
    from tqdm.auto import tqdm

    try:
        yield
    except BaseException:
        with contextlib.suppress(RuntimeError, AssertionError, ValueError):  # it was not kept
            tqdm.get_lock().release()
        raise


def _with_self(neighbors: Neighbors, n_neighbors: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and distances (N, n_neighbors) with each row as its own first neighbor."""
    n, k = len(neighbors.indices), n_neighbors - 1
    indices = np.empty((n, n_neighbors), np.int64)
    indices[:, 0], indices[:, 1:] = np.arange(n), neighbors.indices[:, :k]
    distances = np.zeros((n, n_neighbors), np.float32)
    distances[:, 1:] = neighbors.distances[:, :k]
    return indices, distances


def _spread(start: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
    # Coincident points would stay together for ever, and a flat axis has no extent to scale by.
    noise = random_state.normal(scale=1e-4, size=start.shape)
    return (start / max(float(np.abs(start).max()), 1e-9) * _EXTENT + noise).astype(np.float32)


def _in_frame(layout: np.ndarray, init: np.ndarray | None) -> np.ndarray:
    """Rotate, reflect and shift ``layout`` onto ``init``: orthogonal Procrustes, no scaling."""
    if init is None:
        return layout
    target = np.asarray(init, np.float64)
    moved = layout - layout.mean(axis=0, dtype=np.float64)
    left, _, right = np.linalg.svd(moved.T @ (target - target.mean(axis=0)))
    return (moved @ (left @ right) + target.mean(axis=0)).astype(np.float32)


def _check_rows(points: np.ndarray, neighbors: Neighbors, init: np.ndarray | None) -> None:
    rows = {"features": len(points), "neighbors": len(neighbors.indices)}
    if init is not None:
        rows["layout"] = len(init)
    if len(set(rows.values())) != 1:
        found = ", ".join(f"{count} rows of {name}" for name, count in rows.items())
        raise InputError(found, expected="the same samples")


class _EpochReports(io.TextIOBase):
    """What tqdm writes its bar to: passes the epoch on instead of printing it."""

    def __init__(self, report: Progress, epochs: int) -> None:
        self.report = report
        self.epochs = epochs

    def write(self, text: str) -> int:
        digits = text.strip()
        if digits.isdigit():
            self.report("layout", int(digits), self.epochs)
        return len(text)


def _epoch_reports(report: Progress, epochs: int) -> dict[str, object]:
    sink = _EpochReports(report, epochs)
    return {"disable": report is silent, "file": sink, "bar_format": "{n_fmt}", "mininterval": 0.2}
