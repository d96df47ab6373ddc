"""Layouts: one frame, repeatable, sane on few or degenerate rows."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
from scipy.spatial import procrustes
from sklearn.decomposition import PCA

from analysis.embedding.neighbors import nearest_neighbors, neighborhood_overlap
from analysis.embedding.projection import (
    _epoch_reports,
    _with_self,
    fit_layout,
    place,
    principal_layout,
    warm_up,
)
from analysis.embedding.quality import layout_quality
from analysis.errors import Cancelled, InputError
from analysis.store import silent


def _clusters(
    n: int = 300, classes: int = 6, seed: int = 0, noise: float = 0.6
) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, n)
    centers = generator.normal(size=(classes, 16))
    points = centers[labels] + generator.normal(size=(n, 16)) * noise
    return points.astype(np.float32), labels


def _centers(layout: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.stack([layout[labels == label].mean(axis=0) for label in np.unique(labels)])


def _fit(features: np.ndarray, init: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    return fit_layout(features, nearest_neighbors(features), seed=seed, init=init, epochs=100)


def test_a_seeded_fit_repeats_itself() -> None:
    features, _ = _clusters()
    first = _fit(features)
    assert first.shape == (300, 2)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, _fit(features))
    assert (first != _fit(features, seed=1)).any()


def test_the_layout_is_to_be_trusted() -> None:
    features, _ = _clusters()
    quality = layout_quality(features, _fit(features))
    shuffled = _fit(features)[np.random.default_rng(0).permutation(300)]
    assert quality.trustworthiness > 0.85
    assert quality.continuity > 0.85
    assert layout_quality(features, shuffled).trustworthiness < 0.6


def test_it_is_as_good_as_umap_learn() -> None:
    from umap import UMAP

    features, _ = _clusters()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    known = _with_self(nearest_neighbors(features), 15)
    umap = UMAP(n_epochs=100, random_state=0, n_jobs=1, precomputed_knn=known)
    with pytest.warns(UserWarning, match="not an NNDescent object"):
        peer = umap.fit_transform(unit)
    ours, theirs = layout_quality(features, _fit(features)), layout_quality(features, peer)
    assert ours.trustworthiness > theirs.trustworthiness - 0.02
    assert ours.continuity > theirs.continuity - 0.02


def test_the_student_stays_in_the_frame_of_the_teacher() -> None:
    teacher, labels = _clusters()
    generator = np.random.default_rng(3)
    student = teacher @ np.linalg.qr(generator.normal(size=(16, 16)))[0]
    student = (student + generator.normal(size=student.shape) * 0.3).astype(np.float32)
    shown = _fit(teacher)
    started, independent = _fit(student, init=shown), _fit(student)
    size = np.abs(shown - shown.mean(axis=0)).mean()
    moved = np.abs(_centers(started, labels) - _centers(shown, labels)).mean()
    assert moved < 0.2 * size
    assert np.abs(_centers(independent, labels) - _centers(shown, labels)).mean() > 2 * moved


def test_maps_that_look_alike_can_have_neighborhoods_at_chance() -> None:
    teacher, labels = _clusters(n=600, classes=4, noise=0.3)
    student = teacher.copy()
    generator = np.random.default_rng(5)
    for label in range(4):
        rows = np.flatnonzero(labels == label)
        student[rows] = teacher[generator.permutation(rows)]
    shown = _fit(teacher)
    started = _fit(student, init=shown)
    # The eye sees the same islands at the same places ...
    disparity = procrustes(_centers(shown, labels), _centers(started, labels))[2]
    assert disparity < 0.05
    assert procrustes(shown, started)[2] < 0.15
    # ... while within the islands no image has kept its neighbors.
    overlap = neighborhood_overlap(nearest_neighbors(teacher), nearest_neighbors(student))
    chance = np.mean([15 / ((labels == label).sum() - 1) for label in labels])
    assert overlap.mean() == pytest.approx(chance, rel=0.2)
    # A student that only wavers keeps them.
    wavering = teacher + generator.normal(size=teacher.shape).astype(np.float32) * 0.03
    kept = neighborhood_overlap(nearest_neighbors(teacher), nearest_neighbors(wavering))
    assert kept.mean() > 5 * chance


@pytest.mark.parametrize("n", [2, 5, 15, 16, 17, 25])
def test_few_rows(n: int) -> None:
    features, _ = _clusters(n)
    layout = _fit(features)
    assert layout.shape == (n, 2)
    assert np.isfinite(layout).all()
    assert len(np.unique(layout, axis=0)) == n
    assert np.isfinite(_fit(features[:, ::-1], init=layout)).all()


def test_rows_that_are_all_neighbors_are_laid_out_by_principal_components() -> None:
    features, _ = _clusters(9)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    layout = _fit(features)
    assert procrustes(layout, PCA(2).fit_transform(unit))[2] < 1e-6
    assert np.abs(layout).max() == pytest.approx(10)
    # The same features in another basis come back to the same places.
    turned = features @ np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0]
    np.testing.assert_allclose(_fit(turned, init=layout), layout, atol=1e-3)


@pytest.mark.parametrize(
    "features", [np.ones((40, 4)), np.zeros((40, 4)), np.arange(1.0, 41)[:, None]], ids=str
)
def test_degenerate_features_get_a_finite_layout(features: np.ndarray) -> None:
    layout = _fit(features)
    assert layout.shape == (40, 2)
    assert np.isfinite(layout).all()


def test_principal_layout_has_one_orientation() -> None:
    features, _ = _clusters(50)
    np.testing.assert_allclose(
        principal_layout(features), principal_layout(features + 3), atol=1e-3
    )
    for sign in (1, -1):
        turned = sign * features.astype(np.float64)
        centered = turned - turned.mean(axis=0)
        axes = np.linalg.lstsq(centered, principal_layout(turned), rcond=None)[0]
        assert (axes[np.abs(axes).argmax(axis=0), [0, 1]] > 0).all()
    assert principal_layout(np.ones((3, 2))).tolist() == [[0, 0]] * 3


def test_progress_counts_epochs_and_can_stop() -> None:
    features, _ = _clusters(100)
    seen: list[tuple[str, int, int]] = []
    neighbors = nearest_neighbors(features)
    fit_layout(features, neighbors, seed=0, epochs=50, progress=lambda *step: seen.append(step))
    assert seen[0] == ("layout", 0, 50)
    assert seen[-1] == ("layout", 50, 50)
    assert seen == sorted(seen)

    def stop(stage: str, done: int, total: int) -> None:
        raise Cancelled(f"stopped at {stage} {done} of {total}")

    with pytest.raises(Cancelled, match="stopped at layout 0 of 50"):
        fit_layout(features, neighbors, seed=0, epochs=50, progress=stop)


def test_a_silent_fit_draws_no_bar() -> None:
    assert _epoch_reports(silent, 5)["disable"] is True
    assert _epoch_reports(lambda *_: None, 5)["disable"] is False


def test_progress_can_stop_between_epochs() -> None:
    features, _ = _clusters(300)

    def stop(stage: str, done: int, total: int) -> None:
        if done:
            raise Cancelled(f"stopped at {stage}")

    with pytest.raises(Cancelled):
        fit_layout(features, nearest_neighbors(features), seed=0, epochs=200_000, progress=stop)


def test_placing_is_a_weighted_mean_of_the_nearest() -> None:
    clean, _ = _clusters(80)
    layout = np.random.default_rng(1).normal(size=(80, 2)).astype(np.float32)
    asked, _ = _clusters(20, seed=9)
    placed, _ = place(clean, layout, asked, k=4)
    unit = clean / np.linalg.norm(clean, axis=1, keepdims=True)
    for row, query in enumerate(asked / np.linalg.norm(asked, axis=1, keepdims=True)):
        distances = np.sqrt(np.square(unit - query).sum(axis=1))
        nearest = np.argsort(distances)[:4]
        weights = 1 / distances[nearest]
        expected = (weights[:, None] * layout[nearest]).sum(axis=0) / weights.sum()
        np.testing.assert_allclose(placed[row], expected, atol=1e-4)
    assert placed.dtype == np.float32


def test_a_clean_image_keeps_its_place_and_is_not_far() -> None:
    clean, _ = _clusters(80)
    layout = np.random.default_rng(1).normal(size=(80, 2)).astype(np.float32)
    placed, far = place(clean, layout, clean[:10] * 3)
    np.testing.assert_allclose(placed, layout[:10], atol=1e-3)
    assert not far.any()


def test_far_is_farther_than_clean_images_ever_are() -> None:
    # Clean directions 0.10 rad apart at most: 0.04 beyond the last is near, 0.2 is far.
    angles = np.array([0.0, 0.05, 0.10, 0.20])
    asked = np.array([0.24, 0.29, 0.31, 0.40])
    points, queries = (np.stack([np.cos(a), np.sin(a)], axis=1) for a in (angles, asked))
    layout = np.zeros((4, 2))
    _, far = place(points, layout, queries, k=2)
    assert far.tolist() == [False, False, True, True]
    known = place(points, layout, queries, k=2, clean_neighbors=nearest_neighbors(points, 3))
    assert known[1].tolist() == far.tolist()


def test_as_far_as_the_loneliest_clean_image_is_not_far() -> None:
    axes = np.eye(4)
    _, far = place(axes[:3], np.zeros((3, 2)), np.stack([axes[3], -axes.sum(axis=0)]))
    assert far.tolist() == [False, True]


def test_rows_must_match() -> None:
    features, _ = _clusters(40)
    neighbors = nearest_neighbors(features)
    with pytest.raises(InputError, match="39 rows of features, 40 rows of neighbors"):
        fit_layout(features[:39], neighbors, seed=0)
    with pytest.raises(InputError, match="40 rows of neighbors, 3 rows of layout"):
        fit_layout(features, neighbors, seed=0, init=np.zeros((3, 2)))
    with pytest.raises(InputError, match="a layout on 30 neighbors of 15 known"):
        fit_layout(features, neighbors, seed=0, n_neighbors=30)
    with pytest.raises(InputError, match="rows of layout"):
        place(features, np.zeros((3, 2)), features)


def test_warm_up_runs_and_importing_does_not_load_umap() -> None:
    warm_up()
    code = "import sys, analysis.embedding.projection; print({'umap', 'numba'} & set(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert loaded.strip() == "set()"


def test_another_thread_can_fit_after_a_fit_was_stopped() -> None:
    features, _ = _clusters(60)
    calls = []

    def stop(stage: str, done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == 2:  # the first comes from the fit, this one from within the bar
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        fit_layout(features, nearest_neighbors(features), seed=0, epochs=20, progress=stop)
    thread = threading.Thread(target=warm_up, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
