"""Standard screens by features: spectral signatures and activation clusters."""

import math

import numpy as np
import pytest
from sklearn.decomposition import PCA

from analysis.audit.detection import auroc
from analysis.audit.latent import LATENT_SCREENS, activation_clusters, spectral_signatures
from analysis.errors import InputError


def planted(count=90, width=8, poisoned=15, seed=0):
    """Two classes; some of the second were taught as the first, and still look different."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 1, (count, width))
    classes = np.arange(count) % 2
    truth = np.zeros(count, dtype=bool)
    truth[np.flatnonzero(classes == 0)[:poisoned]] = True
    features[truth, 0] += 9
    return features, classes, truth


@pytest.mark.parametrize("name", LATENT_SCREENS)
def test_every_screen_hits_what_was_planted(name):
    features, classes, truth = planted()
    score = LATENT_SCREENS[name].score(features, classes)
    assert score.shape == (len(features),)
    assert auroc(score[classes == 0], truth[classes == 0]) > 0.95
    assert auroc(score, truth) > 0.95


@pytest.mark.parametrize("name", LATENT_SCREENS)
def test_no_screen_depends_on_the_order_of_images(name):
    features, classes, _ = planted()
    order = np.random.default_rng(3).permutation(len(features))
    score = LATENT_SCREENS[name].score
    moved = score(features[order], classes[order])
    # k-means starts from other images, so only the ranking of clear cases is kept.
    assert np.corrcoef(moved, score(features, classes)[order])[0, 1] > 0.9


def test_the_signature_is_the_projection_on_the_main_axis():
    features, classes, _ = planted()
    score = spectral_signatures(features, classes)
    for name in (0, 1):
        rows = classes == name
        centered = features[rows] - features[rows].mean(axis=0)
        _, vectors = np.linalg.eigh(centered.T @ centered)
        np.testing.assert_allclose(score[rows], (centered @ vectors[:, -1]) ** 2, rtol=1e-6)


def test_the_distances_to_two_clusters_and_the_share_of_the_smaller_are_the_score():
    """Of one class 5 of 35 images lie apart, of the other 12 of 35: the clusters are known."""
    rng = np.random.default_rng(1)
    features, classes = rng.normal(0, 1, (70, 16)), np.arange(70) % 2
    apart = np.zeros(70, dtype=bool)
    for name, count in ((0, 5), (1, 12)):
        apart[np.flatnonzero(classes == name)[:count]] = True
    features[apart, 3] += 30
    score = activation_clusters(features, classes)
    for name, count in ((0, 5), (1, 12)):
        rows = classes == name
        reduced = PCA(10, svd_solver="full").fit_transform(features[rows])
        small, large = (reduced[apart[rows] == side].mean(axis=0) for side in (True, False))
        for value, point in zip(score[rows], reduced, strict=True):
            nearer = math.dist(point, large) - math.dist(point, small)
            expected = nearer / math.dist(large, small) + 1 - count / 35
            assert value == pytest.approx(expected, rel=1e-6)


def test_a_class_of_few_images_is_not_split():
    features, classes, _ = planted()
    classes[:5] = 7
    assert (activation_clusters(features, classes)[:5] == 0).all()


def test_features_and_classes_must_fit():
    with pytest.raises(InputError):
        spectral_signatures(np.zeros((3, 2)), np.zeros(2))
