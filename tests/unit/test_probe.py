"""Probes with known triggers: the four cells, the bank of stickers."""

import numpy as np
import pytest
import torch

from analysis.attack.triggers import TRIGGERS, parse_trigger
from analysis.audit.probe import BankResult, bank_rates, four_cells, sticker_bank
from analysis.errors import InputError
from tests.attack_nets import linear, logits_of, noise


def test_the_four_cells_compare_beyond_the_base_rate():
    found = four_cells(
        {"clean": 0.02, "trigger": 0.03, "trigger_perturbation": 0.99},
        {"clean": 0.01, "trigger": 0.95},
        target=3, target_name="80",
    )  # fmt: skip
    assert found.statistic == pytest.approx(0.94 - 0.01)
    assert found.p_value is None
    assert "95.0 %" in found.sentence
    assert "99.0 %" in found.sentence
    with pytest.raises(InputError, match="not measured"):
        four_cells({"clean": 0.1}, {"clean": 0.1, "trigger": 0.2}, target=0, target_name="a")


@pytest.mark.parametrize("side", [4, 8, 32, 64])
def test_every_sticker_of_the_bank_fits(side):
    bank = sticker_bank(side, side)
    assert len(bank) == len(set(bank)) >= 10
    for text in bank:
        assert parse_trigger(text).support(side, side).any()


def test_the_bank_of_ordinary_images_holds_every_kind_that_needs_no_file():
    kinds = {text.partition(":")[0] for text in sticker_bank(32, 32)}
    assert kinds == set(TRIGGERS) - {"image", "translucent"}


def test_rates_are_counted_beyond_the_base_rate():
    model, images = linear(3, side=8, scale=0.3), noise(30, side=8, classes=3)
    bank = ("patch:size=4,color=#ffffff", "patch:size=6,place=center,color=#000000")
    rates = bank_rates(model, images, images.labels, bank)
    plain = logits_of(model, images.images).argmax(1)
    for row, text in enumerate(bank):
        pixels = torch.from_numpy(images.images.transpose(0, 3, 1, 2) / 255).float()
        marked = parse_trigger(text).apply(pixels, images.sample_ids.tolist())
        said = model(marked).argmax(1).numpy()
        for place in range(3):
            others = images.labels != place
            expected = (said[others] == place).mean() - (plain[others] == place).mean()
            assert rates[row, place] == pytest.approx(expected)


def test_the_finding_points_at_the_strongest_excess():
    teacher, student = np.zeros((2, 3)), np.zeros((2, 3))
    teacher[1, 0], student[1, 0], student[0, 2] = 0.9, 0.95, 0.6
    result = BankResult(bank=("blend", "warp"), teacher=teacher, student=student)
    found = result.finding(("a", "b", "c"), null=(0.1, 0.7, 0.2))
    assert found.target_class == 2
    assert found.statistic == pytest.approx(0.6)
    assert found.p_value == 2 / 4
    assert "'blend'" in found.sentence
    assert result.finding(("a", "b", "c")).p_value is None
