"""How much of a change it takes, and how an answer came about over the epochs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import plotly.graph_objects as go

from dashboard.figures.chart import chart
from dashboard.figures.numbers import THIN, charted, probability
from dashboard.theme import Palette

Role = Literal["left", "student", "other"]
_LINE = 11
"""How far apart two names stand, in points of the axis from 0 to 100."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One model's probabilities (S,) along an axis."""

    name: str
    values: np.ndarray
    role: Role


def sweep_figure(
    strengths: Sequence[float],
    curves: Sequence[Curve],
    *,
    now: float,
    axis: str,
    colors: Palette,
) -> go.Figure:
    """Probability of one class, in %, as a change grows; a dashed line where it stands ``now``."""
    figure = _percent_chart(colors, 210)
    for curve in curves:
        _add(figure, list(strengths), curve, colors)
    figure.add_vline(x=now, line={"dash": "dash", "width": 1, "color": colors.text})
    figure.update_xaxes(title={"text": axis}, range=[strengths[0], strengths[-1]], zeroline=False)
    _label_ends(figure, float(strengths[-1]), curves, colors)
    return figure


def epochs_figure(
    epochs: Sequence[int], student: np.ndarray, left: float, *, left_name: str, colors: Palette
) -> go.Figure:
    """Probability of one class by epoch, in %, with the left model's as a level line."""
    figure = _percent_chart(colors, 150)
    _add(figure, list(epochs), Curve(name="student", values=student, role="student"), colors)
    figure.data[-1].update(mode="lines+markers", marker={"symbol": "square", "size": 6})
    level = np.full(2, left)
    ends = [epochs[0], epochs[-1]]
    _add(figure, ends, Curve(name=left_name, values=level, role="left"), colors)
    figure.data[-1].line.dash = "dot"
    below = 100 * left > 85
    figure.add_annotation(
        x=epochs[-1], y=100 * left - 12 if below else 100 * left + 12, text=charted(left_name, 22),
        showarrow=False, xanchor="right", font={"size": 11, "color": colors.teacher},
    )  # fmt: skip
    figure.update_xaxes(title={"text": "epoch"}, tickvals=list(epochs))
    return figure


def _percent_chart(colors: Palette, height: int) -> go.Figure:
    figure = chart(colors, height=height)
    figure.update_yaxes(range=[-3, 103], tickvals=[0, 25, 50, 75, 100])
    figure.update_layout(margin={"l": 32, "r": 10, "t": 8, "b": 36})
    return figure


def _add(figure: go.Figure, x: list[float] | list[int], curve: Curve, colors: Palette) -> None:
    color = _color(curve.role, colors)
    figure.add_scatter(
        x=x, y=100 * curve.values, mode="lines", hoverinfo="text",
        line={"color": color, "width": 1.5 if curve.role == "other" else 2},
        hovertext=[
            f"{charted(curve.name, 30)}: {probability(value)}{THIN}% at {place:g}"
            for place, value in zip(x, curve.values, strict=True)
        ],
    )  # fmt: skip


def _color(role: Role, colors: Palette) -> str:
    return {"left": colors.teacher, "student": colors.student, "other": colors.reference}[role]


def _label_ends(figure: go.Figure, end: float, curves: Sequence[Curve], colors: Palette) -> None:
    """Name the curves at their right ends, apart from one another, above low and below high."""
    heights = [100 * float(curve.values[-1]) for curve in curves]
    places = np.asarray([h + 7 if h < 85 else h - 14 for h in heights])
    order = np.argsort(places, kind="stable")
    for before, after in itertools.pairwise(order):
        places[after] = max(places[after], places[before] + _LINE)
    places -= max(0.0, float(places.max()) - 97)
    for curve, place in zip(curves, places, strict=True):
        figure.add_annotation(
            x=end, y=place, text=charted(curve.name, 22), showarrow=False, xanchor="right",
            yanchor="middle", font={"size": 11, "color": _color(curve.role, colors)},
            bgcolor=colors.background,  # where the line of now runs through it
        )  # fmt: skip
