"""What a study is, in a few lines: read from its manifest alone, no array is opened."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.errors import DistillscopeError
from analysis.records import CLEAN, REFERENCE, TEACHER, TRIGGER, Interval, Role
from analysis.store.manifest import MANIFEST, Manifest, read_manifest

HEADLINE: Mapping[str, str] = {
    "accuracy": CLEAN,
    "agreement": CLEAN,
    "kl_teacher_student": CLEAN,
    "attack_success_rate": TRIGGER,
    "base_rate": TRIGGER,
}
"""The measures of a summary, each with the condition that it is taken on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentSummary:
    """One student that pickers list.

    ``values`` holds the measures of :data:`HEADLINE` that were taken, ``verdict`` what an audit
    said of it, or None.
    """

    name: str
    role: Role
    architecture: str
    spec: str
    recipe: Mapping[str, Any]
    values: Mapping[str, Interval]
    verdict: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """One folder of a workspace: a study, or what keeps it from being opened (``problem``).

    ``folder`` is its name in the workspace, ``title`` the study's own. ``created`` is ISO 8601 in
    UTC. ``whole`` is the manifest's, a digest that covers all files. ``references`` holds the
    values of the reference students by measure: what honest students of the same teacher show.
    ``config`` is what the study was asked for. ``conditions`` are slugs; ``pictures`` says whether
    there are thumbnails of the clean images.
    """

    folder: str
    title: str = ""
    created: str = ""
    digest: str = ""
    whole: str = ""
    teacher: str = ""
    architecture: str = ""
    images: int = 0
    labeled: bool = False
    source: str = ""
    classes: int = 0
    conditions: tuple[str, ...] = ()
    students: tuple[StudentSummary, ...] = ()
    teacher_values: Mapping[str, Interval] = field(default_factory=dict)
    references: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    pictures: bool = False
    tags: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def usable(self) -> bool:
        """Whether it can be opened."""
        return self.problem is None


def read_summary(folder: Path) -> StudySummary:
    """The summary of the study in ``folder``, without tags; never an error, but a ``problem``."""
    try:
        stat = (folder / MANIFEST).stat()
        return _read(folder, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        return StudySummary(folder=folder.name, problem=f"It cannot be read: {error.strerror}")


@functools.lru_cache(maxsize=512)
def _read(folder: Path, written: int, size: int) -> StudySummary:
    """The summary of the manifest that was written at ``written``."""
    try:
        return _summarize(folder, read_manifest(folder))
    except DistillscopeError as error:
        return StudySummary(folder=folder.name, problem=str(error))
    except Exception as error:  # whatever a stranger's manifest may hold
        return damaged(folder.name, error)


def damaged(folder: str, error: Exception) -> StudySummary:
    """The entry of a study whose manifest could be read, but not understood."""
    said = f"its manifest is damaged ({type(error).__name__}). Compute it again"
    return StudySummary(folder=folder, problem=said)


def _summarize(folder: Path, manifest: Manifest) -> StudySummary:
    card = manifest.image_sets["inspection"]
    teacher = manifest.models[TEACHER]
    references = [name for name, model in manifest.models.items() if model.role == REFERENCE]
    return StudySummary(
        folder=folder.name,
        title=manifest.name,
        created=str(manifest.provenance.get("created", "")),
        digest=manifest.digest(),
        whole=manifest.whole,
        teacher=teacher.spec,
        architecture=teacher.architecture,
        images=card.n,
        labeled=card.labeled,
        source=card.source,
        classes=len(manifest.class_names),
        conditions=tuple(manifest.conditions),
        students=_students(manifest),
        teacher_values=_values(manifest, TEACHER),
        references=_by_measure([_values(manifest, name) for name in references]),
        config=manifest.config,
        pictures=CLEAN in manifest.thumbnails,
    )


def _students(manifest: Manifest) -> tuple[StudentSummary, ...]:
    return tuple(
        StudentSummary(
            name=name,
            role=model.role,
            architecture=model.architecture,
            spec=model.spec,
            recipe=model.recipe,
            values=_values(manifest, name),
            verdict=_verdict(manifest, name),
        )
        for name, model in manifest.models.items()
        if model.listed
    )


def _values(manifest: Manifest, model: str) -> dict[str, Interval]:
    found = {}
    for measure, condition in HEADLINE.items():
        record = manifest.records.get(f"measures/{model}/{condition}", {}).get(measure)
        value = Interval.from_json(record)
        if value is not None:
            whole = value.low is not None and value.high is not None
            found[measure] = value if whole else Interval(value.value)
    return found


def _by_measure(rows: list[dict[str, Interval]]) -> dict[str, tuple[float, ...]]:
    found = {key: tuple(row[key].value for row in rows if key in row) for key in HEADLINE}
    return {key: values for key, values in found.items() if values}


def _verdict(manifest: Manifest, student: str) -> str | None:
    record = manifest.records.get(f"audit/{student}")
    verdict = record.get("verdict") if isinstance(record, dict) else None
    return verdict if isinstance(verdict, str) else None
