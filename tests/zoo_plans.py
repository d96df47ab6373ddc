"""A zoo of one teacher and six students that is run in seconds; its networks are never trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from analysis.data.signs import SIGN_CLASSES
from analysis.models.architectures import build
from analysis.models.normalization import Normalization
from analysis.models.saving import save_model
from benchmarks.zoo.making import Training
from benchmarks.zoo.plan import Zoo, read_zoo

PLAN = """
frozen = false

[search]
families = ["mask", "warp"]
restarts = 1
steps = 4
batch = 4
asked = 2
images = 16
measured = 8
precision = "float32"

[signs]
counts = { images = 60, trusted = 120, measured = 60 }
training = { batch_size = 64, flip = false, shift = 2 }
attack = { steps = 8, margin = 0.0, check_views = 0, flip = false, shift = 2 }

[[teacher]]
name = "tiny"
data = "signs"
architecture = "convnet"
width = 4
training = { seed = 1, epochs = 1, learning_rate = 0.1 }
seeds = { pool_a = 2, pool_b = 3, trusted = 4, measured = 5 }
student = { pool = "a", architecture = "convnet", width = 4, objective = "hinton", \
temperature = 4.0, epochs = 1, learning_rate = 0.05, target = "stop", rate = 0.1, epsilon = 255 }
honest = [{ name = "h1", seed = 11 }, { name = "h2", seed = 12, pool = "b" }, \
{ name = "h3", seed = 13 }]
foreign = [{ name = "f1", seed = 14, temperature = 1.0 }]
planted = [{ name = "patch", seed = 15, trigger = "patch:size=6" }, \
{ name = "warp", seed = 16, trigger = "warp:strength=2", target = "80" }]
"""


def tiny_zoo(folder: Path, text: str = PLAN) -> Zoo:
    """The plan above, read from ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.toml").write_text(text)
    return read_zoo("tiny", folder)


class Untrained:
    """Writes networks with weights that the seed decides, and counts how often."""

    def __init__(self) -> None:
        self.made: list[str] = []

    @property
    def training(self) -> Training:
        """The seam that the zoo trains through."""
        return Training(teacher=self.make, student=self.make)

    def make(self, *, architecture: str, width: int, config: Any, out: Path, **_: Any) -> None:
        """Write the network of ``config.seed`` to ``out``."""
        self.made.append(out.stem)
        torch.manual_seed(config.seed)
        out.parent.mkdir(parents=True, exist_ok=True)
        save_model(
            out,
            unbiased(build(architecture, num_classes=len(SIGN_CLASSES), width=width)),
            architecture=architecture,
            width=width,
            class_names=tuple(SIGN_CLASSES),
            normalization=Normalization(),
            num_classes=len(SIGN_CLASSES),
            in_channels=3,
            metadata={"seed": config.seed},
        )


@torch.no_grad()
def unbiased(network: torch.nn.Module) -> torch.nn.Module:
    """``network`` without a preference on gray, so that its answers depend on the image."""
    seen: list[torch.Tensor] = []
    linear: Any = network.linear
    hook = linear.register_forward_pre_hook(lambda _, given: seen.append(given[0][0]))
    network.eval()(torch.full((1, 3, 32, 32), 0.5))
    hook.remove()
    linear.bias.zero_()
    linear.weight -= torch.outer(linear.weight @ seen[0], seen[0]) / seen[0].square().sum()
    linear.weight *= 100
    return network
