"""The command line's ``reference``: honest students of a teacher, the null of every number."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analysis.errors import InputError
from dashboard import terminal
from dashboard.cli_options import Device, Quiet, Threads, TrustCode, read_settings

if TYPE_CHECKING:
    from analysis.models.handle import ModelHandle
    from analysis.study.experiment_settings import Recipe

References = Annotated[
    list[str] | None,
    typer.Option(
        "--reference",
        help="Reference students, the null: a folder that distillscope reference wrote, a file or "
        "a SPEC; repeat for several.",
    ),
]


def reference(
    teacher: Annotated[str, typer.Option(help="SPEC of the teacher.")],
    images: Annotated[str, typer.Option(help="Trusted images: the sources of compare --images.")],
    out: Annotated[Path, typer.Option(help="Folder for the weights files.")],
    arch: Annotated[
        str | None, typer.Option(help="Architecture, e.g. resnet20, smallresnet, vit_tiny.")
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(help="Take the recipe from this student's weights file; options overrule it."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many students, a seed each.", min=1)] = 3,
    seed: Annotated[int, typer.Option(help="The first seed; the others follow.", min=0)] = 1000,
    vary: Annotated[
        bool,
        typer.Option(
            "--vary", help="Vary temperature, epochs and the subset of images too, by the seed."
        ),
    ] = False,
    width: Annotated[int | None, typer.Option(help="Channels of the first stage.", min=1)] = None,
    objective: Annotated[str | None, typer.Option(help="What they learn from.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of the soft labels.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="Use at most N trusted images (seeded).", min=1)
    ] = None,
    for_audit: Annotated[
        bool,
        typer.Option(
            "--for-audit",
            help="Leave out the two fifths of the images, by id, that an audit of the same "
            "--images searches and measures triggers on.",
        ),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, e.g. --set flip=false."),
    ] = None,
    trust_code: TrustCode = None,
    threads: Threads = 0,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Distill honest students of a teacher: what any student of it can be expected to show.

    A run that is killed goes on where it stopped when the same command is given again.

    Example:  distillscope reference --teacher teacher.safetensors --like student.safetensors
    --images trusted/ --for-audit --seeds 5 --vary --out references
    """
    from analysis.models.loading import load_model
    from analysis.store import workspace_cache
    from analysis.study.references import (
        choose_seeds,
        make_references,
        put_references,
        trusted_images,
    )

    _check_out(out)
    options = {
        "arch": arch,
        "width": width,
        "objective": objective,
        "temperature": temperature,
        "epochs": epochs,
    }
    given = {key: value for key, value in options.items() if value is not None}
    asked = {**given, **read_settings(settings)}
    student = None if like is None else load_model(str(like))
    recipe = _recipe(student, asked, {"threads": threads, "device": device})
    handle = load_model(teacher, trusted_code=trust_code or (), device=device)
    made_from = {} if student is None else student.metadata
    with terminal.stage_progress(quiet=quiet) as progress:
        pixels = trusted_images(
            images,
            handle,
            progress,
            limit=limit,
            wanted=made_from.get("images", {}).get("digest"),
            for_audit=for_audit,
        )
        made = make_references(
            teacher=handle,
            images=pixels,
            recipe=recipe,
            seeds=choose_seeds(seeds, seed, avoid=_seeds_of(made_from)),
            cache=workspace_cache(out.resolve().parent),
            vary=vary,
            progress=progress,
        )
        paths = put_references(made, out)
    for path in paths:
        print(path)
    print(f"put them into a study with:  distillscope add DIR --reference {out}")


def _check_out(out: Path) -> None:
    if not out.name or out.is_file():
        raise InputError(f"--out {out}", expected="the name of a folder")


def _seeds_of(metadata: Any) -> list[int]:
    seed = metadata.get("training", {}).get("seed")
    return [] if seed is None else [seed]


def _recipe(student: ModelHandle | None, asked: dict[str, Any], where: dict[str, Any]) -> Recipe:
    from analysis.study.experiment_settings import Recipe
    from analysis.study.references import recipe_like, recipe_values

    given = {key: value for key, value in asked.items() if value is not None}
    if student is None and "arch" not in given:
        raise InputError(
            "no architecture for the references",
            expected="--arch NAME, or --like STUDENT.safetensors",
        )
    values = {} if student is None else recipe_values(recipe_like(student))
    if "arch" in given and given["arch"] != values.get("arch"):
        # Channels of one architecture say nothing about another's.
        values.pop("width", None)
    if "objective" in given and given["objective"] != values.get("objective"):
        values = recipe_values(recipe_like(student), objective=False) if student else values
    return Recipe.from_mapping({**values, **given, **where})


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(reference)
