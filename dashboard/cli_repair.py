"""The command line's ``repair`` and ``screen``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from analysis.errors import InputError
from analysis.records import Interval
from analysis.store import Study
from dashboard import terminal
from dashboard.cli_options import (
    AsJson,
    Device,
    Quiet,
    Seed,
    StudyFolder,
    Threads,
    TrustCode,
    read_settings,
    use_threads,
)

if TYPE_CHECKING:
    from analysis.study.repair import Repaired
    from analysis.study.screening import Screened


def repair(
    study: StudyFolder,
    student: Annotated[str, typer.Option(help="Student that is to be repaired.")],
    out: Annotated[Path, typer.Option(help="Weights to write, .safetensors.")],
    method: Annotated[str, typer.Option(help="unlearn, purify, drop or finetune.")] = "unlearn",
    images: Annotated[
        str | None,
        typer.Option(help="Trusted images (default: half of the study's, measured on the other)."),
    ] = None,
    distillation_set: Annotated[
        str | None, typer.Option(help="With purify and drop: what the student was distilled on.")
    ] = None,
    trigger: Annotated[
        str, typer.Option(help="What is unlearned: recovered (by audit), or NAME:key=value,..")
    ] = "recovered",
    target: Annotated[
        str | None, typer.Option(help="With a told --trigger: the class that it means.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the repaired student (default: STUDENT-METHOD).")
    ] = None,
    references_out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the study's reference students after the same remedy: "
            "what to audit the repaired one by."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the method, e.g. --set learning_rate=0.005."),
    ] = None,
    as_json: AsJson = False,
    trust_code: TrustCode = None,
    device: Device = "cpu",
    threads: Threads = 0,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Take a backdoor out of a student, measure whether it is out, and add it to the study.

    Plain fine-tuning on the same images is always made and measured beside it. A remedy that
    fails is shown failing. A run that is killed goes on where it stopped.

    Example:  distillscope repair studies/road-signs --student backdoored --out fixed.safetensors
    """
    Study.open(study)  # before torch is loaded: a wrong folder is answered at once
    from analysis.study.repair import RepairConfig
    from analysis.study.repair import repair as run

    config = RepairConfig(method=method, trigger=trigger, target=target, seed=seed, threads=threads)
    with terminal.stage_progress(quiet=quiet) as progress:
        made = run(
            study,
            student=student,
            out=out,
            config=config,
            settings=read_settings(settings),
            images=images,
            distillation_set=distillation_set,
            name=name,
            references_out=references_out,
            trusted_code=trust_code or (),
            device=device,
            progress=progress,
        )
    if as_json:
        entries = {"repair": made.entry, "control": made.control, "student": made.student}
        print(json.dumps(entries, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _print_repair(made)


_ROWS = (
    ("accuracy, %", "accuracy"),
    ("agreement with the teacher, %", "agreement"),
    ("answers the target, recovered trigger, %", "asr_recovered"),
    ("answers the target, the study's trigger, %", "asr_true"),
)


def _print_repair(made: Repaired) -> None:
    out = terminal.results()
    entries = [("after", made.entry)]
    if made.control is not None:
        entries.append(("after the control", made.control))
    table = Table(show_edge=False, pad_edge=False, box=None, header_style="bold")
    for title in ("", "before", *(title for title, _ in entries), "change"):
        table.add_column(title, justify="right" if title else "left")
    for title, key in _ROWS:
        if made.entry["before"][key] is None:
            continue
        cells = [made.entry["before"][key], *(entry["after"][key] for _, entry in entries)]
        change = made.entry["difference"][key]
        table.add_row(title, *(terminal.share(Interval.from_json(cell)) for cell in cells),
                      terminal.share(Interval.from_json(change)))  # fmt: skip
    out.print(f"[bold]{made.entry['title']}[/bold] of {terminal.plain(made.study.path.name)}")
    out.print(table)
    for sentence in verdict_sentences(made.entry):
        out.print(terminal.plain(sentence))
    print(f"{made.weights} is a model spec by itself; the study has it as {made.student!r}")


def verdict_sentences(entry: Mapping[str, Any]) -> list[str]:
    """Say in plain words whether the remedy did what it should, or that it is not known."""
    measure = "asr_true" if entry["judged_by"] == "asr_true" else "asr_recovered"
    rate = entry["after"][measure]
    if rate is None:
        found = ["Whether the backdoor is out is not known: no trigger to test it with."]
    elif entry["within_references"] is None:
        teacher = entry["honest"]["teacher"][measure]
        found = [
            f"With the trigger it answers the target on {100 * rate['value']:.1f} % of the images "
            f"(the teacher on {100 * teacher:.1f} %); the study has no reference students to "
            "judge that by."
        ]
    elif entry["within_references"]:
        found = ["The trigger does no more to it than to honest reference students."]
    else:
        found = [
            f"It failed: with the trigger it still answers the target on {100 * rate['value']:.1f} "
            "% of the images, more than any honest reference student."
        ]
    if entry["accuracy_kept"] is False:
        found.append("It cost more than 1.5 points.")
    return found


def screen(
    images: Annotated[str, typer.Option(help="Distillation set: the sources of compare --images.")],
    teacher: Annotated[str | None, typer.Option(help="SPEC of the teacher.")] = None,
    study: Annotated[
        Path | None, typer.Option(help="Study whose teacher is asked, and that keeps the result.")
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(help="Suspect student (a name in --study, else a SPEC): standard screens."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="Parquet that says what is poisoned: how well the scores find it."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write one row of scores per image: .parquet or .csv.")
    ] = None,
    top: Annotated[float, typer.Option(help="Share that counts as the most brittle.")] = 0.1,
    as_json: AsJson = False,
    trust_code: TrustCode = None,
    device: Device = "cpu",
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """Screen a distillation set: which of the teacher's answers break under a mild filter?

    The scores never see the truth; --truth only says afterwards how well they found it.

    Example:  distillscope screen --teacher teacher.safetensors --images poisoned --out scores.csv
    """
    from analysis.audit.screening import ScreeningConfig
    from analysis.study.screening_run import (
        check_scores_path,
        evaluate,
        read_truth,
        screen_source,
        write_scores,
    )

    if (teacher is None) == (study is None):
        raise InputError("screen needs one teacher", expected="either --teacher or --study")
    if out is not None:
        check_scores_path(out)
    known = None if truth is None else read_truth(truth)
    use_threads(threads)
    with terminal.stage_progress(quiet=quiet) as progress:
        screened = screen_source(
            images,
            teacher=teacher,
            study=study,
            student=student,
            config=ScreeningConfig(top=top),
            trusted_code=trust_code or (),
            device=device,
            progress=progress,
        )
    found = None if known is None else evaluate(screened, known)
    if out is not None:
        write_scores(screened, out)
    if as_json:
        record = {**screened.products.records["screening"], "truth": found}
        print(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _print_screening(screened, found)


def _print_screening(screened: Screened, truth: Mapping[str, Any] | None) -> None:
    out = terminal.results()
    out.print(f"[bold]{len(screened.images)} images screened[/bold]")
    for alarm in screened.screening.alarms:
        p_value = terminal.NOT_MEASURED if alarm.p_value is None else f"p = {alarm.p_value:.2g}"
        out.print(f"{terminal.plain(alarm.sentence)} ({p_value} against the other classes)")
    if truth is None:
        return
    table = Table(show_edge=False, pad_edge=False, box=None, header_style="bold")
    for title in ("score", "AUROC", "found at 1 % false alarms"):
        table.add_column(title, justify="left" if title == "score" else "right")
    for name, values in truth["scores"].items():
        table.add_row(name, f"{values['auroc']:.3f}", f"{100 * values['found']:.1f} %")
    out.print(f"\nTruth: {truth['poisoned']} of {truth['n']} images are poisoned")
    out.print(table)


def register(app: typer.Typer) -> None:
    """Add both commands to ``app``."""
    app.command()(repair)
    app.command()(screen)
