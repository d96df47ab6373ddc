"""A study: the one record between computing and showing, as it lies on disk.

:class:`Study` reads and takes no lock; arrays are memory-mapped, and what was opened stays as it
was even when a writer replaces the manifest. Nothing in a study is executable.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.digest import digest_file
from analysis.errors import InputError, StudyError, nearest
from analysis.records import (
    CLEAN,
    REFERENCE,
    TEACHER,
    AttributionMaps,
    Condition,
    ImageSetCard,
    Interval,
    LayoutQuality,
    Neighbors,
    Projection,
    Student,
    Trace,
)
from analysis.store.manifest import Manifest, read_manifest

_KINDS = frozenset("biufU")
MAX_TABLE_BYTES = 1 << 30
"""What the rows or the pictures of one condition may take in memory."""
_PIECE = 4096


@dataclass(frozen=True)
class Study:
    """One teacher, its image sets, conditions, students, and everything computed about them."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path) -> Study:
        """Open the study in folder ``path``; raises :class:`StudyError` when it is none."""
        folder = Path(path)
        return cls(folder, read_manifest(folder))

    @property
    def name(self) -> str:
        """The study's display name."""
        return self.manifest.name

    @functools.cached_property
    def digest(self) -> str:
        """Identity of the content, the same wherever it was computed."""
        return self.manifest.digest()

    @property
    def created(self) -> str:
        """When the study was last written, ISO 8601 in UTC."""
        return str(self.manifest.provenance.get("created", ""))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names, in the order of the logits."""
        return self.manifest.class_names

    @property
    def models(self) -> Mapping[str, Student]:
        """All models by name, the teacher included."""
        return self.manifest.models

    @property
    def teacher(self) -> Student:
        """The teacher."""
        return self.models[TEACHER]

    @property
    def students(self) -> dict[str, Student]:
        """The students that pickers list: subjects, controls and repaired ones, in order."""
        return {name: model for name, model in self.models.items() if model.listed}

    @property
    def references(self) -> dict[str, Student]:
        """The reference students: honest ones of the same teacher, which nothing lists."""
        return {name: model for name, model in self.models.items() if model.role == REFERENCE}

    def student(self, name: str) -> Student:
        """Return one student by name, of any role; the nearest name is suggested."""
        known = [other for other in self.models if other != TEACHER]
        if name not in known:
            raise InputError(f"no student {name!r} in {self.path}", remedy=nearest(name, known))
        return self.models[name]

    def class_order(self, name: str) -> tuple[int, ...] | None:
        """Which of a model's outputs each of the study's classes is; None: they are the same."""
        order = self.record(f"order/{name}")
        return None if order is None else tuple(int(output) for output in order)

    def checkpoints(self, student: str) -> list[Student]:
        """The checkpoints of ``student``, by epoch."""
        rows = [
            model
            for model in self.models.values()
            if model.role == "checkpoint" and model.parent == student
        ]
        return sorted(rows, key=lambda model: (model.epoch is None, model.epoch or 0))

    def timeline(self, student: str) -> list[Student]:
        """The checkpoints of ``student``, and itself where its own epoch is known, by epoch."""
        rows = self.checkpoints(student)
        own = self.models[student]
        if own.epoch is None or not rows or own.epoch in {row.epoch for row in rows}:
            return rows
        return sorted([*rows, own], key=lambda model: (model.epoch is None, model.epoch or 0))

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """The conditions by slug."""
        return self.manifest.conditions

    @property
    def image_sets(self) -> Mapping[str, ImageSetCard]:
        """The image sets by name."""
        return self.manifest.image_sets

    @property
    def inspection(self) -> ImageSetCard:
        """The set of images that the models are compared on."""
        return self.image_sets["inspection"]

    def record(self, key: str, default: Any = None) -> Any:
        """Return the JSON result stored under ``key``, else ``default``."""
        return self.manifest.records.get(key, default)

    def has_array(self, key: str) -> bool:
        """Whether an array is stored under ``key``."""
        return key in self.manifest.arrays

    def array_file(self, key: str) -> Path:
        """Path of the ``.npy`` file stored under ``key``."""
        if key not in self.manifest.arrays:
            raise StudyError(f"{self.path} holds no array {key!r}", remedy="compute it again")
        return self.file(self.manifest.arrays[key])

    def array(self, key: str) -> np.ndarray:
        """Return the array stored under ``key``, memory-mapped and read-only."""
        path = self.array_file(key)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, SyntaxError) as error:
            raise StudyError(
                f"{path} cannot be read ({type(error).__name__})", remedy="compute it again"
            ) from error
        if not isinstance(array, np.ndarray) or array.dtype.kind not in _KINDS:
            raise StudyError(f"{path} is damaged", expected="an array of numbers or text")
        return array

    def file(self, name: str) -> Path:
        """Path of a file that the manifest names; :class:`StudyError` when it is not there."""
        path = self.path / name
        root = self.path.resolve()
        if not path.resolve().is_relative_to(root):
            raise StudyError(f"{path} leads outside the study", expected="a file of the study")
        if not path.is_file():
            raise StudyError(f"{path} is missing", remedy="compute the study again")
        return path

    def check_files(self) -> None:
        """Raise :class:`StudyError` unless every array is the file that the manifest remembers."""
        for name in sorted(set(self.manifest.arrays.values())):
            if digest_file(self.file(name)) != self.manifest.stored.get(name):
                raise StudyError(
                    f"{self.path / name} is not what was computed", remedy="compute the study again"
                )

    def weights(self, model: str) -> Path | None:
        """Path of the model's weights inside the study, or None (user code is never stored)."""
        name = self.manifest.weights.get(model)
        return None if name is None else self.file(name)

    @property
    def from_predictions(self) -> bool:
        """Whether the study was made from predictions: it holds no model that could be run."""
        return TEACHER not in self.manifest.weights

    @property
    def has_images(self) -> bool:
        """Whether the study holds the pixels of its inspection images."""
        return self.has_condition_images()

    def has_condition_images(self, condition: str = CLEAN) -> bool:
        """Whether the study holds the pixels of its images as ``condition`` shows them."""
        return self.has_array(_images_key(condition))

    @functools.cached_property
    def sample_ids(self) -> np.ndarray:
        """(N,) ids of the inspection images, in the order of every clean array."""
        return np.asarray(self.array("ids/inspection"))

    @functools.cached_property
    def labels(self) -> np.ndarray | None:
        """(N,) int64 labels of the inspection images, or None."""
        key = "labels/inspection"
        return np.asarray(self.array(key)) if self.has_array(key) else None

    @property
    def images(self) -> np.ndarray:
        """(N, H, W, C) uint8 inspection images, memory-mapped."""
        return self.condition_images()

    def condition_images(self, condition: str = CLEAN) -> np.ndarray:
        """(M, H, W, C) uint8 images as ``condition`` shows them, memory-mapped."""
        return self.array(_images_key(condition))

    def condition_ids(self, condition: str = CLEAN) -> np.ndarray:
        """(M,) sample ids that ``condition`` covers."""
        key = f"ids/condition/{condition}"
        return np.asarray(self.array(key)) if self.has_array(key) else self.sample_ids

    def samples(self, model: str, condition: str = CLEAN) -> pa.Table:
        """Return one row per sample of what ``model`` did on ``condition``."""
        name = self.manifest.samples.get(f"{model}/{condition}")
        if name is None:
            raise StudyError(
                f"{model!r} was not measured on condition {condition!r}",
                remedy="compute it with: compare or add",
            )
        return read_rows(self.file(name), self._covered(condition))

    def _covered(self, condition: str) -> int | None:
        """How many images ``condition`` covers by the manifest; None for what is no condition."""
        known = self.conditions.get(condition)
        return None if known is None else known.n

    def trace(self, model: str, condition: str = CLEAN) -> Trace:
        """Return what ``model`` answered on ``condition``; arrays are memory-mapped."""
        prefix = f"features/{model}/{condition}/"
        features = {
            key.removeprefix(prefix): self.array(key)
            for key in self.manifest.arrays
            if key.startswith(prefix)
        }
        return Trace(
            model=model,
            condition=condition,
            sample_ids=self.condition_ids(condition),
            logits=self.array(f"logits/{model}/{condition}"),
            features=features,
        )

    def measures(self, model: str, condition: str = CLEAN) -> dict[str, Interval | None]:
        """Return the headline measures by name; None is "not measured", never zero."""
        record = self.record(f"measures/{model}/{condition}", {})
        return {name: Interval.from_json(value) for name, value in record.items()}

    def neighbors(self, model: str, condition: str = CLEAN) -> Neighbors | None:
        """Return the nearest clean neighbors in ``model``'s features, or None."""
        key = f"neighbors/{model}/{condition}"
        if not self.has_array(f"{key}/indices"):
            return None
        return Neighbors(
            indices=self.array(f"{key}/indices"), distances=self.array(f"{key}/distances")
        )

    def projection(
        self, student: str, condition: str = CLEAN, *, left: str = TEACHER
    ) -> Projection | None:
        """Return both layouts, teacher and ``student`` in one frame, or None.

        Rows are the clean images; those of another ``condition`` follow, placed among them. With
        another model on the ``left`` its own layout stands in the teacher's place: every layout
        of a study lies in the teacher's frame.
        """
        models = (left, student)
        if not all(self.has_array(f"layout/{name}") for name in models):
            return None
        ids, slugs = self.sample_ids, np.full(len(self.sample_ids), CLEAN, dtype="<U64")
        layouts = [np.asarray(self.array(f"layout/{name}")) for name in models]
        far = [np.zeros(len(ids), dtype=bool) for _ in models]
        placed_too = all(self.has_array(f"placed/{name}/{condition}/layout") for name in models)
        if condition != CLEAN and placed_too:
            placed = self.condition_ids(condition)
            ids = np.concatenate([ids, placed])
            slugs = np.concatenate([slugs, np.full(len(placed), condition, dtype="<U64")])
            for index, name in enumerate(models):
                base = f"placed/{name}/{condition}"
                layouts[index] = np.concatenate([layouts[index], self.array(f"{base}/layout")])
                far[index] = np.concatenate([far[index], self.array(f"{base}/far")])
        quality = [LayoutQuality(**self.record(f"layout_quality/{name}")) for name in models]
        return Projection(
            student_name=student,
            sample_ids=ids,
            conditions=slugs,
            teacher=layouts[0],
            student=layouts[1],
            far=np.column_stack(far),
            teacher_quality=quality[0],
            student_quality=quality[1],
        )

    def attributions(self, student: str, condition: str = CLEAN) -> dict[str, AttributionMaps]:
        """Return the stored maps of ``teacher``, ``student`` and ``pair``; empty when none."""
        maps = {}
        for part in (TEACHER, "student", "pair"):
            key = f"attribution/{student}/{condition}/{part}"
            if (record := self.record(key)) is None:
                continue
            maps[part] = AttributionMaps(
                **record,
                sample_ids=self.array(f"attribution/{student}/{condition}/sample_ids"),
                explained_class=self.array(f"{key}/explained_class"),
                values=self.array(f"{key}/values"),
                completeness_error=self.array(f"{key}/completeness_error"),
            )
        return maps

    def attribution_agreement(self, student: str, condition: str = CLEAN) -> dict[str, np.ndarray]:
        """Return the agreement of both maps (M,) by measure, row by row as the attributions.

        Empty when it was not measured.
        """
        prefix = f"attribution_agreement/{student}/{condition}/"
        return {
            key.removeprefix(prefix): self.array(key)
            for key in self.manifest.arrays
            if key.startswith(prefix)
        }

    def thumbnails(self, condition: str = CLEAN) -> Thumbnails:
        """Return the thumbnails of ``condition``."""
        name = self.manifest.thumbnails.get(condition)
        if name is None:
            raise StudyError(f"{self.path} holds no thumbnails of {condition!r}")
        return Thumbnails.read(self.file(name), self._covered(condition))


def _images_key(condition: str) -> str:
    return "images/inspection" if condition == CLEAN else f"images/condition/{condition}"


def open_study(path: str | Path) -> Study:
    """Open the study in folder ``path``; raises :class:`StudyError` when it is none."""
    return Study.open(path)


def read_rows(path: Path, rows: int | None, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the Parquet file ``path`` of a study, or the ``columns`` of it.

    A few bytes can stand for millions of rows, so what the file says of itself is looked at
    before anything is read, and it is read piece by piece, texts as numbers of their dictionary:
    one long text may stand in every row. Raises :class:`StudyError` when it
    cannot be read, does not have ``rows`` rows, or would take more than :data:`MAX_TABLE_BYTES`.
    """
    try:
        kinds = {field.name: field.type for field in pq.read_schema(path)}
        _check_flat(path, kinds)
        texts = [name for name, kind in kinds.items() if _is_text(kind)]
        with pq.ParquetFile(path, memory_map=True, read_dictionary=texts) as file:
            said = file.metadata
            if rows is not None and said.num_rows != rows:
                raise StudyError(
                    f"{path} has {said.num_rows} rows", expected=f"{rows}, as the manifest says",
                    remedy="compute it again",
                )  # fmt: skip
            groups = range(said.num_row_groups)
            _check_bytes(path, sum(said.row_group(group).total_byte_size for group in groups))
            pieces, size = [], 0
            for piece in file.iter_batches(_PIECE, columns=columns):
                size += sum(_spelled_out_bytes(column) for column in piece.columns)
                _check_bytes(path, size)
                pieces.append(_spelled_out(piece))
            schema = (pieces or [_spelled_out(_empty(file.schema_arrow))])[0].schema
            table = pa.Table.from_batches(pieces, schema)
            return table if columns is None else table.select(list(columns))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise StudyError(
            f"{path} cannot be read ({type(error).__name__})", remedy="compute it again"
        ) from error


def _check_flat(path: Path, kinds: Mapping[str, pa.DataType]) -> None:
    """Refuse lists, structs and bytes of a fixed width: a few can be told to hold gigabytes."""
    for name, kind in kinds.items():
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (_is_text(plain) or pa.types.is_primitive(plain) or pa.types.is_null(plain)):
            raise StudyError(
                f"column {name!r} of {path} holds {kind}", expected="numbers or texts",
                remedy="compute it again",
            )  # fmt: skip


def _is_text(kind: pa.DataType) -> bool:
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_string, pa.types.is_large_string, pa.types.is_binary,
            pa.types.is_large_binary,
        )
    )  # fmt: skip


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def _spelled_out_bytes(column: pa.Array) -> int:
    """What ``column`` takes once every row holds its own text."""
    if not (pa.types.is_dictionary(column.type) and _is_text(column.type.value_type)):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return int(pc.sum(lengths.take(column.indices)).as_py() or 0) + 8 * len(column)


def _spelled_out(piece: pa.RecordBatch) -> pa.RecordBatch:
    """``piece`` with texts in the place of numbers of a dictionary."""
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for column in piece.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=piece.schema.names)


def _check_bytes(path: Path, size: int) -> None:
    if size > MAX_TABLE_BYTES:
        raise StudyError(
            f"{path} holds more than {MAX_TABLE_BYTES >> 20} MiB", remedy="compute it again"
        )


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """WebP pictures by sample id."""

    ids: Mapping[str, int]
    pictures: pa.ChunkedArray

    @classmethod
    def read(cls, path: Path, rows: int | None = None) -> Thumbnails:
        """Read the thumbnails that lie in the Parquet file ``path``; raises as `read_rows`."""
        table = read_rows(path, rows, ("sample_id", "webp"))
        return cls(
            {name: row for row, name in enumerate(table["sample_id"].to_pylist())}, table["webp"]
        )

    def __contains__(self, sample_id: object) -> bool:
        return sample_id in self.ids

    def webp(self, sample_id: str) -> bytes:
        """Return the picture of ``sample_id``; raises ``KeyError`` for an unknown id."""
        return bytes(self.pictures[self.ids[sample_id]].as_py())
