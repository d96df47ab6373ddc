"""The tour's rows of example images for the Save menu: pictures, and what each model answers."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from analysis.records import TEACHER
from dashboard.context import View
from dashboard.drawing import Drawing, strip_drawing
from dashboard.figures.numbers import visible
from dashboard.figures.tour_pictures import Part, part_color
from dashboard.loading_tour import Shot
from dashboard.saving import Kept, keep


def keep_row(
    view: View, shots: Sequence[Shot], condition: str, title: str, parts: Sequence[Part]
) -> None:
    """Keep the images of ``shots`` under ``condition`` with the answers of ``parts``."""
    if not shots or condition not in view.study.manifest.thumbnails:
        return
    keep(
        f"row_{condition}",
        Kept(
            f"Images {visible(title, 40)}",
            lambda: _draw(view, shots, condition, parts),
            lambda: _columns(view, shots, parts),
        ),
    )


def _name(part: Part) -> str:
    return TEACHER if part.role == "teacher" else part.model.name


def _draw(view: View, shots: Sequence[Shot], condition: str, parts: Sequence[Part]) -> Drawing:
    thumbnails = view.study.thumbnails(condition)
    pictures = []
    for shot in shots:
        data = base64.b64encode(thumbnails.webp(shot.sample)).decode()
        pictures.append((visible(shot.sample, 24), f"data:image/webp;base64,{data}"))
    notes = [
        [(_said(view, shot, part), part_color(part, view.colors)) for part in parts]
        for shot in shots
    ]
    return strip_drawing(pictures, view.colors, notes=notes)


def _said(view: View, shot: Shot, part: Part) -> str:
    answer = shot.answers.get(_name(part))
    if answer is None:
        return f"{visible(part.title, 14)}: not measured"
    index, probability = answer
    return f"{visible(part.title, 14)}: {visible(view.class_names[index], 12)} {probability:.2f}"


def _columns(view: View, shots: Sequence[Shot], parts: Sequence[Part]) -> dict[str, list[Any]]:
    table: dict[str, list[Any]] = {n: [] for n in ("sample", "model", "answer", "probability")}
    for shot in shots:
        for part in parts:
            answer = shot.answers.get(_name(part))
            if answer is not None:
                cells = (shot.sample, _name(part), view.class_names[answer[0]], answer[1])
                for key, cell in zip(table, cells, strict=True):
                    table[key].append(cell)
    return table
