"""FGSM and PGD without a trigger, beside foolbox (Rauber et al. 2017, arXiv 1707.04131).

A cross-check for development: ``pip install foolbox`` first, it is no dependency.
"""

import numpy as np
import pytest
import torch

from analysis.attack.crafting import craft
from analysis.attack.perturbations import FGSM, PGD
from analysis.attack.rounding import round_inward, to_images
from tests.attack_nets import curved, noise

foolbox = pytest.importorskip("foolbox", reason="foolbox is not installed")


class Wrapped(torch.nn.Module):
    def __init__(self, handle):
        super().__init__()
        self.handle = handle
        self.weights = handle.module

    def forward(self, pixels):
        return self.handle(pixels)


def by_foolbox(attack, teacher, images, epsilon, target):
    model = foolbox.PyTorchModel(Wrapped(teacher).eval(), bounds=(0, 1), device="cpu")
    pixels = torch.from_numpy(np.array(images.images)).permute(0, 3, 1, 2).float() / 255
    criterion = foolbox.criteria.TargetedMisclassification(torch.full((len(images),), target))
    _, clipped, _ = attack(model, pixels, criterion, epsilons=epsilon / 255)
    return pixels, clipped


@pytest.mark.parametrize(
    ("name", "norm", "epsilon"),
    [("fgsm", "linf", 8), ("fgsm", "l2", 90), ("pgd", "linf", 8), ("pgd", "l2", 90)],
)
def test_the_same_images_come_out(name, norm, epsilon):
    teacher, images, steps = curved(), noise(count=8), 10
    if name == "fgsm":
        ours = FGSM(epsilon=epsilon, norm=norm)
        kind = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]
        theirs = kind(abs_stepsize=epsilon / 255, steps=1, random_start=False)
    else:
        ours = PGD(epsilon=epsilon, norm=norm, steps=steps, margin=None, random_start=False)
        kind = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]
        theirs = kind(rel_stepsize=2.5 / steps, steps=steps, random_start=False)
    pixels, clipped = by_foolbox(theirs, teacher, images, epsilon, target=2)
    expected = to_images(round_inward(pixels, clipped, epsilon, norm)).astype(int)
    crafted = craft(teacher, images, ours, target=2).both.astype(int)
    assert np.abs(crafted - images.images).max() > 3
    difference = np.abs(crafted - expected)
    # What lies in the middle of two 8-bit values may fall either way.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02
