"""What all plotly charts share: fonts, margins, grid, one button that saves the picture.

No chart uses a GL trace: those need ``unsafe-eval``, which the server's policy forbids.
"""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from dashboard.theme import Palette

CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "modeBarButtons": [["toImage"]],
    "scrollZoom": False,
    "toImageButtonOptions": {"format": "svg", "filename": "distillscope"},
}
FONT = "IBM Plex Sans, sans-serif"


def chart(colors: Palette, height: int, **layout: Any) -> go.Figure:
    """An empty figure of ``height`` pixels in this theme."""
    figure = go.Figure()
    axis = {
        "gridcolor": colors.hairline,
        "linecolor": colors.hairline,
        "zeroline": False,
        "fixedrange": True,
        "tickfont": {"size": 11, "color": colors.secondary},
        "title": {"font": {"size": 11, "color": colors.secondary}, "standoff": 6},
    }
    figure.update_layout(
        height=height,
        margin={"l": 40, "r": 8, "t": 8, "b": 30},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 12, "color": colors.text},
        hoverlabel={
            "bgcolor": colors.background,
            "bordercolor": colors.edge,
            "font": {"family": FONT, "size": 12, "color": colors.text},
        },
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": colors.faint, "activecolor": colors.text},
        showlegend=False,
        dragmode=False,
    )
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    figure.update_layout(**layout)
    return figure


def scale_of(colors: tuple[str, ...]) -> list[tuple[float, str]]:
    """A plotly color scale with ``colors`` at equal distances."""
    return [(index / (len(colors) - 1), color) for index, color in enumerate(colors)]
