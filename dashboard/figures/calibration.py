"""Confidence and calibration: how often each model is right when it says it is sure."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from analysis.divergence.calibration import reliability
from dashboard.figures.chart import chart
from dashboard.figures.numbers import THIN, charted
from dashboard.figures.sides import TEACHING, Sides
from dashboard.loading import Pair
from dashboard.theme import Palette

HISTOGRAM_BINS = 15
_FEWEST_IN_BIN = 5


def reliability_figure(pair: Pair, colors: Palette, *, sides: Sides = TEACHING) -> go.Figure | None:
    """Accuracy against confidence of both models, with 95 % intervals; None without labels.

    Bins with fewer than 5 images are left out: their intervals span most of the axis.
    """
    if pair.teacher_correct is None or pair.student_correct is None or len(pair) == 0:
        return None
    figure = chart(colors, height=250)
    figure.add_scatter(
        x=[0, 100], y=[0, 100], mode="lines", hoverinfo="skip",
        line={"color": colors.reference, "width": 1, "dash": "dot"},
    )  # fmt: skip
    models = (
        (sides.left, pair.teacher_confidence, pair.teacher_correct, colors.teacher, "circle"),
        (sides.right, pair.student_confidence, pair.student_correct, colors.student, "square"),
    )
    for name, confidence, correct, color, symbol in models:
        bins = reliability(np.clip(confidence, 0, 1), correct)
        used = bins.count >= min(_FEWEST_IN_BIN, int(bins.count.max()))
        accuracy = 100 * bins.accuracy[used]
        figure.add_scatter(
            x=100 * bins.confidence[used], y=accuracy, name=charted(name), mode="lines+markers",
            line={"color": color, "width": 1.6},
            marker={"symbol": symbol, "size": 6, "color": color},
            error_y={
                "array": 100 * bins.high[used] - accuracy,
                "arrayminus": accuracy - 100 * bins.low[used],
                "width": 0, "thickness": 1, "color": color,
            },
            customdata=bins.count[used],
            hovertemplate=(
                f"{charted(name)} %{{x:.0f}}{THIN}% sure, right %{{y:.0f}}{THIN}%<br>"
                "%{customdata} images"
                "<extra></extra>"
            ),
        )  # fmt: skip
    figure.update_xaxes(range=[0, 102], title_text="confidence, %", dtick=25, showgrid=False)
    figure.update_yaxes(range=[0, 102], title_text="right, %", dtick=25)
    figure.update_layout(margin={"l": 50, "r": 14, "t": 6, "b": 36})
    return figure


def confidence_figure(pair: Pair, colors: Palette, *, sides: Sides = TEACHING) -> go.Figure:
    """Histogram of both models' confidence, the teacher's upwards, the student's downwards."""
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    middle = 50 * (edges[1:] + edges[:-1])
    figure = chart(colors, height=130, bargap=0.06, barmode="overlay")
    shares = {}
    for name, values, color, sign in (
        (charted(sides.left, 7), pair.teacher_confidence, colors.teacher, 1),
        (charted(sides.right, 7), pair.student_confidence, colors.student, -1),
    ):
        counts = np.histogram(values, bins=edges)[0]
        shares[sign] = 100 * counts / max(len(pair), 1)
        figure.add_bar(
            x=middle, y=sign * shares[sign], marker={"color": color, "line": {"width": 0}},
            customdata=np.column_stack([counts, 100 * edges[:-1], 100 * edges[1:]]),
            hovertemplate=(
                f"{name} %{{customdata[1]:.0f}} to %{{customdata[2]:.0f}}{THIN}% sure: "
                "%{customdata[0]} images<extra></extra>"
            ),
        )  # fmt: skip
        figure.add_annotation(
            x=0, xref="paper", xshift=-5, y=0, text=name, showarrow=False, xanchor="right",
            yanchor="bottom" if sign > 0 else "top", font={"size": 11, "color": color},
        )  # fmt: skip
    top = 1.06 * max(float(np.max(values, initial=1.0)) for values in shares.values())
    figure.update_xaxes(range=[0, 100], tickvals=[0, 25, 50, 75, 100], showgrid=False)
    figure.update_yaxes(range=[-top, top], showticklabels=False, showgrid=False)
    figure.add_hline(y=0, line={"color": colors.edge, "width": 1})
    figure.update_layout(margin={"l": 50, "r": 14, "t": 4, "b": 22})
    return figure
