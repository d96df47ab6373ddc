"""The two maps in a Streamlit page: what they are sent, what they say is selected."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from analysis.errors import InputError
from dashboard.selection import Lasso
from dashboard.theme import DARK, LIGHT

from .exchange import Chosen, Exchange, Report
from .points import PairPoints, PointColors
from .serving import publish, script_url

if TYPE_CHECKING:
    from streamlit.components.v2.types import ComponentRenderer

# Streamlit sends a component's script with every message, so it gets one line that loads the rest.
_LOADER = """
export default async (component) => {{
  const script = await import(new URL({url}, document.baseURI).href);
  return script.default(component);
}};
"""


@dataclass(frozen=True, eq=False, slots=True)
class PairMapState:
    """What is selected on the maps.

    ``selected`` (N,) bool, None when nothing is; ``lasso`` when that polygon alone gives the same
    samples; ``clicked`` the row whose click made the selection; ``opened`` the row that was
    just double-clicked or entered, in this run only.
    """

    selected: np.ndarray | None = None
    lasso: Lasso | None = None
    clicked: int | None = None
    opened: int | None = None


@cache
def _component() -> ComponentRenderer:
    return st.components.v2.component("pair_map", js=_LOADER.format(url=json.dumps(script_url())))


def pair_map(
    *,
    key: str,
    points: PairPoints,
    color: PointColors,
    titles: tuple[str, str] = ("Teacher", "Student"),
    selection: np.ndarray | Lasso | None = None,
    highlight: np.ndarray | None = None,
    quality: str = "",
    height: int = 460,
    frame: tuple[float, float, float, float] | None = None,
) -> PairMapState:
    """Show both maps of ``points`` and return what is selected.

    ``selection`` sets the selection, as a mask (N,) or a polygon: it acts when it changes, so a
    page may hand back what it was told; None leaves the user's choice alone, a mask without a
    sample clears it. ``highlight`` (N,) bool keeps the rest as pale ghosts that cannot be
    selected. ``quality`` stands below on the right, ``height`` is that of the maps in pixels,
    ``frame`` (left, right, bottom, top) what is in view where the points do not decide it: rows of
    layouts that follow one another stay in one frame.
    Zoom, tool and selection survive another coloring and another theme. Needs :func:`routes` in
    the application. Raises :class:`InputError` when lengths differ.
    """
    _check(points, color, highlight)
    wanted = None if selection is None else Chosen.of(selection, points)
    exchange, goes_on = _exchange(key, points)
    chosen = exchange.settle(_report(key, points) if goes_on else None, wanted)
    data = {
        "key": key,
        "digest": points.digest,
        "count": len(points),
        "points": publish(points.encoded, points.digest),
        "colors": publish(color.encode(highlight)),
        "names": list(points.class_names),
        "titles": dict(zip(("teacher", "student"), titles, strict=True)),
        "shapes": list(points.shape_names),
        "quality": quality,
        "height": height,
        "frame": None if frame is None else [float(side) for side in frame],
        "thumbnail": points.thumbnail_url,
        "legend": color.legend,
        "palettes": {"light": asdict(LIGHT), "dark": asdict(DARK)},
        "selection": exchange.message(),
    }
    result = _component()(key=key, data=data, on_selection_change=_rerun, on_opened_change=_rerun)
    return _state(chosen, result.get("opened"), points)


def _rerun() -> None:
    """Registering a callback is what declares a state; the rerun itself is all that is needed."""


def _check(points: PairPoints, color: PointColors, highlight: np.ndarray | None) -> None:
    if len(color.codes) != len(points):
        raise InputError(f"colors for {len(color.codes)} points", expected=f"{len(points)}")
    if highlight is not None and np.shape(highlight) != (len(points),):
        raise InputError(f"highlight of shape {np.shape(highlight)}", expected=f"({len(points)},)")


def reported_on(key: str) -> str | None:
    """Digest of the points that the browser spoke of last, of whatever points it is asked now."""
    value = (st.session_state.get(key) or {}).get("selection")
    digest = value.get("points") if isinstance(value, dict) else None
    return digest if isinstance(digest, str) else None


def reported(key: str, points: PairPoints) -> np.ndarray | None:
    """What the browser last said is selected, (N,) bool; None where that was not of ``points``."""
    report = _report(key, points)
    return None if report is None else report.chosen.mask


def _report(key: str, points: PairPoints) -> Report | None:
    return Report.read((st.session_state.get(key) or {}).get("selection"), points)


def _exchange(key: str, points: PairPoints) -> tuple[Exchange, bool]:
    """The conversation about ``points``, and whether it goes on: no others were shown since."""
    name = f"{key}:exchange"
    known = st.session_state.get(name)
    if known is not None and known.points == points.digest:
        return known, True
    exchange = Exchange(points.digest, serial=0 if known is None else known.serial)
    st.session_state[name] = exchange
    return exchange, known is None


def _state(chosen: Chosen | None, opened: Any, points: PairPoints) -> PairMapState:
    row = None
    if isinstance(opened, dict) and opened.get("points") == points.digest:
        index = opened.get("index")
        row = index if isinstance(index, int) and 0 <= index < len(points) else None
    if chosen is None or not chosen.mask.any():
        return PairMapState(opened=row)
    return PairMapState(chosen.mask, chosen.lasso, chosen.clicked, row)
