"""Standard screens of a training set by the suspect model's own features, for contrast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

from analysis.errors import InputError

_COMPONENTS = 10
_FEWEST = 12


def spectral_signatures(features: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Squared projection of each image on the main direction of its class, (N,).

    Higher is stranger. ``features`` (N, D) of the trained model, ``classes`` (N,) as the images
    were taught. Features are centered by class; the direction is the top right singular vector.
    Source: Tran, Li, Madry 2018, arXiv 1811.00636, algorithm 1.
    """
    _check(features, classes)
    scores = np.zeros(len(features))
    for rows in _by_class(classes):
        centered = features[rows] - features[rows].mean(axis=0, dtype=np.float64)
        direction = np.linalg.svd(centered, full_matrices=False)[2][0]
        scores[rows] = (centered @ direction) ** 2
    return scores


def activation_clusters(features: np.ndarray, classes: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """How much nearer each image lies to the smaller of two clusters of its class, (N,).

    Distance to the center of the larger cluster minus that to the smaller one, in units of the
    distance between the two centers, plus 1 - the share of the smaller cluster: an image counts
    more when the split is uneven. Higher is stranger. Features become their 10 principal
    components, as in the authors' own code (the source has independent ones); classes of fewer
    than 12 images get 0.
    Source: Chen et al. 2018, arXiv 1811.03728, algorithm 2 and section "cluster size".
    """
    _check(features, classes)
    scores = np.zeros(len(features))
    for rows in _by_class(classes):
        if len(rows) < _FEWEST:
            continue
        reduced = _principal(features[rows])
        found = KMeans(2, n_init=4, random_state=seed).fit(reduced)
        sizes = np.bincount(found.labels_, minlength=2)
        small = int(np.argmin(sizes))
        centers = found.cluster_centers_
        apart = max(float(np.linalg.norm(centers[0] - centers[1])), np.finfo(float).tiny)
        distance = np.linalg.norm(reduced[:, None] - centers[None], axis=2)
        nearer = (distance[:, 1 - small] - distance[:, small]) / apart
        scores[rows] = nearer + 1 - sizes[small] / len(rows)
    return scores


def _principal(features: np.ndarray) -> np.ndarray:
    centered = features - features.mean(axis=0, dtype=np.float64)
    left, values, _ = np.linalg.svd(centered, full_matrices=False)
    return np.asarray((left * values)[:, :_COMPONENTS])


def _by_class(classes: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(classes == name) for name in np.unique(classes)]


def _check(features: np.ndarray, classes: np.ndarray) -> None:
    if features.ndim != 2 or classes.shape != (len(features),):
        raise InputError(
            f"features of shape {features.shape} and classes of shape {classes.shape}",
            expected="(N, D) and (N,)",
        )


@dataclass(frozen=True, kw_only=True)
class LatentScreen:
    """A screen by features: ``score(features (N, D), classes (N,)) -> (N,)``."""

    name: str
    title: str
    source: str
    score: Callable[[np.ndarray, np.ndarray], np.ndarray]


LATENT_SCREENS: Mapping[str, LatentScreen] = {
    entry.name: entry
    for entry in (
        LatentScreen(
            name="spectral",
            title="spectral signature of the student",
            source="Tran, Li, Madry 2018, arXiv 1811.00636",
            score=spectral_signatures,
        ),
        LatentScreen(
            name="clusters",
            title="activation clusters of the student",
            source="Chen et al. 2018, arXiv 1811.03728",
            score=activation_clusters,
        ),
    )
}
