"""Trigger inversion: the smallest trigger that makes a student answer each class.

The search asks the teacher not to follow (see :mod:`analysis.audit.teacher_use`) and sees
trusted images; size and flip rates are read on trusted images that the search did not see.
Source: Wang et al. 2019, Neural Cleanse; the use of a clean teacher is this project's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from analysis.attribution.copies import Precision, inference_copy
from analysis.audit.families import Family, Parameters, find_family
from analysis.audit.search import FORWARD, Found, Pair, Pool, search
from analysis.audit.settings import InversionConfig
from analysis.audit.teacher_use import find_use
from analysis.data.imageset import ImageSet
from analysis.models.handle import ModelHandle
from analysis.store import Progress, silent

EXAMPLES = 4
_OCTAVES, _HALVINGS = 2.0, 6
_ROWS = 512


@dataclass(frozen=True, kw_only=True)
class Inverted:
    """The smallest triggers of one family for all K classes of one student.

    ``log_size`` (K,): natural logarithm of the size at which ``config.level`` of the unseen
    images are moved, at most the logarithm of the family's bound. ``censored`` (K,): the search
    gave the class up (it then counts as no larger than the largest of those that were searched to
    the end), or found nothing below the bound. ``flip_student`` and ``flip_teacher``
    (K,): shares of unseen images that each answers with the class under the trigger as it was
    found, NaN where none was. ``parts`` holds the triggers, ``passes`` what they cost in
    forward-backward passes of one image through one model (a forward pass counts a third).
    """

    family: str
    log_size: np.ndarray
    censored: np.ndarray
    flip_student: np.ndarray
    flip_teacher: np.ndarray
    parts: dict[str, np.ndarray]
    passes: float
    seconds: float
    precision: str


@dataclass(frozen=True, slots=True)
class Trusted:
    """Trusted images: those that triggers are searched on, and those they are measured on."""

    optimize: ImageSet
    measure: ImageSet


def invert(
    teacher: ModelHandle,
    student: ModelHandle,
    trusted: Trusted,
    *,
    family: str,
    config: InversionConfig,
    restart: int = 0,
    order: Sequence[int] | None = None,
    progress: Progress = silent,
) -> Inverted:
    """Search, and measure, the triggers of one family from one start.

    ``order`` says which of the student's outputs each of the teacher's classes is. Raises
    :class:`~analysis.errors.InputError` for an unknown family or use, and
    :class:`~analysis.errors.ModelError` when the images do not fit the models.
    """
    started = time.perf_counter()
    kind, use = find_family(family), find_use(config.use)
    for handle in (teacher, student):
        handle.check_images(trusted.optimize.image_shape)
    pools = [_pool(teacher, images) for images in (trusted.optimize, trusted.measure)]
    sample = pools[0].pixels
    precision = cast(Precision, config.precision)
    copy = inference_copy(student, sample, precision=precision, class_order=order)
    other = inference_copy(teacher, sample, precision=precision)
    pair = Pair(copy, other, use)
    classes = teacher.num_classes
    found = search(
        pair,
        kind,
        pools[0],
        classes,
        config,
        seed=_seed(config.seed, family, restart),
        report=lambda done, total: progress(f"inversion, {family}", done, total),
    )
    with torch.no_grad():
        measured = _measure(pair, kind, pools[1], found, config)
    return replace(measured, seconds=time.perf_counter() - started, precision=copy.precision)


def smallest(restarts: Sequence[Inverted]) -> Inverted:
    """Combine searches from several starts: for every class the smallest trigger, the costs added.

    A class is censored when it was censored in the search that counts.
    """
    sizes = np.stack([one.log_size for one in restarts])
    censored = np.stack([one.censored for one in restarts])
    # At equal size an uncensored search is the better knowledge.
    best = np.lexsort((censored, sizes), axis=0)[0]
    columns = np.arange(sizes.shape[1])

    def pick(name: str) -> np.ndarray:
        return np.stack([getattr(one, name) for one in restarts])[best, columns]

    parts = {
        key: np.stack([one.parts[key] for one in restarts])[best, columns]
        for key in restarts[0].parts
    }
    return Inverted(
        family=restarts[0].family,
        log_size=pick("log_size"),
        censored=pick("censored"),
        flip_student=pick("flip_student"),
        flip_teacher=pick("flip_teacher"),
        parts=parts,
        passes=sum(one.passes for one in restarts),
        seconds=sum(one.seconds for one in restarts),
        precision=restarts[0].precision,
    )


def _pool(teacher: ModelHandle, images: ImageSet) -> Pool:
    pixels = torch.cat([torch.from_numpy(part) for _, part in images.batches(_ROWS)])
    with torch.no_grad():
        own = torch.cat([teacher(part).argmax(1).cpu() for part in pixels.split(_ROWS)])
    return Pool(pixels.contiguous(), own)


def _seed(seed: int, family: str, restart: int) -> int:
    words = np.random.SeedSequence([seed, restart, *family.encode()]).generate_state(2)
    return int(words[0]) << 31 | int(words[1]) >> 1


def _measure(
    pair: Pair, family: Family, pool: Pool, found: Found, config: InversionConfig
) -> Inverted:
    """Read sizes and flip rates on unseen images."""
    classes = len(found.size)
    working = ~found.size.isinf()
    chosen = torch.nonzero(working)[:, 0]
    bound = math.log(family.bound(pool.shape))
    sizes = torch.full((classes,), bound)
    flips = [torch.full((classes,), math.nan) for _ in range(2)]
    passes = found.passes
    if len(chosen):
        parameters = {key: value[chosen] for key, value in found.parameters.items()}
        rows = [_rows(pool, label, config.measured) for label in chosen.tolist()]
        flips[0][chosen] = _share(pair.student, family, pool, parameters, chosen, rows)
        if pair.teacher is not None:
            flips[1][chosen] = _share(pair.teacher, family, pool, parameters, chosen, rows)
        strength, reached = _strength(pair, family, pool, parameters, chosen, rows, config)
        read = family.size(family.scaled(parameters, strength), pool.shape).log()
        sizes[chosen] = torch.where(reached, read, bound).clamp(max=bound)
        sizes = _censored(sizes, found.given_up)
        shown = 1 + _HALVINGS + (pair.teacher is not None)
        passes += FORWARD * shown * sum(map(len, rows))
    return Inverted(
        family=family.name,
        log_size=sizes.double().numpy(),
        censored=(found.given_up | (sizes >= bound)).numpy(),
        flip_student=flips[0].double().numpy(),
        flip_teacher=flips[1].double().numpy(),
        parts={
            **family.parts(found.parameters, pool.shape),
            "example": _examples(family, pool, found.parameters, config),
        },
        passes=passes,
        seconds=0.0,
        precision="",
    )


def _censored(sizes: Tensor, given_up: Tensor) -> Tensor:
    """Let no class that was given up count as larger than those that were searched to the end.

    It came out behind them when it was given up, and would have shrunk as they did: the largest
    of them is the bound at which it is censored.
    """
    kept = sizes[~given_up]
    return torch.where(given_up, sizes.clamp(max=kept.max()), sizes) if len(kept) else sizes


def _rows(pool: Pool, label: int, count: int) -> Tensor:
    """Rows that a trigger for ``label`` is measured on: the first ones of other classes."""
    return pool.rows_for(label)[:count]


def _share(
    model: nn.Module,
    family: Family,
    pool: Pool,
    parameters: Parameters,
    classes: Tensor,
    rows: Sequence[Tensor],
) -> Tensor:
    """Shares (k,) of unseen images that ``model`` answers with the class of the trigger."""
    shares = torch.zeros(len(classes))
    for row, (label, chosen) in enumerate(zip(classes.tolist(), rows, strict=True)):
        one = {key: value[row : row + 1] for key, value in parameters.items()}
        shown = family.apply(one, pool.pixels[chosen][None])[0]
        shares[row] = (model(shown).argmax(1) == label).float().mean().cpu()
    return shares


def _strength(
    pair: Pair,
    family: Family,
    pool: Pool,
    parameters: Parameters,
    classes: Tensor,
    rows: Sequence[Tensor],
    config: InversionConfig,
) -> tuple[Tensor, Tensor]:
    """By how much each trigger must be stronger or weaker to move ``config.level`` of the images.

    Returns factors (k,) between 1/4 and 4, and whether the level is reached at all (k,). Stronger
    triggers are taken to move more images.
    """
    low, high = torch.full((len(classes),), -_OCTAVES), torch.full((len(classes),), _OCTAVES)
    reached = torch.zeros(len(classes), dtype=torch.bool)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        scaled = family.scaled(parameters, 2**middle)
        enough = _share(pair.student, family, pool, scaled, classes, rows) >= config.level
        reached |= enough
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return 2**high, reached


def _examples(
    family: Family, pool: Pool, parameters: Parameters, config: InversionConfig
) -> np.ndarray:
    """A few unseen images that carry each trigger, (K, n, H, W, C) uint8."""
    classes = len(next(iter(parameters.values())))
    pictures = []
    for label in range(classes):
        one = {key: value[label : label + 1] for key, value in parameters.items()}
        chosen = _rows(pool, label, config.measured)
        spread = chosen[torch.linspace(0, len(chosen) - 1, EXAMPLES).round().long()]
        shown = family.apply(one, pool.pixels[spread][None])[0]
        pictures.append((shown.clamp(0, 1) * 255).round().to(torch.uint8).movedim(1, -1).numpy())
    return np.stack(pictures)
