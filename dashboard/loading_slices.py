"""From a study to the slices that it found, with what reference students do on them.

Knows no Streamlit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.divergence.slices import halves
from analysis.errors import InputError
from analysis.records import CLEAN, Interval
from analysis.store.study import Study

_PREFIX = "slices/"
_MOST = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRow:
    """One slice: its words, its size, how far the two agree on it.

    ``n`` samples in all; ``agreement`` and ``rest`` are of the ``n_tested`` on the half of the
    samples that was not searched, ``references`` the agreement of each reference student with the
    teacher on all of them. ``to`` is the class that most of its changed answers change to, or None.
    """

    id: str
    words: str
    meaning: str
    first: str | None
    n: int
    n_tested: int
    agreement: Interval
    rest: float
    p_value: float
    precision: float
    recall: float
    grouped: bool
    to: int | None
    references: Sequence[float] = ()

    @property
    def gap(self) -> float:
        """How much less the two agree than the references do, without any than elsewhere."""
        expected = float(np.mean(self.references)) if len(self.references) else self.rest
        return expected - self.agreement.value


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceList:
    """What the search for slices found: ``rows``, the largest gap first, of ``candidates``."""

    rows: tuple[SliceRow, ...]
    candidates: int
    n_tested: int
    agreement: float | None
    alpha: float


def slice_list(study: Study, student: str, condition: str = CLEAN) -> SliceList | None:
    """The slices of ``student`` on ``condition``, or None where nobody looked for any."""
    record = study.record(f"{_PREFIX}{student}/{condition}")
    if record is None:
        return None
    found = record["slices"]
    agreements = _references(study, condition) if found else {}
    rows = []
    for at, item in enumerate(found):
        inside = np.asarray(study.array(f"{_PREFIX}{student}/{condition}/members")[at])
        # As the student's: on the images that were not searched.
        seed = record.get("seed", study.manifest.config.get("seed", 0))
        inside = np.intersect1d(np.flatnonzero(inside), halves(len(inside), seed)[1])
        rows.append(_row(item, [float(same[inside].mean()) for same in agreements.values()]))
    if agreements:
        rows.sort(key=lambda row: -row.gap)
    return SliceList(
        rows=tuple(rows),
        candidates=int(record["candidates"]),
        n_tested=int(record["n_tested"]),
        agreement=record["agreement"],
        alpha=float(record["alpha"]),
    )


def _row(item: Mapping[str, Any], references: Sequence[float]) -> SliceRow:
    agreement = Interval.from_json(item["agreement"])
    assert agreement is not None
    predicates = item["predicates"]
    named = next((part["words"] for part in predicates if part["variable"] == "class"), None)
    to, count = item["destination"]
    return SliceRow(
        id=item["id"],
        words=item["words"],
        meaning="; ".join(part["meaning"] for part in predicates),
        first=named,
        n=item["n"],
        n_tested=item["n_tested"],
        agreement=agreement,
        rest=item["rest"],
        p_value=item["p_value"],
        precision=item["precision"],
        recall=item["recall"],
        grouped=item["grouped"],
        to=to if count > _MOST * item["n_differ"] else None,
        references=tuple(references),
    )


def _references(study: Study, condition: str) -> dict[str, np.ndarray]:
    """Whether each reference student gives the teacher's answer, on the images of ``condition``."""
    found = {}
    for name, model in study.models.items():
        if model.role == "reference" and f"{name}/{condition}" in study.manifest.samples:
            table = study.samples(name, condition)
            found[name] = np.asarray(table["agreement"].to_numpy(zero_copy_only=False), dtype=bool)
    return found


def _find(study: Study, wanted: str) -> tuple[str, int, Mapping[str, Any]]:
    """Key of the search, place in it and record of the slice ``wanted``."""
    for key, record in study.manifest.records.items():
        if key.startswith(_PREFIX):
            for at, item in enumerate(record["slices"]):
                if item["id"] == wanted:
                    return key, at, item
    raise InputError(f"slice {wanted} is not in this study", remedy="choose another one")


def slice_members(study: Study, wanted: str) -> frozenset[str]:
    """Sample ids of a slice; :class:`InputError` when the study holds no such slice."""
    key, at, _ = _find(study, wanted)
    condition = key.rsplit("/", 1)[1]
    inside = np.asarray(study.array(f"{key}/members")[at])
    return frozenset(str(name) for name in study.condition_ids(condition)[inside])


def slice_words(study: Study, wanted: str) -> str:
    """The description of a slice; of an unknown one only that it is one."""
    try:
        return f"slice: {_find(study, wanted)[2]['words']}"
    except InputError:
        return "a slice"
