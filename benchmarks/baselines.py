"""Every baseline first finds a classic backdoor, else it is no contrast.

Trains a small model on road signs of which some carry a patch and a false label (BadNets, Gu et
al. 2017, arXiv 1708.06733) beside an honest one, and shows that spectral signatures, activation
clusters, STRIP, the bank of stickers, the four cells and occlusion of the divergence each hit it.

python -m benchmarks.baselines [--images N] [--epochs N] [--rate SHARE] [--work DIR]
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch

from analysis.attack.triggers import parse_trigger, with_trigger
from analysis.attribution.pair import attribute_pair
from analysis.attribution.region import changed_pixels
from analysis.audit.detection import auroc, detection_rate
from analysis.audit.latent import LATENT_SCREENS
from analysis.audit.localization import pointing
from analysis.audit.probe import BankResult, bank_rates, four_cells, sticker_bank
from analysis.audit.strip import strip_entropy
from analysis.data.imageset import ImageSet
from analysis.data.signs import SIGN_CLASSES, render_signs
from analysis.distillation.settings import TrainingConfig
from analysis.models.handle import ModelHandle
from analysis.models.loading import load_model
from analysis.study.training import train_model

TRIGGER, TARGET = "patch:size=5,place=bottom_right,color=#ffdd00", "80"
EXPLAINED = 24


def poisoned_by_label(images: ImageSet, rate: float) -> tuple[ImageSet, np.ndarray]:
    """Put the patch and the target's label on a share of the other images; (set, truth)."""
    target = SIGN_CLASSES.index(TARGET)
    assert images.labels is not None
    others = np.flatnonzero(images.labels != target)
    rows = np.random.default_rng(0).choice(others, round(rate * len(images)), replace=False)
    pixels, labels = np.array(images.images), np.array(images.labels)
    pixels[rows] = with_trigger(images, parse_trigger(TRIGGER), rows).images
    labels[rows] = target
    truth = np.zeros(len(images), dtype=bool)
    truth[rows] = True
    return dataclasses.replace(images, images=pixels, labels=labels), truth


def trained(images: ImageSet, out: Path, epochs: int) -> ModelHandle:
    config = TrainingConfig(
        epochs=epochs, learning_rate=0.1, flip=False, shift=2, threads=1, precision="float32"
    )
    made = train_model(architecture="smallresnet", width=16, images=images, out=out, config=config)
    return load_model(str(made.weights))


@torch.no_grad()
def features(model: ModelHandle, images: ImageSet) -> np.ndarray:
    parts = [model.traced(torch.from_numpy(px))[1]["penultimate"] for _, px in images.batches(256)]
    return torch.cat(parts).numpy()


@torch.no_grad()
def answers(model: ModelHandle, images: ImageSet) -> np.ndarray:
    parts = [model(torch.from_numpy(pixels)).argmax(1) for _, pixels in images.batches(256)]
    return torch.cat(parts).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run(given.work or Path(folder), given.images, given.epochs, given.rate)


def run(work: Path, count: int, epochs: int, rate: float) -> None:
    training = render_signs(count, seed=301, split="train")
    marked, truth = poisoned_by_label(training, rate)
    honest = trained(training, work / "honest.safetensors", epochs)
    badnet = trained(marked, work / "badnet.safetensors", epochs)
    test = render_signs(400, seed=302, split="test")
    stamped = with_trigger(test, parse_trigger(TRIGGER))
    target = SIGN_CLASSES.index(TARGET)
    others = test.labels != target
    cells = [
        {
            "clean": float((answers(model, test)[others] == target).mean()),
            "trigger": float((answers(model, stamped)[others] == target).mean()),
        }
        for model in (honest, badnet)
    ]
    accuracy = [100 * (answers(model, test) == test.labels).mean() for model in (honest, badnet)]
    print(f"accuracy: honest {accuracy[0]:.1f} %, label-poisoned {accuracy[1]:.1f} %")
    print(f"four cells: {four_cells(*cells, target=target, target_name=TARGET).sentence}")
    inside = features(badnet, marked)
    for name, entry in LATENT_SCREENS.items():
        score = entry.score(inside, marked.labels)
        own = marked.labels == target
        print(
            f"{name}: AUROC {auroc(score, truth):.3f} over all images, "
            f"{auroc(score[own], truth[own]):.3f} within the target class, "
            f"{100 * detection_rate(score, truth):.1f} % found at 1 % false alarms"
        )
    print_strip(badnet, test, stamped, others)
    bank = sticker_bank(*test.image_shape[:2])
    rates = [bank_rates(model, test, test.labels, bank) for model in (honest, badnet)]
    found = BankResult(bank=bank, teacher=rates[0], student=rates[1]).finding(SIGN_CLASSES)
    print(f"stickers: {found.sentence}")
    print_occlusion(honest, badnet, test, stamped, others)


def print_strip(model: ModelHandle, test: ImageSet, stamped: ImageSet, others: np.ndarray) -> None:
    rows = np.flatnonzero(others)[:200]
    entropy = [strip_entropy(model, shown.rows(rows), test, draws=32) for shown in (test, stamped)]
    truth = np.arange(2 * len(rows)) >= len(rows)
    score = -np.concatenate(entropy)
    print(
        f"STRIP: AUROC {auroc(score, truth):.3f} of stamped against plain images, "
        f"{100 * detection_rate(score, truth):.1f} % found at 1 % false alarms"
    )


def print_occlusion(
    honest: ModelHandle, badnet: ModelHandle, test: ImageSet, stamped: ImageSet, others: np.ndarray
) -> None:
    rows = np.flatnonzero(others)[:EXPLAINED]
    clean, shown = test.rows(rows), stamped.rows(rows)
    region = changed_pixels(np.asarray(clean.images), np.asarray(shown.images))
    maps = attribute_pair(
        honest, badnet, shown, method="occlusion", scalar="kl_teacher_student", precision="float32"
    )
    found = pointing(maps["pair"].values, region)
    print(
        f"occlusion of the divergence: strongest on the patch in {100 * found.pointing:.0f} % of "
        f"{found.n} images, {100 * found.mass:.0f} % of the mass on {100 * found.area:.1f} % of "
        "the area"
    )


if __name__ == "__main__":
    main()
