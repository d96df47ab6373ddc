"""The manifest of a study (``study.json``): reading, checking, writing.

The manifest names every file of the study. Files that it does not name do not exist for a
reader, so a study is changed by adding files and replacing the manifest.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from analysis.digest import digest_json
from analysis.errors import StudyError
from analysis.records import CLEAN, TEACHER, Condition, ImageSetCard, ModelCost, Student
from analysis.store.files import write_json

SCHEMA_VERSION = 1
MANIFEST = "study.json"
MAX_MANIFEST_BYTES = 256 << 20
_FILE = re.compile(
    r"arrays/[0-9a-f]{64}\.npy"
    r"|models/[0-9a-f]{64}\.safetensors"
    r"|thumbnails/[0-9a-f]{64}\.parquet"
    r"|samples/[A-Za-z0-9._-]{1,64}/[a-z0-9_]{1,64}\.parquet"
)
_LATENCIES = ("latency_ms_batch_1", "latency_ms_batch_64")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything about a study but its bulk.

    ``arrays``, ``samples``, ``weights`` and ``thumbnails`` map a key to a file inside the study;
    ``stored`` holds each file's digest. ``records`` are JSON results by key. ``provenance``
    (times, versions, machine) stays outside :meth:`digest`.
    """

    name: str
    class_names: tuple[str, ...]
    models: Mapping[str, Student]
    image_sets: Mapping[str, ImageSetCard]
    conditions: Mapping[str, Condition]
    config: Mapping[str, Any]
    arrays: Mapping[str, str] = field(default_factory=dict)
    samples: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    thumbnails: Mapping[str, str] = field(default_factory=dict)
    stored: Mapping[str, str] = field(default_factory=dict)
    records: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as it stands in ``study.json``."""
        latency = {name: _latency(model.cost) for name, model in self.models.items()}
        return {
            "schema_version": self.schema_version,
            "digest": self.digest(),
            **self._content(),
            "provenance": {**self.provenance, "latency": latency},
        }

    def _content(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "class_names": list(self.class_names),
            "models": {name: _model_json(model) for name, model in self.models.items()},
            "image_sets": {n: dataclasses.asdict(card) for n, card in self.image_sets.items()},
            "conditions": {n: _condition_json(item) for n, item in self.conditions.items()},
            "config": dict(self.config),
            "arrays": dict(self.arrays),
            "samples": dict(self.samples),
            "weights": dict(self.weights),
            "thumbnails": dict(self.thumbnails),
            "stored": dict(self.stored),
            "records": dict(self.records),
        }

    def digest(self) -> str:
        """Identity of the study's content, the same wherever and whenever it was computed."""
        content = self._content()
        # Parquet bytes carry their writer's version; the arrays they were made of are digested.
        tables = {*self.samples.values(), *self.thumbnails.values()}
        content["stored"] = {k: v for k, v in self.stored.items() if k not in tables}
        del content["thumbnails"]
        return digest_json([self.schema_version, content])

    @functools.cached_property
    def whole(self) -> str:
        """Digest of all content: unlike :meth:`digest`, of samples' and thumbnails' bytes too."""
        return digest_json([self.schema_version, self._content()])

    def extended(self, models: Mapping[str, Student], provenance: Mapping[str, Any]) -> Manifest:
        """The manifest with more ``models``; what ``provenance`` says of them is added."""
        seconds = {**self.provenance.get("seconds", {}), **provenance["seconds"]}
        return dataclasses.replace(
            self,
            models={**self.models, **models},
            provenance={**self.provenance, **provenance, "seconds": seconds},
        )

    def write(self, folder: Path) -> None:
        """Replace the manifest of the study in ``folder`` atomically."""
        write_json(folder / MANIFEST, self.to_json())


def _latency(cost: ModelCost | None) -> dict[str, float | None]:
    return {} if cost is None else {key: getattr(cost, key) for key in _LATENCIES}


def _model_json(model: Student) -> dict[str, Any]:
    data = {spec.name: getattr(model, spec.name) for spec in dataclasses.fields(model)}
    data["recipe"] = dict(model.recipe)
    if model.cost is not None:
        cost = dataclasses.asdict(model.cost)
        data["cost"] = {key: value for key, value in cost.items() if key not in _LATENCIES}
    return data


def _condition_json(condition: Condition) -> dict[str, Any]:
    data = {spec.name: getattr(condition, spec.name) for spec in dataclasses.fields(condition)}
    return {**data, "parameters": dict(condition.parameters)}


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of the study in ``folder``.

    Raises :class:`~analysis.errors.StudyError` when there is none, when it is damaged, when it
    names files outside the study, and when a newer release wrote it.
    """
    path = folder / MANIFEST
    data = _read_json(folder, path)
    version = data.get("schema_version")
    if not isinstance(version, int) or version < 1:
        raise StudyError(f"{path} has schema version {version!r}", expected="a whole number")
    if version > SCHEMA_VERSION:
        raise StudyError(
            f"{folder} has study schema {version}, this release reads up to {SCHEMA_VERSION}",
            remedy="install a newer distillscope to open it",
        )
    try:
        manifest = _from_json(data)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StudyError(
            f"{path} is damaged ({type(error).__name__}: {error})", remedy="compute it again"
        ) from error
    _check_types(path, manifest)
    _check_files(path, manifest)
    _check_content(path, manifest)
    return manifest


def _read_json(folder: Path, path: Path) -> dict[str, Any]:
    if not folder.exists():
        raise StudyError(f"there is no study at {folder}", remedy="make one with: compare --out")
    if not path.is_file():
        raise StudyError(f"{folder} is not a study", expected=f"a folder with {MANIFEST} in it")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise StudyError(f"{path} is larger than {MAX_MANIFEST_BYTES >> 20} MiB")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StudyError(
            f"{path} cannot be read ({type(error).__name__})", remedy="compute the study again"
        ) from error
    if not isinstance(data, dict):
        raise StudyError(f"{path} is damaged", expected="a JSON object")
    return data


def _from_json(data: Mapping[str, Any]) -> Manifest:
    provenance = data["provenance"]
    latency = provenance.get("latency", {})
    models = {
        name: Student(**{**item, "cost": _cost(item.get("cost"), latency.get(name, {}))})
        for name, item in data["models"].items()
    }
    return Manifest(
        name=str(data["name"]),
        class_names=tuple(str(name) for name in data["class_names"]),
        models=models,
        image_sets={n: ImageSetCard(**item) for n, item in data["image_sets"].items()},
        conditions={n: Condition(**item) for n, item in data["conditions"].items()},
        config=data["config"],
        arrays=data["arrays"],
        samples=data["samples"],
        weights=data["weights"],
        thumbnails=data["thumbnails"],
        stored=data["stored"],
        records=data["records"],
        provenance={key: value for key, value in provenance.items() if key != "latency"},
        schema_version=data["schema_version"],
    )


def is_file_name(name: str) -> bool:
    """Whether ``name`` can name a file of a study, relative to its folder."""
    return _FILE.fullmatch(name) is not None and ".." not in name.split("/")


def _cost(cost: Mapping[str, Any] | None, latency: Mapping[str, Any]) -> ModelCost | None:
    return None if cost is None else ModelCost(**cost, **latency)


_LARGEST = 2.0**63


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite number that arithmetic can take; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _fits(value: Any, hint: Any) -> bool:
    """Whether ``value``, as JSON holds it, is what a record declares as ``hint``."""
    if isinstance(hint, UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint in (int, float):
        return is_number(value) and (hint is float or isinstance(value, int))
    if not isinstance(value, get_origin(hint) or hint):
        return False
    return not dataclasses.is_dataclass(hint) or _misfit(value) is None


@functools.cache
def _hints(record: type) -> Mapping[str, Any]:
    return get_type_hints(record)


def _misfit(record: Any) -> str | None:
    """The first field of a record that does not hold what it declares, or None."""
    hints = _hints(record.__class__).items()
    return next((name for name, hint in hints if not _fits(getattr(record, name), hint)), None)


def _check_types(path: Path, manifest: Manifest) -> None:
    """Refuse what is not of the type that the records declare: JSON could hold anything."""
    named = ("config", "arrays", "samples", "weights", "thumbnails", "stored", "records")
    wrong = next((name for name in named if not isinstance(getattr(manifest, name), dict)), None)
    parts = (manifest.models, manifest.image_sets, manifest.conditions)
    for key, record in (item for part in parts for item in part.items()):
        if wrong is None and (misfit := _misfit(record)) is not None:
            wrong = f"{misfit} of {key[:80]!r}"
    if wrong is not None:
        raise StudyError(f"{path} is damaged: {wrong}", remedy="compute it again")


def _check_files(path: Path, manifest: Manifest) -> None:
    parts = (manifest.arrays, manifest.samples, manifest.weights, manifest.thumbnails)
    for name in (name for part in parts for name in part.values()):
        if not isinstance(name, str) or not is_file_name(name):
            raise StudyError(
                f"{path} names the file {str(name)[:80]!r}", expected="a file of the study itself"
            )


_INTERVAL = {"value", "low", "high"}


def _check_content(path: Path, manifest: Manifest) -> None:
    """Refuse what readers could not make sense of: models and records of a wrong form."""
    teacher = manifest.models.get(TEACHER)
    good = (
        teacher is not None
        and teacher.role == TEACHER
        and all(name == model.name for name, model in manifest.models.items())
        and CLEAN in manifest.conditions
        and "inspection" in manifest.image_sets
    )
    if not good:
        raise StudyError(f"{path} is damaged", expected="a teacher, images and records")
    for key, value in manifest.records.items():
        if not _FORMS.get(key.split("/", 1)[0], _anything)(value):
            raise StudyError(f"{path} is damaged: record {key[:80]!r}", remedy="compute it again")


def _anything(value: Any) -> bool:
    return True


def _measured(value: Any) -> bool:
    return isinstance(value, dict) and all(
        item is None or (isinstance(item, dict) and set(item) == _INTERVAL and _numbers(item))
        for item in value.values()
    )


def _numbers(item: Mapping[str, Any]) -> bool:
    bounds = (item["low"], item["high"])
    return is_number(item["value"]) and all(end is None or is_number(end) for end in bounds)


def _listed(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _findings(value: Any) -> bool:
    return _listed(value) and all(isinstance(item.get("text"), str) for item in value)


def _scaled(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and isinstance(value.get("temperature"), int | float)
        and all(_measured({"ece": value.get(key)}) for key in ("ece_before", "ece_after"))
    )


def _sliced(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _listed(value.get("slices"))
        and all(
            isinstance(item.get("id"), str)
            and isinstance(item.get("words"), str)
            and isinstance(item.get("agreement"), dict)
            for item in value["slices"]
        )
    )


def _quality(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"trustworthiness", "continuity", "k", "n"}


def _mapping(value: Any) -> bool:
    return isinstance(value, dict)


_FORMS: Mapping[str, Callable[[Any], bool]] = {
    "measures": _measured,
    "per_class": _listed,
    "findings": _findings,
    "layout_quality": _quality,
    "reliability": _mapping,
    "units": _mapping,
    "attribution": _mapping,
    "layers": _mapping,
    "layer_map": _mapping,
    "slices": _sliced,
    "temperature": _scaled,
}
