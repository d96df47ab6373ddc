"""Thumbnails of samples with both answers, as links that open Inspect."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dashboard.figures.numbers import escaped
from dashboard.figures.sides import TEACHING, Sides
from dashboard.loading import Pair

MOST = 60


def gallery_order(pair: Pair) -> np.ndarray:
    """Rows by how far the two part: different answers first, then the larger KL."""
    return np.lexsort((-pair.kl, pair.agree))


def gallery_html(
    pair: Pair,
    rows: np.ndarray,
    class_names: Sequence[str],
    picture: Callable[[str], str | None],
    link: Callable[[str], str],
    *,
    sides: Sides = TEACHING,
) -> str:
    """A grid of ``rows``; ``picture`` and ``link`` give the addresses for a sample id.

    ``link`` comes escaped for HTML; where ``picture`` is None the sample's id stands in its place.
    """
    cells = []
    for row in rows.tolist():
        sample = str(pair.sample_ids[row])
        title = escaped(sample, 120)
        teacher = escaped(class_names[pair.teacher_answer[row]], 24)
        student = escaped(class_names[pair.student_answer[row]], 24)
        alt = f"{title}: {escaped(sides.left)} {teacher}, {escaped(sides.right)} {student}"
        shown = picture_html(picture(sample), sample, alt, lazy=True)
        cells.append(
            f'<a class="ds-link" href="{link(sample)}" target="_self" title="{title}">{shown}'
            f'<div class="ds-teacher"><span class="ds-circle"></span>{teacher}</div>'
            f'<div class="ds-student"><span class="ds-square"></span>{student}</div></a>'
        )
    return f'<div class="ds-gallery">{"".join(cells)}</div>'


def picture_html(address: str | None, sample: str, alt: str, *, lazy: bool = False) -> str:
    """A picture, or the sample's id in words where there is none; ``alt`` comes escaped."""
    if address is None:
        short = escaped(sample.rpartition("/")[2], 40)
        return f'<div class="ds-nopicture" title="no picture">{short}</div>'
    loading = ' loading="lazy"' if lazy else ""
    return f'<img src="{escaped(address, 8000)}"{loading} alt="{alt}">'
