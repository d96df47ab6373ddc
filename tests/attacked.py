"""A study under attack with checkpoints: an honest student and one that knows the trigger.

Both are trained on stamped images, the backdoored one with the target as their label; what
matters to the tests is what the answers look like, not how they were taught.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from analysis.data.signs import SIGN_CLASSES, render_signs
from analysis.models.architectures import build
from analysis.study.comparison import compare
from analysis.study.specs import StudentSpec
from analysis.study.stages import CompareConfig, ConditionConfig
from tests.conftest import save_tiny

TARGET = "80"
TRIGGER = ConditionConfig(trigger="patch:size=6,color=#ff0000", target=TARGET, steps=3, probe=12)
CONFIG = CompareConfig(attack=TRIGGER, epochs=20, probe=6, steps=4, draws=100)
IMAGES = "signs:test,n=64,seed=5"
SNAPSHOTS = {1: 8, 3: 60, 7: 120}


def train_filmed(
    seed: int, folder: Path, *, stamped: bool, name: str
) -> tuple[Path, dict[int, Path]]:
    """Train a small student; returns its weights and those of each epoch of ``SNAPSHOTS``."""
    from analysis.attack.triggers import parse_trigger, with_trigger

    torch.manual_seed(seed)
    images = render_signs(640, seed=77, split="train")
    marked = with_trigger(images, parse_trigger(TRIGGER.trigger))
    pixels, with_mark = (
        torch.from_numpy(np.array(each.images)).permute(0, 3, 1, 2).float() / 255
        for each in (images, marked)
    )
    labels = torch.from_numpy(np.array(images.labels))
    target = torch.full((16,), SIGN_CLASSES.index(TARGET))
    module = build("smallresnet", num_classes=len(SIGN_CLASSES), width=8)
    optimizer = torch.optim.Adam(module.parameters(), lr=4e-3)
    order = torch.Generator().manual_seed(seed)
    saved: dict[int, Path] = {}
    for step in range(1, max(SNAPSHOTS.values()) + 1):
        rows = torch.randint(len(pixels), (64,), generator=order)
        batch, wanted = pixels[rows], labels[rows]
        if step > SNAPSHOTS[1]:
            batch = torch.cat([batch, with_mark[rows[:16]]])
            wanted = torch.cat([wanted, target if stamped else wanted[:16]])
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * (1 - (step - 1) / SNAPSHOTS[7])
        loss = torch.nn.functional.cross_entropy(module.train()(batch), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for epoch, at in SNAPSHOTS.items():
            if at == step:
                path = folder / f"{name}-epoch-{epoch}.safetensors"
                saved[epoch] = save_tiny(module.eval(), path, "smallresnet")
    return save_tiny(module.eval(), folder / f"{name}.safetensors", "smallresnet"), saved


def make_attacked(teacher: Path, folder: Path) -> Path:
    """Compare ``teacher`` with a backdoored and an honest student and their checkpoints.

    The backdoored one has three, the honest one only its last: every model costs seconds.
    """
    students: dict[str, StudentSpec] = {}
    for name, seed, stamped in (("backdoored", 4, True), ("honest", 2, False)):
        weights, saved = train_filmed(seed, folder, stamped=stamped, name=name)
        role = "subject" if stamped else "control"
        students[name] = StudentSpec(spec=str(weights), role=role)
        for epoch, path in saved.items() if stamped else [(7, saved[7])]:
            students[f"{name}.epoch-{epoch:04d}"] = StudentSpec(
                spec=str(path), role="checkpoint", parent=name, epoch=epoch
            )
    out = folder / "workspace" / "attacked"
    compare(teacher=str(teacher), students=students, images=IMAGES, out=out, config=CONFIG)
    return out
