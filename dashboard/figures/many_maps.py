"""How alike the maps of two models are, over many images."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dashboard.figures.chart import chart
from dashboard.figures.numbers import count_of, nats
from dashboard.theme import Palette

_BINS = np.linspace(-1, 1, 21)


def agreement_figure(correlation: np.ndarray, agree: np.ndarray, colors: Palette) -> go.Figure:
    """Histogram of rank correlations (n,): images with one answer below, with two above.

    A dashed line stands at the median. Correlations that are not defined are left out.
    """
    figure = chart(colors, height=190, barmode="stack", bargap=0.08)
    known = np.isfinite(correlation)
    parts = ((agree, colors.reference, "same answer"), (~agree, colors.alarm, "different answers"))
    for mask, color, words in parts:
        counts, _ = np.histogram(correlation[known & mask], bins=_BINS)
        figure.add_bar(
            x=(_BINS[:-1] + _BINS[1:]) / 2, y=counts, marker={"color": color}, hoverinfo="text",
            hovertext=[
                f"{count_of(int(count), 'image')} with {words}, {low:.1f} to {high:.1f}"
                for count, low, high in zip(counts, _BINS[:-1], _BINS[1:], strict=True)
            ],
        )  # fmt: skip
    if known.any():
        middle = float(np.median(correlation[known]))
        side = ("left", 4) if middle < 0.5 else ("right", -4)
        figure.add_vline(x=middle, line={"dash": "dash", "width": 1, "color": colors.text})
        figure.add_annotation(
            x=middle, y=1, yref="paper", text=f"median {nats(middle)}", showarrow=False,
            xanchor=side[0], yanchor="top", xshift=side[1], font={"size": 11},
        )  # fmt: skip
    figure.update_xaxes(range=[-1, 1], title={"text": "rank correlation of the two maps"})
    most = int(np.histogram(correlation[known], bins=_BINS)[0].max(initial=1))
    figure.update_yaxes(title={"text": "images"}, range=[0, 1.3 * most])
    figure.update_layout(margin={"l": 44, "r": 10, "t": 8, "b": 40})
    return figure
