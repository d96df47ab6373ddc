"""A whole experiment small enough for a test: 8 x 8 squares of three brightnesses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

EXPERIMENT = """
out = "space/study"
seed = 3

[images]
distillation = "train.npz"
inspection = "test.npz"

[teacher]
arch = "convnet"
width = 4
epochs = 2
learning_rate = 0.05
shift = 1
threads = 1

[attack]
trigger = "patch:size=2"
target = "2"
rate = 0.2
epsilon = 96
steps = 8
check_views = 2

[distillation]
arch = "convnet"
width = 4
epochs = 2
shift = 1
threads = 1

[conditions]
probe = 8

[comparison]
projection = false
probe = 0
draws = 100
neighbors = 3
"""


TIMELINE = ("[conditions]", "[students.backdoored]\ncheckpoint_epochs = [1]\n[conditions]")
"""A change: the student under inspection keeps an epoch."""


def squares(path: Path, count: int, seed: int) -> None:
    """Write labeled squares to ``path``."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = rng.integers(0, 40, (count, 8, 8, 3), dtype=np.uint8)
    images += (labels * 90).astype(np.uint8)[:, None, None, None]
    np.savez(path, images=images, labels=labels)


def write_experiment(folder: Path, *changes: tuple[str, str], text: str = EXPERIMENT) -> Path:
    """Write images and ``experiment.toml`` into ``folder``; ``changes`` replace parts of it."""
    squares(folder / "train.npz", 48, 1)
    squares(folder / "test.npz", 24, 2)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "experiment.toml"
    path.write_text(text)
    return path
