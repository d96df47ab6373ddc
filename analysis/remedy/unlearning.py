"""Going on with the student's own weights: unlearning a trigger, and the control without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from analysis.attack.recovered import Applied
from analysis.config import field
from analysis.data.imageset import ImageSet
from analysis.distillation.batches import steps_per_epoch
from analysis.distillation.objectives import HintonKD
from analysis.distillation.training import TrainingTask
from analysis.remedy.case import Case, Remedy, copied, training

_EPOCHS, _STEPS = 3, 400


@dataclass(frozen=True, kw_only=True)
class FineTuning(Remedy):
    """Distill a little longer, on trusted images: the control beside every other remedy."""

    name: ClassVar[str] = "finetune"
    title: ClassVar[str] = "Plain fine-tuning"
    source: ClassVar[str] = "Liu, Dolan-Gavitt, Garg 2018, arXiv 1805.12185, section 3.2"

    epochs: int | None = field(
        None,
        f"passes over the trusted images (default: {_EPOCHS}, or as many as make {_STEPS} steps)",
        low=1,
        high=1000,
    )
    learning_rate: float = field(0.03, "peak of the one-cycle schedule", low=1e-8, high=10.0)
    temperature: float = field(4.0, "temperature of the teacher's answers", low=0.05, high=1000.0)

    def task(self, case: Case, *, seed: int, threads: int = 0, device: str = "cpu") -> TrainingTask:
        """Train the student's own weights on the teacher's answers to the trusted images."""
        self.check(case)
        _, own, _ = case.own_recipe()
        # What a student was augmented with is safe for its classes; a mirrored sign is not.
        config = training(
            own,
            epochs=self.epochs or enough_epochs(len(case.trusted), own.batch_size),
            learning_rate=self.learning_rate,
            optimizer="sgd",
            seed=seed,
            threads=threads,
            device=device,
        )
        return TrainingTask(
            module=copied(case.student),
            images=case.trusted,
            objective=HintonKD(temperature=self.temperature),
            config=config,
            normalization=case.student.normalization,
            teacher=None,
            teacher_logits=case.teacher_logits(case.trusted),
            alteration=self.alteration(case),
        )

    def alteration(self, case: Case) -> StampedShare | None:
        """What the student sees in place of the trusted images: nothing else."""
        return None


@dataclass(frozen=True, kw_only=True)
class Unlearning(FineTuning):
    """Show the student the trigger, and the teacher's answer to the image without it.

    Where an audit found several triggers of the class, by several models of a trigger, they take
    turns: each is a part of what was planted, seen in another way.
    """

    name: ClassVar[str] = "unlearn"
    title: ClassVar[str] = "Unlearning the trigger"
    source: ClassVar[str] = (
        "Wang, Yao, Shan, Li, Viswanath, Zheng, Zhao 2019, IEEE S&P, section VI.C (Neural "
        "Cleanse), with the teacher's answers for labels"
    )
    needs_trigger: ClassVar[bool] = True

    stamped: float = field(0.25, "share of every batch that carries a trigger", low=0.0, high=1.0)

    def alteration(self, case: Case) -> StampedShare | None:
        """Put the triggers on a part of every batch."""
        assert case.trigger is not None
        return StampedShare((case.trigger, *case.further), case.trusted, self.stamped)


def enough_epochs(images: int, batch_size: int) -> int:
    """Passes over so many images that make at least 400 steps, and at least 3.

    The trigger is lost in the first hundred; what else was lost with it comes back in the others.
    """
    return max(_EPOCHS, -(-_STEPS // steps_per_epoch(images, batch_size)))


@dataclass(frozen=True, eq=False)
class StampedShare:
    """Put ``triggers`` on a random ``share`` of every batch of ``images``, one on each image.

    After the augmentation, so that a trigger lies where it was found. Each gets as many images;
    which get one more, where they do not come out even, is drawn for every batch.
    """

    triggers: tuple[Applied, ...]
    images: ImageSet
    share: float

    def __call__(self, rows: Tensor, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Return ``pixels`` (B, C, H, W), of which round(share B) carry a trigger."""
        count = round(self.share * len(rows))
        chosen = torch.randperm(len(rows), generator=generator)[:count]
        shown, kinds = pixels, len(self.triggers)
        turns = torch.randperm(kinds, generator=generator) if count % kinds else torch.arange(kinds)
        for turn, part in zip(turns.tolist(), chosen.tensor_split(kinds), strict=True):
            if not len(part):
                continue
            trigger = self.triggers[turn]
            ids = self.images.sample_ids[rows[part].numpy()].tolist()
            stamped = trigger.apply(pixels[part], ids).to(pixels.dtype)
            shown = shown.index_copy(0, part.to(pixels.device), stamped)
        return shown

    def recipe(self) -> dict[str, Any]:
        """The triggers and on how much of a batch they are."""
        keys = [trigger.key() for trigger in self.triggers]
        return {"name": "stamped", "share": self.share, "triggers": keys}
