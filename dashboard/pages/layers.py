"""Layers: how alike are the layers of teacher and student, and from where on do they part?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import streamlit as st

from analysis.divergence.depth import Profile, parted_from
from analysis.divergence.layers import CKA, KNN, SIMILARITIES
from analysis.records import CLEAN
from dashboard import messages, missing
from dashboard.context import Export, View
from dashboard.figures import layer_words
from dashboard.figures.layers import grid_columns, layer_matrix, profile_figure, ramp
from dashboard.figures.measures import term
from dashboard.figures.numbers import count_of, escaped, thousands
from dashboard.figures.tables import csv_text
from dashboard.loading_layers import LayerTable, layer_table, reference_profiles
from dashboard.pages.layers_pair import show_pair, step
from dashboard.saving import show_chart
from dashboard.theme import color_bar

_CELL, _BESIDE = "layers_cell", "layers_beside"
_ENOUGH = 2000

Profiles = Mapping[str, Profile]


def show(view: View) -> None:
    """Draw the page."""
    if not view.sides.against_teacher:
        messages.note("Layers are compared with the teacher’s, whatever stands on the left.")
    tables = _tables(view.version, view)
    table = tables.get(view.selection.condition)
    if table is None:
        _not_measured(view)
        return
    profiles = {slug: _profiles(item) for slug, item in tables.items()}
    own = profiles[view.selection.condition]
    clean = None
    if view.selection.condition != CLEAN and _same_layers(tables.get(CLEAN), table):
        clean = profiles[CLEAN]
    _finding(view, table, own, clean)
    _under_trigger(view, tables, profiles)
    cell = _cell(view, table, own, clean)
    left, middle, right = st.columns([10, 10, 8], gap="medium")
    beside = _beside(table)
    for column, measure in ((left, CKA), (middle, beside)):
        with column:
            _measure(view, tables, table, measure, cell)
    with right:
        show_pair(view, table, cell)
        _method(view, table)


@st.cache_resource(max_entries=16, show_spinner=False)
def _tables_of(key: tuple[str, str], _view: View) -> dict[str, LayerTable]:
    found = {slug: layer_table(_view.study, key[1], slug) for slug in _view.study.conditions}
    return {slug: table for slug, table in found.items() if table is not None}


def _tables(version: str, view: View) -> dict[str, LayerTable]:
    return _tables_of((version, view.selection.student), view)


def _profiles(table: LayerTable) -> Profiles:
    return {name: grid.profile for name, grid in table.grids.items()}


def _same_layers(first: LayerTable | None, second: LayerTable) -> bool:
    return first is not None and first.student_layers == second.student_layers


def _not_measured(view: View) -> None:
    condition = view.study.conditions[view.selection.condition]
    if (reason := missing.why_no_weights(view.study)) is not None:
        messages.empty("The layers were not compared", reason)
        return
    messages.empty(
        f"The layers were not compared on condition {condition.name}",
        "Both models run once more over up to 2 000 images, with all their layers looked at; "
        "activations are not stored.",
    )
    step(
        "Compare the layers", arguments(view), then=st.rerun,
        below="In a terminal: distillscope layers DIR.",
    )  # fmt: skip


def arguments(view: View) -> tuple[str, ...]:
    """The command that compares the layers of what is looked at."""
    return (
        "layers", str(view.study.path.resolve()), f"--student={view.selection.student}",
        f"--condition={view.selection.condition}", f"--images={_ENOUGH}",
    )  # fmt: skip


def _finding(view: View, table: LayerTable, own: Profiles, clean: Profiles | None) -> None:
    name = view.study.conditions[view.selection.condition].name
    words = layer_words.finding(own, table.student_layers, clean=clean, condition=name)
    st.html(f'<div class="ds-finding">{words}.</div>')
    for doubt in layer_words.doubts(table, own, clean=clean):
        st.html(f'<div class="ds-note">{doubt}</div>')


def _under_trigger(
    view: View, tables: Mapping[str, LayerTable], profiles: Mapping[str, Profiles]
) -> None:
    """On clean images: what the other measured conditions do to the same layers."""
    if view.selection.condition != CLEAN:
        return
    for slug, table in tables.items():
        if slug != CLEAN and _same_layers(tables[CLEAN], table):
            words = layer_words.finding(
                profiles[slug], table.student_layers, clean=profiles[CLEAN],
                condition=view.study.conditions[slug].name,
            )  # fmt: skip
            st.html(f'<div class="ds-sub" style="font-size:13.5px">{words}.</div>')


def _cell(view: View, table: LayerTable, own: Profiles, clean: Profiles | None) -> tuple[int, int]:
    """The chosen pair; at first where the two part, else the last layer and its best match."""
    kept = st.session_state.get(_CELL)
    names = (view.selection.student, table.teacher_layers, table.student_layers)
    if kept is not None and kept[0] == names:
        row, column = kept[1]
        return int(row), int(column)
    knn = own[KNN]
    at = parted_from(knn, None if clean is None else clean[KNN])
    column = len(table.student_layers) - 1 if at is None else at
    return max(0, int(knn.best[column])), column


def _beside(table: LayerTable) -> str:
    chosen = st.session_state.get(_BESIDE)
    known = isinstance(chosen, str) and chosen in table.grids and chosen != CKA
    return str(chosen) if known else KNN


def _measure(
    view: View,
    tables: Mapping[str, LayerTable],
    table: LayerTable,
    measure: str,
    cell: tuple[int, int],
) -> None:
    entry, grid = SIMILARITIES[measure], table.grids[measure]
    unit = ("0", "100\u202f%") if measure == KNN else ("0", "1")
    bar = color_bar(ramp(view.colors))
    with st.container(horizontal=True, vertical_alignment="center", key=f"layers_head_{measure}"):
        if measure == CKA:
            st.html(f'<span class="ds-title">{term(measure)}</span>', width="content")
        else:
            _picker(table, measure)
        st.space("stretch")
        st.html(f'<span class="ds-label">{unit[0]}{bar}{unit[1]}</span>', width="content")
    n = table.n if measure == CKA else table.subset
    st.html(
        f'<div class="ds-sub">{_about(measure)}. On {entry.basis}, {count_of(n, "image")}.</div>'
    )
    key = f"layers_{measure}_{view.selection.student}_{view.selection.condition}"
    show_chart(
        layer_matrix(
            measure, grid, table.teacher_layers, table.student_layers, view.colors, chosen=cell
        ),
        view.colors, key=key, title=f"{entry.title} of all pairs",
        alt=f"{entry.title} of all pairs of layers", selection_mode="points",
        on_select=lambda: _chosen(key, view, table),
    )  # fmt: skip
    _profile(view, tables, table, measure)


def _about(measure: str) -> str:
    about = SIMILARITIES[measure].about
    words = escaped(about[:1].upper() + about[1:], 200)
    return words if measure == CKA else term(measure, words)


def _picker(table: LayerTable, measure: str) -> None:
    known = [name for name in table.grids if name != CKA]
    st.session_state[_BESIDE] = measure
    st.segmented_control(
        "Beside CKA", known, key=_BESIDE, required=True, label_visibility="collapsed",
        format_func=lambda name: SIMILARITIES[name].title,
    )  # fmt: skip


def _chosen(key: str, view: View, table: LayerTable) -> None:
    points = st.session_state[key].selection.points
    if points:
        row, column = map(int, points[0]["customdata"].split("."))
        names = (view.selection.student, table.teacher_layers, table.student_layers)
        st.session_state[_CELL] = (names, (row, column))


def _profile(view: View, tables: Mapping[str, LayerTable], table: LayerTable, measure: str) -> None:
    others = {
        view.study.conditions[slug].name: other.grids[measure].profile
        for slug, other in tables.items()
        if slug != view.selection.condition
        and measure in other.grids
        and _same_layers(other, table)
    }
    own = table.grids[measure].profile
    references = reference_profiles(view.study, table, view.selection.condition)[measure]
    ticks = f"; ticks: {count_of(len(references), 'reference student')}" if references else ""
    messages.section(
        "Each student layer’s best match",
        f"Gray band: best match by chance, {table.permutations} permutations{ticks}.",
    )
    show_chart(
        profile_figure(
            measure, own, table.student_layers, view.colors, others=others, references=references
        ),
        view.colors, key=f"layers_profile_{measure}",
        title=f"{SIMILARITIES[measure].title}: best matches",
        alt=f"Best match of each student layer by {SIMILARITIES[measure].title}",
    )  # fmt: skip
    words = layer_words.reference_words(own, references, table.student_layers, measure)
    if words:
        st.html(f'<div class="ds-sub">{words}</div>')


def _method(view: View, table: LayerTable) -> None:
    references = [m for m in view.study.models.values() if m.role == "reference"]
    parts = [
        "Rows: the teacher’s layers from the first; columns: the student’s. Amber squares: the "
        "best match of each student layer. A cell shows its numbers here.",
        f"By chance: the images of one model permuted, {table.permutations} times (seeded), least "
        "to greatest.",
        layer_words.rule(),
        "" if references else "No reference students.",
    ]
    st.html(f'<div class="ds-sub" style="margin-top:8px">{" ".join(p for p in parts if p)}</div>')
    if table.n < min(_ENOUGH, table.total):
        step(
            f"Compare on {thousands(min(_ENOUGH, table.total))} images", arguments(view),
            then=st.rerun, primary=False,
        )  # fmt: skip


def exports(view: View) -> list[Export]:
    """What the Save menu offers on this page."""
    table = layer_table(view.study, view.selection.student, view.selection.condition)
    if table is None:
        return []
    name = f"{view.selection.student}-{view.selection.condition}"

    def pairs_csv() -> str:
        return csv_text(grid_columns(table.grids, table.teacher_layers, table.student_layers))

    def profile_csv() -> str:
        columns: dict[str, list[object]] = {"student_layer": list(table.student_layers)}
        for measure, grid in table.grids.items():
            found = grid.profile
            columns[f"{measure}_best_match"] = [
                table.teacher_layers[index] if index >= 0 else "" for index in found.best
            ]
            columns[measure] = found.values.tolist()
            columns[f"{measure}_null_high"] = np.max(found.null, axis=0).tolist()
        return csv_text(columns)

    return [
        Export("Pairs of layers, CSV", f"{name}-layers.csv", pairs_csv),
        Export("Best matches, CSV", f"{name}-best-matches.csv", profile_csv),
    ]
