"""Candidates for poison, crafted and verified block by block, so that a killed run can go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from analysis.attack.crafting import Crafted, craft
from analysis.attack.perturbations import Perturbation
from analysis.attack.trigger import Trigger
from analysis.attack.verification import Verification, verify
from analysis.data.augmentations import Augmentation
from analysis.data.imageset import ImageSet
from analysis.models.handle import ModelHandle
from analysis.store.files import write_array

Record = TypeVar("Record", Crafted, Verification)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Some candidates: their rows in the image set, what they became, what the teacher says."""

    rows: np.ndarray
    crafted: Crafted
    checked: Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Everything that crafting needs but the images' rows.

    With ``workdir`` every finished block is kept there and not crafted again. The folder belongs
    to one order: nothing in a block's name says what it was crafted for.
    """

    teacher: ModelHandle
    images: ImageSet
    trigger: Trigger
    target: int
    perturbation: Perturbation
    augmentation: Augmentation
    check_views: int
    seed: int
    batch_size: int
    workdir: Path | None

    def make(self, rows: np.ndarray, first: int) -> Block:
        """Craft and verify the images of ``rows``, the candidates from number ``first`` on."""
        chosen = self.images.rows(rows)
        crafted = self._crafted(chosen, first)
        checked = verify(
            self.teacher,
            replace(chosen, images=crafted.both),
            target=self.target,
            augmentation=self.augmentation,
            views=self.check_views,
            seed=self.seed,
        )
        return Block(rows=rows, crafted=crafted, checked=checked)

    def _crafted(self, chosen: ImageSet, first: int) -> Crafted:
        path = None if self.workdir is None else self.workdir / f"block-{first:07d}-{len(chosen)}"
        if path is not None and path.with_suffix(".npy").exists():
            return _read(path, chosen)
        crafted = craft(
            self.teacher,
            chosen,
            self.perturbation,
            target=self.target,
            trigger=self.trigger,
            augmentation=self.augmentation,
            batch_size=self.batch_size,
        )
        if path is not None:
            _write(path, crafted)
        return crafted


def join_crafted(blocks: Sequence[Block]) -> Crafted:
    """What all blocks became, in their order."""
    return _joined([block.crafted for block in blocks])


def join_checked(blocks: Sequence[Block]) -> Verification:
    """What the teacher says of all blocks, in their order."""
    return _joined([block.checked for block in blocks])


def remove_blocks(workdir: Path) -> None:
    """Delete the blocks that were kept in ``workdir``.

    A block that loses its images first is none, and is made again after a kill.
    """
    for path in sorted(workdir.glob("block-*.npy"), key=lambda path: path.name.count(".")):
        path.unlink()


def _joined(parts: Sequence[Record]) -> Record:
    kind = type(parts[0])
    arrays = {
        part.name: np.concatenate([getattr(one, part.name) for one in parts])
        for part in fields(kind)
    }
    return kind(**arrays)


def _write(path: Path, crafted: Crafted) -> None:
    # The images come last: where they are, the block is whole.
    write_array(path.with_suffix(".steps.npy"), crafted.steps)
    pictures = np.stack([crafted.both, crafted.triggered, crafted.perturbed])
    write_array(path.with_suffix(".npy"), pictures)


def _read(path: Path, chosen: ImageSet) -> Crafted:
    both, triggered, perturbed = np.load(path.with_suffix(".npy"), allow_pickle=False)
    return Crafted(
        sample_ids=chosen.sample_ids,
        both=both,
        triggered=triggered,
        perturbed=perturbed,
        steps=np.load(path.with_suffix(".steps.npy"), allow_pickle=False),
    )
