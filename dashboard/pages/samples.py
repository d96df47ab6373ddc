"""The table of samples: one page of rows at a time, ordered by DuckDB, a row opens Inspect."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import streamlit as st

from dashboard.context import Export, View, open_page
from dashboard.figures.gallery import gallery_order
from dashboard.figures.numbers import THIN, count_of, thousands
from dashboard.figures.samples import (
    PARTING,
    column_help,
    column_title,
    sample_rows,
    shown_columns,
)
from dashboard.figures.tables import csv_text
from dashboard.table import COLUMNS
from dashboard.table_rows import ordered_rows

PAGE = 200
_SORT, _PAGE = "samples_sort", "samples_page"
_PICKER, _DOWN = "samples_sort_by", "samples_descending"
_HEIGHT, _SHOWN = 27, 9


def samples_table(
    view: View, mask: np.ndarray, title: str, more: Callable[[], None] | None = None
) -> None:
    """Draw the rows of ``mask`` (N,) with their head; ``more`` draws buttons at its end."""
    count = int(mask.sum())
    by, descending = _sort(view)
    start = _start(view, count)
    with st.container(horizontal=True, vertical_alignment="center", key="table_head"):
        st.html(
            f'<span class="ds-title">{title}</span> &nbsp;<span class="ds-sub">'
            f"{count_of(count, 'image')}. A click on a row opens the image, one on a column’s "
            "name sorts.</span>",
            width="stretch",
        )
        if more is not None:
            more()
    _controls(view, by, descending, start, count)
    rows = _rows(view, mask, by, descending, start)
    _grid(view, rows, by, descending)


def _sort(view: View) -> tuple[str | None, bool]:
    """The column that orders the rows, None for how far the two part; and whether downward."""
    by, descending = st.session_state.get(_SORT, (None, True))
    return (by, descending) if by in view.table.column_names else (None, True)


def _start(view: View, count: int) -> int:
    """The first row of the page that is looked at; other rows begin at their first page."""
    of = (view.key, count, st.session_state.get(_SORT))
    kept = st.session_state.get(_PAGE)
    if kept is None or kept[0] != of:
        st.session_state[_PAGE] = kept = (of, 0)
    return min(int(kept[1]), max(count - 1, 0) // PAGE) * PAGE


def _controls(view: View, by: str | None, descending: bool, start: int, count: int) -> None:
    names = [PARTING, *shown_columns(view.table.column_names)]
    st.session_state[_PICKER] = by or PARTING
    st.session_state[_DOWN] = descending
    with st.container(horizontal=True, vertical_alignment="center", key="table_controls"):
        st.html('<span class="ds-label">Sort by</span>', width="content")
        st.selectbox(
            "Sort by", names, key=_PICKER, label_visibility="collapsed", width=190,
            format_func=lambda name: name if name == PARTING else _plain(name, view),
            on_change=_picked,
        )  # fmt: skip
        st.toggle(
            "largest first", key=_DOWN, disabled=by is None, on_change=_turned, width="content"
        )
        st.space("stretch")
        if count > PAGE:
            last = min(start + PAGE, count)
            span = f"{thousands(start + 1)}–{thousands(last)} of{THIN}{thousands(count)}"
            st.button(
                "Previous", key="samples_before", disabled=start == 0, on_click=_turn, args=(-1,)
            )
            st.html(f'<span class="ds-label">{span}</span>', width="content")
            st.button(
                "Next", key="samples_after", disabled=last == count, on_click=_turn, args=(1,)
            )


def _plain(name: str, view: View) -> str:
    confidence = {"teacher_confidence": view.sides.left, "student_confidence": view.sides.right}
    if name in confidence:
        return f"p of {confidence[name]}’s answer"
    return column_title(name, view.sides)


def _picked() -> None:
    name = st.session_state[_PICKER]
    st.session_state[_SORT] = (None if name == PARTING else name, True)


def _turned() -> None:
    by, _ = st.session_state.get(_SORT, (None, True))
    st.session_state[_SORT] = (by, bool(st.session_state[_DOWN]))


def _turn(step: int) -> None:
    of, page = st.session_state[_PAGE]
    st.session_state[_PAGE] = (of, max(page + step, 0))


@st.cache_resource(max_entries=32, show_spinner=False)
def _ordered(
    key: tuple[str, bytes, str | None, bool, int], _asked: tuple[View, np.ndarray]
) -> np.ndarray:
    view, mask = _asked
    _, _, by, descending, start = key
    if by is None:
        kept = np.flatnonzero(mask)
        return np.asarray(kept[gallery_order(view.all.rows(kept))[start : start + PAGE]])
    return ordered_rows(
        view.table, mask, by=by, descending=descending, start=start, count=PAGE
    )  # fmt: skip


def _rows(view: View, mask: np.ndarray, by: str | None, descending: bool, start: int) -> np.ndarray:
    bits = np.packbits(mask).tobytes()
    return _ordered((view.key, bits, by, descending, start), (view, mask))


def _grid(view: View, rows: np.ndarray, by: str | None, descending: bool) -> None:
    shown = sample_rows(view.table, rows)
    key = f"samples_{abs(hash((view.key, by, descending, rows.tobytes()))) % 10**12}"
    names = list(shown)
    st.dataframe(
        shown, column_config={name: _column(name, view, by, descending) for name in names},
        hide_index=True, row_height=_HEIGHT, height=37 + _HEIGHT * min(len(rows), _SHOWN), key=key,
        selection_mode=["single-cell", "single-column"], placeholder="–",
        alt="Table of samples", on_select=lambda: _chosen(key, view, rows, by, descending),
    )  # fmt: skip


def _column(name: str, view: View, by: str | None, descending: bool) -> Any:
    arrow = "" if name != by else (" ↓" if descending else " ↑")
    title, said = f"{column_title(name, view.sides)}{arrow}", column_help(name)
    if COLUMNS[name].kind == "number":
        width = 70 if name.endswith("confidence") or name in ("kl", "js") else 120
        return st.column_config.NumberColumn(title, help=said, format="%.2f", width=width)
    return st.column_config.TextColumn(
        title, help=said, width="medium" if name == "sample_id" else None,
    )  # fmt: skip


def _chosen(key: str, view: View, rows: np.ndarray, by: str | None, descending: bool) -> None:
    chosen = st.session_state[key].selection
    if chosen.cells:
        open_page("inspect", sample=str(view.all.sample_ids[rows[chosen.cells[0][0]]]))
    elif chosen.columns:
        name = str(chosen.columns[0])
        number = COLUMNS[name].kind == "number"
        st.session_state[_SORT] = (name, not descending if name == by else number)


def sample_exports(view: View, mask: np.ndarray) -> list[Export]:
    """The rows of ``mask`` with all columns, as CSV and as Parquet."""
    name = f"{view.selection.student}-samples"

    def csv() -> str:
        return csv_text(view.table.filter(mask).to_pydict())

    def parquet() -> bytes:
        file = io.BytesIO()
        pq.write_table(view.table.filter(mask), file)
        return file.getvalue()

    return [
        Export("Samples shown, CSV", f"{name}.csv", csv),
        Export("Samples shown, Parquet", f"{name}.parquet", parquet),
    ]
