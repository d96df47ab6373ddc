"""What an audit found out about one student: the record that pages, reports and remedies read.

In a study it lies under ``audit/<student>``; the recovered triggers are arrays under
``audit/<student>/<family>/<part>``, one row per class. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from analysis.records import Finding, PKind
from analysis.store import Study

Verdict = Literal["no_evidence_found", "suspicious", "backdoored"]
VERDICTS: tuple[Verdict, ...] = ("no_evidence_found", "suspicious", "backdoored")


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySizes:
    """The smallest trigger of one family for every class, K of them.

    ``log_size`` (K,) natural logarithm of the size at which the trigger works, in ``unit``;
    ``censored`` (K,) whether that is a bound: the search gave the class up, or came to its end
    and found nothing smaller than what the family allows. ``flip_student`` and ``flip_teacher``
    (K,) shares of unseen images answered with the class, NaN where nothing was found.
    ``references`` (R, K) and ``references_censored`` (R, K) are the same of the reference
    students.
    """

    unit: str
    log_size: np.ndarray
    censored: np.ndarray
    flip_student: np.ndarray
    flip_teacher: np.ndarray
    references: np.ndarray
    references_censored: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """Return lists; NaN, which JSON lacks, is None."""
        return {"unit": self.unit, **{key: _list(getattr(self, key)) for key in _ARRAYS}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FamilySizes:
        """Read what :meth:`to_json` wrote."""
        classes = len(data["log_size"])
        arrays: dict[str, np.ndarray] = {
            key: np.array(data[key], dtype=kind) for key, kind in _ARRAYS.items()
        }
        for key in ("references", "references_censored"):
            arrays[key] = arrays[key].reshape(-1, classes)
        return cls(unit=data["unit"], **arrays)


_ARRAYS: Mapping[str, type] = {
    "log_size": float,
    "censored": bool,
    "flip_student": float,
    "flip_teacher": float,
    "references": float,
    "references_censored": bool,
}


def _list(values: np.ndarray) -> list[Any]:
    if values.ndim > 1:
        return [_list(row) for row in values]
    return [None if isinstance(item, float) and item != item else item for item in values.tolist()]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """The verdict on one student, and everything it rests on.

    ``p_value`` and ``p_kind`` are those of the primary test, named beforehand; ``p_floor`` is
    the smallest p-value that the number of references allows. ``evidence`` lists every test,
    the primary one first; ``not_tested`` says in plain words what was not covered.
    ``mad_index`` is displayed only. ``null_fit`` holds accuracy and agreement of student and
    references, and ``note``, a sentence where the null may not fit. ``settings`` is the
    configuration of the search, ``trusted`` how the trusted images were used.
    """

    student: str
    verdict: Verdict
    target_class: int | None
    p_value: float | None
    p_kind: PKind | None
    p_floor: float | None
    evidence: tuple[Finding, ...]
    not_tested: tuple[str, ...]
    budget: str
    seconds_subject: float
    seconds_references: float
    classes: Mapping[str, FamilySizes]
    mad_index: float | None = None
    null_fit: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    trusted: Mapping[str, Any] = field(default_factory=dict)
    sentence: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict {self.verdict!r} is not one of {', '.join(VERDICTS)}")
        for name in ("classes", "null_fit", "settings", "trusted"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def primary(self) -> Finding | None:
        """The primary test, or None when it was not run."""
        return next((finding for finding in self.evidence if finding.primary), None)

    @property
    def family(self) -> str | None:
        """The family of the trigger that the primary test points to, or None."""
        return self.settings.get("family")

    @property
    def trigger_family(self) -> str | None:
        """The family whose recovered trigger stands for :attr:`target_class`, or None.

        That of the primary test where it points to this class, else (only other evidence does)
        the one whose trigger for it moves most unseen images; a family that moves none has no
        trigger.
        """
        if self.target_class is None:
            return None
        moved = {
            family: float(np.nan_to_num(sizes.flip_student[self.target_class]))
            for family, sizes in self.classes.items()
        }
        own = self.primary is not None and self.primary.target_class == self.target_class
        if own and self.family is not None and moved.get(self.family, 0.0) > 0:
            return self.family
        best = max(moved, key=lambda family: moved[family], default=None)
        return best if best is not None and moved[best] > 0 else None

    def to_json(self) -> dict[str, Any]:
        """Return what a study keeps under ``audit/<student>``."""
        values = {name: getattr(self, name) for name in self.__slots__}
        values["evidence"] = [finding.to_json() for finding in self.evidence]
        values["not_tested"] = list(self.not_tested)
        values["classes"] = {name: sizes.to_json() for name, sizes in self.classes.items()}
        return {k: dict(v) if isinstance(v, MappingProxyType) else v for k, v in values.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AuditReport:
        """Read what :meth:`to_json` wrote; fields of a later release are left out."""
        values = {name: data[name] for name in cls.__slots__ if name in data}
        values["evidence"] = tuple(Finding.from_json(item) for item in data["evidence"])
        values["not_tested"] = tuple(data["not_tested"])
        values["classes"] = {
            name: FamilySizes.from_json(sizes) for name, sizes in data["classes"].items()
        }
        return cls(**values)


def read_audit(study: Study, student: str) -> AuditReport | None:
    """Return the audit of ``student`` as ``study`` holds it, or None when there is none."""
    data = study.record(f"audit/{student}")
    return None if data is None else AuditReport.from_json(data)


def recovered(study: Study, student: str, family: str) -> dict[str, np.ndarray]:
    """Return the recovered triggers of ``family`` by part, one row per class, memory-mapped.

    ``mask`` and ``coarse``: ``mask`` (K, H, W) and ``pattern`` (K, H, W, C), both in [0, 1]; an
    image x becomes x (1 - mask) + pattern mask. ``spatial`` and ``frequency``: ``delta``
    (K, H, W, C), added and clipped to [0, 1]. ``warp``: ``flow`` (K, H, W, 2), where each pixel is
    taken from, as (down, right) in pixels. Every family has ``example`` (K, n, H, W, C) uint8:
    trusted images that carry it.
    """
    prefix = f"audit/{student}/{family}/"
    return {
        key.removeprefix(prefix): study.array(key)
        for key in study.manifest.arrays
        if key.startswith(prefix)
    }
