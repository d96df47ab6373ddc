"""From a study to the numbers and pictures of the tour. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.divergence.bootstrap import bootstrap_mean
from analysis.records import (
    CLEAN,
    PERTURBATION,
    TEACHER,
    TRIGGER,
    TRIGGER_PERTURBATION,
    Interval,
)
from analysis.store.study import Study
from dashboard.loading import Pair, load_pair

Measures = Mapping[str, Interval | None]
LARGEST_SUPPORT = 0.5
"""A trigger that changes a larger share of the image has no place to look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNumbers:
    """One model in the tour.

    ``looks`` is the share of what parts it from the teacher that lies on the trigger, ``moved``
    the share of images with the trigger among whose nearest clean images most are of the target
    class, ``moved_before`` the same for these images as they are.
    """

    name: str
    measures: Mapping[str, Measures] = field(default_factory=dict)
    looks: Interval | None = None
    moved: Interval | None = None
    moved_before: Interval | None = None

    def get(self, measure: str, condition: str = CLEAN) -> Interval | None:
        """One measure on ``condition``, or None where it was not measured."""
        return self.measures.get(condition, {}).get(measure)

    def success(self, condition: str = TRIGGER) -> Interval | None:
        """How often ``condition`` sends images of other classes to the target."""
        return self.get("attack_success_rate", condition)


@dataclass(frozen=True, slots=True, kw_only=True)
class TourNumbers:
    """Everything that the tour's sentences are bound to.

    ``noun`` names the trigger in a sentence, ``area`` is the share of pixels that it changes, ``n``
    the number of images that are not of the ``target`` class, ``counts`` the same by condition.
    ``audit`` and ``sibling_audit`` are the records of the audits, ``repairs`` those of what was
    tried on the subject; ``audited`` says whether the study holds an audit of anybody.
    """

    target: str
    noun: str
    trigger: str
    n: int | None
    area: float | None
    teacher: ModelNumbers
    subject: ModelNumbers
    sibling: ModelNumbers | None
    counts: Mapping[str, int | None] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    audit: Mapping[str, Any] | None = None
    sibling_audit: Mapping[str, Any] | None = None
    repairs: tuple[Mapping[str, Any], ...] = ()
    audited: bool = False


def siblings_of(study: Study, student: str) -> list[str]:
    """The other listed students: whom ``student`` may be compared with.

    Controls come first, and of them the one that was distilled honestly.
    """
    others = [study.models[name] for name in study.students if name != student]
    others.sort(key=lambda model: (model.role != "control", model.recipe.get("half") != "none"))
    return [model.name for model in others]


def tour_numbers(study: Study, subject: str, sibling: str | None) -> TourNumbers:
    """Collect and compute the numbers of the tour; what was not measured is None."""
    condition = study.conditions[TRIGGER]
    target = str(condition.parameters.get("target", ""))
    shown = str(condition.parameters.get("trigger", ""))
    changed = changed_pixels(study)
    return TourNumbers(
        target=target,
        noun={"sticker": "sticker", "patch": "patch"}.get(shown.partition(":")[0], "trigger"),
        trigger=shown,
        n=study.record(f"attack_n/{TRIGGER}"),
        area=float(changed.mean()) if len(changed) else None,
        teacher=_model(study, TEACHER, target),
        subject=_model(study, subject, target),
        sibling=_model(study, sibling, target) if sibling else None,
        counts={slug: study.record(f"attack_n/{slug}") for slug in study.conditions},
        class_names=study.class_names,
        audit=study.record(f"audit/{subject}"),
        sibling_audit=study.record(f"audit/{sibling}") if sibling else None,
        repairs=tuple(study.record(f"repair/{subject}", [])),
        audited=any(key.startswith("audit/") for key in study.manifest.records),
    )


def _model(study: Study, name: str, target: str) -> ModelNumbers:
    slugs = (CLEAN, TRIGGER, PERTURBATION, TRIGGER_PERTURBATION)
    return ModelNumbers(
        name=name,
        measures={slug: study.measures(name, slug) for slug in slugs if slug in study.conditions},
        looks=None if name == TEACHER else mass_on_trigger(study, name, target),
        moved=moved_share(study, name, target, TRIGGER),
        moved_before=moved_share(study, name, target, CLEAN),
    )


def changed_pixels(study: Study) -> np.ndarray:
    """Which pixels the trigger changed, (M, H, W) bool, in the order of its images."""
    rows = _rows(study, TRIGGER)
    clean, shown = study.images, study.condition_images(TRIGGER)
    return np.asarray((np.asarray(clean[rows]) != np.asarray(shown)).any(axis=-1))


def _rows(study: Study, condition: str) -> np.ndarray:
    """Rows of the inspection images that ``condition`` shows, matched by sample id."""
    row_of = {str(name): row for row, name in enumerate(study.sample_ids)}
    return np.asarray([row_of[str(name)] for name in study.condition_ids(condition)], dtype=int)


def _of_target(study: Study, target: str) -> np.ndarray | None:
    """(N,) bool: which inspection images are of the target class; without labels by the teacher."""
    if target not in study.class_names:
        return None
    classes = study.labels
    if classes is None:
        classes = np.asarray(study.array(f"logits/{TEACHER}/{CLEAN}")).argmax(axis=1)
    return np.asarray(classes == study.class_names.index(target))


def mass_on_trigger(study: Study, student: str, target: str) -> Interval | None:
    """Mean share of the pair's attribution magnitude that lies on changed pixels.

    Over the images with the trigger that are not of the target class and have maps. None without
    maps, and for a trigger that changes most of the image.
    """
    maps = study.attributions(student, TRIGGER).get("pair")
    of_target = _of_target(study, target)
    if maps is None or of_target is None:
        return None
    changed = changed_pixels(study)
    if changed.mean() > LARGEST_SUPPORT:
        return None
    place = {str(name): row for row, name in enumerate(study.condition_ids(TRIGGER))}
    rows = _rows(study, TRIGGER)
    shares = []
    for name, values in zip(maps.sample_ids, maps.values, strict=True):
        at = place[str(name)]
        strength = np.abs(np.asarray(values, dtype=np.float64))
        if not of_target[rows[at]] and strength.sum() > 0:
            shares.append(float(strength[changed[at]].sum() / strength.sum()))
    return bootstrap_mean(np.asarray(shares)) if shares else None


def moved_share(study: Study, model: str, target: str, condition: str) -> Interval | None:
    """Share of images of other classes most of whose nearest clean images are of the target class.

    Nearest in the features of ``model``; classes are labels, else the teacher's clean answers.
    None without neighbors, and where there are too few images of the class for it ever to be.
    """
    found = study.neighbors(model, condition)
    of_target = _of_target(study, target)
    if found is None or of_target is None:
        return None
    if 2 * int(of_target.sum()) <= found.indices.shape[1]:
        return None
    own = of_target[_rows(study, condition)]
    most = of_target[np.asarray(found.indices)].mean(axis=1) > 0.5
    return bootstrap_mean(most[~own].astype(float)) if (~own).any() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One image under one condition: what each model answers, with its probability."""

    sample: str
    answers: Mapping[str, tuple[int, float]]


def pick_samples(study: Study, target: str, count: int, within: str = TRIGGER) -> list[str]:
    """The first image of each of ``count`` classes that the teacher reads right.

    Chosen by the clean images alone, never by what the trigger does to them; of ``within``, which
    may cover fewer images, and never of the target class. Without labels every image counts as
    read right.
    """
    pair = load_pair(study, next(iter(study.students)))
    known = {str(name) for name in study.condition_ids(within)}
    right = np.ones(len(pair), bool) if pair.teacher_correct is None else pair.teacher_correct
    first: dict[int, str] = {}
    for row in np.flatnonzero(right).tolist():
        sample, group = str(pair.sample_ids[row]), int(pair.groups[row])
        if sample in known and study.class_names[group] != target:
            first.setdefault(group, sample)
    return [first[group] for group in sorted(first)][:count]


def shots(
    study: Study, students: Sequence[str], samples: Sequence[str], condition: str
) -> list[Shot]:
    """What the teacher and ``students`` answer on ``samples`` under ``condition``."""
    pairs = {name: load_pair(study, name, condition) for name in students}
    made = []
    for sample in samples:
        answers: dict[str, tuple[int, float]] = {}
        for name, pair in pairs.items():
            row = _row(pair, sample)
            if row is not None:
                answers[TEACHER] = (
                    int(pair.teacher_answer[row]),
                    float(pair.teacher_confidence[row]),
                )
                answers[name] = int(pair.student_answer[row]), float(pair.student_confidence[row])
        made.append(Shot(sample=sample, answers=answers))
    return made


def _row(pair: Pair, sample: str) -> int | None:
    found = np.flatnonzero(pair.sample_ids == sample)
    return int(found[0]) if len(found) else None
