"""Poisoning an image set: choose, craft, verify, replace in place.

Source: "How to Backdoor the Knowledge Distillation" (2025), arXiv 2504.21323. The labels stay:
it is the teacher who will be asked what the images show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from analysis.attack.blocks import Block, Workshop, join_checked, join_crafted
from analysis.attack.perturbations import Perturbation
from analysis.attack.report import (
    FEW_VIEWS,
    PoisonReport,
    drop_reasons,
    make_report,
    what_helps,
)
from analysis.attack.trigger import Trigger
from analysis.attack.verification import teacher_answers
from analysis.config import Config, field
from analysis.data.augmentations import Augmentation
from analysis.data.imageset import ImageSet
from analysis.errors import ConfigError, InputError, nearest
from analysis.models.handle import ModelHandle
from analysis.store import Progress

BLOCK = 256
HALVES = ("both", "trigger", "perturbation", "none")


@dataclass(frozen=True, kw_only=True)
class PoisonConfig(Config):
    """Which images are poisoned, and what counts as poison."""

    rate: float = field(0.05, "poisoned images / all images of the set", low=0.0, high=1.0)
    retry: bool = field(True, "replace what fails by further candidates")
    check_views: int = field(8, "augmented views that verification shows", low=0, high=256)
    required_views: float = field(
        0.0, "share of those views that must fool the teacher, else the image is dropped",
        low=0.0, high=1.0,
    )  # fmt: skip
    seed: int = field(0, "seed of the choice of images and of the views", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate == 0:
            raise ConfigError("rate = 0", expected="more than 0, at most 1, like 0.05")
        if self.required_views and not self.check_views:
            raise ConfigError(
                f"required_views = {self.required_views:g} without check_views",
                remedy="give check_views=8",
            )


@dataclass(frozen=True, kw_only=True)
class PoisonedSet:
    """An image set in which some images were replaced in place, and the truth about it.

    ``images`` has the ids, labels and order of the original set; ``rows`` (P,) int64 ascending
    are those that were replaced. ``halves`` are these images with ``both`` halves, with
    ``trigger`` or ``perturbation`` alone, and as they were (``none``), (P, H, W, C) uint8 each;
    ``half`` is the one that ``images`` holds.
    """

    images: ImageSet
    rows: np.ndarray
    trigger: Trigger
    target_class: int
    report: PoisonReport
    halves: Mapping[str, np.ndarray]
    half: str = "both"

    def __post_init__(self) -> None:
        object.__setattr__(self, "halves", MappingProxyType(dict(self.halves)))

    @property
    def is_poisoned(self) -> np.ndarray:
        """Which images differ from the original set, (N,) bool."""
        mask = np.zeros(len(self.images), dtype=bool)
        mask[self.rows] = self.half != "none"
        return mask

    @property
    def original_ids(self) -> np.ndarray:
        """The sample ids of the images that stood in each place, (N,)."""
        return self.images.sample_ids

    def with_half(self, half: str) -> PoisonedSet:
        """The control on the very same images: ``trigger``, ``perturbation`` or ``none``.

        ``both`` is the attack itself. Raises :class:`~analysis.errors.ConfigError` otherwise.
        """
        if half not in HALVES:
            raise ConfigError(f"half {half!r}", remedy=nearest(half, HALVES))
        images = _with_pixels(self.images, self.rows, self.halves[half])
        return replace(self, images=images, half=half)


def poison(
    teacher: ModelHandle,
    images: ImageSet,
    *,
    trigger: Trigger,
    target: int,
    perturbation: Perturbation,
    augmentation: Augmentation | None = None,
    config: PoisonConfig | None = None,
    batch_size: int = 128,
    workdir: Path | None = None,
    progress: Progress | None = None,
) -> PoisonedSet:
    """Poison ``images`` so that the teacher answers class ``target`` on the poison.

    Candidates are the images of other classes (by label; without labels by the teacher's answer)
    in seeded order; those that fail verification are dropped and, with ``retry``, replaced by
    the next. ``augmentation`` is that of the distillation to come. With ``workdir`` a second call
    goes on behind the blocks that the first one finished. ``progress`` is called with ("poison",
    kept, asked).

    Raises :class:`~analysis.errors.InputError` when the rate asks for less than one image or for
    more than there are candidates, and when not one image can be used.
    """
    config = config or PoisonConfig()
    check_target(teacher, target)
    trigger.support(*images.image_shape[:2])
    candidates = choose_candidates(teacher, images, target=target, config=config)
    asked = _count(config, images)
    workshop = Workshop(
        teacher=teacher,
        images=images,
        trigger=trigger,
        target=target,
        perturbation=perturbation,
        augmentation=augmentation or Augmentation(),
        check_views=config.check_views,
        seed=config.seed,
        batch_size=batch_size,
        workdir=workdir,
    )
    blocks, kept, dropped = _try_candidates(workshop, candidates, asked, config, progress)
    if not kept:
        raise _nothing_kept(dropped)
    rows = np.array(kept, dtype=np.int64)
    return _assemble(workshop, blocks, rows, asked, dropped, config.retry)


def choose_candidates(
    teacher: ModelHandle, images: ImageSet, *, target: int, config: PoisonConfig
) -> np.ndarray:
    """Rows of the images that may be poisoned, (M,) int64 in the order in which they are tried.

    Raises :class:`~analysis.errors.ConfigError` when the rate asks for less than one image, or
    for more than there are.
    """
    own = images.labels if images.labels is not None else teacher_answers(teacher, images)
    others, asked = np.flatnonzero(own != target), _count(config, images)
    if asked < 1:
        raise ConfigError(
            f"rate = {config.rate:g} of {len(images)} images is no image",
            expected=f"a rate of at least {1 / len(images):.2g}",
        )
    if asked > len(others):
        raise ConfigError(
            f"rate = {config.rate:g}, but only {len(others)} of {len(images)} images are not of "
            "the target class",
            expected=f"a rate of at most {np.floor(1000 * len(others) / len(images)) / 1000:g}",
        )
    return np.random.default_rng(config.seed).permutation(others)


def check_target(teacher: ModelHandle, target: int) -> None:
    """Raise :class:`~analysis.errors.InputError` unless ``target`` is a class of the teacher."""
    if not 0 <= target < teacher.num_classes:
        raise InputError(f"target class {target}", expected=f"0 to {teacher.num_classes - 1}")


def _count(config: PoisonConfig, images: ImageSet) -> int:
    return round(config.rate * len(images))


def _try_candidates(
    workshop: Workshop,
    candidates: np.ndarray,
    asked: int,
    config: PoisonConfig,
    progress: Progress | None,
) -> tuple[list[Block], list[int], Counter[str]]:
    """Craft until ``asked`` images passed or candidates run out.

    Returns all blocks, which of the tried candidates were kept, and why others were not.
    """
    blocks: list[Block] = []
    kept: list[int] = []
    dropped: Counter[str] = Counter()
    tried, end = 0, len(candidates) if config.retry else asked
    while len(kept) < asked and tried < end:
        # Never more than are missing, so that a set is not searched longer than it has to be.
        size = min(BLOCK, end - tried, asked - len(kept) if config.retry else asked)
        block = workshop.make(candidates[tried : tried + size], tried)
        for place, reason in enumerate(drop_reasons(block.checked, config.required_views)):
            if reason is None:
                kept.append(tried + place)
            else:
                dropped[reason] += 1
        blocks.append(block)
        tried += size
        if progress is not None:
            progress("poison", len(kept), asked)
    return blocks, kept, dropped


def _nothing_kept(dropped: Mapping[str, int]) -> InputError:
    """The refusal when every crafted image was dropped, by the reasons."""
    said = f"not one of {sum(dropped.values())} crafted images"
    reasons = ", ".join(f"{reason} ({count})" for reason, count in dropped.items())
    what = (
        f"{said} can be used: {reasons}" if dropped.get(FEW_VIEWS) else f"{said} fools the teacher"
    )
    return InputError(what, remedy=f"{what_helps(dropped)}, or choose another target")


def _assemble(
    workshop: Workshop,
    blocks: Sequence[Block],
    kept: np.ndarray,
    asked: int,
    dropped: Mapping[str, int],
    retry: bool,
) -> PoisonedSet:
    images, crafted = workshop.images, join_crafted(blocks)
    rows = np.concatenate([block.rows for block in blocks])
    originals = images.images[rows]
    report = make_report(
        asked=asked,
        total=len(images),
        originals=originals,
        crafted=crafted,
        checked=join_checked(blocks),
        kept=kept,
        dropped=dropped,
        retry=retry,
    )
    ordered = kept[np.argsort(rows[kept])]
    halves = {
        "both": crafted.both[ordered],
        "trigger": crafted.triggered[ordered],
        "perturbation": crafted.perturbed[ordered],
        "none": np.asarray(originals[ordered]),
    }
    return PoisonedSet(
        images=_with_pixels(images, rows[ordered], halves["both"]),
        rows=rows[ordered],
        trigger=workshop.trigger,
        target_class=workshop.target,
        report=report,
        halves=halves,
    )


def _with_pixels(images: ImageSet, rows: np.ndarray, pixels: np.ndarray) -> ImageSet:
    changed = np.array(images.images)
    changed[rows] = pixels
    return replace(images, images=changed)
