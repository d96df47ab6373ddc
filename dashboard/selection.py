"""The selection: what every page looks at, and the only arrow back from the screens.

A selection lives in the URL. A set of samples is a lasso polygon while the polygon alone
describes it, else it is saved under its digest in the workspace.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote_plus

import numpy as np

from analysis.digest import digest_bytes, digest_strings
from analysis.errors import InputError, StorageError, nearest
from analysis.records import CLEAN, TEACHER
from analysis.store.files import write_bytes

MAX_VERTICES = 40
MAX_QUERY_BYTES = 2000
MAX_WHERE_BYTES = 250
"""The longest expression of a filter in the URL, encoded; a longer one becomes a saved set."""

TOUR_STEPS = 8
COLORINGS = ("label", "answer", "divergence", "overlap", "flags")

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SLICE = re.compile(r"[0-9a-f]{16}")
_TOKEN = re.compile(r"~[0-9a-f]{32}")
_LONG_ID = 160

MapSide = Literal["teacher", "student"]


@dataclass(frozen=True, slots=True)
class Lasso:
    """A polygon on one of the two maps, in the layout's own units."""

    side: MapSide
    points: tuple[tuple[float, float], ...]

    @classmethod
    def around(cls, side: MapSide, points: Sequence[Sequence[float]]) -> Self:
        """Polygon through at most ``MAX_VERTICES`` of ``points``, rounded for the URL."""
        kept = points
        if len(points) > MAX_VERTICES:
            rows = np.linspace(0, len(points), MAX_VERTICES, endpoint=False).astype(int)
            kept = [points[row] for row in rows]
        return cls(side, tuple((_short(x), _short(y)) for x, y in kept))

    def contains(self, layout: np.ndarray) -> np.ndarray:
        """Which rows of ``layout`` (M, 2) lie inside, by the even-odd rule; (M,) bool."""
        polygon = np.asarray(self.points, dtype=np.float64)
        x, y = layout[:, 0].astype(np.float64), layout[:, 1].astype(np.float64)
        inside = np.zeros(len(layout), dtype=bool)
        previous = polygon[-1]
        for vertex in polygon:
            (x1, y1), (x2, y2) = previous, vertex
            if y1 != y2:
                crosses = (y1 > y) != (y2 > y)
                inside ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
            previous = vertex
        return inside

    def to_text(self) -> str:
        """Write as ``side_x_y_x_y``; URLs leave these characters as they are."""
        return "_".join([self.side, *(f"{x:g}_{y:g}" for x, y in self.points)])

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what :meth:`to_text` wrote; :class:`InputError` for anything else."""
        side, _, rest = text.partition("_")
        try:
            numbers = [float(part) for part in rest.split("_")]
        except ValueError:
            numbers = []
        usable = len(numbers) >= 6 and len(numbers) % 2 == 0 and len(numbers) <= 2 * MAX_VERTICES
        if side not in ("teacher", "student") or not usable or not np.isfinite(numbers).all():
            raise InputError(
                f"lasso {_shown(text)}",
                expected=f"teacher or student and 3 to {MAX_VERTICES} points",
            )
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        return cls("teacher" if side == "teacher" else "student", tuple(pairs))


@dataclass(frozen=True, slots=True)
class SavedSet:
    """Samples that no polygon describes, saved in the workspace under ``digest``."""

    digest: str

    def to_text(self) -> str:
        """Write as ``set_digest``."""
        return f"set_{self.digest}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what :meth:`to_text` wrote; :class:`InputError` for anything else."""
        digest = text.removeprefix("set_")
        if not text.startswith("set_") or not _DIGEST.fullmatch(digest):
            raise InputError(f"saved selection {_shown(text)}", expected="set_ and a digest")
        return cls(digest)


@dataclass(frozen=True, slots=True)
class SliceSet:
    """The samples of a slice that the study found and stores under ``id``."""

    id: str

    def to_text(self) -> str:
        """Write as ``slice_id``."""
        return f"slice_{self.id}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what :meth:`to_text` wrote; :class:`InputError` for anything else."""
        found = text.removeprefix("slice_")
        if not text.startswith("slice_") or not _SLICE.fullmatch(found):
            raise InputError(f"slice {_shown(text)}", expected="slice_ and its id")
        return cls(found)


Region = Lasso | SavedSet | SliceSet


def _region(text: str) -> Region:
    if text.startswith("slice_"):
        return SliceSet.from_text(text)
    return SavedSet.from_text(text) if text.startswith("set_") else Lasso.from_text(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is looked at; equal selections show equal pages.

    ``cell`` (teacher's answer, student's answer), ``group`` (a class: of the label, or of the
    teacher's answer where there are no labels), ``differ`` (only images that the two answer
    differently), ``within`` and ``where`` (an expression over the table of samples) together are
    the cross-filter. ``picked`` is what is selected on
    the map, ``sample`` the image that Inspect shows, ``color`` how the map is colored, ``epoch``
    the checkpoint that Training shows, ``step`` (from 1) where the Tour stands. ``left`` is the
    model that ``student`` is compared with, the teacher or any other one; what is called the
    teacher's in a cell, a class or a lasso is then that model's. ``layer`` is the pair of layers
    that the map shows, ``teacher layer:student layer``; None for the last ones. ``study`` is the
    name of a study in the workspace; None for the one that the server was started with.
    """

    student: str
    study: str | None = None
    condition: str = CLEAN
    left: str = TEACHER
    cell: tuple[int, int] | None = None
    group: int | None = None
    differ: bool = False
    within: Region | None = None
    where: str | None = None
    picked: Region | None = None
    sample: str | None = None
    color: str = "label"
    epoch: int | None = None
    step: int | None = None
    layer: str | None = None

    @property
    def filtered(self) -> bool:
        """Whether the cross-filter leaves anything out."""
        chosen = (self.cell, self.within, self.where)
        return bool(any(chosen) or self.group is not None or self.differ)

    @property
    def filter_key(self) -> str:
        """Identity of the rows that the selection leaves, for caches."""
        within = self.within.to_text() if self.within else None
        models = (self.left, self.student, self.condition, self.layer)
        return repr((*models, self.cell, self.group, self.differ, within, self.where))

    def unfiltered(self) -> Self:
        """The same selection without the cross-filter."""
        off: dict[str, Any] = dict.fromkeys(("cell", "group", "within", "where"))
        return dataclasses.replace(self, differ=False, **off)

    def to_query(self) -> dict[str, str]:
        """Write as URL parameters; what is at its default is left out."""
        query = {"student": self.student}
        if self.study is not None:
            query["study"] = self.study
        if self.condition != CLEAN:
            query["condition"] = self.condition
        if self.left != TEACHER:
            query["left"] = self.left
        if self.cell:
            query["cell"] = f"{self.cell[0]}.{self.cell[1]}"
        if self.group is not None:
            query["class"] = str(self.group)
        if self.differ:
            query["differ"] = "1"
        if self.within:
            query["within"] = self.within.to_text()
        if self.where:
            query["where"] = self.where
        if self.picked:
            query["picked"] = self.picked.to_text()
        if self.sample is not None:
            query["sample"] = sample_token(self.sample)
        if self.color != "label":
            query["color"] = self.color
        if self.epoch is not None:
            query["epoch"] = str(self.epoch)
        if self.step is not None:
            query["step"] = str(self.step)
        if self.layer is not None:
            query["layer"] = self.layer
        return query

    @classmethod
    def from_query(
        cls,
        query: Mapping[str, str],
        *,
        students: Sequence[str],
        conditions: Iterable[str],
        classes: int,
        lefts: Sequence[str] = (),
        layers: Callable[[str], Sequence[str]] = lambda student: (),
    ) -> tuple[Self, tuple[str, ...]]:
        """Read URL parameters; returns the selection and a message for each unusable value.

        ``lefts`` are the models that may stand on the left besides the teacher and ``students``,
        ``layers`` tells the pairs of layers that have a map for a student on the teacher's right.
        An unusable value falls back to the default, so every URL shows a page.
        """
        reader = _Reader(query)
        student = reader.choice("student", list(students), students[0])
        left = reader.left(student, [TEACHER, *dict.fromkeys([*students, *lefts])])
        selection = cls(
            student=student,
            study=query.get("study"),
            condition=reader.choice("condition", list(conditions), CLEAN),
            left=left,
            cell=reader.cell(classes),
            group=reader.index("class", classes),
            differ=reader.choice("differ", ["1"], "") == "1",
            within=reader.region("within"),
            where=reader.expression("where"),
            picked=reader.region("picked"),
            sample=query.get("sample"),
            color=reader.choice("color", list(COLORINGS), "label"),
            epoch=reader.index("epoch", 1_000_000),
            step=reader.index("step", TOUR_STEPS + 1),
            layer=reader.choice("layer", list(layers(student)), "") or None
            if left == TEACHER
            else None,
        )
        return selection, tuple(reader.messages)


class _Reader:
    """Reads single values of a query and collects what was wrong with them."""

    def __init__(self, query: Mapping[str, str]):
        self.query = query
        self.messages: list[str] = []

    def choice(self, name: str, known: list[str], default: str) -> str:
        value = self.query.get(name)
        if value is None or value in known:
            return default if value is None else value
        remedy = nearest(value[:80], known) if known else ""
        self.messages.append(f"The address names {name} {_shown(value)}. {remedy}")
        return default

    def left(self, student: str, known: list[str]) -> str:
        value = self.choice("left", known, TEACHER)
        if value != student:
            return value
        self.messages.append(
            f"The address compares {_shown(value)} with itself; the teacher stands in for it"
        )
        return TEACHER

    def index(self, name: str, count: int) -> int | None:
        value = self.query.get(name)
        if value is None:
            return None
        if re.fullmatch(r"[0-9]{1,6}", value) and int(value) < count:
            return int(value)
        self.messages.append(f"The address names {name} {_shown(value)}; expected 0 to {count - 1}")
        return None

    def cell(self, count: int) -> tuple[int, int] | None:
        value = self.query.get("cell")
        if value is None:
            return None
        match = re.fullmatch(r"([0-9]{1,6})\.([0-9]{1,6})", value)
        if match and max(int(match[1]), int(match[2])) < count:
            return int(match[1]), int(match[2])
        self.messages.append(
            f"The address names cell {_shown(value)}; expected two classes, as in 3.5"
        )
        return None

    def region(self, name: str) -> Region | None:
        value = self.query.get(name)
        if value is None:
            return None
        try:
            return _region(value)
        except InputError as error:
            self.messages.append(f"The address holds an unusable {error}")
            return None

    def expression(self, name: str) -> str | None:
        """An expression as it is: whether it is a filter shows where the table is known."""
        value = self.query.get(name)
        if value is None or fits_url(value):
            return value
        self.messages.append(
            f"The address holds a filter of {len(value)} characters, expected at most "
            f"{MAX_WHERE_BYTES} bytes; type it into the filter field"
        )
        return None


def fits_url(expression: str) -> bool:
    """Whether a filter is short enough for the URL."""
    try:
        return 0 < len(quote_plus(expression)) <= MAX_WHERE_BYTES
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def sample_token(sample_id: str) -> str:
    """The id itself, or ``~`` and its digest where the id would make the URL too long.

    A token that came from a URL stays what it is.
    """
    if _TOKEN.fullmatch(sample_id):
        return sample_id
    if len(sample_id.encode()) <= _LONG_ID and not sample_id.startswith("~"):
        return sample_id
    return "~" + digest_bytes(sample_id.encode())[:32]


def find_sample(token: str, sample_ids: np.ndarray) -> int | None:
    """Row of the sample that ``token`` (see :func:`sample_token`) names, or None."""
    names = [str(name) for name in sample_ids]
    if token in names:
        return names.index(token)
    if token.startswith("~"):
        return next((row for row, name in enumerate(names) if sample_token(name) == token), None)
    return None


def save_set(workspace: Path, sample_ids: Sequence[str]) -> SavedSet:
    """Save sample ids under their digest in ``workspace``; raises :class:`StorageError`."""
    ordered = sorted(sample_ids)
    saved = SavedSet(digest_strings(ordered))
    path = _set_path(workspace, saved)
    if path.exists():
        return saved
    try:
        write_bytes(path, json.dumps(ordered).encode())
    except (OSError, StorageError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error.what)
        raise StorageError(
            f"the selection cannot be saved: {reason}",
            remedy="make the folder of the study writable",
        ) from error
    return saved


def load_set(workspace: Path, saved: SavedSet) -> frozenset[str]:
    """Sample ids that :func:`save_set` saved; :class:`InputError` when missing or damaged."""
    try:
        ids = json.loads(_set_path(workspace, saved).read_text(encoding="utf-8"))
        intact = isinstance(ids, list) and all(isinstance(name, str) for name in ids)
        if not intact or digest_strings(ids) != saved.digest:
            raise ValueError
    except (OSError, ValueError) as error:
        raise InputError(
            f"saved selection {saved.digest[:12]} is not in this workspace",
            remedy="select the images again",
        ) from error
    return frozenset(ids)


def _set_path(workspace: Path, saved: SavedSet) -> Path:
    return workspace / ".distillscope" / "selections" / f"{saved.digest}.json"


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
