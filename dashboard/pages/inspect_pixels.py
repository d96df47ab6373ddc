"""Inspect, middle column: which pixels part the two, by any method, and whether to trust that."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from analysis.attribution.catalog import (
    BASELINE_DESCRIPTIONS,
    METHOD_CARDS,
    PAIR_FORMULAS,
    find_card,
)
from analysis.attribution.region import area_inside, mass_inside, mass_of_shifted
from analysis.errors import DistillscopeError
from analysis.records import TEACHER, AttributionMaps
from dashboard import live, messages, missing
from dashboard.context import choose
from dashboard.figures import attributions
from dashboard.figures.measures import term
from dashboard.figures.numbers import (
    MINUS,
    THIN,
    escaped,
    percent,
    percent_text,
    thousands,
    visible,
)
from dashboard.pages.inspect_look import Look, stored_maps
from dashboard.pages.inspect_maps import (
    LABEL,
    OWN,
    PARTS,
    Choice,
    choice_of,
    nearest_mapped,
    shown_maps,
)
from dashboard.pages.inspect_trust import agreement_row, trust_rows
from dashboard.saving import keep_pictures
from dashboard.theme import color_bar

# Below this share of the common scale a map looks empty, so the page says so in words.
_FAINT = 0.05
# From this completeness error on a map does not add up to what it explains; a rule of display.
_BROKEN = 0.2
# So much of the mass lies inside the region at 95 of 100 other places, or less.
_ELSEWHERE = 0.95
_STATE = "inspect_attribution"
_AMONG = "inspect_explained_among"


def pixels_section(look: Look) -> None:
    """The three maps on one scale, how alike they are, what they are worth."""
    choice = _chosen(look)
    shown = shown_maps(look, choice)
    if shown.explanation is not None and (look.refused is not None or look.pixels is None):
        choice = choice_of(shown.explanation.maps, choice)
    head = st.container(
        horizontal=True, vertical_alignment="bottom", gap="medium", key="pixels_head"
    )
    _pickers(look, choice)
    if shown.explanation is None:
        with head:
            messages.section("Which pixels")
        _nothing(look, waiting=shown.waiting, error=shown.error)
        return
    maps = shown.explanation.maps
    limit = attributions.common_limit([record.values[0] for record in maps.values()])
    with head:
        _head(look, choice, next(iter(maps.values())), limit)
    _keep(look, choice, maps, limit)
    with st.container(key="stale_maps" if shown.waiting else "maps"):
        for column, part in zip(st.columns(3), PARTS, strict=True):
            with column:
                if part in maps:
                    _one_map(look, choice, part, maps[part], limit)
                else:
                    _no_map(look, part)
        agreement_row(shown.explanation)
    trust_rows(look, shown)


def _chosen(look: Look) -> Choice:
    """What this tab has chosen. An explained class counts among the same classes only."""
    choice: Choice = st.session_state.setdefault(_STATE, Choice())
    same = st.session_state.get(_AMONG, look.names) == look.names
    st.session_state[_AMONG] = look.names
    other = isinstance(choice.explained, int) and not same
    if other or choice.explained not in _explainable(look):
        choice = dataclasses.replace(choice, explained=OWN)
        st.session_state[_STATE] = choice
    return choice


def _explainable(look: Look) -> list[int | str]:
    """What may be explained: each one's own answer, the label where there is one, any class."""
    label = [] if look.view.all.labels is None else [LABEL]
    return [OWN, *label, *range(len(look.names))]


def _pickers(look: Look, choice: Choice) -> None:
    """Method, baseline, explained class, the pair's number: every entry of the registries."""
    off = look.refused is not None or look.pixels is None
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="pickers"):
        titles = {name: card.title for name, card in METHOD_CARDS.items()}
        _picker("method", list(titles), choice.method, titles.__getitem__, off, 170)
        if find_card(choice.method).uses_baseline:
            baselines = list(BASELINE_DESCRIPTIONS)
            _picker("baseline", baselines, choice.baseline, "{} baseline".format, off, 138)
        _picker("explained", _explainable(look), choice.explained, _class_words(look), off, 126)
        formulas = {n: f.replace(" - ", f" {MINUS} ") for n, f in PAIR_FORMULAS.items()}
        _picker("scalar", list(formulas), choice.scalar, formulas.__getitem__, off, 132)


def _class_words(look: Look) -> Callable[[int | str], str]:
    words = {OWN: "own answers", LABEL: "the label"}
    return lambda c: words[c] if isinstance(c, str) else f"class {visible(look.names[c], 20)}"


def _picker(
    name: str,
    options: Sequence[Any],
    chosen: Any,
    words: Callable[[Any], Any],
    off: bool,
    width: int,
) -> None:
    key = f"pick_{name}"
    st.session_state[key] = chosen if chosen in options else options[0]
    st.selectbox(
        name.capitalize(), options, key=key, format_func=words, width=width, disabled=off,
        label_visibility="collapsed", on_change=_picked, args=(name,),
    )  # fmt: skip


def _picked(name: str) -> None:
    value = st.session_state[f"pick_{name}"]
    st.session_state[_STATE] = dataclasses.replace(st.session_state[_STATE], **{name: value})


def _head(look: Look, choice: Choice, record: AttributionMaps, limit: float) -> None:
    colors = look.view.colors
    ramp = color_bar(colors.signed if record.signed else colors.divergence)
    ends = ("against", "for") if record.signed else ("0", "most")
    scale = f"±{limit:.2g}" if record.signed else f"0 to {limit:.2g}"
    with st.container(width="stretch"):
        messages.section(
            "Which pixels",
            f"One scale for all three, {scale}. "
            f"<span style='float:right;white-space:nowrap'>{ends[0]}{ramp}{ends[1]}</span>",
        )
    st.session_state["pick_over_image"] = choice.over_image
    st.toggle(
        "Overlay", key="pick_over_image", help="Draw the maps over the image",
        disabled=look.pixels is None, on_change=_picked, args=("over_image",),
    )  # fmt: skip


def _marks(look: Look, part: str) -> tuple[str, str]:
    """Mark and title of one of the three maps."""
    sides = look.sides
    if part == "pair":
        return "ds-circle ds-lens", "The pair"
    names = (
        ("Teacher", "Student") if sides.against_teacher
        else (escaped(sides.left), escaped(sides.right))
    )  # fmt: skip
    return ("ds-circle", names[0]) if part == TEACHER else ("ds-square", names[1])


def _no_map(look: Look, part: str) -> None:
    """Why one of the stored three is missing: maps of two students come from each one's own."""
    mark, title = _marks(look, part)
    st.html(f'<div class="ds-strong"><span class="{mark}"></span> {title}</div>')
    reason = (
        "Their difference is known where both have maps that explain the same class."
        if part == "pair"
        else "Its maps were computed for other images."
    )
    messages.empty("Not computed for these two" if part == "pair" else "No map here", reason)


def _one_map(look: Look, choice: Choice, part: str, record: AttributionMaps, limit: float) -> None:
    values = record.values[0]
    mark, title = _marks(look, part)
    what = _explains(look, choice, part, record)
    picture = _drawn(look, choice, record, limit)
    box = None if look.region is None else attributions.region_box(look.region)
    error = float(record.completeness_error[0])
    promise = percent_text(error) if np.isfinite(error) else "none promised"
    broken = " ds-alarm" if error > _BROKEN else ""
    named = term("completeness_error", "completeness error")
    st.html(
        f'<div class="ds-strong"><span class="{mark}"></span> {title}</div>'
        f'<div class="ds-sub" style="min-height:36px">{what}</div>'
        f"{attributions.map_html(picture, f'{title}: {what}', box)}{_mass(look, values)}"
        f'<div class="ds-row ds-sub"><span>{named}</span>'
        f'<span class="ds-strong{broken}">{promise}</span></div>{_faint(values, limit)}'
    )


def _drawn(look: Look, choice: Choice, record: AttributionMaps, limit: float) -> str:
    """One map as a picture: alone, or over the image."""
    values, colors = record.values[0], look.view.colors
    if choice.over_image and look.pixels is not None:
        return attributions.overlay_picture(
            values, limit, look.pixels, colors, signed=record.signed
        )
    return attributions.map_picture(values, limit, colors, signed=record.signed)


def _keep(look: Look, choice: Choice, maps: Mapping[str, AttributionMaps], limit: float) -> None:
    """Keep the image and its maps for the Save menu."""
    titles = {TEACHER: look.sides.left, "student": look.sides.right, "pair": "pair"}
    pictures = [
        (titles[part], _drawn(look, choice, maps[part], limit)) for part in PARTS if part in maps
    ]
    if look.pixels is not None:
        pictures.insert(0, ("image", attributions.picture_uri(look.pixels)))
    values = {titles[part]: maps[part].values[0] for part in PARTS if part in maps}
    keep_pictures("attributions", "Attribution maps", pictures, look.view.colors, values)


def _explains(look: Look, choice: Choice, part: str, record: AttributionMaps) -> str:
    explained = int(record.explained_class[0])
    name = escaped(look.names[explained], 24)
    left, right = escaped(look.sides.the_left), escaped(look.sides.the_right)
    if part == "pair":
        if choice.scalar == "kl_teacher_student":
            return "what makes their answers part at all"
        return f"why {right} says “{name}” more than {left} does"
    model = look.left if part == TEACHER else look.student
    own = "its own answer, " if explained == look.answer(model) else ""
    return f"pixels for {own}“{name}”"


def _mass(look: Look, values: np.ndarray) -> str:
    """How much of a map lies on what was changed, and how much chance would put there."""
    if look.region is None:
        return ""
    share = float(mass_inside(values[None], look.region)[0])
    named = {"sticker": "the sticker", "picture": "the picture"}
    where = named.get(look.what_if.kind, "the change") if look.edits else "the change"
    words = f"{percent(share, 0)}{THIN}% of the mass" if np.isfinite(share) else "an empty map"
    return (
        '<div class="ds-row ds-sub" style="margin-top:3px">'
        f'<span>on {where}</span><span class="ds-strong">{words}</span></div>'
        f'<div class="ds-sub">{_by_chance(values, look.region)}</div>'
    )


def _by_chance(values: np.ndarray, region: np.ndarray) -> str:
    """What a region of this form holds at other places, and how much of the image it is."""
    area = percent(float(area_inside(values[None], region)[0]), 0)
    elsewhere = float(np.quantile(mass_of_shifted(values[None], region), _ELSEWHERE))
    if not np.isfinite(elsewhere):
        return f"{area}{THIN}% of the area"
    return (
        f"{area}{THIN}% of the area; "
        '<span title="At 95 of 100 random places it holds no more">elsewhere up to '
        f"{percent(elsewhere, 0)}{THIN}%</span>"
    )


def _faint(values: np.ndarray, limit: float) -> str:
    """Words for a map that looks empty on the common scale."""
    strongest = float(np.abs(values).max())
    if strongest >= _FAINT * limit:
        return ""
    return f'<div class="ds-sub">Almost nothing moves it: at most {strongest:.1g} a pixel.</div>'


def _nothing(look: Look, *, waiting: bool, error: DistillscopeError | None) -> None:
    """Why there are no maps, in the place of the maps, and what to do about it."""
    if waiting:
        words = "The live worker starts." if live.starting() else "The live worker computes them."
        messages.empty("Maps are being computed", words)
    elif error is not None:
        messages.refused(error.what, error.expected, error.remedy)
        st.button("Try again", key="maps_again", on_click=live.try_again)
    else:
        _outside_probe(look)


def _outside_probe(look: Look) -> None:
    maps = stored_maps(look.view)
    record = maps.get("pair", maps.get("student"))
    if record is None:
        messages.empty("No attribution maps", missing.why_no_attributions(look.view.study))
        return
    covered = f"{thousands(len(record.sample_ids))} of {thousands(len(look.view.all))} images"
    messages.empty("No maps for this image", f"Attribution maps were computed for {covered}.")
    nearest = nearest_mapped(look, record)
    if nearest is not None:
        st.button(
            "Nearest image with maps", key="nearest_mapped", on_click=choose,
            kwargs={"sample": nearest}, help="In the student’s feature space",
        )  # fmt: skip
