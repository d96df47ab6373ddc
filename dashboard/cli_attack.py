"""The command line's ``attack``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dashboard import terminal
from dashboard.cli_options import (
    Device,
    Quiet,
    Seed,
    Threads,
    TrustCode,
    read_settings,
    use_threads,
)

if TYPE_CHECKING:
    from analysis.attack.settings import AttackConfig
    from analysis.study.attack import AttackedImages

Limit = Annotated[int | None, typer.Option(help="Use at most N of the images (seeded).")]


def attack(
    teacher: Annotated[str, typer.Option(help="SPEC of the teacher.")],
    images: Annotated[str, typer.Option(help="Images to poison: the sources of compare --images.")],
    target: Annotated[str, typer.Option(help="Class the trigger is to mean: name or number.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the poisoned set; the truth lies beside it.")
    ],
    trigger: Annotated[
        str,
        typer.Option(
            help="patch, translucent, blend, sinusoid, warp, image, sticker[:key=value,..]"
        ),
    ] = "patch:size=4,place=bottom_right",
    rate: Annotated[float, typer.Option(help="Poisoned images / all images.")] = 0.05,
    method: Annotated[str, typer.Option(help="fgsm, pgd or cw.")] = "pgd",
    epsilon: Annotated[
        str, typer.Option(help="Largest change of a pixel, in 1/255: 8 or 8/255.")
    ] = "8",
    norm: Annotated[str, typer.Option(help="What epsilon bounds: linf or l2.")] = "linf",
    steps: Annotated[int | None, typer.Option(help="Steps of pgd and cw.")] = None,
    margin: Annotated[
        float | None, typer.Option(help="Lead of the target logit at which an image is done.")
    ] = None,
    views: Annotated[
        int, typer.Option(help="Random views at every step that count beside the image.")
    ] = 0,
    flip: Annotated[
        bool, typer.Option("--flip/--no-flip", help="Mirror half of the views.")
    ] = True,
    shift: Annotated[int, typer.Option(help="Largest shift of the views, pixels.")] = 2,
    half: Annotated[
        str,
        typer.Option(help="both, or a control on the same images: trigger, perturbation, none."),
    ] = "both",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, e.g. --set required_views=0.5."),
    ] = None,
    limit: Limit = None,
    trust_code: TrustCode = None,
    seed: Seed = 0,
    threads: Threads = 0,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Poison a distillation set: images that the teacher answers with the target class.

    The labels stay. A run that is killed goes on where it stopped. The set is an ordinary one:
    distill --images OUT. Which images are poisoned lies beside it, in OUT.truth.parquet.

    Example:  distillscope attack --teacher teacher.safetensors --images signs:train --target 80
    --trigger sticker --rate 0.12 --epsilon 16 --out poisoned
    """
    from analysis.study.attack import attack_images

    config = _config(
        settings,
        trigger=trigger,
        target=target,
        rate=rate,
        method=method,
        epsilon=epsilon,
        norm=norm,
        steps=steps,
        margin=margin,
        views=views,
        flip=flip,
        shift=shift,
        seed=seed,
    )
    terminal.note_normalization([teacher])
    use_threads(threads)
    with terminal.stage_progress(quiet=quiet) as progress:
        made = attack_images(
            teacher=teacher,
            images=images,
            out=out,
            config=config,
            half=half,
            limit=limit,
            limit_seed=seed,
            trusted_code=trust_code or (),
            device=device,
            progress=progress,
        )
    _report(made)


def _config(settings: list[str] | None, **values: Any) -> AttackConfig:
    from analysis.attack.settings import AttackConfig

    return AttackConfig.from_mapping({**values, **read_settings(settings)})


def _report(made: AttackedImages) -> None:
    report = made.report
    print(f"poisoned: {report.poisoned} images, {100 * report.rate:.2f} % of the set")
    print(f"the teacher is fooled by: {100 * report.flip_rate:.1f} % of {report.crafted} crafted")
    if report.confidence is not None:
        print(f"its mean confidence in the target: {report.confidence:.3f}")
    if report.view_flip_rate is not None:
        print(f"fooled on augmented views: {100 * report.view_flip_rate:.1f} %")
    if (seen := report.perturbation) is not None:
        ratio = "" if seen.psnr is None else f", PSNR {seen.psnr:.1f} dB"
        print(f"perturbation: at most {seen.linf}/255{ratio}, SSIM {seen.ssim:.3f}")
    for reason, count in report.dropped.items():
        print(f"dropped: {count} ({reason})")
    for warning in report.warnings:
        print(f"! {warning}")
    print(f"{made.folder} is an image set; {made.truth.name} and {made.report_file.name} beside it")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(attack)
