"""Inspect, middle column: which pixels part the two, by any method, and whether to trust that."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from analysis.errors import DistillscopeError
from analysis.live.requests import Catalog, Explanation
from analysis.records import TEACHER, AttributionMaps
from dashboard import live, messages
from dashboard.context import choose
from dashboard.figures import attributions
from dashboard.figures.numbers import THIN, escaped, nats, percent, thousands, visible
from dashboard.pages.inspect_look import Look, stored_maps
from dashboard.pages.inspect_maps import OWN, PARTS, Choice, card_of, chosen_maps, nearest_mapped

# Below this share of the common scale a map looks empty, so the page says so in words.
_FAINT = 0.05
# From this completeness error on a map does not add up to what it explains; a rule of display.
_BROKEN = 0.2
_STATE = "inspect_attribution"


def pixels_section(look: Look) -> None:
    """The three maps on one scale, how alike they are, what they are worth."""
    choice: Choice = st.session_state.setdefault(_STATE, Choice())
    catalog = live.catalog()
    found, waiting, error = chosen_maps(look, choice, catalog)
    head = st.container(key="pixels_head")
    _pickers(look, choice, catalog)
    if found is None:
        with head:
            messages.section("Which pixels")
        _nothing(look, waiting=waiting, error=error)
        return
    maps = found.maps
    at = {part: found.maps[part].values[0] for part in PARTS}
    limit = attributions.common_limit(list(at.values()))
    signed = all(record.signed for record in maps.values())
    with head:
        _head(look, maps["pair"], limit, signed=signed)
    with st.container(key="stale_maps" if waiting else "maps"):
        for column, part in zip(st.columns(3), PARTS, strict=True):
            with column:
                _one_map(look, choice, part, maps[part], limit)
        _agreement(found)
        _faithfulness(look, found)


def _pickers(look: Look, choice: Choice, catalog: Catalog | None) -> None:
    """Method, baseline, explained class, the pair's number: every entry of the registries."""
    methods = {card.name: card.title for card in catalog.methods} if catalog else {}
    methods = methods or {choice.method: choice.method.replace("_", " ").capitalize()}
    card = card_of(catalog, choice.method)
    baselines = list(catalog.baselines) if catalog else [choice.baseline]
    scalars = dict(catalog.scalars) if catalog else {choice.scalar: "p_S(c) - p_T(c)"}
    classes: list[int | str] = [OWN, *range(len(look.names))]
    off = look.refused is not None or catalog is None
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="pickers"):
        _picker("method", list(methods), choice.method, methods.get, off, 176)
        if card is None or card.uses_baseline:
            _picker("baseline", baselines, choice.baseline, "{} baseline".format, off, 142)
        _picker(
            "explained", classes, choice.explained,
            lambda c: "own answers" if c == OWN else f"class {visible(look.names[c], 20)}",
            off, 126,
        )  # fmt: skip
        _picker("scalar", list(scalars), choice.scalar, scalars.get, off, 132)
        st.session_state["pick_over_image"] = choice.over_image
        st.toggle(
            "Overlay", key="pick_over_image", help="Draw the maps over the image",
            disabled=look.pixels is None, on_change=_picked, args=("over_image",),
        )  # fmt: skip


def _picker(
    name: str,
    options: Sequence[Any],
    chosen: Any,
    words: Callable[[Any], Any],
    off: bool,
    width: int,
) -> None:
    key = f"pick_{name}"
    st.session_state[key] = chosen
    st.selectbox(
        name.capitalize(), options, key=key, format_func=words, width=width, disabled=off,
        label_visibility="collapsed", on_change=_picked, args=(name,),
    )  # fmt: skip


def _picked(name: str) -> None:
    value = st.session_state[f"pick_{name}"]
    st.session_state[_STATE] = dataclasses.replace(st.session_state[_STATE], **{name: value})


def _head(look: Look, record: AttributionMaps, limit: float, *, signed: bool) -> None:
    colors = look.view.colors
    ramp = messages.ramp(colors.signed if signed else colors.divergence)
    ends = ("against", "for") if signed else ("0", "most")
    messages.section(
        "Which pixels",
        f"One scale for all three, ±{limit:.2g}; the pair explains {escaped(record.scalar)}. "
        f"<span style='float:right;white-space:nowrap'>{ends[0]}{ramp}{ends[1]}</span>",
    )


_MARKS = {
    TEACHER: ("ds-circle", "Teacher"),
    "student": ("ds-square", "Student"),
    "pair": ("ds-circle ds-lens", "The pair"),
}


def _one_map(look: Look, choice: Choice, part: str, record: AttributionMaps, limit: float) -> None:
    values = record.values[0]
    mark, title = _MARKS[part]
    if part == TEACHER and look.left != TEACHER:
        title = escaped(look.left, 20)
    what = _explains(look, part, record)
    draw = attributions.map_picture
    if choice.over_image and look.pixels is not None:
        picture = attributions.overlay_picture(
            values, limit, look.pixels, look.view.colors, signed=record.signed
        )
    else:
        picture = draw(values, limit, look.view.colors, signed=record.signed)
    box = None if look.region is None else attributions.region_box(look.region)
    below = _mass(look, values)
    error = float(record.completeness_error[0])
    promise = f"{100 * error:.1f}{THIN}%" if np.isfinite(error) else "none promised"
    broken = " ds-alarm" if error > _BROKEN else ""
    st.html(
        f'<div class="ds-strong"><span class="{mark}"></span> {title}</div>'
        f'<div class="ds-sub" style="min-height:36px">{what}</div>'
        f"{attributions.map_html(picture, f'{title}: {what}', box)}{below}"
        f'<div class="ds-row ds-sub"><span>completeness error</span>'
        f'<span class="ds-strong{broken}">{promise}</span></div>{_faint(values, limit)}'
    )


def _explains(look: Look, part: str, record: AttributionMaps) -> str:
    explained = int(record.explained_class[0])
    name = escaped(look.names[explained], 24)
    if part == "pair":
        if "KL" in record.scalar:
            return "what makes their answers part at all"
        return f"why the student says “{name}” more than the {escaped(look.left_words)} does"
    model = look.left if part == TEACHER else look.student
    own = "its own answer, " if explained == look.answer(model) else ""
    return f"pixels for {own}“{name}”"


def _mass(look: Look, values: np.ndarray) -> str:
    """How much of a map lies on what was changed about the image."""
    if look.region is None:
        return ""
    total = float(np.abs(values).sum())
    share = float(np.abs(values)[look.region].sum()) / total if total > 0 else float("nan")
    where = {"sticker": "sticker", "picture": "picture"}.get(look.what_if.kind, "change")
    where = where if look.edits else "changed pixels"
    words = f"{percent(share, 0)}{THIN}% of the mass" if np.isfinite(share) else "the map is empty"
    area = f"{percent(float(look.region.mean()), 0)}{THIN}% of the area"
    return (
        f'<div class="ds-row ds-sub" style="margin-top:3px" title="{area}">'
        f'<span>on the {where}</span><span class="ds-strong">{words}</span></div>'
    )


def _faint(values: np.ndarray, limit: float) -> str:
    """Words for a map that looks empty on the common scale."""
    strongest = float(np.abs(values).max())
    if strongest >= _FAINT * limit:
        return ""
    return f'<div class="ds-sub">Almost nothing moves it: at most {strongest:.1g} a pixel.</div>'


_AGREEMENT = {
    "rank_correlation": ("rank correlation of the two", "not defined"),
    "top_overlap": ("overlap of their top 5 %", "not defined"),
}


def _agreement(found: Explanation) -> None:
    cells = []
    for key, value in found.agreement.items():
        title, missing = _AGREEMENT.get(key, (escaped(key.replace("_", " ")), "not defined"))
        cells.append(f"<div>{title} <b>{missing if value is None else nats(value)}</b></div>")
    st.html(f'<div class="ds-facts">{"".join(cells)}</div>')


def _faithfulness(look: Look, found: Explanation) -> None:
    return


def _nothing(look: Look, *, waiting: bool, error: DistillscopeError | None) -> None:
    """Why there are no maps, in the place of the maps, and what to do about it."""
    if waiting:
        starting = live.catalog() is None
        words = "The live worker starts." if starting else "The live worker computes them."
        messages.empty("Maps are being computed", words)
        return
    if error is not None:
        messages.refused(error.what, error.expected, error.remedy)
        st.button("Try again", key="maps_again", on_click=live.try_again)
        return
    _outside_probe(look)


def _outside_probe(look: Look) -> None:
    maps: Mapping[str, AttributionMaps] = stored_maps(look.view)
    if set(maps) != set(PARTS):
        messages.empty(
            "No attribution maps", "This study holds none for this student and condition."
        )
        return
    covered = f"{thousands(len(maps['pair'].sample_ids))} of {thousands(len(look.view.all))} images"
    messages.empty("No maps for this image", f"Attribution maps were computed for {covered}.")
    nearest = nearest_mapped(look, maps["pair"])
    if nearest is not None:
        st.button(
            "Nearest image with maps", key="nearest_mapped", on_click=choose,
            kwargs={"sample": nearest}, help="In the student’s feature space",
        )  # fmt: skip
