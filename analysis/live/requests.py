"""What can be asked of the live worker, and what it answers. Needs numpy alone.

Requests and answers cross a pipe between a server and its own worker, nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from analysis.digest import digest_array, digest_json
from analysis.records import AttributionMaps


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """Something asked about the study in the folder ``study``, as it is under ``version``.

    ``kind`` says which requests replace one another: of one session, a newer one of the same
    kind takes the place of the older.
    """

    study: str
    version: str
    kind: ClassVar[str]
    lasting: ClassVar[bool] = True

    def digest(self) -> str:
        """Identity of what is asked; equal questions have equal answers."""
        parts = {spec.name: _plain(getattr(self, spec.name)) for spec in dataclasses.fields(self)}
        return digest_json([type(self).__name__, parts])


def _plain(value: Any) -> Any:
    return digest_array(value) if isinstance(value, np.ndarray) else value


@dataclass(frozen=True, kw_only=True, eq=False)
class Predict(Request):
    """Which logits do ``models`` give to ``images`` (M, H, W, C) uint8?

    With ``place`` (row, of) there is one image, which is answered just as that row of ``of``
    images is when it is kept as a condition, to the bit. Answered with {model: (M, K) float32}
    in the study's order of classes.
    """

    kind: ClassVar[str] = "predict"

    models: tuple[str, ...]
    images: np.ndarray
    place: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep(Predict):
    """The same for one image at many strengths of a change."""

    kind: ClassVar[str] = "sweep"


@dataclass(frozen=True, kw_only=True, eq=False)
class Epochs(Predict):
    """The same for the checkpoints of a student."""

    kind: ClassVar[str] = "epochs"


@dataclass(frozen=True, kw_only=True, eq=False)
class Near(Request):
    """Which ``count`` clean images lie nearest to ``image`` (H, W, C) uint8?

    Exact, in the penultimate features of each of ``models``; answered with {model: Neighbors}
    of one row, whose indices are rows of the inspection set.
    """

    kind: ClassVar[str] = "near"

    models: tuple[str, ...]
    image: np.ndarray
    count: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribute(Request):
    """Which pixels of ``image`` (H, W, C) uint8 part ``left`` and ``student``?

    The student's and the pair's maps explain ``student_class``, that of ``left`` its own
    ``left_class``. ``lasts``: it is an image of the study itself, whose maps are worth keeping for
    another day. Answered with :class:`Explanation`.
    """

    kind: ClassVar[str] = "attribute"

    left: str
    student: str
    image: np.ndarray
    sample_id: str
    method: str
    baseline: str | None
    scalar: str
    left_class: int
    student_class: int
    lasts: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Keep(Request):
    """Make ``edits`` (JSON) a condition called ``name`` of the study; answered with its slug."""

    kind: ClassVar[str] = "keep"
    lasting: ClassVar[bool] = False

    name: str
    edits: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Describe(Request):
    """What can be set? Answered with the cards of every section of settings.

    Like :class:`Examine` it is about no study: ``study`` and ``version`` are empty.
    """

    kind: ClassVar[str] = "describe"

    study: str = ""
    version: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Examine(Request):
    """What would a job of the form ``form`` with these ``values`` be refused for?

    ``base`` is where relative paths start, ``text`` the file of a whole experiment. Answered with
    a tuple of problems.
    """

    kind: ClassVar[str] = "examine"
    lasting: ClassVar[bool] = False

    form: str
    values: Mapping[str, Any]
    base: str
    text: str = ""
    study: str = ""
    version: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Look(Examine):
    """The same after a look at models and images, which takes a moment."""

    kind: ClassVar[str] = "look"


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Maps under ``teacher`` (the left model), ``student`` and ``pair``, each of one image.

    ``agreement`` {measure: (value, p)} compares the two models' maps; p is how often the second
    map, moved elsewhere, agrees as well. A measure that is not defined is None.
    """

    maps: Mapping[str, AttributionMaps]
    agreement: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trust(Request):
    """How far can the maps of :class:`Attribute` be trusted? Answered with :class:`Checks`."""

    kind: ClassVar[str] = "trust"

    asked: Attribute

    def digest(self) -> str:
        """Identity of what is asked."""
        return digest_json(["Trust", self.asked.digest()])


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The explained number (S,) while pixels are hidden or shown, in the map's order.

    ``random`` (R, S) in random orders; ``p_value`` is how often those do as well.
    """

    values: np.ndarray
    random: np.ndarray
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was found about one map: two curves over ``shares`` (S,) of the pixels, infidelity.

    Infidelity is in [0, 1], lower is better; ``moved_infidelity`` is the mean of the same map's
    moved elsewhere.
    """

    shares: np.ndarray
    deletion: Curve
    insertion: Curve
    infidelity: float
    moved_infidelity: float


@dataclass(frozen=True, kw_only=True)
class Hiding:
    """What a model answers (class, probability) without the map's strongest pixels.

    ``usual`` without as many random ones: its most frequent answer, the mean probability, and in
    how many of ``draws`` draws it was that.
    """

    whole: tuple[int, float]
    top: tuple[int, float]
    usual: tuple[int, float]
    times: int
    draws: int


@dataclass(frozen=True, kw_only=True)
class Checks:
    """:class:`Check` of each map; :class:`Hiding` for {teacher, student} by the pair's map."""

    maps: Mapping[str, Check]
    hiding: Mapping[str, Hiding]
    hidden: int
