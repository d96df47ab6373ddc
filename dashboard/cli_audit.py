"""The command line's ``audit``: is there a backdoor that nobody told us about?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analysis.errors import InputError, nearest
from analysis.store import Study
from dashboard import terminal, terminal_audit
from dashboard.cli_options import (
    AsJson,
    Device,
    Quiet,
    Threads,
    TrustCode,
    read_settings,
    use_threads,
)

if TYPE_CHECKING:
    from analysis.audit.record import AuditReport
    from analysis.study.audit_settings import AuditConfig

FAIL_ON = ("suspicious", "backdoored")
FAILED = 3

Folder = Annotated[
    Path | None, typer.Argument(metavar="[DIR]", help="Folder of a study whose students to audit.")
]


def audit(
    study: Folder = None,
    student: Annotated[
        list[str] | None,
        typer.Option(
            help="With DIR: a student of it (default: all). Else: [NAME=]SPEC; repeat for several."
        ),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="SPEC of the teacher, when there is no study.")
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(help="Trusted images (default, with DIR: the study's inspection set)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study to make, when there is none.")
    ] = None,
    distillation_set: Annotated[
        str | None,
        typer.Option(help="Images that the students were distilled on; they are screened."),
    ] = None,
    references: Annotated[
        str | None,
        typer.Option(
            help="Honest students: how many to distill, or a folder of them (default: those of "
            "the study, else as the budget says)."
        ),
    ] = None,
    budget: Annotated[
        str, typer.Option(help="fast (patches, no references), standard or thorough.")
    ] = "standard",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the search, e.g. --set use=keep."),
    ] = None,
    as_json: AsJson = False,
    fail_on: Annotated[
        str | None,
        typer.Option(help="suspicious or backdoored: exit with 3 from this verdict on."),
    ] = None,
    trust_code: TrustCode = None,
    seed: Annotated[int, typer.Option(help="Seed of the searches.", min=0)] = 0,
    threads: Threads = 0,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Look for a planted trigger in students, judged by honest students of the same teacher.

    For every class the smallest trigger is searched that moves the student and not the teacher.
    A run that is killed goes on where it stopped when the same command is given again. No
    verdict says that a student is harmless.

    Example:  distillscope audit --teacher teacher.safetensors --student student.safetensors
    --images trusted/ --out studies/audit
    """
    if fail_on is not None and fail_on not in FAIL_ON:
        raise InputError(f"--fail-on {fail_on!r}", remedy=nearest(fail_on, FAIL_ON))
    _check(study, teacher, student, images, out)
    config, folder = _config(budget, references, settings, seed)
    use_threads(threads)
    names = tuple(student or ())
    with terminal.stage_progress(quiet=quiet) as progress:
        from analysis.study.audit import audit_study

        if study is None:
            assert teacher is not None
            assert images is not None
            assert out is not None
            if distillation_set is not None:
                from analysis.study.experiment_checks import glance

                glance(distillation_set)
            study, names = _compared(teacher, names, images, out, trust_code, device, progress)
            images = None
        elif images is None and not as_json:
            print("trusted images: the study's inspection set (give others with --images)")
        done = audit_study(
            study,
            students=names,
            images=images,
            references=folder,
            distillation=distillation_set,
            config=config,
            trusted_code=trust_code or (),
            device=device,
            progress=progress,
        )
    _finish(done, names or tuple(done.students), as_json, fail_on)


def _finish(study: Study, names: tuple[str, ...], as_json: bool, fail_on: str | None) -> None:
    """Print the verdicts; exit with 3 where one is as bad as ``fail_on``."""
    from analysis.audit.record import VERDICTS, read_audit

    found = {name: read_audit(study, name) for name in names}
    reports: dict[str, AuditReport] = {n: r for n, r in found.items() if r is not None}
    if as_json:
        values = {name: {"audit": report.to_json()} for name, report in reports.items()}
        print(json.dumps({"students": values}, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        for report in reports.values():
            terminal_audit.print_report(report, study.class_names)
        print(f"\nopen it with:  {terminal.opening(study.path)}")
    if fail_on is not None:
        worst = max(VERDICTS.index(report.verdict) for report in reports.values())
        if worst >= VERDICTS.index(fail_on):
            raise typer.Exit(FAILED)


def _check(
    study: Path | None,
    teacher: str | None,
    students: list[str] | None,
    images: str | None,
    out: Path | None,
) -> None:
    """Refuse what is neither an audit of a study nor one of models, before torch is loaded."""
    if study is not None:
        if teacher is not None or out is not None:
            raise InputError(
                f"--{'teacher' if teacher is not None else 'out'} beside the study {study}",
                expected="either a study, or --teacher, --student, --images and --out",
            )
        opened = Study.open(study)
        for name in students or ():
            opened.student(name)
        return
    given = {"teacher": teacher, "student": students, "images": images, "out": out}
    missing = [f"--{name}" for name, value in given.items() if not value]
    if missing:
        raise InputError(
            f"no study and no {', '.join(missing)}",
            expected="a study, or --teacher, --student, --images and --out",
        )


def _config(
    budget: str, references: str | None, settings: list[str] | None, seed: int
) -> tuple[AuditConfig, str | None]:
    """The configuration, and the folder of references where one was given."""
    from analysis.audit.settings import InversionConfig, find_budget
    from analysis.study.audit_settings import AuditConfig

    given: dict[str, Any] = read_settings(settings)
    own = ("families", "restarts")
    top: dict[str, Any] = {name: given.pop(name) for name in own if name in given}
    search = InversionConfig.from_mapping({"seed": seed, **given})
    find_budget(budget)
    count = int(references) if references is not None and references.isdecimal() else None
    folder = references if count is None else None
    config = AuditConfig.from_mapping(
        {"budget": budget, "references": count, "search": search, **top}
    )
    return config, folder


def _compared(
    teacher: str,
    students: tuple[str, ...],
    images: str,
    out: Path,
    trust_code: list[Path] | None,
    device: str,
    progress: Any,
) -> tuple[Path, tuple[str, ...]]:
    """Make the study that the audit is kept in; return its folder and the students' names."""
    from analysis.study.comparison import compare
    from analysis.study.specs import name_students
    from analysis.study.stages import CompareConfig

    named = name_students(students)
    terminal.note_normalization((teacher, *named.values()))
    compare(
        teacher=teacher,
        students=named,
        images=images,
        out=out,
        config=CompareConfig(probe=0, projection=False),
        trusted_code=trust_code or (),
        device=device,
        progress=progress,
    )
    return out, tuple(named)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(audit)
