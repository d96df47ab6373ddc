"""How students are named before they are loaded: specs, checkpoints, class names."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.errors import InputError
from analysis.records import REFERENCE, TEACHER, Role

_NAMED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)=(?P<spec>.+)", re.DOTALL)
_EPOCH = re.compile(r"(\d+)(?!.*\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentSpec:
    """A model spec with the part that the student plays in the study."""

    spec: str = ""
    role: Role = "subject"
    parent: str | None = None
    epoch: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)


def default_name(spec: str) -> str:
    """Name a student after its weights file: ``resnet14@run/small.pt`` is ``small``."""
    weights = spec.rsplit("@", 1)[-1].split(",", 1)[0]
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(weights).stem)
    stem = re.sub(r"\.{2,}", ".", stem)[:64].strip("-.")
    return "student" if stem.lower() in ("", TEACHER) else stem


def name_students(values: Sequence[str]) -> dict[str, StudentSpec]:
    """Return the students that ``values``, each ``[NAME=]SPEC``, name."""
    students: dict[str, StudentSpec] = {}
    for value in values:
        match = _NAMED.fullmatch(value)
        name, spec = (match["name"], match["spec"]) if match else (default_name(value), value)
        if name in students:
            raise InputError(
                f"two students are named {name!r}", remedy="name them: --student NAME=SPEC"
            )
        students[name] = StudentSpec(spec=spec)
    return students


def expand_checkpoints(name: str, pattern: str, student: StudentSpec) -> dict[str, StudentSpec]:
    """Return the checkpoints of student ``name`` that match the glob ``pattern``.

    The last number in a file's name is its epoch. Files that do not say what they are (any but
    our own ``.safetensors``) take architecture and options from the student's spec.
    """
    # A run's folder also holds the state that training resumes from.
    paths = sorted(Path(path) for path in glob.glob(pattern) if Path(path).stem != "state")
    if not paths:
        raise InputError(
            f"no file matches {pattern!r}", expected="checkpoints, e.g. 'run/epoch_*.safetensors'"
        )
    rows: dict[str, StudentSpec] = {}
    for path in paths:
        match = _EPOCH.search(path.stem)
        if match is None:
            raise InputError(
                f"checkpoint {path.name!r} has no epoch in its name",
                expected="names with a number, e.g. 'run/epoch_*.safetensors'",
            )
        epoch = int(match[1])
        key = f"{name}.epoch-{epoch:04d}"
        if key in rows:
            raise InputError(f"two checkpoints of {name!r} are of epoch {epoch}")
        rows[key] = StudentSpec(
            spec=_checkpoint_spec(path, student.spec), role="checkpoint", parent=name, epoch=epoch
        )
    return rows


def expand_references(values: Sequence[str]) -> dict[str, StudentSpec]:
    """Return the reference students that ``values`` name: folders of weights, files, specs."""
    rows: dict[str, StudentSpec] = {}
    for value in values:
        folder = Path(value)
        found = sorted(folder.glob("*.safetensors")) if folder.is_dir() else [value]
        if not found:
            raise InputError(
                f"no reference student in {value!r}",
                expected="a folder of .safetensors files, as distillscope reference writes them",
            )
        for spec in map(str, found):
            name = default_name(spec)
            if name in rows:
                raise InputError(f"two references are named {name!r}", remedy="rename a file")
            rows[name] = StudentSpec(spec=spec, role=REFERENCE)
    return rows


def _checkpoint_spec(path: Path, spec: str) -> str:
    architecture, at, rest = spec.rpartition("@")
    if not at:
        return str(path)
    options = re.findall(r",(?:normalize|classes|width)=[^,]+", rest)
    return f"{architecture}@{path}{''.join(options)}"


def read_class_names(path: Path) -> list[str]:
    """Read class names: a JSON list, or one name a line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"class names {path} cannot be read", expected="a text file with one name a line"
        ) from error
    if text.lstrip().startswith("["):
        try:
            names = json.loads(text)
        except ValueError as error:
            raise InputError(f"class names {path} are not valid JSON") from error
    else:
        names = [line.strip() for line in text.splitlines() if line.strip()]
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise InputError(f"class names {path}", expected="different names, each a text")
    return list(names)
