"""The command line's ``layers``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from analysis.divergence.layers import CKA, KNN
from analysis.errors import InputError
from analysis.records import CLEAN
from analysis.store import Study
from dashboard import terminal
from dashboard.cli_options import (
    AsJson,
    Device,
    Quiet,
    StudyFolder,
    Threads,
    TrustCode,
    use_threads,
)
from dashboard.loading_layers import LayerTable, layer_table

Many = list[str] | None


def layers(
    study: StudyFolder,
    student: Annotated[
        Many, typer.Option("--student", help="A student; repeat for several (default: all).")
    ] = None,
    condition: Annotated[
        Many, typer.Option(help="A condition; repeat for several (default: clean and trigger).")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers of the teacher, a,b,.. (default: its blocks).")
    ] = None,
    student_layers: Annotated[
        str | None, typer.Option(help="Layers of the student, c,d,.. (default: its blocks).")
    ] = None,
    images: Annotated[int, typer.Option(help="Use at most N images (seeded).")] = 2000,
    map: Annotated[
        str | None,
        typer.Option(help="TEACHER_LAYER:STUDENT_LAYER: lay out this pair on a map instead."),
    ] = None,
    trust_code: TrustCode = None,
    device: Device = "cpu",
    threads: Threads = 0,
    seed: Annotated[int, typer.Option(help="Seed of the images drawn and of the null.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare the layers of teacher and students, into a study.

    CKA, mutual k-NN, Procrustes and RSA of every pair of layers, with permutation nulls.

    Example:  distillscope layers studies/first --images 2000
    """
    opened = Study.open(study)  # before torch is loaded: a wrong folder is answered at once
    names = [opened.student(name).name for name in student or ()]
    if map is not None and (layers or student_layers):
        raise InputError(
            f"--{'layers' if layers else 'student-layers'} beside --map",
            expected="--map TEACHER_LAYER:STUDENT_LAYER alone names the layers",
        )
    use_threads(threads)
    shared: dict[str, Any] = {
        "conditions": condition or (),
        "trusted_code": trust_code or (),
        "device": device,
    }
    with terminal.stage_progress(quiet=quiet) as progress:
        if map is not None:
            from analysis.study.layer_map import map_layers

            pair = split_pair(map)
            name = _only(names or list(opened.students))
            map_layers(
                study, student=name, teacher_layer=pair[0], student_layer=pair[1],
                images=images, progress=progress, **shared,
            )  # fmt: skip
            if as_json:
                _print_json(
                    {"student": name, "teacher_layer": pair[0], "student_layer": pair[1],
                     "conditions": [CLEAN, *(c for c in condition or () if c != CLEAN)]}
                )  # fmt: skip
            else:
                print(f"{map} of {name} is on the map: {terminal.opening(study)}")
            return
        from analysis.study.layer_batches import LayersConfig
        from analysis.study.layers import default_students, measure_layers

        config = LayersConfig(
            images=images, seed=seed, layers=_list(layers), student_layers=_list(student_layers)
        )
        done = measure_layers(study, students=names, config=config, progress=progress, **shared)
        names = names or default_students(done)
    tables = {
        (name, slug): found
        for name in names
        for slug in done.conditions
        if (found := layer_table(done, name, slug)) is not None
    }
    if as_json:
        _print_json([_json(name, slug, table) for (name, slug), table in tables.items()])
        return
    for (name, slug), table in tables.items():
        _print(name, slug, table)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def split_pair(text: str) -> tuple[str, str]:
    """Split ``teacher layer:student layer``; raises :class:`InputError`."""
    first, colon, second = text.partition(":")
    if not (first and colon and second):
        raise InputError(f"--map {text!r}", expected="TEACHER_LAYER:STUDENT_LAYER")
    return first, second


def _only(names: list[str]) -> str:
    if len(names) != 1:
        raise InputError(
            f"--map for {len(names)} students", expected="one", remedy="name it: --student NAME"
        )
    return names[0]


def _list(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _json(name: str, slug: str, table: LayerTable) -> dict[str, Any]:
    return {
        "student": name,
        "condition": slug,
        "teacher_layers": list(table.teacher_layers),
        "student_layers": list(table.student_layers),
        "n": table.n,
        "subset": table.subset,
        "similarities": {
            key: {
                "values": _plain(grid.values),
                "null_mean": _plain(grid.null.mean(axis=0)),
                "null_high": _plain(grid.null.max(axis=0)),
            }
            for key, grid in table.grids.items()
        },
        "cka_without_outliers": _plain(table.trimmed),
    }


def _plain(values: np.ndarray) -> list[list[float | None]]:
    return [[float(v) if np.isfinite(v) else None for v in row] for row in values]


def _print(name: str, slug: str, table: LayerTable) -> None:
    out = terminal.results()
    where = "clean images" if slug == CLEAN else f"condition {terminal.plain(slug)}"
    out.print(
        f"[bold]{terminal.plain(name)}[/bold], {where}: {len(table.teacher_layers)} layers of the "
        f"teacher, {len(table.student_layers)} of the student, {table.n} images "
        f"(all but CKA: {table.subset}); in brackets the highest of {table.permutations} null draws"
    )
    shown = Table(show_edge=False, pad_edge=False, box=None, header_style="bold")
    for title in ("student's layer", "best match by CKA", "CKA", "by mutual k-NN"):
        shown.add_column(title)
    shown.add_column(f"shares of {table.neighbors} neighbors, %")
    profiles = {key: table.grids[key].profile for key in (CKA, KNN)}
    for row, layer in enumerate(table.student_layers):
        cells = [terminal.plain(layer)]
        for key, scale in ((CKA, 1), (KNN, 100)):
            found = profiles[key]
            if found.best[row] < 0:
                cells += ["constant", terminal.NOT_MEASURED]
                continue
            form = ".2f" if scale == 1 else ".1f"
            value, high = scale * found.values[row], scale * found.null[:, row].max()
            cells += [
                terminal.plain(table.teacher_layers[found.best[row]]),
                terminal.plain(f"{value:{form}} [{high:{form}}]"),
            ]
        shown.add_row(*cells)
    out.print(shown)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(layers)
