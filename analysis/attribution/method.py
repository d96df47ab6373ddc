"""What an attribution method is, and the batch that it is given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from analysis.attribution.subject import Subject
from analysis.errors import InputError, nearest
from analysis.models.handle import ModelHandle

Options = Mapping[str, float]
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
class Method:
    """An attribution method.

    ``explain`` returns attributions (N, C, H, W). ``linear``: the map of a difference of two
    models' numbers is the difference of their maps. ``signed``: negative values speak against.
    ``complete``: a map sums to the explained number minus that of the baseline, exactly or, where
    points are drawn at random, in expectation. ``random`` methods draw numbers. Those that run
    ``as_built`` attach to a model's modules, so the fast copies cannot stand in for it.
    ``obstacle`` says in one line why a model cannot be served, or None; ``layer`` names the layer
    that is looked at, where it is one. ``options`` are its numbers with their defaults,
    ``smallest`` the least that each may be.
    """

    name: str
    title: str
    source: str
    explain: Callable[[Task], torch.Tensor]
    linear: bool
    signed: bool
    complete: bool = False
    uses_baseline: bool = False
    uses_gradients: bool = True
    random: bool = False
    as_built: bool = False
    obstacle: Callable[[ModelHandle, ImageShape], str | None] = serves_all
    layer: Callable[[ModelHandle, ImageShape, Options], str] | None = None
    options: Options = field(default_factory=dict)
    smallest: Options = field(default_factory=dict)

    def settle(self, given: Options) -> dict[str, float]:
        """Return the options with defaults filled in.

        Raises :class:`InputError` for an option that this method does not have, and for a value
        that is too small or, where whole numbers are meant, not whole.
        """
        settled = dict(self.options)
        for key, value in given.items():
            if key not in self.options:
                known = nearest(key, self.options) if self.options else "It has no options"
                raise InputError(f"option {key!r} of {self.name}", remedy=known)
            whole = isinstance(self.options[key], int)
            fits = value >= self.smallest[key] and np.isfinite(value)
            if not fits or (whole and value != int(value)):
                kind = "a whole number" if whole else "a number"
                raise InputError(
                    f"{key} = {value} of {self.name}",
                    expected=f"{kind} of at least {self.smallest[key]:g}",
                )
            settled[key] = int(value) if whole else float(value)
        return settled


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
