"""The records that cross the line between computing and showing.

All are frozen; arrays in them are CPU numpy. ``sample_id`` is the only join key: rows of two
records are matched by it, never by position.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from analysis.errors import InputError

TEACHER = "teacher"
CLEAN = "clean"
TRIGGER = "trigger"
PERTURBATION = "perturbation"
TRIGGER_PERTURBATION = "trigger_perturbation"
PENULTIMATE = "penultimate"
REFERENCE: Literal["reference"] = "reference"

Role = Literal["teacher", "subject", "control", "reference", "checkpoint", "repaired", "compressed"]
ROLES: tuple[Role, ...] = (
    "teacher", "subject", "control", "reference", "checkpoint", "repaired", "compressed",
)  # fmt: skip
LISTED_ROLES: frozenset[str] = frozenset({"subject", "control", "repaired"})
Direction = Literal["higher_is_closer", "higher_is_farther", "neutral"]
PKind = Literal["exact", "model"]

_NAME = re.compile(r"(?=.{1,64}\Z)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_SLUG = re.compile(r"[a-z0-9_]{1,64}")


def check_student_name(name: str, taken: Mapping[str, Any] | tuple[str, ...] = ()) -> str:
    """Return ``name`` when it can name a student, else raise :class:`InputError`.

    Letters, digits, ``.``, ``_`` and ``-``, at most 64, no dot at an end or beside another; not
    ``teacher``; unique without regard to case, because names become file names.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"student name {name!r}",
            expected="1 to 64 of the characters A-Z a-z 0-9 . _ -, dots inside and one by one",
        )
    if name.lower() == TEACHER:
        raise InputError(f"student name {name!r} is reserved", remedy="choose another name")
    if name.lower() in {other.lower() for other in taken}:
        raise InputError(
            f"student name {name!r} is taken (case does not distinguish names)",
            remedy="name each student: --student NAME=SPEC",
        )
    return name


def _freeze(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(mapping))


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % interval; ``low`` and ``high`` are None where none was computed."""

    value: float
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """Return ``{value, low, high}``."""
        return {"value": self.value, "low": self.low, "high": self.high}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Interval | None:
        """Read what :meth:`to_json` wrote; ``None`` stays None (not measured)."""
        return None if data is None else cls(data["value"], data["low"], data["high"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCost:
    """What one model costs to keep and to run.

    ``macs`` are multiply-accumulates for one image. Latencies (milliseconds per batch, median)
    depend on the machine and are provenance: they enter no digest.
    """

    parameters: int
    macs: int
    file_bytes: int | None = None
    latency_ms_batch_1: float | None = None
    latency_ms_batch_64: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """One model of a study, the teacher included (role ``teacher``).

    ``spec`` is how the model was named without any directory; ``architecture`` is
    its built-in name or, for user code, the file's name and factory. ``user_code`` is the
    sha256 of the user's file, or None. ``recipe`` says how it was made, where that is known.
    """

    name: str
    role: Role
    spec: str
    digest: str
    architecture: str
    parent: str | None = None
    epoch: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    recipe_digest: str | None = None
    user_code: str | None = None
    weights: str | None = None
    cost: ModelCost | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise InputError(f"role {self.role!r}", expected=f"one of {', '.join(ROLES)}")
        object.__setattr__(self, "recipe", _freeze(self.recipe))

    @property
    def listed(self) -> bool:
        """Whether pickers and ``show`` list this model (subjects, controls, repaired ones)."""
        return self.role in LISTED_ROLES


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A named way of presenting the same images.

    ``n`` is the number of samples covered, ``covers_all`` whether that is the whole image set.
    ``pixels_digest`` identifies the presented pixels.
    """

    name: str
    slug: str
    kind: str
    image_set: str
    n: int
    covers_all: bool
    pixels_digest: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _SLUG.fullmatch(self.slug):
            raise InputError(
                f"condition slug {self.slug!r}", expected="lower-case letters, digits and _"
            )
        object.__setattr__(self, "parameters", _freeze(self.parameters))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSetCard:
    """What a study remembers of an image set: everything but the pixels."""

    name: str
    n: int
    height: int
    width: int
    channels: int
    labeled: bool
    digest: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What one model answered on one condition.

    ``logits`` (N, K) float32, ``features`` {layer: (N, D) float32} globally average-pooled
    (vision transformers: class token), ``sample_ids`` (N,) of str.
    """

    model: str
    condition: str
    sample_ids: np.ndarray
    logits: np.ndarray
    features: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        rows = {len(self.sample_ids), len(self.logits), *map(len, self.features.values())}
        if len(rows) != 1:
            raise ValueError(f"trace of {self.model!r} has parts of different lengths {rows}")
        object.__setattr__(self, "features", _freeze(self.features))


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """One measure of how far two models part.

    ``value`` is the headline with its bootstrap interval, or None when it cannot be measured
    (no labels). ``per_sample`` (N,) float, aligned with ``sample_ids``, or None.
    ``unit`` is ``share`` (in [0, 1]), ``nats`` or ``difference`` (of shares, in [-1, 1]).
    """

    name: str
    direction: Direction
    unit: Literal["share", "nats", "difference"]
    value: Interval | None
    n: int
    per_sample: np.ndarray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbors:
    """Exact k nearest neighbors, self excluded.

    ``indices`` (N, k) int32 rows of the reference set, ``distances`` (N, k) float32, Euclidean
    on L2-normalized features, ascending in each row.
    """

    indices: np.ndarray
    distances: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutQuality:
    """How far a layout may be believed: both in [0, 1], higher is better, at ``k`` neighbors.

    ``n`` is the number of rows that were scored (all, or a seeded subset of large sets).
    Source: Venna and Kaski, "Local multidimensional scaling", Neural Networks 19 (2006).
    """

    trustworthiness: float
    continuity: float
    k: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Two layouts in one frame.

    Row i is ``(sample_ids[i], conditions[i])``; ``teacher`` and ``student`` are (M, 2) float32.
    ``far`` (M, 2) bool marks placed rows that lie farther from the clean images than clean
    images ever lie from each other (column 0 teacher, 1 student). The displacement between the
    two layouts is not a measurement.
    """

    student_name: str
    sample_ids: np.ndarray
    conditions: np.ndarray
    teacher: np.ndarray
    student: np.ndarray
    far: np.ndarray
    teacher_quality: LayoutQuality
    student_quality: LayoutQuality


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionMaps:
    """Attribution maps of one model, or of the pair.

    ``values`` (N, H, W) float32, summed over color channels; ``explained_class`` (N,) int64;
    ``completeness_error`` (N,) float32 is |sum - difference of the scalar| / max(|difference|,
    0.01), 0 is exact, NaN where the method makes no such promise. ``scalar`` names what is
    explained, e.g. ``p_S(c) - p_T(c)``.
    """

    method: str
    model: str
    scalar: str
    baseline: str
    sample_ids: np.ndarray
    explained_class: np.ndarray
    values: np.ndarray
    signed: bool
    completeness_error: np.ndarray
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", _freeze(self.parameters))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one audit test found out about one student.

    ``statistic`` is the test's one number, higher is stranger, ``null`` the same number of each
    reference student, ``p_value`` in (0, 1] or None where no null allows one; ``p_kind`` says
    whether ranks gave it (``exact``) or a fitted tail (``model``). ``target_class`` is the class
    that the test points to, None where it points to none. ``scores`` holds one number per class
    (or per sample, as ``scores_of`` says), ``threshold`` the score above which one is flagged.
    ``passes`` counts forward-backward passes of single images through a model. ``primary`` is
    true of the one test that was named beforehand; ``corrected_p_value`` is that of a secondary
    test after Holm's correction. ``sentence`` says it in plain words.
    """

    test: str
    title: str
    sentence: str
    target_class: int | None = None
    statistic: float | None = None
    null: tuple[float, ...] = ()
    p_value: float | None = None
    p_kind: PKind | None = None
    corrected_p_value: float | None = None
    scores: tuple[float, ...] = ()
    scores_of: Literal["class", "sample"] = "class"
    threshold: float | None = None
    seconds: float = 0.0
    passes: float = 0.0
    primary: bool = False

    def __post_init__(self) -> None:
        if self.p_value is not None and not 0 < self.p_value <= 1:
            raise ValueError(f"p-value {self.p_value} of {self.test!r} is not in (0, 1]")
        if (self.p_value is None) != (self.p_kind is None):
            raise ValueError(f"{self.test!r} needs p_value and p_kind together")

    @property
    def flagged(self) -> tuple[int, ...]:
        """The classes or rows whose score lies above the threshold; none without one."""
        if self.threshold is None:
            return ()
        return tuple(row for row, score in enumerate(self.scores) if score > self.threshold)

    def to_json(self) -> dict[str, Any]:
        """Return all fields; ``target_class`` is called ``class``."""
        values = {name: getattr(self, name) for name in self.__slots__}
        values["class"] = values.pop("target_class")
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        """Read what :meth:`to_json` wrote; fields of a later release are left out."""
        values = {name: data[name] for name in cls.__slots__ if name in data}
        values["target_class"] = data.get("class")
        tuples = {name: tuple(values.get(name) or ()) for name in ("null", "scores")}
        return cls(**{**values, **tuples})
