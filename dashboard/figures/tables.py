"""Tables: what a figure shows as columns, and any columns as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.components.pair_map.points import PairPoints
from dashboard.drawing.words import plain

_PLOTTED = ("series", "x", "y", "value", "x_low", "x_high", "y_low", "y_high")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def plotted_columns(figure: go.Figure) -> dict[str, list[Any]]:
    """What a chart draws as columns: one row per mark, bar or cell, with its error bars.

    Categories are named as the axis names them. What only decorates (nothing to point at, no
    name) is left out, unless the chart holds nothing else.
    """
    table: dict[str, list[Any]] = {name: [] for name in _PLOTTED}
    named = [_categories(axis) for axis in (figure.layout.xaxis, figure.layout.yaxis)]
    told = [t for t in figure.data if t.type == "heatmap" or t.hoverinfo != "skip"]
    for place, trace in enumerate(told or figure.data):
        for row in _rows(trace):
            cells = (trace.name or f"{trace.type} {place + 1}", *row)
            for name, cell in zip(_PLOTTED, cells, strict=True):
                table[name].append(cell)
    for name, words in zip(("x", "y"), named, strict=True):
        table[name] = [words.get(value, value) for value in table[name]]
    return {name: cells for name, cells in table.items() if any(c is not None for c in cells)}


def map_columns(points: PairPoints) -> dict[str, list[Any]]:
    """Both maps' places of every image, and what the two models answer.

    Clean images that lie beneath those of another condition are left out.
    """
    under = np.zeros(len(points), bool) if points.backdrop is None else points.backdrop
    rows = np.flatnonzero(~np.asarray(under, bool))
    names = [str(name) for name in points.class_names]
    ids = np.asarray(points.sample_ids, dtype=object)[rows]
    table: dict[str, list[Any]] = {"sample": [str(name) for name in ids]}
    for side, layout in (
        ("teacher", points.layout("teacher")),
        ("student", points.layout("student")),
    ):
        table[f"{side}_x"], table[f"{side}_y"] = layout[rows].T.tolist()
    answers = (("teacher", points.teacher_answers), ("student", points.student_answers))
    for side, given in answers:
        table[f"{side}_answer"] = [names[index] for index in np.asarray(given)[rows].tolist()]
    if points.labels is not None:
        labels = np.asarray(points.labels)[rows].tolist()
        table["label"] = [names[index] if index >= 0 else "" for index in labels]
    return table | {"kl": np.asarray(points.kl)[rows].tolist()}


def pixel_columns(values: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
    """Pictures as numbers: one row per pixel (and channel) of each picture (H, W) or (H, W, C)."""
    table: dict[str, list[Any]] = {n: [] for n in ("picture", "row", "column", "channel", "value")}
    for name, picture in values.items():
        for (row, column, channel), value in np.ndenumerate(np.atleast_3d(picture)):
            cells = (name, row, column, channel, float(value))
            for key, cell in zip(table, cells, strict=True):
                table[key].append(cell)
    return table


def _categories(axis: Any) -> dict[float, str]:
    if axis.tickvals is None or axis.ticktext is None:
        return {}
    texts = [plain(str(text)) for text in axis.ticktext]
    named = dict(zip(map(float, axis.tickvals), texts, strict=True))
    # Numbers that are only written otherwise ("50%") stay numbers.
    return {} if all(text.rstrip("%").replace(".", "", 1).isdigit() for text in texts) else named


def _rows(trace: Any) -> list[tuple[Any, ...]]:
    if trace.type == "heatmap":
        values = np.asarray(trace.z, dtype=np.float64)
        return [
            (float(trace.x[c]), float(trace.y[r]), float(values[r, c]), *[None] * 4)
            for r, c in np.argwhere(np.isfinite(values)).tolist()
        ]
    ends = [*_ends(trace, "x"), *_ends(trace, "y")]
    points = zip(map(float, trace.x), map(float, trace.y), *ends, strict=True)
    return [(x, y, None, *bounds) for x, y, *bounds in points]


def _ends(trace: Any, name: str) -> list[list[float | None]]:
    count = len(trace.x)
    bar = None if trace.type == "bar" else trace[f"error_{name}"]
    if bar is None or bar.array is None:
        return [[None] * count, [None] * count]
    values, low, high = trace[name], bar.arrayminus, bar.array
    return [
        [float(v - d) for v, d in zip(values, low, strict=True)],
        [float(v + d) for v, d in zip(values, high, strict=True)],
    ]


def csv_text(columns: Mapping[str, Sequence[Any]]) -> str:
    """``columns`` as CSV; a text that a spreadsheet would run as a formula gets a quote first."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([_inert(value) for value in row])
    return file.getvalue()


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
