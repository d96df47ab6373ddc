"""Inside the worker: maps of one image, how alike they are, how far to trust them."""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.attribution.agreement import rank_correlation, top_overlap
from analysis.attribution.copies import InferenceCopy
from analysis.attribution.pair import attribute_pair
from analysis.data.imageset import to_pixels
from analysis.live.requests import Attribute, Explanation


def explain(request: Attribute, left: InferenceCopy, student: InferenceCopy) -> Explanation:
    """Compute the three maps of the request's image and what they are worth."""
    maps = attribute_pair(
        left,
        student,
        to_pixels(request.image[None]),
        request.student_class,
        teacher_class=request.left_class,
        method=request.method,
        baseline=request.baseline,
        scalar=request.scalar,
        sample_ids=[request.sample_id],
    )
    return Explanation(
        maps=maps, agreement=agreement_of(maps["teacher"].values, maps["student"].values)
    )


def agreement_of(left: np.ndarray, student: np.ndarray) -> dict[str, float | None]:
    """Measures of how alike two maps (1, H, W) are."""
    measures = {"rank_correlation": rank_correlation, "top_overlap": top_overlap}
    return {name: _number(measure(left, student)[0]) for name, measure in measures.items()}


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
