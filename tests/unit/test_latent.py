"""Standard screens by features: spectral signatures and activation clusters."""

import numpy as np
import pytest

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


def test_a_class_of_few_images_is_not_split():
    features, classes, _ = planted()
    classes[:5] = 7
    assert (activation_clusters(features, classes)[:5] == 0).all()


def test_features_and_classes_must_fit():
    with pytest.raises(InputError):
        spectral_signatures(np.zeros((3, 2)), np.zeros(2))
