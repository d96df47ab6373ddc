"""A pair of layers: its numbers, and the way to its map. Also the map page's part of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from analysis.digest import digest_strings
from analysis.records import CLEAN
from dashboard import background, messages
from dashboard.bar import kept_images
from dashboard.context import View, choose, go
from dashboard.figures.layer_words import pair_table
from dashboard.figures.numbers import markdown, thousands, visible
from dashboard.guard import fragment
from dashboard.loading_layers import LayerTable, has_condition, layer_map_record, layer_maps

_TO_MAP = "Show these two layers on the map"
_AWAITED = "awaited_step"


def show_pair(view: View, table: LayerTable, cell: tuple[int, int]) -> None:
    """The chosen pair: all measures with their nulls, and the button that maps it."""
    teacher, student = table.teacher_layers[cell[0]], table.student_layers[cell[1]]
    messages.section(
        "The chosen pair",
        f"{messages.CIRCLE}{messages.strong(teacher)} of the teacher × "
        f"{messages.SQUARE}{messages.strong(student)} of the student",
    )
    st.html(pair_table(table, cell))
    pair = f"{teacher}:{student}"
    name, condition = view.selection.student, view.selection.condition
    arguments = map_arguments(view, pair)
    # A step that has just finished opens the map by itself.
    if has_condition(view.study, name, pair, condition) and background.find(arguments) is None:
        if st.button(_TO_MAP, key="layers_to_map", type="primary"):
            _open_map(view, pair)
        return
    step(
        _TO_MAP, arguments, then=lambda: _open_map(view, pair),
        below="Lays both out in one frame first, which takes about a minute.",
    )  # fmt: skip


def map_arguments(view: View, pair: str) -> tuple[str, ...]:
    """The command that lays out ``pair``, with the condition that is looked at."""
    return (
        "layers", str(view.study.path.resolve()), f"--student={view.selection.student}",
        f"--condition={view.selection.condition}", f"--map={pair}",
    )  # fmt: skip


def _open_map(view: View, pair: str) -> None:
    go("map", layer=pair, **kept_images(view))


def step(
    label: str,
    arguments: Sequence[str],
    *,
    then: Callable[[], None],
    below: str = "",
    primary: bool = True,
) -> None:
    """A button that runs a command of ours in the background, and its progress.

    ``then`` is called when the command has finished; a failure is a message in place.
    """
    found = background.find(arguments)
    if found is not None and found.running:
        fragment(_progress, run_every=1.0)(tuple(arguments))
        return
    if found is not None:
        background.forget(arguments)
        awaited = st.session_state.pop(_AWAITED, None) == tuple(arguments)
        if found.failed is None:
            # Who did not ask for it is not taken anywhere.
            (then if awaited else st.rerun)()
            return
        what, _, remedy = found.failed.partition(". ")
        messages.refused(what, None, remedy.rstrip("."))
    st.button(
        label, key=_key("start", arguments), on_click=_start,
        args=(tuple(arguments),), type="primary" if primary else "tertiary",
    )  # fmt: skip
    if below:
        st.html(f'<div class="ds-sub">{below}</div>')


def _key(name: str, arguments: Sequence[str]) -> str:
    return f"{name}_{digest_strings(list(arguments))[:12]}"


def _start(arguments: tuple[str, ...]) -> None:
    background.start(arguments)
    st.session_state[_AWAITED] = arguments


def _progress(arguments: tuple[str, ...]) -> None:
    found = background.find(arguments)
    if found is None or not found.running:
        # Only the whole page can go on from here.
        st.rerun()
    share = found.done / found.total if found.total else 0.0
    words = f"{found.stage}: {thousands(found.done)} of {thousands(found.total)}"
    st.progress(min(1.0, share), markdown(words if found.total else found.stage, 120))
    st.button("Cancel", key=_key("cancel", arguments), on_click=found.cancel, type="tertiary")


def layer_picker(view: View) -> None:
    """On the map page: which layers the maps are of, where there is a choice."""
    pairs = layer_maps(view.study, view.selection.student) if view.sides.against_teacher else []
    if not pairs:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="layer_controls"):
        st.html('<span class="ds-label">Layers</span>', width="content")
        st.session_state["layer_picker"] = view.selection.layer
        st.selectbox(
            "Layers", [None, *pairs], key="layer_picker", label_visibility="collapsed", width=260,
            format_func=lambda pair: "the last of both" if pair is None else pair_words(pair),
            on_change=_layer_chosen, args=(view,),
        )  # fmt: skip


def pair_words(pair: str) -> str:
    """``layer3.1:layer2.0`` as it is shown: ``layer3.1 × layer2.0``."""
    return visible(pair.replace(":", " × "), 60)


def _layer_chosen(view: View) -> None:
    choose(layer=st.session_state["layer_picker"], **kept_images(view))


def titles(view: View) -> tuple[str, str]:
    """What stands above both maps: the models, with their layers where these are chosen."""
    left = "Teacher" if view.sides.against_teacher else view.left
    chosen = view.selection
    if chosen.layer is None:
        return left, chosen.student
    record = layer_map_record(view.study, chosen.student, chosen.layer)
    return f"{left}, {record['teacher_layer']}", f"{chosen.student}, {record['student_layer']}"


def coverage(view: View) -> str:
    """How many of the condition's images the map of single layers holds; empty for all."""
    chosen = view.selection
    if chosen.layer is None:
        return ""
    record = layer_map_record(view.study, chosen.student, chosen.layer)
    n, total = (record[key].get(chosen.condition, 0) for key in ("n", "total"))
    return "" if n == total else f" {thousands(n)} of {thousands(total)} images."


def missing_condition(view: View) -> None:
    """The map of these layers does not hold the condition's images: offer to place them."""
    pair = view.selection.layer
    assert pair is not None
    condition = view.study.conditions[view.selection.condition]
    messages.empty(
        f"The map of {pair_words(pair)} does not hold these images",
        f"{condition.name}: they have not been placed among the clean ones yet.",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        step("Place them", map_arguments(view, pair), then=st.rerun)
        st.button(
            "Back to the last layers", key="last_layers", on_click=choose, kwargs={"layer": None}
        )
    if view.selection.condition == CLEAN:
        messages.note("This map was not finished; computing it again completes it.")
