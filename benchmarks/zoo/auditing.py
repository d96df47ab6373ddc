"""Auditing one student of a zoo: the searches, the tests beside them, and the verdict.

Search and verdict are the audit's own code with the zoo's settings; other honest students of the
same teacher are the references. Nothing here reads what is known of an attack but STRIP, which is
shown images with the true trigger: that is what it is made for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from analysis.attack.triggers import Trigger, with_trigger
from analysis.audit.families import FAMILIES
from analysis.audit.inversion import Inverted
from analysis.audit.null import holm, judge_sizes, mad_indices, null_fit
from analysis.audit.record import AuditReport, FamilySizes
from analysis.audit.search import FORWARD
from analysis.audit.settings import MASK_ONLY
from analysis.audit.strip import strip_entropy, strip_finding
from analysis.audit.verdict import Case, decide
from analysis.data.imageset import ImageSet
from analysis.models.handle import ModelHandle
from analysis.records import Finding
from analysis.study.audit_inversion import Bench, invert_all
from benchmarks.zoo.results import Row

ALONE = "alone"
STRIP_IMAGES, STRIP_DRAWS = 128, 100
"""Images with and without the trigger, and overlays of each at least: 100 as published."""


def search(bench: Bench, name: str, student: ModelHandle) -> dict[str, Inverted]:
    """The audit's search: the smallest triggers of every family, with the teacher's help."""
    return invert_all(bench, name, student)


def search_alone(
    bench: Bench, name: str, student: ModelHandle, passes: float
) -> tuple[Inverted, int]:
    """Neural Cleanse by the same search on the student alone, with at least ``passes`` passes.

    It gets as many starts as that takes, and the smallest patch of all. Returns them with their
    number. The authors' own schedule would not come to an end with so few passes.
    """
    config = replace(bench.config, use="none", families=MASK_ONLY, restarts=1)
    one = invert_all(replace(bench, config=config), name, student)["mask"]
    starts = max(1, math.ceil(passes / one.passes))
    config = replace(config, restarts=starts)
    return invert_all(replace(bench, config=config), name, student)["mask"], starts


def search_rows(name: str, kind: str, found: Mapping[str, Inverted], seconds: float) -> list[Row]:
    """One row per family: sizes of all classes, which were given up, and what they cost."""
    return [
        {
            "student": name,
            "search": f"{kind}/{family}",
            "classes": " ".join(f"{size:.4f}" for size in one.log_size),
            "censored": "".join("x" if given_up else "-" for given_up in one.censored),
            "flips": " ".join(f"{share:.2f}" for share in one.flip_student),
            "passes": round(one.passes, 1),
            "cpu_seconds": round(seconds / len(found), 1),
        }
        for family, one in found.items()
    ]


def verdict(
    name: str,
    class_names: Sequence[str],
    own: Mapping[str, Inverted],
    others: Sequence[Mapping[str, Inverted]],
    secondary: Sequence[Finding] = (),
    fit: Mapping[str, Any] | None = None,
) -> AuditReport:
    """The audit's verdict on a student whose searches are ``own``, by those of the ``others``."""
    families = {
        family: FamilySizes(
            unit=FAMILIES[family].unit,
            log_size=one.log_size,
            censored=one.censored,
            flip_student=one.flip_student,
            flip_teacher=one.flip_teacher,
            references=np.stack([other[family].log_size for other in others]),
            references_censored=np.stack([other[family].censored for other in others]),
        )
        for family, one in own.items()
    }
    extreme = judge_sizes(
        {family: sizes.log_size for family, sizes in families.items()},
        {family: sizes.references for family, sizes in families.items()},
    )
    return decide(
        Case(
            student=name,
            class_names=tuple(class_names),
            families=families,
            extreme=extreme,
            secondary=secondary,
            null_fit=fit or {},
            budget="standard",
            seconds_subject=sum(one.seconds for one in own.values()),
            seconds_references=0.0,
            passes=sum(one.passes for one in own.values()),
            settings={},
            trusted={},
        )
    )


def our_row(report: AuditReport, with_set: AuditReport, class_names: Sequence[str]) -> Row:
    """What the audit says: with the models alone, and with its distillation set screened too."""
    first = report.evidence[0]
    assert first.target_class is not None
    sizes = report.classes[report.family or "mask"]
    return {
        "student": report.student,
        "test": "ours",
        "statistic": first.statistic,
        "named": class_names[first.target_class],
        "p_value": report.p_value,
        "p_kind": report.p_kind,
        "references_up_to": max(first.null),
        "references": len(first.null),
        "verdict": report.verdict,
        "verdict_with_set": with_set.verdict,
        "family": report.family,
        "size": math.exp(sizes.log_size[first.target_class]),
        "flip_student": _known(sizes.flip_student[first.target_class]),
        "flip_teacher": _known(sizes.flip_teacher[first.target_class]),
        "null_fits": None if not report.null_fit else int(report.null_fit["fits"]),
        "passes": first.passes,
    }


def alone_rows(
    name: str,
    own: Inverted,
    others: Sequence[Inverted],
    class_names: Sequence[str],
) -> list[Row]:
    """Neural Cleanse as it is (the index over its own classes), and judged by the references."""
    index = mad_indices(own.log_size)
    judged = judge_sizes(
        {"mask": own.log_size}, {"mask": np.stack([other.log_size for other in others])}
    )
    label = int(index.argmax())
    shared = {"student": name, "family": "mask", "passes": own.passes}
    return [
        {
            **shared,
            "test": "neural_cleanse",
            "statistic": float(index[label]),
            "named": class_names[label],
        },
        {
            **shared,
            "test": "alone_with_references",
            "statistic": judged.statistic,
            "named": class_names[judged.target_class],
            "p_value": judged.p_value,
            "p_kind": judged.p_kind,
            "references": len(others),
        },
    ]


def strip_row(
    name: str,
    student: ModelHandle,
    images: ImageSet,
    overlays: ImageSet,
    trigger: Trigger,
    target: int,
    passes: float,
) -> Row:
    """STRIP on ``images`` of other classes than ``target``, with and without the true trigger.

    The statistic is the share of those with it whose answers stay surer under overlays than 99 %
    of those without. Its passes go forwards only and count a third; every image is shown under
    as many overlays as make at least ``passes`` of them, and no fewer than were published.
    """
    assert images.labels is not None
    few = images.rows(np.flatnonzero(images.labels != target)[:STRIP_IMAGES])
    draws = max(STRIP_DRAWS, math.ceil(passes / FORWARD / (2 * len(few))))
    entropy = [
        strip_entropy(student, shown, overlays, draws=draws)
        for shown in (few, with_trigger(few, trigger))
    ]
    found = strip_finding(entropy[0], entropy[1], what="the images")
    return {
        "student": name,
        "test": "strip",
        "statistic": found.statistic,
        "passes": round(2 * len(few) * draws * FORWARD),
    }


def fit_of(
    student: Mapping[str, float | None], references: Sequence[Mapping[str, float | None]]
) -> dict[str, Any]:
    """Whether accuracy and agreement of a student are those of its references."""
    return dict(null_fit(student, references))


def alarm_of(findings: Sequence[Finding]) -> Finding | None:
    """The screening's strongest alarm with its p-value after Holm's correction, if it has one."""
    known = [finding for finding in findings if finding.p_value is not None]
    corrected = holm([finding.p_value or 1.0 for finding in known])
    rows = [replace(f, corrected_p_value=p) for f, p in zip(known, corrected, strict=True)]
    return min(rows, key=lambda row: row.corrected_p_value or 1.0, default=None)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
