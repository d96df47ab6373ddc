"""Map: both models' layouts side by side, and the images selected in them."""

from __future__ import annotations

import dataclasses

import numpy as np
import streamlit as st

from analysis.errors import DistillscopeError
from analysis.records import CLEAN, TRIGGER, TRIGGER_PERTURBATION, Projection
from dashboard import messages, missing
from dashboard.components.links import link
from dashboard.components.pair_map import PairMapState, pair_map
from dashboard.context import Export, View, choose, go, held, region_of, write_selection
from dashboard.figures.gallery import MOST, gallery_html, gallery_order
from dashboard.figures.measures import terms
from dashboard.figures.numbers import count_of, percent_text, thousands
from dashboard.figures.points import MapPoints, map_points, point_colors
from dashboard.loading import Pair, projection_of, region_mask
from dashboard.loading_layers import layer_overlap, layer_projection
from dashboard.pages import layers_pair
from dashboard.pages.overview import nothing_left
from dashboard.pages.samples import sample_exports, samples_table
from dashboard.saving import keep_maps
from dashboard.selection import COLORINGS, Lasso
from dashboard.thumbnails import thumbnail_template

_SHOWN = "map_shown"
_NAMES = {"overlap": "neighborhood"}
_EXPLAINED = (
    "kl_teacher_student", "mean_neighborhood_overlap", "trustworthiness", "continuity",
)  # fmt: skip


def show(view: View) -> None:
    """Draw the page."""
    st.session_state[_SHOWN] = view.mask
    if len(view.pair) == 0:
        nothing_left(view)
        return
    if view.projection is None:
        if view.selection.layer is not None:
            layers_pair.missing_condition(view)
            return
        _without_maps(view)
        return
    left, right = st.columns([3, 1], gap="medium")
    with left:
        layers_pair.layer_picker(view)
        color = _color_picker(view)
        picked = _maps(view, color)
        rows = picked if picked.any() else view.mask
        st.session_state[_SHOWN] = rows
        _table(view, rows, chosen=bool(picked.any()))
    with right:
        _gallery(view, view.all.rows(rows), chosen=bool(picked.any()))


def _without_maps(view: View) -> None:
    """Table and gallery alone, and why there are no maps."""
    left, right = st.columns([3, 1], gap="medium")
    with left:
        messages.empty("No maps for this condition", missing.why_no_maps(view.study))
        _table(view, view.mask, chosen=False)
    with right:
        _gallery(view, view.pair, chosen=False)


def _color_picker(view: View) -> str:
    known = [name for name in COLORINGS if name != "label" or view.all.labels is not None]
    current = view.selection.color if view.selection.color in known else known[0]
    st.session_state["color_picker"] = current
    with st.container(horizontal=True, vertical_alignment="center", key="map_controls"):
        st.html(f'<span class="ds-label">{terms("Color by", _EXPLAINED)}</span>', width="content")
        st.segmented_control(
            "Color by", known, key="color_picker", required=True, label_visibility="collapsed",
            format_func=lambda name: _NAMES.get(name, name),
            on_change=lambda: choose(color=st.session_state["color_picker"]),
        )  # fmt: skip
    return current


@st.cache_resource(max_entries=8, show_spinner=False)
def _points(key: tuple[str, str, str, str], layer: str | None, _view: View) -> MapPoints:
    assert _view.projection is not None
    condition = _view.selection.condition
    pictured = condition in _view.study.manifest.thumbnails
    url = thumbnail_template(condition, _view.version) if pictured else None
    triggered = _view.selection.condition in (TRIGGER, TRIGGER_PERTURBATION)
    return map_points(
        _view.all,
        _view.projection,
        _view.class_names,
        url,
        pictured=_view.study.condition_ids(condition),
        triggered=triggered,
        beneath=_beneath(_view),
    )


def _beneath(view: View) -> tuple[Pair, Projection] | None:
    """The clean images among which those of a further condition were placed."""
    if view.selection.condition == CLEAN:
        return None
    student, layer = view.selection.student, view.selection.layer
    clean = (
        projection_of(view.study, student, CLEAN, left=view.left) if layer is None
        else layer_projection(view.study, student, layer, CLEAN)
    )  # fmt: skip
    return None if clean is None else (view.clean, clean)


def _maps(view: View, color: str) -> np.ndarray:
    """Draw both maps; returns which rows of all samples are selected, (N,) bool."""
    selection, quality = view.selection, view.projection
    assert quality is not None
    key = (view.version, view.left, selection.student, selection.condition)
    found = _points(key, selection.layer, view)
    mask, wish = _wish(view, found)
    left, right, sides = quality.teacher_quality, quality.student_quality, view.sides
    frame = (
        "One frame for both." if sides.against_teacher
        else "Both lie in the teacher’s frame, as each was laid out beside the teacher."
    )  # fmt: skip
    color_of = found.colors(
        point_colors(_colored(view, found), color, view.class_names, sides=sides)
    )
    titles = layers_pair.titles(view)
    highlight = found.spread(view.mask[found.rows]) if selection.filtered else None
    keep_maps("maps", "Both maps", found.points, color_of, titles, view.colors, highlight=highlight)
    state = pair_map(
        key=f"map_{view.left}_{selection.student}_{selection.condition}_{selection.layer or ''}",
        points=found.points,
        color=color_of,
        titles=titles,
        selection=wish,
        highlight=highlight,
        quality=(
            f"Trustworthiness {left.trustworthiness:.3f} {sides.left}, {right.trustworthiness:.3f} "
            f"{sides.right}; continuity {left.continuity:.3f}, {right.continuity:.3f}. {frame}"
            f"{layers_pair.coverage(view)}"
        ),
    )
    if state.opened is not None:
        go("inspect", sample=str(view.all.sample_ids[found.rows[state.opened]]))
    return _settled(view, found, state, mask)


def _colored(view: View, found: MapPoints) -> Pair:
    """The rows on the maps; neighbors are those of the layers that the maps are of."""
    pair, chosen = view.all.rows(found.rows), view.selection
    if chosen.layer is None:
        return pair
    shared = layer_overlap(
        view.study, chosen.student, chosen.layer, chosen.condition, pair.sample_ids
    )
    return dataclasses.replace(pair, overlap=shared)


def _wish(view: View, found: MapPoints) -> tuple[np.ndarray, np.ndarray | Lasso]:
    """The rows that the selection names, and the same as the maps take it."""
    none = np.zeros(len(view.all), dtype=bool)
    if view.selection.picked is None:
        return none, found.spread(none[found.rows])
    try:
        inside = region_mask(view.selection.picked, view.study, view.all, view.projection)
    except DistillscopeError as error:
        messages.note(f"The selected images are not shown: {error}")
        return none, found.spread(none[found.rows])
    inside &= view.mask
    if isinstance(view.selection.picked, Lasso) and not view.selection.filtered:
        return inside, view.selection.picked
    return inside, found.spread(inside[found.rows])


def _settled(view: View, found: MapPoints, state: PairMapState, named: np.ndarray) -> np.ndarray:
    """Take over what the user has selected meanwhile, and keep it in the URL."""
    if state.selected is None:
        if view.selection.picked is not None and not named.any():
            return named
        picked = np.zeros(len(view.all), dtype=bool)
    else:
        picked = np.zeros(len(view.all), dtype=bool)
        picked[found.rows[state.selected[: len(found.rows)]]] = True
        picked &= view.mask
    if not np.array_equal(picked, named):
        region = region_of(view, view.all.sample_ids[picked].tolist(), state.lasso)
        write_selection(picked=region)
    return picked


def _gallery(view: View, selected: Pair, *, chosen: bool) -> None:
    n, total = len(selected), len(view.pair)
    if chosen:
        differ = int((~selected.agree).sum())
        share = percent_text(differ / n, 0)
        below = f"{thousands(n)} of {count_of(total, 'image')}; {share} answered differently"
        messages.section("Selection", below)
    else:
        below = "Lasso or click points on a map to see those." if view.projection else ""
        messages.section("Where the two part most", below)
    order = gallery_order(selected)[:MOST]
    html = gallery_html(
        selected,
        order,
        view.class_names,
        view.picture,
        lambda sample: link("inspect", dataclasses.replace(held(), sample=sample)),
        sides=view.sides,
    )
    with st.container(height=760, border=False, key="gallery"):
        st.html(html)
        if n > MOST:
            st.html(f'<div class="ds-sub">The {MOST} that part most of {thousands(n)}.</div>')


def _table(view: View, rows: np.ndarray, *, chosen: bool) -> None:
    samples_table(
        view,
        rows,
        "Table of the selection" if chosen else "Table of all images shown",
        lambda: _selection_buttons(chosen),
    )


def _selection_buttons(chosen: bool) -> None:
    st.button(
        "Clear", key="clear_picked", disabled=not chosen, on_click=choose, kwargs={"picked": None}
    )
    st.button(
        "Show only these on all pages", key="filter_all_pages", disabled=not chosen,
        on_click=_filter_all_pages,
    )  # fmt: skip


def _filter_all_pages() -> None:
    choose(within=held().picked, picked=None)


def exports(view: View) -> list[Export]:
    """What the Save menu offers on this page."""
    # As the page has drawn it: a lasso may have been closed since the page began.
    shown = st.session_state.get(_SHOWN)
    return sample_exports(view, view.mask if shown is None else shown)
