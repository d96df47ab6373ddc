"""Small pictures of deletion and insertion curves beside those of random orders."""

from __future__ import annotations

import base64

import numpy as np

from dashboard.theme import Palette

BETTER = 0.1
"""With nine random orders 0.1 is the smallest p there can be; a rule of display."""
_WIDTH, _HEIGHT, _EDGE = 120, 34, 2


def curve_picture(
    shares: np.ndarray, values: np.ndarray, random: np.ndarray, color: str, colors: Palette
) -> str:
    """A curve (S,) over the range of ``random`` orders (R, S), as an SVG data URI.

    The scale spans all of them; a hairline marks 0 where it lies inside.
    """
    low = float(min(values.min(), random.min()))
    high = float(max(values.max(), random.max()))
    span = max(high - low, 1e-9)

    def place(x: float, y: float) -> str:
        across = _EDGE + (_WIDTH - 2 * _EDGE) * x
        return f"{across:.1f},{_EDGE + (_HEIGHT - 2 * _EDGE) * (high - y) / span:.1f}"

    def line(row: np.ndarray) -> list[str]:
        return [place(x, y) for x, y in zip(shares.tolist(), row.tolist(), strict=True)]

    top, bottom = line(random.max(axis=0)), line(random.min(axis=0))
    zero = ""
    if low < 0 < high:
        start, end = place(0, 0), place(1, 0)
        zero = (
            f'<line x1="{start.split(",")[0]}" x2="{end.split(",")[0]}" y1="{start.split(",")[1]}" '
            f'y2="{end.split(",")[1]}" stroke="{colors.edge}"/>'
        )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}">'
        f'<polygon points="{" ".join([*top, *reversed(bottom)])}" fill="{colors.null_band}"/>{zero}'
        f'<polyline points="{" ".join(line(values))}" fill="none" stroke="{color}" '
        'stroke-width="1.75"/></svg>'
    )
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
