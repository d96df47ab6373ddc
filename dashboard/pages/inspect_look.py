"""What Inspect looks at in one run: an image, what was changed about it, what both answer."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from analysis.attribution.region import changed_pixels
from analysis.data.edit import Edit, edited
from analysis.divergence.answers import log_softmax
from analysis.errors import DistillscopeError
from analysis.live.requests import Predict
from analysis.records import CLEAN, AttributionMaps
from dashboard import live, messages
from dashboard.context import View
from dashboard.figures.gallery import gallery_order
from dashboard.figures.sides import Sides
from dashboard.loading_maps import maps_between
from dashboard.pages.inspect_state import WhatIf, edits_of
from dashboard.selection import find_sample

_LAST = "inspect_last"
NOW = "inspect_now"
"""What the page shows of one image, for files that are made of it later."""
LARGEST_REGION = 0.3
"""A change of more of the image than this is no place on it."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One image under the study's condition, as it is (``stored``) and as it is shown.

    ``before`` and ``logits`` are {model: (K,)} without and with the edits; ``waiting``: the
    answers shown are older than the edits. ``error`` says why there are no newer ones.
    """

    view: View
    row: int
    order: np.ndarray
    left: str
    stored: np.ndarray | None
    pixels: np.ndarray | None
    what_if: WhatIf
    edits: tuple[Edit, ...]
    before: Mapping[str, np.ndarray]
    logits: Mapping[str, np.ndarray]
    waiting: bool
    error: DistillscopeError | None
    refused: str | None
    asking: live.Asking

    @property
    def student(self) -> str:
        """The student's name."""
        return self.view.selection.student

    @property
    def models(self) -> tuple[str, str]:
        """The left model and the student."""
        return self.left, self.student

    @property
    def sample(self) -> str:
        """The image's sample id."""
        return str(self.view.all.sample_ids[self.row])

    @property
    def key(self) -> tuple[str, ...]:
        """Identity of the image and the models, for what is held of them between runs."""
        return _key(self.view, self.sample)

    @property
    def sides(self) -> Sides:
        """What the two models are called in texts."""
        return self.view.sides

    @property
    def names(self) -> tuple[str, ...]:
        """The class names."""
        return self.view.class_names

    @functools.cached_property
    def place(self) -> tuple[int, int]:
        """The image's row among the inspection images, and how many these are."""
        ids = self.view.study.sample_ids
        return int(np.flatnonzero(ids == self.sample)[0]), len(ids)

    @property
    def identity(self) -> dict[str, Any]:
        """What every live request says of the study."""
        return {"study": str(self.view.study.path), "version": self.view.study.digest}

    def answer(self, model: str) -> int:
        """The class that ``model`` answers the shown image with."""
        return int(self.logits[model].argmax())

    @functools.cached_property
    def region(self) -> np.ndarray | None:
        """Where the shown image differs from the clean one, (H, W) bool; None: nowhere, or all."""
        if self.pixels is None:
            return None
        plain = self.stored if self.edits else self._clean()
        if plain is None:
            return None
        marked = changed_pixels(plain[None], self.pixels[None])[0]
        return marked if 0 < marked.mean() <= LARGEST_REGION else None

    def _clean(self) -> np.ndarray | None:
        if self.view.selection.condition == CLEAN:
            return None
        return pixels_of(self.view, CLEAN, self.sample)


def look(view: View, asking: live.Asking) -> Look:
    """Find the image, change it, and have it answered."""
    row, order = current_row(view)
    sample, left = str(view.all.sample_ids[row]), view.left
    models = (left, view.selection.student)
    stored = pixels_of(view, view.selection.condition, sample)
    refused = live.refusal(view.study, models)
    what_if = WhatIf.held(view, stored)
    edits = () if stored is None or refused else edits_of(what_if)
    pixels = stored
    if edits and stored is not None:
        pixels = edited(stored[None], edits, [sample])[0]
    before = {name: stored_logits(view, name, sample) for name in models}
    asked = live.Asked(answer=before)
    if edits and pixels is not None:
        ids = view.study.sample_ids
        request = Predict(
            study=str(view.study.path),
            version=view.study.digest,
            models=tuple(dict.fromkeys(models)),
            images=pixels[None],
            place=(int(np.flatnonzero(ids == sample)[0]), len(ids)),
        )
        asked = asking.ask(request)
    logits = _settled(_key(view, sample), asked, before)
    return Look(
        view=view,
        row=row,
        order=order,
        left=left,
        stored=stored,
        pixels=pixels,
        what_if=what_if,
        edits=edits,
        before=before,
        logits=logits,
        waiting=asked.waiting,
        error=asked.error,
        refused=refused,
        asking=asking,
    )


def _key(view: View, sample: str) -> tuple[str, ...]:
    chosen = view.selection
    return (view.version, view.left, chosen.student, chosen.condition, sample)


def _settled(
    key: tuple[str, ...], asked: live.Asked, before: Mapping[str, np.ndarray]
) -> Mapping[str, np.ndarray]:
    """The answers to show: new ones, else the last that were shown of this image."""
    if asked.answer is not None:
        found = {name: np.atleast_2d(values)[0] for name, values in asked.answer.items()}
        st.session_state[_LAST] = (key, found)
        return found
    last = st.session_state.get(_LAST)
    return last[1] if last is not None and last[0] == key else before


def current_row(view: View) -> tuple[int, np.ndarray]:
    """Row (of all samples) to show, and the rows that previous and next step through."""
    order = np.flatnonzero(view.mask)[gallery_order(view.pair)]
    token = view.selection.sample
    if token is None:
        return _first(view, order), order
    row = find_sample(token, view.all.sample_ids)
    if row is None:
        messages.note(f"There is no image {token!r} here; this is the one that parts most.")
        return _first(view, order), order
    return row, order


def _first(view: View, order: np.ndarray) -> int:
    """The image that parts most among those with attribution maps, else among all."""
    found = stored_maps(view)
    maps = found.get("pair", found.get("student"))
    if maps is not None:
        mapped = np.isin(view.all.sample_ids[order].astype(str), np.asarray(maps.sample_ids))
        order = order[mapped] if mapped.any() else order
    return int(order[0])


def stored_maps(view: View) -> dict[str, AttributionMaps]:
    """The maps that the study holds of these two models and this condition."""
    return maps_between(view.study, view.left, view.selection.student, view.selection.condition)


def pixels_of(view: View, condition: str, sample: str) -> np.ndarray | None:
    """(H, W, C) uint8 of a sample as ``condition`` shows it, or None."""
    rows = np.flatnonzero(view.study.condition_ids(condition) == sample)
    if not view.study.has_condition_images(condition) or len(rows) == 0:
        return None
    return np.asarray(view.study.condition_images(condition)[rows[0]])


def stored_logits(view: View, model: str, sample: str) -> np.ndarray:
    """(K,) logits of ``model`` for a sample, as the study holds them."""
    condition = view.selection.condition
    ids = view.study.condition_ids(condition)
    at = int(np.flatnonzero(ids == sample)[0])
    return np.asarray(view.study.array(f"logits/{model}/{condition}")[at], dtype=np.float64)


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax of logits (K,) at a temperature."""
    values: np.ndarray = np.exp(log_softmax(np.asarray(logits, np.float64)[None] / temperature))[0]
    return values
