"""Workspaces of studies that hold a manifest and nothing else: enough for what lists them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.digest import digest_bytes
from analysis.records import CLEAN, TEACHER, TRIGGER, Condition, ImageSetCard, Student
from analysis.store.manifest import Manifest

Values = Mapping[str, float]


def put_study(
    root: Path,
    name: str,
    *,
    created: str = "2026-11-25T03:01:28+00:00",
    students: Mapping[str, Values] | None = None,
    references: Mapping[str, Values] | None = None,
    recipes: Mapping[str, Mapping[str, Any]] | None = None,
    config: Mapping[str, Any] | None = None,
    title: str | None = None,
) -> Path:
    """Write the manifest of a study into ``root/name``.

    ``students`` and ``references`` map a name to its measures; those of the trigger are
    ``attack_success_rate`` and ``base_rate``, all others are of the clean images.
    """
    measured = {**(students or {"alpha": {"agreement": 0.9}}), **(references or {})}
    roles = dict.fromkeys(references or {}, "reference")
    models = {TEACHER: _model(TEACHER, "teacher", {})}
    for student in measured:
        recipe = (recipes or {}).get(student, {})
        models[student] = _model(student, roles.get(student, "subject"), recipe)
    folder = root / name
    folder.mkdir(parents=True)
    card = ImageSetCard(
        name="inspection", n=40, height=8, width=8, channels=3, labeled=True, digest="0" * 64,
        source="signs:test,n=40",
    )  # fmt: skip
    Manifest(
        name=title or f"The study {name}",
        class_names=("stop", "yield"),
        models=models,
        image_sets={"inspection": card},
        conditions={slug: _condition(slug) for slug in (CLEAN, TRIGGER)},
        config=config or {"seed": 0},
        records={
            key: value
            for student, values in measured.items()
            for key, value in _records(student, values).items()
        },
        provenance={"created": created, "seconds": {}},
    ).write(folder)
    return folder


def _records(student: str, values: Values) -> dict[str, Any]:
    attack = ("attack_success_rate", "base_rate")
    intervals = {
        key: {"value": value, "low": value - 0.01, "high": value + 0.01}
        for key, value in values.items()
    }
    return {
        f"measures/{student}/{CLEAN}": {k: v for k, v in intervals.items() if k not in attack},
        f"measures/{student}/{TRIGGER}": {k: v for k, v in intervals.items() if k in attack},
    }


def _model(name: str, role: Any, recipe: Mapping[str, Any]) -> Student:
    return Student(
        name=name, role=role, spec=f"resnet8@{name}.safetensors",
        digest=digest_bytes(name.encode()),
        architecture="resnet8", recipe=recipe,
    )  # fmt: skip


def _condition(slug: str) -> Condition:
    return Condition(
        name=slug.capitalize(), slug=slug, kind="clean" if slug == CLEAN else "attack",
        image_set="inspection", n=40, covers_all=True, pixels_digest="2" * 64, parameters={},
    )  # fmt: skip
