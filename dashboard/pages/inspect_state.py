"""What the what-if is set to, kept beside the widgets: those forget what is not drawn."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from analysis.attribution.region import changed_pixels
from analysis.data.edit import Edit
from analysis.data.edits import Blur, Jpeg, Noise, Picture, Sticker
from analysis.records import CLEAN, TRIGGER
from dashboard.context import View

_KEY = "what_if"
COLORS = (
    ("yellow", "#f7dc1e"), ("pink", "#ff5a92"), ("green", "#4bd46b"), ("white", "#ffffff"),
    ("black", "#1f2329"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """The what-if of this tab. Lengths are pixels of the image; ``side`` is its shorter side.

    ``placing`` counts the times that something else than a slider moved the sliders. It is part of
    their keys: a browser that asks for a rerun before it has heard of the move still sends the
    former values, and ``slid`` knows them by the former count.
    """

    study: str
    side: int
    across: float
    down: float
    size: float
    on: bool = False
    kind: str = "sticker"
    opacity: float = 1.0
    color: str = COLORS[0][1]
    sigma: float = 1.0
    amount: float = 0.1
    quality: int = 20
    picture: str = ""
    placing: int = 0

    @classmethod
    def held(cls, view: View, pixels: np.ndarray | None) -> WhatIf:
        """The state of this tab; a new one for another study."""
        known = st.session_state.get(_KEY)
        if isinstance(known, WhatIf) and known.study == str(view.study.path):
            return known
        fresh = _fresh(view, pixels)
        st.session_state[_KEY] = fresh
        return fresh

    def reset(self, view: View, pixels: np.ndarray | None) -> None:
        """Set everything but the switch and the kind back; for callbacks."""
        fresh = _fresh(view, pixels)
        st.session_state[_KEY] = dataclasses.replace(
            fresh, on=self.on, kind=self.kind, placing=self.placing + 1
        )


def change(**values: Any) -> None:
    """Change parts of the what-if; for callbacks."""
    st.session_state[_KEY] = dataclasses.replace(st.session_state[_KEY], **values)


def slid(name: str, value: float, placing: int) -> None:
    """Take a slider's value, unless the slider has been moved by something else since."""
    if st.session_state[_KEY].placing == placing:
        change(**{name: value})


def put_at(across: float, down: float) -> None:
    """Move what is put on the image, in pixels; for callbacks of all but the sliders."""
    change(across=across, down=down, placing=st.session_state[_KEY].placing + 1)


def edits_of(state: WhatIf) -> tuple[Edit, ...]:
    """The edits that ``state`` stands for; none while it is off or no picture was given."""
    if not state.on:
        return ()
    where: dict[str, Any] = {
        "size": state.size, "across": state.across, "down": state.down, "opacity": state.opacity,
    }  # fmt: skip
    match state.kind:
        case "sticker":
            return (Sticker(color=state.color, **where),)
        case "picture":
            return (Picture(picture=state.picture, **where),) if state.picture else ()
        case "blur":
            return (Blur(sigma=state.sigma),)
        case "noise":
            return (Noise(amount=state.amount),)
        case _:
            return (Jpeg(quality=state.quality),)


def _fresh(view: View, pixels: np.ndarray | None) -> WhatIf:
    height, width = (32, 32) if pixels is None else pixels.shape[:2]
    side = min(height, width)
    place = _trigger_place(view) or (width / 2, height / 2, side * 7.5 / 32)
    across, down, size = (round(2 * value) / 2 for value in place)
    return WhatIf(study=str(view.study.path), side=side, across=across, down=down, size=size)


def _trigger_place(view: View) -> tuple[float, float, float] | None:
    """(Across, down, size) of the study's trigger where it has one place on the image."""
    study = view.study
    if TRIGGER not in study.conditions or not study.has_images:
        return None
    if not study.has_condition_images(TRIGGER):
        return None
    if not study.conditions[TRIGGER].covers_all:
        return None
    first = [np.asarray(study.condition_images(slug)[:8]) for slug in (CLEAN, TRIGGER)]
    marked = changed_pixels(*first).mean(axis=0) >= 0.5
    if not 0 < marked.mean() <= 0.25:
        return None
    rows, columns = np.nonzero(marked)
    return columns.mean() + 0.5, rows.mean() + 0.5, math.sqrt(marked.sum())
