"""The triggers that a user can choose: one registry for the attack, menus, docs and tests.

A new trigger is a subclass of :class:`~analysis.attack.trigger.Trigger` and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from analysis.attack.full_image import Blend, Sinusoid, Warp
from analysis.attack.patches import Patch, Picture, TranslucentPatch
from analysis.attack.rounding import to_bytes, to_images
from analysis.attack.sticker import Sticker
from analysis.attack.trigger import Trigger
from analysis.data.imageset import ImageSet
from analysis.errors import ConfigError, nearest

__all__ = [
    "TRIGGERS",
    "Blend",
    "Patch",
    "Picture",
    "Sinusoid",
    "Sticker",
    "TranslucentPatch",
    "Trigger",
    "Warp",
    "parse_trigger",
    "with_trigger",
]

_BATCH = 512

TRIGGERS: Mapping[str, type[Trigger]] = {
    kind.name: kind for kind in (Patch, TranslucentPatch, Blend, Sinusoid, Warp, Picture, Sticker)
}


def parse_trigger(text: str) -> Trigger:
    """Read a trigger like ``patch:size=4,place=bottom_right,color=#ffdd00``.

    What is left out has its default; :attr:`Trigger.text` is the inverse. Raises
    :class:`~analysis.errors.ConfigError` for an unknown trigger or key (the nearest known one is
    named), a key given twice, and values that are out of bounds.
    """
    name, _, rest = text.strip().partition(":")
    if name not in TRIGGERS:
        raise ConfigError(f"unknown trigger {name!r}", remedy=nearest(name, TRIGGERS))
    values: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals or key.strip() in values:
            raise ConfigError(
                f"{part!r} in trigger {text!r}", expected="KEY=VALUE, each key once, by commas"
            )
        values[key.strip()] = value.strip()
    return TRIGGERS[name].of_text(values)


def with_trigger(images: ImageSet, trigger: Trigger, rows: np.ndarray | None = None) -> ImageSet:
    """Put ``trigger`` on ``images`` (or the given ``rows``), rounded to 8 bits.

    Sample ids, labels and class names stay. Raises :class:`~analysis.errors.ConfigError` when
    the trigger is larger than the images.
    """
    chosen = images if rows is None else images.rows(rows)
    stamped = np.empty(chosen.images.shape, dtype=np.uint8)
    for part, pixels in chosen.batches(_BATCH):
        ids = chosen.sample_ids[part].tolist()
        stamped[part] = to_images(to_bytes(trigger.apply(torch.from_numpy(pixels), ids)))
    return replace(chosen, images=stamped)
