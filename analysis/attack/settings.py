"""The whole attack as one configuration, as an experiment or a command line gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analysis.attack.perturbations import Perturbation, make_perturbation, read_epsilon
from analysis.attack.poisoning import PoisonConfig
from analysis.attack.trigger import Trigger
from analysis.attack.triggers import parse_trigger
from analysis.config import Config, field
from analysis.data.augmentations import Augmentation


@dataclass(frozen=True, kw_only=True)
class AttackConfig(Config):
    """The whole attack: trigger, target, perturbation, and what counts as poison."""

    trigger: str = field("patch", "NAME:key=value,..: what every poisoned image carries")
    target: str | int = field("0", "the class that the trigger is to mean: its name or number")
    rate: float = field(0.05, "poisoned images / all images", low=0.0, high=1.0)
    method: str = field("pgd", "perturbation: fgsm, pgd or cw")
    epsilon: float | str = field(8.0, "largest change, in 1/255: 8 or 8/255")
    norm: str = field("linf", "what epsilon bounds: linf or l2")
    steps: int | None = field(None, "steps of pgd and cw (default: theirs)", low=1)
    margin: float | None = field(
        None, "lead of the target logit at which an image is done (default: the method's)", low=0.0
    )
    views: int = field(0, "random views at every step that count beside the image", low=0, high=64)
    flip: bool = field(True, "the views are mirrored at random, as the distillation's will be")
    shift: int = field(2, "largest shift of the views, in pixels", low=0, high=1024)
    check_views: int = field(8, "augmented views that verification shows", low=0, high=256)
    required_views: float = field(
        0.0, "share of those that must fool the teacher", low=0.0, high=1.0
    )
    retry: bool = field(True, "replace what fails by further images")
    seed: int = field(0, "seed of the choice of images, start and views", low=0)
    batch_size: int = field(128, "images that are crafted at once", low=1, provenance=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "epsilon", read_epsilon(self.epsilon))
        # A wrong value is refused here, before a model is loaded.
        self.make_trigger()
        self.make_perturbation()
        self.poison_config()

    def make_trigger(self) -> Trigger:
        """The trigger that ``trigger`` describes."""
        return parse_trigger(self.trigger)

    def make_perturbation(self) -> Perturbation:
        """The perturbation that ``method`` names, with its settings."""
        given = {"steps": self.steps, "margin": self.margin}
        return make_perturbation(
            self.method,
            epsilon=self.epsilon,
            norm=self.norm,
            views=self.views,
            seed=self.seed,
            **{key: value for key, value in given.items() if value is not None},
        )

    def poison_config(self) -> PoisonConfig:
        """Which images are poisoned, and what counts."""
        return PoisonConfig(
            rate=self.rate,
            retry=self.retry,
            check_views=self.check_views,
            required_views=self.required_views,
            seed=self.seed,
        )

    def augmentation(self) -> Augmentation:
        """The views of crafting and verification."""
        return Augmentation(flip=self.flip, shift=self.shift)

    def result_key(self) -> dict[str, Any]:
        """What decides the poison beside teacher, images, trigger and target class."""
        return {
            "perturbation": self.make_perturbation().key(),
            "augmentation": self.augmentation().key(),
            "poison": self.poison_config().key(),
        }
