"""Stage: repair a student of a study, measure it beside the control, and add it to the study."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.config import Config, field
from analysis.errors import ConfigError, InputError, ModelError
from analysis.models.loading import load_model
from analysis.records import check_student_name
from analysis.remedy.methods import CONTROL, REMEDIES, Remedy, make_remedy
from analysis.remedy.unlearning import FineTuning
from analysis.store import Progress, Study, StudyWriter, silent, workspace_cache, writing
from analysis.study.comparison import add_students
from analysis.study.models import load_stored
from analysis.study.recovered import RECOVERED, Suspect, find_suspect, recovered_suspect
from analysis.study.references import put_weights
from analysis.study.remedies import WEIGHTS, apply_remedy, repair_references
from analysis.study.repair_case import Bed, prepare
from analysis.study.screening import suspicion
from analysis.study.specs import StudentSpec
from analysis.study.stages import CompareConfig, Workbench


@dataclass(frozen=True, kw_only=True)
class RepairConfig(Config):
    """How a student is repaired; the remedy's own settings are in :data:`REMEDIES`."""

    method: str = field("unlearn", f"remedy: {', '.join(REMEDIES)}", choices=tuple(REMEDIES))
    trigger: str = field(RECOVERED, "what is unlearned: recovered (by an audit), or a trigger")
    target: str | None = field(None, "class of a trigger that is told: its name or number")
    seed: int = field(0, "seed of order, views, and of weights that are made anew", low=0)
    threads: int = field(
        0, "threads to compute with; 0 leaves torch's choice", low=0, provenance=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trigger == RECOVERED and self.target is not None:
            raise ConfigError(
                f"target = {self.target!r} without a trigger: the recovered one has its own",
                remedy="tell the trigger as well, or leave the target out",
            )


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """What a repair made: the ``study`` with the new ``student``, its weights, its record.

    ``control`` is the record of plain fine-tuning beside it, None when that is the method.
    """

    study: Study
    student: str
    weights: Path
    entry: Mapping[str, Any]
    control: Mapping[str, Any] | None


def repair(
    folder: str | Path,
    *,
    student: str,
    out: str | Path,
    config: RepairConfig | None = None,
    settings: Mapping[str, Any] | None = None,
    images: str | None = None,
    distillation_set: str | None = None,
    name: str | None = None,
    references_out: str | Path | None = None,
    trusted_code: Sequence[str | Path] = (),
    device: str = "cpu",
    progress: Progress = silent,
) -> Repaired:
    """Repair ``student`` of the study in ``folder``; write the weights to ``out``.

    ``images`` are trusted ones; without them a seeded half of the study's own is taken, and all
    is measured on the other half. ``distillation_set`` is what the student was distilled on,
    for remedies that distill anew. The repaired student becomes the study's student ``name``
    (default ``STUDENT-METHOD``) with role ``repaired``; plain fine-tuning on the same images
    stands beside it as the control. ``references_out`` is a folder for the study's reference
    students after the same remedy: what an audit of the repaired student judges it by. Every
    step is cached: a run that was killed goes on.
    ``records["repair/<student>"]`` of the study lists all that was tried on ``student``. Raises
    :class:`~analysis.errors.InputError` before anything is written.
    """
    path, weights, config = Path(folder), Path(out), config or RepairConfig()
    study, new = Study.open(path), name or f"{student}-{config.method}"
    _check(study, student, new, weights, references_out)
    tried = try_remedy(
        study,
        student=student,
        config=config,
        settings=settings,
        images=images,
        distillation_set=distillation_set,
        name=new,
        trusted_code=trusted_code,
        device=device,
        progress=progress,
    )
    _check_same(study, new, tried, trusted_code)
    made = {weights: tried.weights}
    if references_out is not None:
        treated = _treat_references(tried, study, config, trusted_code, device)
        made |= {Path(references_out) / f"{one}.safetensors": file for one, file in treated.items()}
    put_weights(made, "choose another --out or --references-out")
    spec = StudentSpec(spec=tried.bed.spec(weights, trusted_code), role="repaired", parent=student)
    add_students(path, {new: spec}, trusted_code=trusted_code, device=device, progress=progress)
    written = _record(path, student, tried.entries)
    entry, *control = tried.entries
    return Repaired(
        study=written,
        student=new,
        weights=weights,
        entry=entry,
        control=control[0] if control else None,
    )


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A remedy that was applied and measured: its ``entries`` (the control's second)."""

    bench: Workbench
    bed: Bed
    remedy: Remedy
    weights: Path
    entries: tuple[Mapping[str, Any], ...]


def try_remedy(
    study: Study,
    *,
    student: str,
    config: RepairConfig,
    settings: Mapping[str, Any] | None = None,
    images: str | None = None,
    distillation_set: str | None = None,
    name: str = "",
    trusted_code: Sequence[str | Path] = (),
    device: str = "cpu",
    progress: Progress = silent,
) -> Tried:
    """Apply a remedy and the control and measure both; ``study`` stays as it is.

    Arguments and errors are those of :func:`repair`.
    """
    remedy = make_remedy(config.method, **(settings or {}))
    suspect = _suspect(study, student, remedy, config)
    bench = Workbench(
        workspace_cache(study.path.resolve().parent),
        CompareConfig.from_mapping(dict(study.manifest.config)),
        progress,
    )
    bed = prepare(
        bench,
        study,
        student,
        remedy,
        suspect,
        images=images,
        distillation_set=distillation_set,
        seed=config.seed,
        trusted_code=trusted_code,
        device=device,
    )
    entry, made = _treat(bench, bed, remedy, config, device, name=name)
    if config.method == CONTROL:
        return Tried(bench=bench, bed=bed, remedy=remedy, weights=made, entries=(entry,))
    beside, _ = _treat(bench, bed, _control(remedy), config, device, name=None)
    return Tried(bench=bench, bed=bed, remedy=remedy, weights=made, entries=(entry, beside))


def _treat_references(
    tried: Tried,
    study: Study,
    config: RepairConfig,
    trusted_code: Sequence[str | Path],
    device: str,
) -> dict[str, Path]:
    """Apply the same remedy to the references of ``study``: weights by name."""
    case = tried.bed.case
    scores = None
    if tried.remedy.needs_suspicion:
        scores = suspicion(tried.bench, case.teacher, case.trusted)
    handles = {name: load_stored(study, name, trusted_code, device) for name in study.references}
    return repair_references(
        tried.bench,
        tried.remedy,
        case,
        handles,
        orders={name: study.class_order(name) for name in handles},
        trusted_suspicion=scores,
        seed=config.seed,
        threads=config.threads,
        device=device,
    )


def _check_same(study: Study, name: str, tried: Tried, trusted_code: Sequence[str | Path]) -> None:
    """Refuse to call a student ``name`` that is not the one which the study calls so."""
    if name not in study.models:
        return
    made = load_model(tried.bed.spec(tried.weights, trusted_code), trusted_code=trusted_code)
    if made.digest != study.models[name].digest:
        raise InputError(
            f"student name {name!r} is taken by another repair",
            expected="a name for what these settings made",
            remedy="name it: --name NAME, with another --out",
        )


def _check(
    study: Study, student: str, name: str, out: Path, references_out: str | Path | None
) -> None:
    if study.student(student).role == "checkpoint":
        raise InputError(f"{student!r} is a checkpoint", remedy="repair the student that it is of")
    check_student_name(name, tuple(other for other in study.models if other != name))
    if name in study.models and study.models[name].parent != student:
        raise InputError(
            f"student name {name!r} is taken", remedy="name the repaired one: --name NAME"
        )
    if out.suffix != ".safetensors":
        raise ModelError(f"weights file {out.name!r}", expected="a name ending in .safetensors")
    if references_out is not None and not study.references:
        raise InputError(
            f"{study.path} has no reference students",
            remedy=f"add some: distillscope add {shlex.quote(str(study.path))} --reference FILES",
        )


def _suspect(study: Study, student: str, remedy: Remedy, config: RepairConfig) -> Suspect | None:
    if remedy.needs_trigger or config.trigger != RECOVERED:
        return find_suspect(study, student, config.trigger, config.target)
    return recovered_suspect(study, student)


def _control(remedy: Remedy) -> Remedy:
    """Plain fine-tuning with the remedy's own steps, where it has any to compare with."""
    if isinstance(remedy, FineTuning):
        return FineTuning(
            epochs=remedy.epochs,
            learning_rate=remedy.learning_rate,
            temperature=remedy.temperature,
        )
    return FineTuning()


def _treat(
    bench: Workbench, bed: Bed, remedy: Remedy, config: RepairConfig, device: str, name: str | None
) -> tuple[dict[str, Any], Path]:
    """Apply one remedy and measure it; ``name`` is the new student's, None for the control."""
    made = apply_remedy(
        bench,
        remedy,
        bed.case,
        name=bed.student,
        seed=config.seed,
        threads=config.threads,
        device=device,
    )
    after = bed.answers(bed.repaired(made.file(WEIGHTS)))
    entry = {
        "method": remedy.name,
        "title": remedy.title,
        "student": name,
        "control": name is None,
        "settings": remedy.key(),
        "seed": config.seed,
        **bed.judged(after),
        **bed.described(),
        **made.record,
        "seconds": round(made.seconds, 3),
    }
    return entry, made.file(WEIGHTS)


def _identity(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return entry["method"], entry["control"], entry["student"]


def _record(folder: Path, student: str, entries: Sequence[Mapping[str, Any]]) -> Study:
    """Write what was tried on ``student`` beside what was tried before.

    An entry replaces that of the same method and repaired student; of the control there is one.
    """
    key = f"repair/{student}"
    with writing(folder):
        study = Study.open(folder)
        writer = StudyWriter(folder)
        replaced = {_identity(entry) for entry in entries}
        kept = [old for old in study.record(key, []) if _identity(old) not in replaced]
        writer.records[key] = [*kept, *entries]
        return writer.publish(study.manifest)
