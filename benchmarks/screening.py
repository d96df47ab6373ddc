"""How well a screen finds the poison, and whether it finds poison or compression.

Three settings on the same distillation set: as written; with clean and poisoned images through
JPEG alike; and clean images against clean images that carry a change of equal size that is no
attack (each poisoned image's perturbation with the signs of its pixels drawn anew). A screen that
flags the last is a detector of noise. The class alarms stand beside.

python -m benchmarks.screening [--teacher SPEC --images SOURCE --limit N --attack KEY=VALUE ...]

Without arguments: the embedded road-sign teacher and the demo's own attack.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from analysis.attack.settings import AttackConfig
from analysis.audit.detection import auroc, detection_rate
from analysis.audit.screening import ScreeningConfig
from analysis.data.filters import jpeg
from analysis.data.imageset import ImageSet
from analysis.data.sources import load_images
from analysis.models.handle import ModelHandle
from analysis.models.loading import load_model
from analysis.store import workspace_cache
from analysis.study.attack import attack_images
from analysis.study.demo import ASSETS, ATTACK
from analysis.study.screening import Screened, screen_images
from analysis.study.stages import CompareConfig, Workbench

RATE, SEED, QUALITY = 0.12, 101, 90
DEMO_IMAGES = f"signs:train,n=6000,seed={SEED}"


def demo_attack() -> dict:
    keys = ("trigger", "target", "method", "epsilon", "norm", "steps", "margin")
    return {key: getattr(ATTACK, key) for key in keys} | {
        "rate": RATE, "flip": False, "shift": 2, "seed": SEED,
    }  # fmt: skip


def unlike_attack(clean: np.ndarray, poisoned: np.ndarray, trigger: np.ndarray) -> np.ndarray:
    """Clean images (P, H, W, C) with changes as large as the attack's, their signs redrawn.

    The change is what the attack added to the image that carries the trigger alone.
    """
    delta = poisoned.astype(int) - trigger
    signs = np.random.default_rng(0).choice((-1, 1), size=delta.shape)
    return np.clip(clean + signs * np.abs(delta), 0, 255).astype(np.uint8)


def report(title: str, screened: Screened, mirrored: Screened, truth: np.ndarray) -> None:
    print(f"\n{title}: {int(truth.sum())} of {len(truth)}")
    scores = {**screened.scores, "(flip)": mirrored.scores["score"]}
    for name, score in scores.items():
        print(
            f"  {name:8s} AUROC {auroc(score, truth):.3f}, "
            f"{100 * detection_rate(score, truth):5.1f} % found at 1 % false alarms"
        )
    weights = ", ".join(f"{k} {v:.2f}" for k, v in screened.screening.weights.items())
    print(f"  weights of the filters: {weights}")
    for alarm in screened.screening.alarms:
        p_value = "none" if alarm.p_value is None else f"{alarm.p_value:.2g}"
        print(f"  {alarm.sentence} p = {p_value}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", default=str(ASSETS / "teacher.safetensors"))
    parser.add_argument("--images", default=DEMO_IMAGES)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--attack", action="append", default=[], help="KEY=VALUE of the attack")
    parser.add_argument("--work", type=Path, help="where to keep what is computed")
    given = parser.parse_args()
    torch.set_num_threads(1)
    teacher = load_model(given.teacher)
    images = load_images(given.images, name="distillation", limit=given.limit)
    attack = demo_attack() if not given.attack else {}
    for text in given.attack:
        key, _, value = text.partition("=")
        try:
            attack[key] = json.loads(value)
        except ValueError:
            attack[key] = value
    with tempfile.TemporaryDirectory() as folder:
        run(teacher, images, AttackConfig(**attack), given.work or Path(folder))


def run(teacher: ModelHandle, images: ImageSet, attack: AttackConfig, work: Path) -> None:
    made = attack_images(teacher=teacher, images=images, out=work / "poisoned", config=attack)
    poisoned, truth = made.poisoned.images, made.poisoned.is_poisoned
    bench = Workbench(workspace_cache(work.resolve()), CompareConfig())

    def show(title: str, shown: np.ndarray) -> None:
        changed = dataclasses.replace(poisoned, images=shown)
        # The mirror is no part of the default; how it would do stands beside.
        both = [
            screen_images(bench, teacher, changed, config=config)
            for config in (ScreeningConfig(), ScreeningConfig(filters="flip"))
        ]
        report(title, *both, truth)

    written = np.asarray(poisoned.images)
    show("as written", written)
    show(f"all through JPEG {QUALITY} alike", jpeg(written, quality=QUALITY, shift=2))
    halves = made.poisoned.halves
    innocent = np.array(images.images)
    innocent[made.poisoned.rows] = unlike_attack(halves["none"], halves["both"], halves["trigger"])
    show("a change of equal size that is no attack (0.5 is right)", innocent)


if __name__ == "__main__":
    main()
