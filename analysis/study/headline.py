"""The headline of a study: what ``show`` prints and a pipeline reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from analysis.records import CLEAN, TEACHER, Interval, Student
from analysis.store import Study
from analysis.study.between import check_left, measures_between
from analysis.study.null import StudentNulls, find_nulls

MEASURES = (
    "accuracy",
    "agreement",
    "kl_teacher_student",
    "kl_student_teacher",
    "js",
    "churn",
    "top5_overlap",
    "top5_order",
    "dark_kl",
    "confidence_gap",
    "negative_flips",
    "ece",
    "mean_neighborhood_overlap",
)

CELL = (
    "accuracy",
    "attack_success_rate",
    "base_rate",
    "titg",
    "agreement",
    "kl_teacher_student",
)

EVIDENCE = (
    "test", "class", "statistic", "null", "p_value", "p_kind", "corrected_p_value", "seconds",
    "passes", "sentence",
)  # fmt: skip


def headline(study: Study, *, left: str = TEACHER) -> dict[str, Any]:
    """Return the study's headline as JSON.

    With another model on the ``left``, the students' clean measures compare with that model (which
    is itself left out of them) and ``left`` names it; conditions are against the teacher always.

    Every measure is ``{value, low, high}`` (95 % bootstrap interval) or null where it was not
    measured; those of students have ``null`` beside it: what honest students of the same teacher
    show (:mod:`analysis.study.null`), or null without references. Keys: ``study``, ``teacher``,
    ``students.<name>``, ``conditions.<slug>``; checkpoints and references are not listed.
    """
    card = study.inspection
    students = {n: m for n, m in study.students.items() if n != check_left(study, left)}
    measured = {name: measures_between(study, left, name) for name in students}
    nulls = {name: find_nulls(study, name) for name in study.students}
    # References are compared with the teacher; they say nothing about two students.
    shown = nulls if left == TEACHER else dict.fromkeys(students, StudentNulls())
    return {
        **({} if left == TEACHER else {"left": left}),
        "study": {
            "name": study.name,
            "digest": study.digest,
            "created": study.created,
            "images": card.n,
            "labeled": card.labeled,
            "classes": list(study.class_names),
            "conditions": list(study.conditions),
        },
        "teacher": {
            **_model(study.teacher),
            **{key: _interval(study, TEACHER, key) for key in ("accuracy", "ece")},
            "temperature": study.record(f"temperature/{TEACHER}/{CLEAN}"),
        },
        "students": {
            name: {
                "role": model.role,
                "parent": model.parent,
                "epoch": model.epoch,
                **_model(model),
                **{
                    key: _against(_json(measured[name].get(key)), shown[name].to_json(key))
                    for key in MEASURES
                },
                "temperature": study.record(f"temperature/{name}/{CLEAN}"),
                "worst_class": worst_class(study, name) if left == TEACHER else None,
                "slices": slices_of(study, name) if left == TEACHER else None,
                "findings": study.record(f"findings/{name}", []),
                "audit": audit_headline(study, name),
            }
            for name, model in students.items()
        },
        "conditions": {slug: _condition(study, slug, nulls) for slug in study.conditions},
    }


def audit_headline(study: Study, student: str) -> dict[str, Any] | None:
    """Return the verdict on ``student`` with its evidence, or None when it was not audited."""
    data = study.record(f"audit/{student}")
    if data is None:
        return None
    return {
        **{key: data.get(key) for key in ("verdict", "target_class", "p_value", "p_kind")},
        "evidence": [{key: item.get(key) for key in EVIDENCE} for item in data["evidence"]],
        "not_tested": data["not_tested"],
    }


def _condition(study: Study, slug: str, nulls: Mapping[str, StudentNulls]) -> dict[str, Any]:
    """One condition of the four-cell table; rates are over the ``attack_n`` non-target images."""
    condition = study.conditions[slug]
    return {
        "n": condition.n,
        "attack_n": study.record(f"attack_n/{slug}"),
        "parameters": dict(condition.parameters),
        "teacher": {key: _interval(study, TEACHER, key, slug) for key in CELL[:4]},
        "students": {
            name: {
                key: _against(_interval(study, name, key, slug), nulls[name].to_json(key, slug))
                for key in CELL
            }
            for name in study.students
        },
    }


def _model(model: Student) -> dict[str, Any]:
    cost = {} if model.cost is None else dataclasses.asdict(model.cost)
    return {"architecture": model.architecture, "spec": model.spec, "digest": model.digest, **cost}


def _interval(
    study: Study, model: str, key: str, condition: str = CLEAN
) -> dict[str, float | None] | None:
    return _json(study.measures(model, condition).get(key))


def _json(value: Interval | None) -> dict[str, float | None] | None:
    return None if value is None else value.to_json()


def _against(
    interval: Mapping[str, Any] | None, null: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """One number of a student with its null beside it."""
    return None if interval is None else {**interval, "null": null}


def slices_of(study: Study, student: str) -> list[dict[str, Any]] | None:
    """The slices of ``student`` on the clean images, or None where nobody looked for any."""
    record = study.record(f"slices/{student}/{CLEAN}")
    if record is None:
        return None
    keys = ("id", "words", "n", "n_tested", "agreement", "rest", "gap", "p_value")
    return [{key: item[key] for key in keys} for item in record["slices"]]


def worst_class(study: Study, student: str) -> dict[str, Any] | None:
    """Return the class on which ``student`` agrees least with the teacher, or None."""
    rows = [row for row in study.record(f"per_class/{student}/{CLEAN}", []) if row["agreement"]]
    if not rows:
        return None
    worst = min(rows, key=lambda row: row["agreement"]["value"])
    return {"class": study.class_names[worst["class_index"]], **worst}
