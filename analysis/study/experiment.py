"""Run an experiment: train a teacher, poison, distill every student, compare, audit.

What is made lies beside the study in ``OUT.run/``, named by the digest of what it was made from,
so that a run that was killed goes on and several experiments can share one such folder.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from analysis.attack.report import PoisonReport
from analysis.errors import StudyError
from analysis.store import Progress, Study, StudyWriter, silent, writing
from analysis.store.manifest import MANIFEST
from analysis.study.audit import audit_study
from analysis.study.experiment_checks import check_experiment
from analysis.study.experiment_keys import Keys, find_keys
from analysis.study.experiment_run import PROVENANCE, ExperimentRun
from analysis.study.experiment_settings import AuditPlan, Experiment
from analysis.study.images import content_digest, source_key

READ = "experiment_audit"
"""Prefix of the records that say what the audit of a student has read."""


def run_experiment(
    experiment: Experiment,
    *,
    runs: str | Path | None = None,
    trusted_code: Collection[str | Path] = (),
    progress: Progress = silent,
) -> Study:
    """Run ``experiment`` and return its study.

    ``runs`` is the folder of poisoned sets and models (default: ``OUT.run`` beside the study);
    experiments that share it make equal things once. A finished experiment is returned at once;
    students that were added to it are added to its study. Raises
    :class:`~analysis.errors.InputError` before anything is written when something cannot be
    used, or when the study at ``out`` is of another experiment.
    """
    check_experiment(experiment, trusted_code)
    keys = find_keys(experiment)
    study = _finished(experiment, keys)
    out = experiment.out
    folder = out.with_name(f"{out.name}.run") if runs is None else Path(runs)
    run = ExperimentRun(experiment, keys, folder, tuple(trusted_code), progress)
    if study is None:
        study = run.complete()
    return _audited(study, run, tuple(trusted_code), progress)


def _audited(
    study: Study, run: ExperimentRun, trusted_code: tuple[str | Path, ...], progress: Progress
) -> Study:
    """Audit the students that this plan has not audited yet, with the images they learned from."""
    plan = run.experiment.audit
    if plan is None:
        return study
    known: dict[str, str] = run.distillation_sets()
    if plan.distillation_set is not None:
        known = dict.fromkeys(study.students, plan.distillation_set)
    settings = {**plan.config.inversion.key(), "references": plan.references}
    asked = json.loads(json.dumps({"budget": plan.budget, **settings}))
    read = _what_is_read(plan, study.students, known)
    missing = [
        name
        for name in study.students
        if _asked(study, name) != asked
        or (name in known and not _screened(study, name))
        or study.record(f"{READ}/{name}", read[name]) != read[name]
    ]
    if not missing:
        return study
    done = audit_study(
        study.path,
        students=missing,
        images=plan.images,
        references=plan.given,
        distillation=known,
        config=plan.config,
        trusted_code=trusted_code,
        device=run.experiment.device,
        progress=progress,
    )
    with writing(done.path):
        writer = StudyWriter(done.path)
        writer.records |= {f"{READ}/{name}": read[name] for name in missing}
        return writer.publish(Study.open(done.path).manifest)


def _what_is_read(
    plan: AuditPlan, students: Iterable[str], distillation: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Digests of what an audit by ``plan`` reads beside the study, by student; None: nothing."""
    given = plan.given
    references = given
    if given is not None and Path(given).exists():
        references = content_digest(Path(given))
    sources = {*distillation.values(), *([] if plan.images is None else [plan.images])}
    keys: dict[str | None, str | None] = {source: source_key(source) for source in sources}
    keys[None] = None
    shared = {"images": keys[plan.images], "references": references}
    return {name: {**shared, "distillation_set": keys[distillation.get(name)]} for name in students}


def _asked(study: Study, student: str) -> dict[str, Any] | None:
    """Budget and settings of the audit that the study holds of ``student``, or None."""
    found = study.record(f"audit/{student}")
    if found is None:
        return None
    settings = {key: value for key, value in found["settings"].items() if key != "family"}
    return {"budget": found["budget"], **settings}


def _screened(study: Study, student: str) -> bool:
    """Whether the audit that the study holds of ``student`` screened what it was distilled on."""
    trusted = study.record(f"audit/{student}", {}).get("trusted") or {}
    return trusted.get("distillation_set") is not None


def poison_report(study: Study) -> PoisonReport | None:
    """How the poisoning behind ``study`` went; None when no experiment made it."""
    made = study.manifest.provenance.get(PROVENANCE) or {}
    report = made.get("poisoning")
    return None if report is None else PoisonReport.from_json(report)


def _finished(experiment: Experiment, keys: Keys) -> Study | None:
    """Return the study when it is there and whole; refuse one of another experiment."""
    if not (experiment.out / MANIFEST).exists():
        return None
    study = Study.open(experiment.out)
    made = study.manifest.provenance.get(PROVENANCE) or {}
    known = made.get("students", {})
    changed = [name for name, key in keys.students.items() if known.get(name, key) != key]
    if made.get("base") != keys.base or changed:
        same = made.get("base") == keys.base
        what = f"another student {changed[0]!r}" if same else "the study of another experiment"
        raise StudyError(
            f"{experiment.out} holds {what}", remedy="choose another out, or delete that folder"
        )
    return study if set(keys.students) <= set(known) else None
