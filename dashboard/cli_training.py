"""The command line's ``train`` and ``distill``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dashboard import terminal
from dashboard.cli_options import Device, Quiet, Threads, TrustCode, read_settings

if TYPE_CHECKING:
    from analysis.distillation.objectives import Objective
    from analysis.distillation.settings import TrainingConfig
    from analysis.study.training import TrainedModel

Arch = Annotated[str, typer.Option(help="Architecture, e.g. resnet20, smallresnet, vit_tiny.")]
Images = Annotated[str, typer.Option(help="Training images: the sources of compare --images.")]
Out = Annotated[Path, typer.Option(help="Weights to write, .safetensors; the run lies beside it.")]
Width = Annotated[int | None, typer.Option(help="Channels of the first stage.", min=1)]
Validation = Annotated[str | None, typer.Option(help="Images to report accuracy on, by epoch.")]
Limit = Annotated[int | None, typer.Option(help="Use at most N images of each source (seeded).")]
Epochs = Annotated[int, typer.Option(help="Passes over the images.")]
BatchSize = Annotated[int, typer.Option(help="Images per step.")]
LearningRate = Annotated[float, typer.Option(help="Peak of the one-cycle schedule.")]
Flip = Annotated[bool, typer.Option("--flip/--no-flip", help="Mirror half of the images.")]
Shift = Annotated[int, typer.Option(help="Largest random shift, pixels.")]
Keep = Annotated[int, typer.Option(help="Keep about so many epochs as checkpoints; 0 none.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any other setting, e.g. --set optimizer=adamw."),
]
Normalize = Annotated[
    str, typer.Option(help="dataset, teacher, imagenet, cifar10, none or m:m:m/s:s:s.")
]
Seed = Annotated[int, typer.Option(help="Seed of weights, order and augmentation.", min=0)]


def train(
    arch: Arch,
    images: Images,
    out: Out,
    width: Width = None,
    validation: Validation = None,
    limit: Limit = None,
    epochs: Epochs = 12,
    batch_size: BatchSize = 128,
    learning_rate: LearningRate = 0.1,
    flip: Flip = True,
    shift: Shift = 2,
    checkpoints: Keep = 0,
    settings: Set = None,
    normalize: Normalize = "dataset",
    seed: Seed = 0,
    threads: Threads = 0,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Train a model on labeled images, to be a teacher.

    A run that is killed goes on where it stopped when the same command is given again.
    """
    from analysis.study.training import train_model

    config = _config(
        read_settings(settings),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        flip=flip,
        shift=shift,
        checkpoint_count=checkpoints,
        seed=seed,
        threads=threads,
        device=device,
    )
    with terminal.stage_progress(quiet=quiet) as progress:
        made = train_model(
            architecture=arch,
            images=images,
            out=out,
            width=width,
            config=config,
            validation=validation,
            normalize=normalize,
            limit=limit,
            limit_seed=seed,
            progress=progress,
        )
    _report(made)


def distill(
    teacher: Annotated[str, typer.Option(help="SPEC of the teacher.")],
    arch: Arch,
    images: Images,
    out: Out,
    width: Width = None,
    objective: Annotated[str, typer.Option(help="What the student learns from.")] = "hinton",
    temperature: Annotated[
        float | None, typer.Option(help="Temperature of the soft labels.")
    ] = None,
    hard_label_weight: Annotated[
        float | None, typer.Option(help="Share of cross-entropy with true labels, 0 to 1.")
    ] = None,
    validation: Validation = None,
    limit: Limit = None,
    epochs: Epochs = 12,
    batch_size: BatchSize = 128,
    learning_rate: LearningRate = 0.05,
    flip: Flip = True,
    shift: Shift = 2,
    checkpoints: Keep = 0,
    settings: Set = None,
    normalize: Normalize = "teacher",
    trust_code: TrustCode = None,
    seed: Seed = 0,
    threads: Threads = 0,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Distill a teacher into a student; labels are needed only for a hard-label weight.

    A run that is killed goes on where it stopped when the same command is given again. Its
    epochs can be compared with:  compare --checkpoints NAME='W.run/epoch_*.safetensors'
    """
    from analysis.study.training import distill_model

    asked = {"temperature": temperature, "hard_label_weight": hard_label_weight}
    goal, others = _objective(objective, asked, settings)
    config = _config(
        others,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        flip=flip,
        shift=shift,
        checkpoint_count=checkpoints,
        seed=seed,
        threads=threads,
        device=device,
    )
    terminal.note_normalization([teacher])
    with terminal.stage_progress(quiet=quiet) as progress:
        made = distill_model(
            teacher=teacher,
            architecture=arch,
            images=images,
            out=out,
            width=width,
            config=config,
            objective=goal,
            validation=validation,
            normalize=normalize,
            limit=limit,
            limit_seed=seed,
            trusted_code=trust_code or (),
            progress=progress,
        )
    _report(made)


def _config(settings: Mapping[str, Any], **values: Any) -> TrainingConfig:
    from analysis.distillation.settings import TrainingConfig

    return TrainingConfig.from_mapping({**values, **settings})


def _objective(
    name: str, asked: Mapping[str, Any], settings: list[str] | None
) -> tuple[Objective, dict[str, Any]]:
    """The objective called ``name``, and the settings that are not its own."""
    from analysis.distillation.objectives import OBJECTIVES, make_objective

    given = read_settings(settings)
    kind = OBJECTIVES.get(name)
    own = set() if kind is None else {spec.name for spec in dataclasses.fields(kind)}
    goal = {key: value for key, value in asked.items() if value is not None}
    goal |= {key: value for key, value in given.items() if key in own}
    others = {key: value for key, value in given.items() if key not in own}
    return make_objective(name, **goal), others


def _report(made: TrainedModel) -> None:
    last = made.history.epochs[-1]
    measured = {
        "validation accuracy": last.validation_accuracy,
        "validation agreement with the teacher": last.validation_agreement,
        "training accuracy": last.train_accuracy,
        "training agreement with the teacher": last.train_agreement,
    }
    for what, value in measured.items():
        if value is not None:
            print(f"{what}: {100 * value:.1f} %")
    print(f"{made.weights} is a model spec by itself; history and checkpoints in {made.run}")


def register(app: typer.Typer) -> None:
    """Add both commands to ``app``."""
    app.command()(train)
    app.command()(distill)
