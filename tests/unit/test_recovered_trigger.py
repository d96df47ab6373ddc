"""Recovered triggers of every family put on pixels, against loops."""

import numpy as np
import pytest
import torch

from analysis.attack.recovered import FAMILIES, RecoveredTrigger
from analysis.errors import InputError
from tests.resampling import bilinear

SIDE = 6


def recovered(family, seed=0):
    rng = np.random.default_rng(seed)
    parts = {
        "mask": {"mask": rng.random((SIDE, SIDE)), "pattern": rng.random((SIDE, SIDE, 3))},
        "coarse": {"mask": rng.random((SIDE, SIDE)), "pattern": rng.random((SIDE, SIDE, 3))},
        "spatial": {"delta": rng.normal(0, 0.2, (SIDE, SIDE, 3))},
        "frequency": {"delta": rng.normal(0, 0.2, (SIDE, SIDE, 3))},
        "warp": {"flow": rng.normal(0, 0.7, (SIDE, SIDE, 2))},
    }[family]
    example = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    return RecoveredTrigger(family=family, parts={**parts, "example": example})


def pixels(count=3, seed=1):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.random((count, 3, SIDE, SIDE))).float()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_what_its_arrays_say(family):
    trigger, x = recovered(family), pixels()
    shown = trigger.apply(x).numpy()
    for n, y, column in np.ndindex(3, SIDE, SIDE):
        own = x[n].numpy()
        if family in ("mask", "coarse"):
            m = trigger.parts["mask"][y, column]
            wanted = own[:, y, column] * (1 - m) + trigger.parts["pattern"][y, column] * m
        elif family == "warp":
            down, right = trigger.parts["flow"][y, column]
            wanted = bilinear(own, y + down, column + right)
        else:
            wanted = np.clip(own[:, y, column] + trigger.parts["delta"][y, column], 0, 1)
        np.testing.assert_allclose(shown[n, :, y, column], wanted, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_says_where_it_is_and_who_it_is(family):
    trigger = recovered(family)
    assert trigger.weights.shape == (SIDE, SIDE)
    assert trigger.weights.min() >= 0
    assert trigger.weights.max() <= 1
    assert trigger.shown == f"recovered {family}"
    assert trigger.key() == recovered(family).key() != recovered(family, seed=5).key()


def test_what_is_no_trigger_is_refused():
    with pytest.raises(InputError, match="mask"):
        RecoveredTrigger(family="masks", parts={})
    with pytest.raises(InputError, match="pattern"):
        RecoveredTrigger(family="mask", parts={"mask": np.zeros((4, 4))})
    with pytest.raises(InputError, match="NaN"):
        RecoveredTrigger(family="spatial", parts={"delta": np.full((4, 4, 3), np.nan)})
    with pytest.raises(InputError, match="6x6 on images of 8x8"):
        recovered("mask").apply(torch.zeros(1, 3, 8, 8))
