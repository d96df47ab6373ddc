"""What an attribution method is, and the batch that it is given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from analysis.attribution.catalog import MethodCard, Options, find_card
from analysis.attribution.subject import Subject
from analysis.models.handle import ModelHandle

ImageShape = tuple[int, int, int]
"""(H, W, C)."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One batch to be explained: pixels and baselines (N, C, H, W), classes (N,).

    ``batch`` is how many images go through the model at once, ``seed`` starts what is random.
    """

    subject: Subject
    pixels: torch.Tensor
    baselines: torch.Tensor
    classes: torch.Tensor
    options: Options
    batch: int
    seed: int = 0

    def images(self) -> Iterator[Task]:
        """Hand out one task per image, for what draws numbers: no map depends on its batch."""
        for row in range(len(self.pixels)):
            one = slice(row, row + 1)
            yield Task(
                subject=self.subject,
                pixels=self.pixels[one],
                baselines=self.baselines[one],
                classes=self.classes[one],
                options=self.options,
                batch=self.batch,
                seed=self.seed,
            )


def serves_all(handle: ModelHandle, image_shape: ImageShape) -> str | None:
    """Say that a method serves every model."""
    return None


@dataclass(frozen=True, kw_only=True)
class Method(MethodCard):
    """An attribution method that can be run.

    ``explain`` returns attributions (N, C, H, W). ``obstacle`` says in one line why a model cannot
    be served, or None; ``layer`` names the layer that is looked at, where it is one.
    """

    explain: Callable[[Task], torch.Tensor]
    obstacle: Callable[[ModelHandle, ImageShape], str | None] = serves_all
    layer: Callable[[ModelHandle, ImageShape, Options], str] | None = None

    @classmethod
    def of(cls, name: str, explain: Callable[[Task], torch.Tensor], **how: Any) -> Method:
        """Return the method whose card is called ``name``."""
        card = find_card(name)
        about = {spec.name: getattr(card, spec.name) for spec in fields(card)}
        return cls(**about, explain=explain, **how)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from ``seed`` inside, from where one was before afterwards: torch's and numpy's.

    captum draws from the global generators, which belong to everybody.
    """
    devices = [device] if device.type == "cuda" else []
    state = np.random.get_state()
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            np.random.set_state(state)
