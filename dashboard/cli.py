"""The command line: ``distillscope``.

Bad input is one line on stderr and exit status 2; a traceback never.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

from analysis.data.bundled import RENDERERS
from analysis.errors import Cancelled, DistillscopeError, InputError
from analysis.records import TEACHER
from analysis.store import Study, delete_orphans, holding_workspace, workspace_cache
from analysis.store.manifest import MANIFEST
from dashboard import (
    cli_attack,
    cli_audit,
    cli_conditions,
    cli_experiment,
    cli_layers,
    cli_open,
    cli_outputs,
    cli_pack,
    cli_reference,
    cli_repair,
    cli_report,
    cli_training,
    terminal,
    terminal_conditions,
    terminal_null,
    terminal_slices,
)
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
from dashboard.cli_reference import References

if TYPE_CHECKING:
    from analysis.study.stages import ConditionConfig

app = typer.Typer(
    name="distillscope",
    help=(
        "See where a distilled student parts from its teacher, and why.\n\n"
        "A model is named by a spec: ARCH@WEIGHTS[,normalize=imagenet|cifar10|none|m:m:m/s:s:s]"
        "[,classes=N][,width=N], or by a .safetensors file that distillscope wrote. "
        "Start with:  distillscope demo"
    ),
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_STUDENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)=(?P<spec>.+)", re.DOTALL)

Checkpoints = Annotated[
    list[str] | None,
    typer.Option(help="NAME='run/epoch_*.pt': epochs of student NAME, for the training timeline."),
]
ClassNames = Annotated[
    list[str] | None,
    typer.Option(help="[NAME=]FILE: class names of a student's outputs, one a line, in order."),
]
Distillation = Annotated[
    str | None,
    typer.Option(
        help="Images that the students were distilled on: says which of them they are compared on."
    ),
]
Requirements = Annotated[
    list[str] | None,
    typer.Option(
        "--require",
        help="A gate, e.g. 'students.small.agreement.low>=0.95' (paths as in --json); repeat for "
        "several. Exit status 3 when one fails.",
    ),
]


@app.command()
def compare(
    out: Annotated[Path, typer.Option(help="Folder of the study.")],
    teacher: Annotated[str | None, typer.Option(help="SPEC of the teacher.")] = None,
    student: Annotated[
        list[str] | None, typer.Option(help="[NAME=]SPEC of a student; repeat for several.")
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(help="Image folder, .parquet, .npz, 'digits' or 'signs:test[,n=N,seed=S]'."),
    ] = None,
    teacher_outputs: cli_outputs.TeacherOutputs = None,
    student_outputs: cli_outputs.StudentOutputs = None,
    checkpoints: Checkpoints = None,
    reference: References = None,
    limit: Annotated[int | None, typer.Option(help="Use at most N images (seeded).")] = None,
    size: Annotated[int | None, typer.Option(help="Resize images to N x N pixels.")] = None,
    probe: Annotated[int, typer.Option(help="Images to compute attributions of.")] = 128,
    class_names: ClassNames = None,
    trigger: Annotated[
        str | None,
        typer.Option(help="Show the images under attack too: this trigger, e.g. patch:size=4."),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="With --trigger: the class it is tested for.")
    ] = None,
    method: Annotated[str, typer.Option(help="With --trigger: fgsm, pgd or cw.")] = "pgd",
    epsilon: Annotated[
        str, typer.Option(help="With --trigger: largest perturbation, in 1/255.")
    ] = "8",
    distillation: Distillation = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, e.g. --set projection=false."),
    ] = None,
    trust_code: TrustCode = None,
    device: Device = "cpu",
    threads: Threads = 0,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Compare a teacher with its students on a set of images, into a study.

    A run that is killed goes on where it stopped when the same command is given again.

    Example:  distillscope compare --teacher resnet20@teacher.th,normalize=imagenet
    --student small=student.safetensors --images test.parquet --out studies/first
    """
    from analysis.study.comparison import compare as run
    from analysis.study.stages import CompareConfig

    models: dict[str, Any] = {
        "teacher": teacher, "student": student, "images": images, "checkpoints": checkpoints,
        "reference": reference, "trigger": trigger, "target": target, "limit": limit,
        "distillation": distillation, "trust_code": trust_code,
    }  # fmt: skip
    # These have defaults; what is left as it is was not asked for.
    usual = {"probe": 128, "method": "pgd", "epsilon": "8", "device": "cpu"}
    asked = {"probe": probe, "method": method, "epsilon": epsilon, "device": device}
    models |= {name: value for name, value in asked.items() if value != usual[name]}
    if cli_outputs.takes_outputs(teacher_outputs, student_outputs, models):
        assert teacher_outputs is not None
        study = cli_outputs.compare_files(
            teacher_outputs, student_outputs or (), images=images, out=out, size=size, seed=seed,
            class_names=class_names, settings=settings, quiet=quiet,
        )  # fmt: skip
        _done(study)
        return
    assert teacher is not None
    assert images is not None
    attack = _conditions(trigger, target, method, epsilon)
    given = {"limit": limit, "size": size, "probe": probe, "seed": seed, "attack": attack}
    config = CompareConfig.from_mapping({**given, **read_settings(settings)})
    named = _students(student or (), checkpoints, reference)
    names = _class_names(class_names, list(named))
    terminal.note_normalization((teacher, *named.values()))
    use_threads(threads)
    with terminal.stage_progress(quiet=quiet) as progress:
        study = run(
            teacher=teacher,
            students=named,
            images=images,
            out=out,
            config=config,
            trusted_code=trust_code or (),
            class_names=names,
            device=device,
            distillation=distillation,
            progress=progress,
        )
    _done(study)


@app.command()
def add(
    study: StudyFolder,
    student: Annotated[
        list[str] | None, typer.Option(help="[NAME=]SPEC of a student; repeat for several.")
    ] = None,
    checkpoints: Checkpoints = None,
    reference: References = None,
    class_names: ClassNames = None,
    distillation: Distillation = None,
    trust_code: TrustCode = None,
    device: Device = "cpu",
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """Add students, or reference students, to a study; only what is new is computed.

    With --distillation alone the study only says which of its images its students have seen.
    """
    from analysis.study.comparison import add_students
    from analysis.study.seen import note_seen_images

    Study.open(study)  # before torch is loaded: a wrong folder is answered at once
    named = _students(student or (), checkpoints, reference)
    names = _class_names(class_names, list(named))
    terminal.note_normalization(named.values())
    use_threads(threads)
    with terminal.stage_progress(quiet=quiet) as progress:
        if distillation is not None and not named:
            _done(note_seen_images(study, distillation, progress=progress))
            return
        result = add_students(
            study,
            named,
            trusted_code=trust_code or (),
            class_names=names,
            device=device,
            distillation=distillation,
            progress=progress,
        )
    _done(result)


cli_training.register(app)
cli_attack.register(app)
cli_experiment.register(app)
cli_layers.register(app)
cli_reference.register(app)
cli_audit.register(app)
cli_repair.register(app)
cli_conditions.register(app)
cli_pack.register(app)
cli_report.register(app)


@app.command()
def show(
    study: StudyFolder,
    as_json: AsJson = False,
    left: Annotated[
        str, typer.Option(metavar="NAME", help="Compare the students with this model of the study.")
    ] = TEACHER,
    require: Requirements = None,
) -> None:
    """Print the headline of a study, each number against what reference students show."""
    from analysis.study.between import check_left
    from analysis.study.gate import Requirement
    from analysis.study.headline import headline

    opened = Study.open(study)
    check_left(opened, left)
    asked = [Requirement.parse(text) for text in require or ()]
    shown = headline(opened, left=left)
    failures = [failure for one in asked if (failure := one.failure(shown)) is not None]
    if as_json:
        print(json.dumps(shown, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _print(opened, left=left)
    for failure in failures:
        terminal.fail(failure, kind="failed")
    if failures:
        raise typer.Exit(3)


cli_open.register(app)


@app.command()
def export(
    study: StudyFolder,
    samples: Annotated[Path, typer.Option(help="Where to write: .parquet or .csv.")],
) -> None:
    """Write one row per sample x condition x model."""
    from analysis.study.export import export_samples

    rows = export_samples(Study.open(study), samples)
    print(f"{rows} rows in {samples}")


@app.command()
def clean(
    workspace: Annotated[
        Path, typer.Argument(metavar="WORKSPACE", help="Folder that holds studies.")
    ],
) -> None:
    """Delete cached stages and files that no study names; studies stay whole."""
    if not (workspace / ".distillscope").is_dir():
        raise InputError(
            f"{workspace} is not a workspace", expected="a folder of studies (with .distillscope/)"
        )
    with holding_workspace(workspace):
        freed = workspace_cache(workspace).clear()
        for manifest in sorted(workspace.glob(f"*/{MANIFEST}")):
            if manifest.parent.is_symlink() or manifest.is_symlink():
                continue
            freed += delete_orphans(manifest.parent, Study.open(manifest.parent).manifest)
    print(f"{freed / 1e6:.1f} MB deleted")


def _conditions(
    trigger: str | None, target: str | None, method: str, epsilon: str
) -> ConditionConfig | None:
    from analysis.study.conditions import check_conditions
    from analysis.study.stages import ConditionConfig

    if trigger is None and target is None:
        return None
    if trigger is None or target is None:
        raise InputError(
            f"--{'target' if trigger is None else 'trigger'} alone",
            expected="--trigger and --target together",
        )
    config = ConditionConfig(trigger=trigger, target=target, method=method, epsilon=epsilon)
    return check_conditions(config)


def _students(
    values: Sequence[str], checkpoints: Sequence[str] | None, references: Sequence[str] | None
) -> dict[str, Any]:
    from analysis.study.specs import expand_checkpoints, expand_references, name_students

    students: dict[str, Any] = {**name_students(values)}
    for value in checkpoints or ():
        match = _STUDENT.fullmatch(value)
        if match is None or match["name"] not in students:
            raise InputError(
                f"--checkpoints {value!r}",
                expected="NAME='run/epoch_*.safetensors' with the name of a --student",
            )
        students |= expand_checkpoints(match["name"], match["spec"], students[match["name"]])
    for name, spec in expand_references(references or ()).items():
        if name in students:
            raise InputError(f"a student and a reference are both named {name!r}")
        students[name] = spec
    return students


def _class_names(values: Sequence[str] | None, students: Sequence[str]) -> dict[str, list[str]]:
    from analysis.study.specs import read_class_names

    names: dict[str, list[str]] = {}
    for value in values or ():
        match = _STUDENT.fullmatch(value)
        path = Path(match["spec"] if match else value)
        targets = [match["name"]] if match else list(students)
        if match and match["name"] not in students:
            raise InputError(
                f"--class-names {value!r} names no student", expected=", ".join(students)
            )
        names |= dict.fromkeys(targets, read_class_names(path))
    return names


def _print(study: Study, *, left: str = TEACHER) -> None:
    terminal.print_study(study, left=left)
    terminal_conditions.print_conditions(study)
    if left == TEACHER:
        terminal_null.print_nulls(study)
        terminal_slices.print_slices(study)


def _done(study: Study) -> None:
    _print(study)
    print(f"\nopen it with:  {terminal.opening(study.path)}")


def _commands() -> set[str]:
    return {
        command.name or (command.callback.__name__ if command.callback else "")
        for command in app.registered_commands
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    0 done, 1 a defect of ours, 2 bad input, 3 a requirement failed, 130 cancelled.
    """
    if arguments is None:
        os.environ.setdefault(RENDERERS, str(min(2, os.cpu_count() or 1)))
        # Who is asked to end leaves as after Ctrl-C: a server has its own way and sets it.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(_run(arguments))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command in this process; return the exit status of :func:`main`."""
    return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        result = app(given or ["--help"], standalone_mode=False)
        sys.stdout.flush()  # here it can still be answered that nobody reads on
        status = result if isinstance(result, int) else 0
        if status == 130:  # typer turns Ctrl-C into this status, without a word
            terminal.fail("cancelled; finished stages are kept")
        return status
    except TyperException as error:
        words = error.format_message() if hasattr(error, "format_message") else str(error)
        command = given[0] if given[0] in _commands() else ""
        terminal.fail(f"{words.rstrip('.')}. See: {f'distillscope {command}'.rstrip()} --help")
        return 2
    except (Cancelled, KeyboardInterrupt, typer.Abort):
        terminal.fail("cancelled; finished stages are kept")
        return 130
    except DistillscopeError as error:
        terminal.fail(str(error))
        return 2
    except (BrokenPipeError, SystemExit) as error:
        # The reader of a pipe went away (`show | head`), which typer makes an exit: leave quietly.
        if not isinstance(error, BrokenPipeError) and not isinstance(
            error.__context__, BrokenPipeError
        ):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("DISTILLSCOPE_TRACEBACK"):
            raise
        terminal.fail(
            f"internal error, {type(error).__name__}: {error} "
            "(set DISTILLSCOPE_TRACEBACK=1 to see where)"
        )
        return 1


if __name__ == "__main__":
    main()
