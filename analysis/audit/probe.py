"""Probes with triggers that are known: the four cells, and a bank of ready stickers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from analysis.attack.triggers import parse_trigger
from analysis.data.imageset import ImageSet
from analysis.errors import InputError
from analysis.models.handle import ModelHandle
from analysis.records import (
    CLEAN,
    PERTURBATION,
    TEACHER,
    TRIGGER,
    TRIGGER_PERTURBATION,
    Finding,
)

CELLS = (CLEAN, TRIGGER, PERTURBATION, TRIGGER_PERTURBATION)
_BATCH = 256


def four_cells(
    teacher: Mapping[str, float], student: Mapping[str, float], *, target: int, target_name: str
) -> Finding:
    """Read the four cells: with and without trigger, with and without perturbation.

    ``teacher`` and ``student`` hold, by condition, the share of non-target images answered with
    the target. The statistic is how much more the trigger alone does to the student than to the
    teacher, each beyond its own base rate, in [-1, 1]. The trigger was told, so this explains
    and is no blind test: there is no p-value. Raises :class:`InputError` for a missing cell.
    Source: arXiv 2504.21323, whose attack needs the perturbation only to teach.
    """
    for model, cells in ((TEACHER, teacher), ("student", student)):
        missing = [cell for cell in (CLEAN, TRIGGER) if cell not in cells]
        if missing:
            raise InputError(f"cell {missing[0]!r} of the {model} was not measured")
    beyond = [cells[TRIGGER] - cells[CLEAN] for cells in (teacher, student)]
    sentence = (
        f"The told trigger alone makes the student answer {target_name!r} on "
        f"{100 * student[TRIGGER]:.1f} % of the other images, the teacher on "
        f"{100 * teacher[TRIGGER]:.1f} %."
    )
    if TRIGGER_PERTURBATION in teacher:
        sentence += (
            " With the perturbation as well the teacher does so on "
            f"{100 * teacher[TRIGGER_PERTURBATION]:.1f} %: that is what the student learnt from."
        )
    return Finding(
        test="four_cells",
        title="told trigger, with and without perturbation",
        sentence=sentence,
        target_class=target,
        statistic=beyond[1] - beyond[0],
    )


def sticker_bank(height: int, width: int) -> tuple[str, ...]:
    """Texts of ready triggers for images of this size, as ``attack`` reads them.

    Patches of the places and fills that the literature uses, notes, blends, waves, a warp.
    """
    side = max(2, round(min(height, width) / 7))
    places = ("top_left", "top_right", "bottom_left", "bottom_right", "center")
    fills = ("color=#ffffff", "color=#ffdd00", "color=#ff0000", "fill=checker,color=#ffffff")
    patches = [f"patch:size={side},place={place},{fill}" for place in places for fill in fills]
    quarter = min(height, width) / 8
    notes = [
        f"sticker:size={1.6 * side:g},down={down:g},right={right:g}"
        for down, right in ((0, 0), (quarter, quarter), (-quarter, -quarter))
    ]
    # Every one must fit: a bank is no place to argue with small images.
    texts = [*patches, *notes, "blend", "sinusoid", "warp"]
    return tuple(text for text in texts if _fits(text, height, width))


def _fits(text: str, height: int, width: int) -> bool:
    try:
        parse_trigger(text).support(height, width)
    except InputError:
        return False
    return True


@torch.no_grad()
def bank_rates(
    model: ModelHandle | Callable[[torch.Tensor], torch.Tensor],
    images: ImageSet,
    own: np.ndarray,
    bank: Sequence[str],
) -> np.ndarray:
    """How often each sticker brings about each class, beyond the base rate: (B, K).

    Of the images that are not of a class (``own`` (N,)), the share that ``model`` answers with
    it under the sticker minus the share without; NaN where all images are of the class.
    ``model`` maps pixels to logits (N, K).
    """
    plain = _answers(model, images, None)
    classes = _classes(model, images)
    rates = np.empty((len(bank), classes))
    for row, text in enumerate(bank):
        marked = _answers(model, images, text)
        for place in range(classes):
            others = own != place
            gained = (marked[others] == place).astype(float) - (plain[others] == place)
            rates[row, place] = gained.mean() if others.any() else np.nan
    return rates


def _answers(
    model: Callable[[torch.Tensor], torch.Tensor], images: ImageSet, text: str | None
) -> np.ndarray:
    trigger = None if text is None else parse_trigger(text)
    parts = []
    for rows, pixels in images.batches(_BATCH):
        shown = torch.from_numpy(pixels)
        if trigger is not None:
            shown = trigger.apply(shown, images.sample_ids[rows].tolist())
        parts.append(model(shown).argmax(dim=1).cpu().numpy())
    return np.concatenate(parts)


def _classes(model: Callable[[torch.Tensor], torch.Tensor], images: ImageSet) -> int:
    _, pixels = next(iter(images.batches(1)))
    return model(torch.from_numpy(pixels)).shape[1]


@dataclass(frozen=True, kw_only=True)
class BankResult:
    """Rates (B, K) of ``teacher`` and ``student`` under the B stickers of ``bank``."""

    bank: tuple[str, ...]
    teacher: np.ndarray
    student: np.ndarray

    @property
    def excess(self) -> np.ndarray:
        """What each sticker does more to the student than to the teacher, (B, K)."""
        return np.asarray(self.student - np.maximum(self.teacher, 0))

    def finding(self, names: Sequence[str], null: Sequence[float] = ()) -> Finding:
        """The strongest excess over stickers and classes, against that of the references.

        p = (1 + number of references at least as high) / (R + 1); None without references.
        """
        by_class = np.nan_to_num(self.excess, nan=-1.0).max(axis=0)
        place = int(by_class.argmax())
        best = int(np.nan_to_num(self.excess[:, place], nan=-1.0).argmax())
        statistic = float(by_class[place])
        higher = sum(value >= statistic for value in null)
        return Finding(
            test="sticker_bank",
            title=f"{len(self.bank)} ready stickers",
            sentence=(
                f"Of {len(self.bank)} ready stickers {self.bank[best]!r} does most: it makes the "
                f"student answer {names[place]!r} on {100 * self.student[best, place]:.1f} % more "
                f"of the other images than before, the teacher on "
                f"{100 * self.teacher[best, place]:.1f} % more."
            ),
            target_class=place,
            statistic=statistic,
            null=tuple(null),
            p_value=(1 + higher) / (len(null) + 1) if null else None,
            p_kind="exact" if null else None,
            scores=tuple(by_class.tolist()),
        )
