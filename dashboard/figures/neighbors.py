"""Nearest neighbors of one image as a row of thumbnails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dashboard.figures.gallery import picture_html
from dashboard.figures.numbers import escaped


def neighbors_html(
    samples: Sequence[str],
    classes: Sequence[str],
    distances: np.ndarray,
    picture: Callable[[str], str | None],
    link: Callable[[str], str],
) -> str:
    """Thumbnails with class and distance; ``link`` gives an address escaped for HTML.

    Where ``picture`` is None the sample's id stands in its place.
    """
    cells = [
        f'<a class="ds-link" href="{link(sample)}" target="_self" title="{escaped(sample, 120)}">'
        f"{picture_html(picture(sample), sample, escaped(sample, 120))}"
        f"<div>{escaped(name, 16)}</div><div class='ds-faint'>{distance:.2f}</div></a>"
        for sample, name, distance in zip(samples, classes, distances, strict=False)
    ]
    return f'<div class="ds-neighbors">{"".join(cells)}</div>'
