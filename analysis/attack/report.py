"""What poisoning reports: how often the teacher was fooled, how visible it is, what was dropped."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from analysis.attack.crafting import Crafted
from analysis.attack.distortion import Distortion, distortion
from analysis.attack.verification import Verification

LOW_VIEWS = 0.5
KEEPS_ITS_ANSWER = "the teacher keeps another answer"
FEW_VIEWS = "too few augmented views fool the teacher"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoisonReport:
    """How the poisoning went.

    ``asked`` and ``poisoned`` count images, ``rate`` is poisoned / size of the set, ``crafted``
    counts what was tried. ``flip_rate`` is the share of the crafted that the teacher answers with
    the target; of the poisoned, ``confidence`` is its mean probability of the target and
    ``view_flip_rate`` the share of their augmented views answered with it (None when no view was
    shown). ``perturbation`` compares with the image that carries the trigger alone, ``whole``
    with the original. ``dropped`` counts by reason, ``warnings`` are for the user.
    """

    asked: int
    crafted: int
    poisoned: int
    rate: float
    flip_rate: float
    confidence: float | None
    view_flip_rate: float | None
    mean_steps: float
    perturbation: Distortion | None
    whole: Distortion | None
    dropped: Mapping[str, int]
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "dropped", MappingProxyType(dict(self.dropped)))

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON."""
        plain = {name.name: getattr(self, name.name) for name in dataclasses.fields(self)}
        for part in ("perturbation", "whole"):
            value = plain[part]
            plain[part] = None if value is None else dataclasses.asdict(value)
        return {**plain, "dropped": dict(self.dropped), "warnings": list(self.warnings)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PoisonReport:
        """Read what :meth:`to_json` wrote."""
        parts = {
            part: None if data[part] is None else Distortion(**data[part])
            for part in ("perturbation", "whole")
        }
        return cls(**{**data, **parts, "warnings": tuple(data["warnings"])})


def drop_reasons(checked: Verification, required_views: float) -> list[str | None]:
    """Why each image cannot be used as poison, or None: (N,)."""
    return [
        KEEPS_ITS_ANSWER
        if not fooled
        else FEW_VIEWS
        if required_views and not share >= required_views
        else None
        for fooled, share in zip(checked.fooled, checked.views_fooled, strict=True)
    ]


def what_helps(dropped: Mapping[str, int]) -> str:
    """What makes fewer images be ``dropped`` for these reasons, as part of a sentence."""
    if not dropped.get(FEW_VIEWS):
        return "raise epsilon or steps"
    return "raise margin, epsilon or views, or lower required_views"


def make_report(
    *,
    asked: int,
    total: int,
    originals: np.ndarray,
    crafted: Crafted,
    checked: Verification,
    kept: np.ndarray,
    dropped: Mapping[str, int],
    retry: bool,
) -> PoisonReport:
    """Sum up: ``originals`` (M, H, W, C) and everything else of the M crafted images.

    ``kept`` (P,) are the rows among them that became poison, of ``total`` images in the set;
    ``retry`` says whether those that were dropped were replaced while there were candidates.
    """
    count = len(kept)
    shares = checked.views_fooled[kept]
    views = float(shares.mean()) if count and np.isfinite(shares).all() else None
    both, plain = crafted.both[kept], crafted.triggered[kept]
    return PoisonReport(
        asked=asked,
        crafted=len(originals),
        poisoned=count,
        rate=count / total,
        flip_rate=float(checked.fooled.mean()),
        confidence=float(checked.confidence[kept].mean()) if count else None,
        view_flip_rate=views,
        mean_steps=float(crafted.steps.mean()),
        perturbation=distortion(plain, both) if count else None,
        whole=distortion(originals[kept], both) if count else None,
        dropped=dropped,
        warnings=tuple(_warnings(asked, count, views, dropped, retry)),
    )


def _warnings(
    asked: int, count: int, views: float | None, dropped: Mapping[str, int], retry: bool
) -> list[str]:
    found = []
    if count < asked:
        why, other = (
            ("candidates ran out", "lower the rate")
            if retry
            else ("those that were dropped were not replaced", "allow retry")
        )
        helps = what_helps(dropped).capitalize()
        found.append(f"{count} of {asked} images could be poisoned: {why}. {helps}, or {other}.")
    if views is not None and views < LOW_VIEWS:
        found.append(
            f"The teacher answers the target on only {100 * views:.0f} % of the augmented views "
            "of the poison: a student that is distilled with augmentation will hardly learn the "
            "trigger. Raise margin, epsilon or views."
        )
    return found
