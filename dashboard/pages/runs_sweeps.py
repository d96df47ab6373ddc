"""Sweeps of the workspace: two keys as a heat map, one as lines; a cell opens its study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from analysis.errors import DistillscopeError
from analysis.store.workspace import HERE, Workspace
from analysis.study.sweep_table import MEASURES, SweepCell, SweepTable, read_sweep
from dashboard import context, messages
from dashboard.figures.chart import CONFIG
from dashboard.figures.numbers import count_of, escaped, markdown
from dashboard.figures.runs import study_link
from dashboard.figures.sweeps import level_text, repeats_text, sweep_lines, sweep_map
from dashboard.theme import color_bar, palette

_SWEEP, _MEASURE, _STUDENT, _X, _Y = (
    "sweep_folder", "sweep_measure", "sweep_student", "sweep_x", "sweep_y",
)  # fmt: skip
_CLICKED = "sweep_clicked"
ONE = "–"
"""The second key where there is none."""


def show_sweeps(workspace: Workspace, folders: Sequence[str]) -> None:
    """Draw one sweep of the workspace."""
    folder = _folder(workspace, folders)
    try:
        table = read_sweep(workspace.sweep_table(folder))
    except DistillscopeError as error:
        messages.refused(error.what, error.expected, error.remedy)
        return
    if not table.keys:
        messages.empty("Nothing varies in this sweep", "All its rows have the same values.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", key="sweep_choices"):
        measure, student, axes = _choices(table)
        held = _held(table, student, axes)
    cells = table.cells(student, measure, axes, held)
    _said(table, student, cells, axes)
    if not cells:
        messages.empty(
            "No run has these values",
            "Other keys are held at the values above; choose others of them.",
        )
        return
    _figure(workspace, folder, table, measure, student, axes, held, cells)


def _folder(workspace: Workspace, folders: Sequence[str]) -> str:
    if len(folders) == 1:
        return folders[0]
    names = {HERE: workspace.root.resolve().name}
    return str(
        st.selectbox(
            "Sweep", folders, key=_SWEEP, width=260, format_func=lambda name: names.get(name, name)
        )
    )


def _choices(table: SweepTable) -> tuple[str, str, tuple[str, ...]]:
    measure = _select("Measure", table.measures, _MEASURE, MEASURES, width=290)
    student = _select("Student", table.students, _STUDENT, {}, width=190)
    across = _select("Key", table.keys, _X, {}, width=230)
    others = [ONE, *(key for key in table.keys if key != across)]
    words = {ONE: "none: lines"}
    down = _select("Second key", others, _Y, words, width=230) if len(others) > 1 else ONE
    return measure, student, (across,) if down == ONE else (across, down)


def _select(
    title: str, options: Sequence[str], key: str, words: Mapping[str, str], *, width: int
) -> str:
    if st.session_state.get(key) not in options:
        st.session_state[key] = options[0]
    return str(
        st.selectbox(
            title, options, key=key, width=width, format_func=lambda name: words.get(name, name)
        )
    )


def _held(table: SweepTable, student: str, axes: Sequence[str]) -> dict[str, str]:
    """The values of the other keys: the most frequent ones, or what was chosen instead."""
    held = table.usual(student, axes)
    if not held:
        return held
    with st.popover(f"{count_of(len(held), 'key')} held", key="sweep_held"):
        for key, usual in held.items():
            levels = table.levels[key]
            held[key] = str(
                st.selectbox(
                    markdown(key), levels, index=levels.index(usual), format_func=level_text,
                    key=f"sweep_held/{student}/{key}/{'/'.join(axes)}",
                )
            )  # fmt: skip
    return held


def _said(table: SweepTable, student: str, cells: Sequence[SweepCell], axes: Sequence[str]) -> None:
    total = sum(row["student"] == student for row in table.rows)
    used = sum(len(cell.values) for cell in cells)
    shape = "Mean of the runs" if len(axes) == 2 else "Mean of the runs, lowest to highest as a bar"
    out = total - used
    held = "with other values of the held keys"
    left = (
        f" {count_of(out, 'row')} {held} {'is' if out == 1 else 'are'} left out." if out > 0 else ""
    )
    st.html(
        f'<div class="ds-sub">{shape}; {repeats_text(cells)} (runs differ in their seed).'
        f"{left} A click opens the study.</div>"
    )


def _figure(
    workspace: Workspace,
    folder: str,
    table: SweepTable,
    measure: str,
    student: str,
    axes: tuple[str, ...],
    held: Mapping[str, str],
    cells: Sequence[SweepCell],
) -> None:
    colors = palette(st.context.theme.type)
    key = f"sweep/{folder}/{measure}/{student}/{'/'.join(axes)}/{'/'.join(held.values())}"
    by_student = {student: cells}
    if len(axes) == 2:
        st.html(f'<div class="ds-sub">0{color_bar(colors.divergence)}100{" "}%</div>')
        figure = sweep_map(table, (axes[0], axes[1]), cells, colors)
    else:
        by_student |= {
            name: table.cells(name, measure, axes, held)
            for name in table.students
            if name != student
        }
        figure = sweep_lines(table, axes[0], by_student, student, colors)
    st.plotly_chart(
        figure, theme=None, config=CONFIG, key=key, selection_mode="points",
        on_select=lambda: _clicked(workspace, folder, key, by_student, student),
        alt=f"{MEASURES[measure]} of {student} over {' and '.join(axes)}",
    )  # fmt: skip
    _studies(workspace, folder)


def _clicked(
    workspace: Workspace,
    folder: str,
    key: str,
    by_student: Mapping[str, Sequence[SweepCell]],
    student: str,
) -> None:
    """Open the study of the clicked cell; where there are several, or none by name, list them."""
    points = st.session_state[key].selection.points
    st.session_state.pop(_CLICKED, None)
    if not points:
        return
    name, _, place = str(points[0]["customdata"]).rpartition("\n")
    studies = by_student[name or student][int(place)].studies
    st.session_state[_CLICKED] = (folder, studies)
    known = _known(workspace, folder)
    if len(studies) == 1 and studies[0] in known:
        context.go_to_study(known[studies[0]])


def _known(workspace: Workspace, folder: str) -> dict[str, str]:
    """What the workspace calls the studies beside a sweep's table, by what the table calls them."""
    return {name.rpartition("/")[2]: name for name in workspace.names(folder)}


def _studies(workspace: Workspace, folder: str) -> None:
    """The studies of the clicked cell."""
    where, studies = st.session_state.get(_CLICKED, (None, ()))
    if where != folder:
        return
    known = _known(workspace, folder)
    links = [study_link(known[name], escaped(name)) for name in studies if name in known]
    if links:
        st.html(f'<div class="ds-sub">Studies of this cell: {" · ".join(links)}</div>')
    if rest := [name for name in studies if name not in known]:
        where = "in this workspace" if folder == HERE else f"in {folder}"
        messages.note(f"Not {where}: {', '.join(rest)}")
