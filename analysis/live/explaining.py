"""Inside the worker: maps of one image, how alike they are, how far to trust them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.attribution.agreement import AGREEMENTS
from analysis.attribution.copies import InferenceCopy
from analysis.attribution.faithfulness import check_faithfulness
from analysis.attribution.hiding import check_by_hiding
from analysis.attribution.null import DRAWS, against_shifts
from analysis.attribution.pair import attribute_pair
from analysis.data.imageset import to_pixels
from analysis.live.requests import Attribute, Check, Checks, Curve, Explanation, Hiding
from analysis.records import AttributionMaps

# Somebody waits: a draw of this one costs a hundred times what the others' do.
_FEWER = {"earth_movers_distance": 19}


def explain(request: Attribute, left: InferenceCopy, student: InferenceCopy) -> Explanation:
    """Compute the three maps of the request's image, and how alike the two models' are."""
    maps = _maps(request, left, student)
    pair = maps["teacher"].values, maps["student"].values
    agreement: dict[str, tuple[float, float] | None] = {}
    for name in AGREEMENTS:
        chance = against_shifts(*pair, name, draws=_FEWER.get(name, DRAWS))
        value, p_value = float(chance.values[0]), float(chance.p_values[0])
        agreement[name] = (value, p_value) if np.isfinite(value) else None
    return Explanation(maps=maps, agreement=agreement)


def check(request: Attribute, left: InferenceCopy, student: InferenceCopy) -> Checks:
    """Check the maps of the request's image against the models."""
    maps = _maps(request, left, student)
    pixels = to_pixels(request.image[None])
    found = check_faithfulness(left, student, pixels, maps, scalar=request.scalar)
    hidden = check_by_hiding(left, student, pixels, maps["pair"].values)
    return Checks(
        maps={part: _check(record) for part, record in found.items()},
        hiding={part: _hiding(record) for part, record in hidden.items()},
        hidden=hidden["student"].count,
    )


def _maps(
    request: Attribute, left: InferenceCopy, student: InferenceCopy
) -> Mapping[str, AttributionMaps]:
    return attribute_pair(
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


def _check(found: Any) -> Check:
    return Check(
        shares=found.deletion.shares,
        deletion=_curve(found.deletion),
        insertion=_curve(found.insertion),
        infidelity=float(found.infidelity[0]),
        moved_infidelity=float(found.moved_infidelity[:, 0].mean()),
    )


def _curve(curves: Any) -> Curve:
    return Curve(
        values=curves.values[0], random=curves.random[:, 0], p_value=float(curves.p_values[0])
    )


def _hiding(found: Any) -> Hiding:
    usual, probability, times = found.usual(0)
    return Hiding(
        whole=_answer(found.whole[0]),
        top=_answer(found.top[0]),
        usual=(usual, probability),
        times=times,
        draws=len(found.random),
    )


def _answer(probabilities: np.ndarray) -> tuple[int, float]:
    best = int(probabilities.argmax())
    return best, float(probabilities[best])
