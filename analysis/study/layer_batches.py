"""On which images the layers of a study are compared, and the passes of the models over them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from analysis.config import Config
from analysis.config import field as setting
from analysis.divergence.hsic import FEWEST
from analysis.errors import InputError
from analysis.models.grams import LayerBatch, layer_grams
from analysis.models.handle import ModelHandle
from analysis.study.conditions import Presented

SUBSET = 2000
"""On so many images at most nulls, outliers and all measures but CKA are computed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayersConfig(Config):
    """How layers are compared; without names, the outputs of all blocks."""

    images: int = setting(2000, "compare on at most this many images (seeded)", low=2 * FEWEST)
    batch: int = setting(256, "images in a minibatch", low=2 * FEWEST, high=SUBSET)
    permutations: int = setting(20, "draws of the null", low=1, high=1000)
    seed: int = setting(0, "seed of the images drawn and of the null", low=0)
    layers: tuple[str, ...] = setting((), "layers of the teacher")
    student_layers: tuple[str, ...] = setting((), "layers of the student")


class Batches:
    """The minibatches of a condition: a seeded draw of its images, in parts of about one size."""

    def __init__(self, shown: Presented, config: LayersConfig):
        total = len(shown.images)
        if total < 2 * FEWEST:
            raise InputError(
                f"{total} image(s) of condition {shown.slug!r}",
                expected=f"at least {2 * FEWEST} to compare layers on",
            )
        self.shown, self.config = shown, config
        order = np.random.default_rng(config.seed).permutation(total)[: config.images]
        # One size as far as possible: an estimate weighs every minibatch the same.
        self.parts = np.array_split(order, -(-len(order) // config.batch))
        self.n, self.total = len(order), total

    def of(self, handle: ModelHandle, layers: Sequence[str]) -> Iterable[LayerBatch]:
        """What ``layers`` make of every minibatch; kept for several students where it is little."""
        if self.n <= SUBSET:
            return _Remembered(self.run(handle, layers))
        return _Repeated(self, handle, layers)

    def run(self, handle: ModelHandle, layers: Sequence[str]) -> Iterator[LayerBatch]:
        """One pass of ``handle``, minibatch by minibatch; the subset comes first."""
        done = 0
        for rows in self.parts:
            done += len(rows)
            (found,) = self.shown.images.batches(len(rows), rows)
            yield layer_grams(handle, torch.from_numpy(found[1]), layers, pooled=done <= SUBSET)


class _Repeated:
    """A pass that is run again for everyone who asks."""

    def __init__(self, batches: Batches, handle: ModelHandle, layers: Sequence[str]):
        self.start = lambda: batches.run(handle, layers)

    def __iter__(self) -> Iterator[LayerBatch]:
        return self.start()


class _Remembered:
    """A pass that is run once, as far as somebody asked."""

    def __init__(self, source: Iterator[LayerBatch]):
        self.source, self.kept = source, list[LayerBatch]()

    def __iter__(self) -> Iterator[LayerBatch]:
        yield from self.kept
        for batch in self.source:
            self.kept.append(batch)
            yield batch
