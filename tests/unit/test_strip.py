"""STRIP: entropies under overlays, against the formula written out."""

import math

import numpy as np
import pytest
import torch

from analysis.audit.strip import strip_entropy, strip_finding
from analysis.errors import InputError
from tests.attack_nets import linear, noise


@pytest.mark.parametrize(("options", "over"), [({}, 0.5), ({"opacity": 0.3}, 0.3)])
def test_the_entropy_is_the_mean_over_overlays(options, over):
    model, images, overlays = linear(3, side=4), noise(5, side=4), noise(7, side=4, seed=1)
    found = strip_entropy(model, images, overlays, draws=4, seed=3, **options)
    chosen = np.random.default_rng(3).integers(7, size=(5, 4))
    for row in range(5):
        total = 0.0
        for other in chosen[row]:
            mixed = (1 - over) * images.images[row] / 255 + over * overlays.images[other] / 255
            pixels = torch.from_numpy(mixed.transpose(2, 0, 1)[None]).float()
            p = model(pixels)[0].double().softmax(0).tolist()
            total -= sum(v * math.log(v) for v in p)
        assert found[row] == pytest.approx(total / 4, rel=1e-5)


def test_no_entropy_depends_on_the_batch():
    model, images, overlays = linear(3, side=4), noise(9, side=4), noise(7, side=4, seed=1)
    whole = strip_entropy(model, images, overlays, draws=200, seed=0)
    few = strip_entropy(model, images.rows(np.arange(4)), overlays, draws=200, seed=0)
    np.testing.assert_allclose(whole[:4], few)


def test_overlays_of_another_size_are_refused():
    with pytest.raises(InputError, match="overlays"):
        strip_entropy(linear(), noise(side=8), noise(side=6))


def test_one_in_a_hundred_harmless_images_is_rejected():
    clean = np.linspace(1, 2, 1001)
    assert strip_finding(clean, clean, what="images").statistic == pytest.approx(0.01, abs=1e-3)
    sure = strip_finding(clean, np.array([0.1, 0.2, 1.5, 1.8]), what="stamped images")
    assert sure.statistic == 0.5
    assert sure.flagged == (0, 1)
    assert "50.0 % of stamped images" in sure.sentence
