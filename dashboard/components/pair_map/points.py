"""What the two maps show: the points, and how they are colored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np

from analysis.digest import digest_bytes
from analysis.errors import InputError
from dashboard.selection import Lasso

from .columns import NO_CLASS, class_codes, encode_columns, text_columns

RAMP_STEPS = 255


@dataclass(frozen=True, eq=False, kw_only=True)
class PairPoints:
    """N samples in two layouts that share one frame, with what the hover card says about them.

    ``teacher_xy`` and ``student_xy`` (N, 2) finite; answers and ``labels`` (N,) class indices
    (labels may be missing, single ones -1); probabilities (N,) of those answers in [0, 1]; ``kl``
    (N,) in nats; ``has_trigger`` (N,) bool draws a diamond; ``far`` (N, 2) bool draws it hollow
    on the teacher's map, the student's: its place there says little. ``backdrop`` (N,) bool lies
    pale beneath and cannot be selected. ``thumbnail_url`` is a path with ``{index}`` for the
    row, or for ``thumbnail_index`` (N,) where the rows are not the images.
    Raises :class:`InputError` for arrays of other lengths, coordinates that are not finite and
    no points at all. Digest and bytes are computed once: keep the object between reruns.
    """

    teacher_xy: np.ndarray
    student_xy: np.ndarray
    sample_ids: np.ndarray | Sequence[str]
    class_names: Sequence[str]
    teacher_answers: np.ndarray
    student_answers: np.ndarray
    teacher_probabilities: np.ndarray
    student_probabilities: np.ndarray
    kl: np.ndarray
    labels: np.ndarray | None = None
    has_trigger: np.ndarray | None = None
    far: np.ndarray | None = None
    backdrop: np.ndarray | None = None
    shape_names: tuple[str, str] = ("clean", "with the trigger")
    thumbnail_url: str | None = None
    thumbnail_index: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.sample_ids)
        if count == 0:
            raise InputError("no points for the maps", remedy="widen the filter")
        for name in ("teacher_xy", "student_xy"):
            layout = np.asarray(getattr(self, name))
            if layout.shape != (count, 2):
                raise InputError(f"{name} of shape {layout.shape}", expected=f"({count}, 2)")
            if not np.isfinite(layout).all():
                raise InputError(f"{name} has NaN or infinite coordinates", expected="finite ones")
        for name in _PER_SAMPLE:
            values = getattr(self, name)
            if values is not None and np.shape(values) != (count,):
                raise InputError(f"{name} of shape {np.shape(values)}", expected=f"({count},)")
        if self.far is not None and np.shape(self.far) != (count, 2):
            raise InputError(f"far of shape {np.shape(self.far)}", expected=f"({count}, 2)")
        if len(self.class_names) >= NO_CLASS:
            raise InputError(
                f"{len(self.class_names)} classes", expected=f"fewer than {NO_CLASS} on a map"
            )

    def __len__(self) -> int:
        return len(self.sample_ids)

    @cached_property
    def encoded(self) -> bytes:
        """All columns for the browser, 35 bytes a point and its sample id."""
        flags = np.zeros(len(self), bool) if self.has_trigger is None else self.has_trigger
        columns: dict[str, np.ndarray] = {
            "teacher": np.asarray(self.teacher_xy, np.float32),
            "student": np.asarray(self.student_xy, np.float32),
            "shape": np.asarray(flags, bool).astype(np.uint8),
            "teacher_answer": class_codes(np.asarray(self.teacher_answers)),
            "student_answer": class_codes(np.asarray(self.student_answers)),
            "teacher_probability": np.asarray(self.teacher_probabilities, np.float32),
            "student_probability": np.asarray(self.student_probabilities, np.float32),
            "kl": np.asarray(self.kl, np.float32),
        }
        if self.far is not None:
            columns["far"] = np.asarray(self.far, bool) @ np.asarray([1, 2], np.uint8)
        if self.backdrop is not None:
            columns["backdrop"] = np.asarray(self.backdrop, bool).astype(np.uint8)
        if self.labels is not None:
            columns["label"] = class_codes(np.asarray(self.labels))
        if self.thumbnail_index is not None:
            columns["thumbnail"] = np.asarray(self.thumbnail_index, np.uint32)
        return encode_columns(columns | text_columns("id", self.sample_ids))

    @cached_property
    def digest(self) -> str:
        """Digest of the columns; a selection belongs to exactly these points."""
        return digest_bytes(self.encoded)

    def within(self, lasso: Lasso) -> np.ndarray:
        """Which points lie in ``lasso``, (N,) bool; what lies beneath never does."""
        inside = lasso.contains(self.layout(lasso.side))
        return inside if self.backdrop is None else inside & ~np.asarray(self.backdrop, bool)

    def layout(self, side: Literal["teacher", "student"]) -> np.ndarray:
        """Coordinates (N, 2) of one map, in the precision that the browser has."""
        return np.asarray(self.teacher_xy if side == "teacher" else self.student_xy, np.float32)


_PER_SAMPLE = (
    "teacher_answers",
    "student_answers",
    "teacher_probabilities",
    "student_probabilities",
    "kl",
    "labels",
    "has_trigger",
    "backdrop",
    "thumbnail_index",
)


@dataclass(frozen=True, eq=False)
class PointColors:
    """A color code for every point and what the codes mean; make one with the class methods."""

    codes: np.ndarray
    legend: dict[str, Any]

    @classmethod
    def categories(
        cls,
        values: np.ndarray,
        names: Sequence[str],
        *,
        slots: Sequence[int | str] | None = None,
        title: str = "",
    ) -> Self:
        """Color by category: ``values`` (N,) index ``names``, negative means not measured.

        ``slots`` gives each category an index into the theme's class colors (an index beyond
        them is gray) or the name of a color of :class:`dashboard.theme.Palette`, for example
        ``"alarm"``; without it, category i has class color i. Up to six categories get a legend.
        """
        values = np.asarray(values)
        chosen = list(range(len(names))) if slots is None else list(slots)
        if len(chosen) != len(names):
            raise InputError(f"{len(chosen)} color slots", expected=f"{len(names)}, one per name")
        if len(values) and int(values.max()) >= len(names):
            raise InputError(f"category {int(values.max())}", expected=f"below {len(names)}")
        if len(names) >= NO_CLASS:
            raise InputError(f"{len(names)} categories", expected=f"fewer than {NO_CLASS}")
        codes = np.where(values < 0, len(names), values)
        legend = _legend("categories", title=title)
        return cls(_narrow(codes), legend | {"names": list(names), "slots": chosen})

    @classmethod
    def ramp(
        cls,
        values: np.ndarray,
        *,
        title: str,
        low: str = "0",
        high: str = "1",
        ramp: Literal["divergence_points", "signed"] = "divergence_points",
    ) -> Self:
        """Color by a number: ``values`` (N,) from 0 (``low``) to 1 (``high``), clipped; NaN is
        not measured. ``ramp`` names a list of colors of :class:`dashboard.theme.Palette`.
        """
        values = np.asarray(values, np.float64)
        steps = np.round(np.clip(np.nan_to_num(values), 0.0, 1.0) * (RAMP_STEPS - 1))
        codes = np.where(np.isnan(values), RAMP_STEPS, steps)
        legend = _legend("ramp", title=title)
        return cls(_narrow(codes), legend | {"ramp": ramp, "low": low, "high": high})

    def encode(self, highlight: np.ndarray | None = None) -> bytes:
        """Codes for the browser, one or two bytes a point, and the mask of what stays in focus."""
        columns = {"code": self.codes}
        if highlight is not None:
            columns["highlight"] = np.asarray(highlight, bool).astype(np.uint8)
        return encode_columns(columns)


def _narrow(codes: np.ndarray) -> np.ndarray:
    wide = len(codes) and int(codes.max()) > np.iinfo(np.uint8).max
    return codes.astype(np.uint16 if wide else np.uint8)


def _legend(kind: str, *, title: str) -> dict[str, Any]:
    empty: dict[str, Any] = {"names": [], "slots": [], "ramp": "", "low": "", "high": ""}
    return empty | {"kind": kind, "title": title, "missing": "not measured"}
