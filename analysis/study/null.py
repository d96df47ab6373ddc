"""What honest students of the same teacher show: the null of every number of one student.

Computed from the stored measures whenever it is asked for, so that references that are added
later count for all students at once. Reads a study only; loads no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from analysis.divergence.null import Null, judge, null_of
from analysis.divergence.outputs import MEASURES
from analysis.records import CLEAN, TEACHER, Student
from analysis.store import Study

# The numbers that the Overview shows, which are judged together on all conditions.
JUDGED = (
    "accuracy",
    "agreement",
    "kl_teacher_student",
    "confidence_gap",
    "negative_flips",
    "ece",
    "attack_success_rate",
)
_SIGNED = ("titg",)
_COUNTED = (
    "accuracy", "agreement", "churn", "negative_flips", "attack_success_rate", "base_rate", "titg",
)  # fmt: skip
_OF_ATTACKED = ("attack_success_rate", "base_rate", "titg")
_BESIDE = ("kind", "role", "varied", "epoch", "half", "attack", "teacher", "images", "normalize")
_SEEDS = ("seed", "checkpoint_every", "checkpoint_count", "checkpoint_epochs")
_SHOWN = 4


@dataclass(frozen=True)
class StudentNulls:
    """The nulls of one student's numbers, by (condition, measure).

    ``references`` names the reference students, ``differences`` says in words what in their
    recipes is not as in the student's: "epochs: 26, references 20".
    """

    references: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    nulls: Mapping[tuple[str, str], Null] = field(default_factory=dict)

    def of(self, measure: str, condition: str = CLEAN) -> Null | None:
        """The null of one number, or None where no reference measured it."""
        return self.nulls.get((condition, measure))

    def on(self, condition: str) -> dict[str, Null]:
        """The nulls of all numbers on one condition, by measure."""
        return {name: null for (slug, name), null in self.nulls.items() if slug == condition}

    def to_json(self, measure: str, condition: str = CLEAN) -> dict[str, Any] | None:
        """Return one null as ``show --json`` prints it."""
        null = self.of(measure, condition)
        if null is None:
            return None
        values = {key: value for key, value in asdict(null).items() if key != "references"}
        return {**values, "n": null.n, "recipe_differences": list(self.differences)}


def find_nulls(study: Study, student: str) -> StudentNulls:
    """Hold every number of ``student`` against the references of ``study``.

    A reference that is the student itself, weight for weight, is left out, and one that is
    another reference counts once.
    """
    own = study.models[student]
    by_digest: dict[str, str] = {}
    for name, model in study.references.items():
        by_digest.setdefault(model.digest, name)
    others = {
        name: study.references[name] for digest, name in by_digest.items() if digest != own.digest
    }
    if student == TEACHER or not others:
        return StudentNulls()
    nulls = dict(_nulls(study, student, list(others)))
    family = [key for key in nulls if key[1] in JUDGED]
    return StudentNulls(
        references=tuple(others),
        differences=recipe_differences(own, list(others.values())),
        nulls=judge(nulls, family),
    )


def _nulls(
    study: Study, student: str, references: Sequence[str]
) -> Iterator[tuple[tuple[str, str], Null]]:
    for slug, condition in study.conditions.items():
        theirs = [study.measures(name, slug) for name in references]
        for measure, interval in study.measures(student, slug).items():
            known = [other.value for row in theirs if (other := row.get(measure)) is not None]
            if interval is None or not known:
                continue
            n = condition.n
            if measure in _OF_ATTACKED:
                n = study.record(f"attack_n/{slug}", n)
            null = null_of(
                interval.value,
                known,
                resolution=1 / n if measure in _COUNTED else 0.0,
                bounds=_bounds(measure),
            )
            yield (slug, measure), null


def _bounds(measure: str) -> tuple[float, float]:
    """Between what a measure can lie at all."""
    unit = MEASURES[measure][1] if measure in MEASURES else "share"
    if unit == "nats":
        return 0.0, math.log(2) if measure == "js" else math.inf
    return (-1.0 if unit == "difference" or measure in _SIGNED else 0.0), 1.0


def recipe_differences(student: Student, references: Sequence[Student]) -> tuple[str, ...]:
    """Say field by field where the recipes of ``references`` are not as ``student``'s.

    The seed is what references are there to vary, and checkpoints decide nothing; neither
    counts. A recipe that nobody knows is a difference.
    """
    unknown = [model.name for model in (student, *references) if not _known(model)]
    said = [f"the recipe of {_listed(unknown)} is not known"] if unknown else []
    known = [_flat(model) for model in references if _known(model)]
    if not _known(student) or not known:
        return tuple(said)
    others = [model.recipe.get("images") or {} for model in references if _known(model)]
    said += filter(None, [_other_images(student.recipe.get("images") or {}, others)])
    own = _flat(student)
    for key in sorted({*own, *(key for recipe in known for key in recipe)}):
        theirs = [recipe.get(key, "none") for recipe in known]
        if any(value != own.get(key, "none") for value in theirs):
            distinct = list(dict.fromkeys(map(_text, theirs)))
            said.append(f"{key}: {_text(own.get(key, 'none'))}, references {_listed(distinct)}")
    return tuple(said)


def _known(model: Student) -> bool:
    return bool(model.recipe.get("training"))


def _flat(model: Student) -> dict[str, Any]:
    """The recipe without its levels, and the network; images are compared for themselves."""
    recipe = model.recipe
    flat: dict[str, Any] = {"architecture": model.architecture}
    if model.cost is not None:
        flat["parameters"] = model.cost.parameters
    for key, value in recipe.items():
        if key in _BESIDE:
            continue
        inner = value if isinstance(value, Mapping) else {key: value}
        for name, item in inner.items():
            if name not in _SEEDS:
                flat[key if name == "name" else name] = item
    return flat


def _other_images(own: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    """Say how the images of the references differ; nothing when their pixels are the same."""
    different = [other for other in others if not _same_images(own, other)]
    if not different:
        return ""
    counts = list(dict.fromkeys(str(other.get("n", "?")) for other in different))
    numbers = f"images: {own.get('n', '?')}, references {_listed(counts)}"
    if all(other.get("source") == own.get("source") for other in different):
        return f"{numbers} of the same source, with other pixels"
    sources = list(dict.fromkeys(str(other.get("source")) for other in different))
    return f"{numbers} others, from {_listed(sources)}"


def _same_images(own: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    # Ids and labels enter the digest, but nothing that a student without labels learns from.
    key = "pixels" if "pixels" in own and "pixels" in other else "digest"
    return own.get(key) is not None and own.get(key) == other.get(key)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _listed(values: Sequence[str]) -> str:
    more = len(values) - _SHOWN
    return " / ".join(values[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
