"""What the Save menu offers: every figure that a page has shown, and the page's own tables.

A page shows a chart with :func:`show_chart`, which also keeps it; other figures it keeps with
:func:`keep`. A figure that is drawn again (in a fragment, live) takes the place of the one kept
before, so that a file always shows what the screen shows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from dashboard.comparison import Comparison
from dashboard.components.pair_map.points import PairPoints, PointColors
from dashboard.context import Export, View
from dashboard.drawing import Drawing, drawing_of, pair_drawing, png, strip_drawing, svg
from dashboard.figures.chart import CONFIG
from dashboard.figures.numbers import markdown
from dashboard.figures.tables import csv_text, map_columns, pixel_columns, plotted_columns
from dashboard.report import report_html
from dashboard.theme import Palette

WIDTH = 720.0
_KEPT = "kept_figures"
_MIME = {
    "csv": "text/csv",
    "svg": "image/svg+xml",
    "png": "image/png",
    "html": "text/html",
    "parquet": "application/vnd.apache.parquet",
}


@dataclass(frozen=True, slots=True)
class Kept:
    """A figure that a page has shown: how it is drawn, and its data as columns."""

    title: str
    draw: Callable[[], Drawing]
    columns: Callable[[], dict[str, list[Any]]]


def begin() -> None:
    """Forget what another page, or this one before, has shown."""
    st.session_state[_KEPT] = {}


def keep(key: str, figure: Kept) -> None:
    """Offer ``figure`` in the Save menu; one with the same ``key`` is replaced."""
    st.session_state.setdefault(_KEPT, {})[key] = figure


def show_chart(
    figure: go.Figure, colors: Palette, *, key: str, title: str, alt: str, **options: Any
) -> None:
    """Show a chart of ours and keep it under ``title``; ``options`` are Streamlit's."""
    keep(
        key,
        Kept(
            title,
            lambda: drawing_of(figure, width=WIDTH, background=colors.background),
            lambda: plotted_columns(figure),
        ),
    )
    st.plotly_chart(figure, theme=None, config=CONFIG, key=key, alt=alt, **options)


def keep_maps(
    key: str,
    title: str,
    points: PairPoints,
    color: PointColors,
    titles: Sequence[str],
    colors: Palette,
    *,
    highlight: np.ndarray | None = None,
    frame: tuple[float, float, float, float] | None = None,
) -> None:
    """Keep both linked maps as they are shown; arguments are those of the component."""
    keep(
        key,
        Kept(
            title,
            lambda: pair_drawing(points, color, titles, colors, highlight=highlight, frame=frame),
            lambda: map_columns(points),
        ),
    )


def keep_pictures(
    key: str,
    title: str,
    pictures: Sequence[tuple[str, str]],
    colors: Palette,
    values: Mapping[str, np.ndarray],
) -> None:
    """Keep ``pictures`` (title, PNG data URI) beside one another, and the numbers behind them."""
    draw, columns = lambda: strip_drawing(pictures, colors), lambda: pixel_columns(values)
    keep(key, Kept(title, draw, columns))


def kept_exports(stem: str) -> list[Export]:
    """Every figure kept so far as CSV, SVG and PNG, made from what is shown when asked for."""
    kept: dict[str, Kept] = st.session_state.get(_KEPT, {})
    names = file_names([figure.title for figure in kept.values()])
    return [
        export
        for key, name in zip(kept, names, strict=True)
        for export in _exports(kept, key, f"{stem}-{name}")
    ]


def file_names(titles: Sequence[str]) -> list[str]:
    """A name of a file for each title; those of alike titles are counted: ``map``, ``map-2``."""
    names: list[str] = []
    for title in titles:
        slug = _slug(title)
        counted = (f"{slug}-{count}" for count in itertools.count(2))
        names.append(next(name for name in itertools.chain([slug], counted) if name not in names))
    return names


def _exports(kept: dict[str, Kept], key: str, name: str) -> list[Export]:
    title = kept[key].title
    return [
        Export(f"{title}, CSV", f"{name}.csv", lambda: csv_text(kept[key].columns())),
        Export(f"{title}, SVG", f"{name}.svg", lambda: svg(kept[key].draw(), fonts=True)),
        Export(f"{title}, PNG", f"{name}.png", lambda: png(kept[key].draw())),
    ]


def _slug(title: str) -> str:
    kept = "".join(c if c.isalnum() and c.isascii() else "-" for c in title.lower())
    return "-".join(part for part in kept.split("-") if part)


def report_export(view: View) -> Export:
    """The report of what is chosen, about all images."""
    chosen = view.selection
    comparison = Comparison.of(
        view.study, student=chosen.student, left=view.left, condition=chosen.condition
    )
    name = f"{chosen.student}-{chosen.condition}-report.html"
    return Export("This comparison as a report, HTML", name, lambda: report_html(comparison))


def save_menu(view: View, tables: Sequence[Export]) -> None:
    """The Save menu: the report, then a row for each figure or table with its formats."""
    figures = kept_exports(view.selection.student)
    rows: dict[str, list[Export]] = {}
    for export in [report_export(view), *tables, *figures]:
        files = rows.setdefault(export.label.rpartition(", ")[0], [])
        if export.kind not in {other.kind for other in files}:  # a page's own table goes first
            files.append(export)
    with st.popover("Save", key="save_menu"):
        for place, (title, files) in enumerate(rows.items()):
            with st.container(horizontal=True, gap="small", key=f"save_row_{place}"):
                for first, export in enumerate(files):
                    _button(export, export.label if first == 0 else export.kind.upper(), title)


def _button(export: Export, label: str, title: str) -> None:
    st.download_button(
        markdown(label, 90), export.make, file_name=export.file_name, mime=_MIME[export.kind],
        on_click="ignore", key=f"save_{export.file_name}", type="tertiary",
        help=f"{markdown(title, 80)} as {export.kind.upper()}",
    )  # fmt: skip
