"""``compare`` with files of predictions in the place of models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from analysis.errors import InputError
from analysis.store import Study
from dashboard import terminal
from dashboard.cli_options import read_settings

TeacherOutputs = Annotated[
    Path | None,
    typer.Option(
        help="Instead of --teacher: a .parquet of its predictions (sample_id, logits; optionally "
        "label, features)."
    ),
]
StudentOutputs = Annotated[
    list[str] | None,
    typer.Option(help="Instead of --student: [NAME=]FILE of predictions; repeat for several."),
]

_NEEDED = ("teacher", "student", "images")
"""What models cannot do without."""
_OF_MODELS = ("limit", "probe", "steps", "attack")
"""Settings of :class:`CompareConfig` that predictions cannot have."""
_NAMED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)=(?P<file>.+)", re.DOTALL)


def takes_outputs(
    teacher_outputs: Path | None,
    student_outputs: Sequence[str] | None,
    models: Mapping[str, Any],
) -> bool:
    """Whether predictions are compared; checks that the options belong together.

    ``models`` are the options that only models have, by name, None or empty where not given.
    """
    given = [name for name, value in models.items() if value]
    if teacher_outputs is None and not student_outputs:
        missing = next((name for name in _NEEDED if name not in given), None)
        if missing is not None:
            raise InputError(
                f"Missing option '--{missing}'",
                expected="models and images, or --teacher-outputs and --student-outputs",
                remedy="see: distillscope compare --help",
            )
        return False
    if teacher_outputs is None or not student_outputs:
        lacking = "teacher" if teacher_outputs is None else "student"
        raise InputError(
            f"Missing option '--{lacking}-outputs'", expected="predictions of teacher and student"
        )
    foreign = [name for name in given if name != "images"]
    if foreign:
        raise InputError(
            f"--{foreign[0].replace('_', '-')} with predictions",
            expected="models, or --teacher-outputs and --student-outputs, not both",
        )
    return True


def compare_files(
    teacher: Path,
    students: Sequence[str],
    *,
    images: str | None,
    out: Path,
    size: int | None,
    seed: int,
    class_names: Sequence[str] | None,
    settings: Sequence[str] | None,
    quiet: bool,
) -> Study:
    """Compare the files of predictions and return the study.

    Raises :class:`InputError` for a setting that only models have.
    """
    from analysis.study.predictions import compare_predictions
    from analysis.study.specs import read_class_names
    from analysis.study.stages import CompareConfig

    given = {"seed": seed, "size": size, **read_settings(settings)}
    foreign = next((name for name in _OF_MODELS if name in given), None)
    if foreign is not None:
        raise InputError(f"--set {foreign} with predictions", expected="models, which it is about")
    if len(class_names or ()) > 1:
        raise InputError(
            f"--class-names {len(class_names or ())} times with predictions",
            expected="one file: the classes of all of them",
        )
    config = CompareConfig.from_mapping({"probe": 0, **given})
    with terminal.stage_progress(quiet=quiet) as progress:
        return compare_predictions(
            teacher=teacher,
            students=_files(students),
            out=out,
            images=images,
            config=config,
            class_names=read_class_names(Path(class_names[0])) if class_names else None,
            progress=progress,
        )


def _files(values: Sequence[str]) -> dict[str, Path]:
    from analysis.study.specs import default_name

    files: dict[str, Path] = {}
    for value in values:
        match = None if Path(value).is_file() else _NAMED.fullmatch(value)
        name, file = (match["name"], match["file"]) if match else (default_name(value), value)
        if name in files:
            raise InputError(
                f"two students are named {name!r}",
                remedy="name them: --student-outputs NAME=FILE",
            )
        files[name] = Path(file)
    return files
