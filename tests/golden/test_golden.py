"""Golden files: old studies stay readable, and charts change only on purpose (`make golden`)."""

from __future__ import annotations

import base64
import io
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from analysis.divergence.null import judge, null_of
from analysis.records import TEACHER, Interval
from analysis.store import Study
from analysis.store.manifest import SCHEMA_VERSION
from analysis.study.headline import headline
from dashboard.figures import (
    answers,
    attributions,
    calibration,
    cells,
    classes,
    cost,
    drift,
    layers,
)
from dashboard.figures import headline as headline_figure
from dashboard.figures.intervals import interval_glyph
from dashboard.figures.sentences import headline_sentence
from dashboard.loading import Pair, load_pair
from dashboard.loading_layers import LayerGrid
from dashboard.theme import DARK, LIGHT, Palette

HERE = Path(__file__).parent
STUDIES = sorted(HERE.glob("study-v*"))
FIGURES = HERE / "figures"


def test_there_is_a_golden_study_for_every_schema() -> None:
    assert [path.name for path in STUDIES] == [
        f"study-v{version}" for version in range(1, SCHEMA_VERSION + 1)
    ]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_every_release_opens_all_earlier_studies(path: Path) -> None:
    study = Study.open(path)
    written = json.loads((path / "study.json").read_text())
    assert study.digest == written["digest"], "the digest of old content is the same for ever"
    for key in study.manifest.arrays:
        assert study.array(key) is not None
    for name in study.students:
        assert study.projection(name) is not None
        assert study.attributions(name)
        for condition in study.conditions:
            assert len(study.samples(name, condition)) == study.conditions[condition].n
            assert study.thumbnails(condition).webp(study.condition_ids(condition)[0])
            assert study.measures(name, condition)["agreement"] is not None
    assert headline(study)["students"].keys() == study.students.keys()


def rounded(value: Any) -> Any:
    """Numbers to six significant digits: golden figures hold on any machine."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def plotly(figure: Any) -> Any:
    made = json.loads(figure.to_json(engine="json"))
    made["layout"].pop("template", None)  # streamlit registers one of its own once it is imported
    return rounded(made)


def study_and_pair() -> tuple[Study, Pair]:
    study = Study.open(HERE / "study-v1")
    return study, load_pair(study, "alpha", "trigger")


def _headline(colors: Palette) -> str:
    study, pair = study_and_pair()
    measures = study.measures("alpha", "trigger")
    assert measures["agreement"] is not None
    null = null_of(measures["agreement"].value, [0.5, 0.55, 0.6])
    row = headline_figure.HeadlineRow(
        name="Trigger",
        n=len(pair),
        measures=measures,
        nulls=judge({"agreement": null}, {"agreement"}),
        teacher=headline_figure.teacher_values(pair),
    )
    return headline_figure.headline_table([row], colors, labeled=True)


def _cells(colors: Palette) -> str:
    study, _ = study_and_pair()
    models = {TEACHER: "teacher", **{name: m.role for name, m in study.students.items()}}
    measures = {(m, c): study.measures(m, c) for m in models for c in study.conditions}
    rows = cells.cell_rows(models, measures, chosen="alpha")
    counts = {slug: study.record(f"attack_n/{slug}") for slug in cells.ORDER}
    return f"{cells.cell_claim(rows, '80')}\n{cells.cell_table(rows, '80', counts, colors)}"


def _drift(colors: Palette) -> Any:
    study, _ = study_and_pair()
    counts = np.asarray(study.array("drift/alpha/trigger"))
    return plotly(drift.drift_figure(counts, study.class_names, colors, chosen=(0, 1)))


def _answers(colors: Palette) -> Any:
    teacher, student = np.linspace(0.3, 0.01, 8), np.linspace(0.01, 0.3, 8)
    return plotly(answers.answers_figure(teacher, student, tuple("abcdefgh"), colors))


def _classes(colors: Palette) -> str:
    study, pair = study_and_pair()
    rows = classes.class_rows(pair, study.class_names)
    sentence = headline_sentence(
        study.measures("alpha", "trigger")["agreement"], len(pair), rows, filtered=False
    )
    return f"{sentence}\n{classes.class_table(rows, colors, lambda index: f'?group={index}')}"


def _cost(colors: Palette) -> str:
    study, _ = study_and_pair()
    return cost.cost_table(study.teacher, study.models["alpha"]) or ""


def _glyphs(colors: Palette) -> str:
    value = Interval(0.9, 0.85, 0.93)
    many = np.linspace(0.3, 0.5, 25).tolist()
    drawn = [
        interval_glyph(value, (0, 1), colors),
        interval_glyph(value, (0, 1), colors, references=[0.88, 0.9, 0.91], teacher=0.95),
        interval_glyph(value, (0, 1), colors, references=[0.30, 0.31, 0.32]),
        interval_glyph(value, (0, 1), colors, references=many),
    ]
    return "\n".join(drawn)


def _layers(colors: Palette) -> Any:
    rows, columns = np.indices((4, 3))
    values = 0.9 - 0.25 * np.abs(rows - 1.4 * columns)
    null = np.stack([np.full((4, 3), value) for value in (-0.01, 0.02)])
    grid = LayerGrid(values=values, null=null)
    names = tuple("abcd"), tuple("xyz")
    return [
        plotly(layers.layer_matrix("knn", grid, *names, colors, chosen=(1, 2))),
        plotly(
            layers.profile_figure(
                "cka", grid.profile, names[1], colors,
                others={"Clean": grid.profile}, references=[grid.profile],
            )
        ),
    ]  # fmt: skip


def _map(colors: Palette) -> str:
    values = np.outer(np.linspace(-1, 1, 6), np.linspace(-1, 1, 6)).astype(np.float32)
    _, _, data = attributions.map_picture(values, 1.0, colors).partition("base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    return json.dumps(np.asarray(picture).reshape(-1, 3).tolist())


GOLDEN: dict[str, Callable[[Palette], Any]] = {
    "headline.html": _headline,
    "cells.html": _cells,
    "drift.json": _drift,
    "reliability.json": lambda c: plotly(calibration.reliability_figure(study_and_pair()[1], c)),
    "confidence.json": lambda c: plotly(calibration.confidence_figure(study_and_pair()[1], c)),
    "answers.json": _answers,
    "classes.html": _classes,
    "cost.html": _cost,
    "glyphs.txt": _glyphs,
    "map.txt": _map,
    "layers.json": _layers,
}


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_figures(name: str, colors: Palette) -> None:
    made = GOLDEN[name](colors)
    text = (
        made
        if isinstance(made, str)
        else json.dumps(made, indent=1, ensure_ascii=False, sort_keys=True)
    )
    path = FIGURES / f"{colors.name}-{name}"
    if os.environ.get("DISTILLSCOPE_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    assert path.read_text() == text + "\n", f"{path.name} changed; if on purpose: make golden"


def test_a_changed_figure_is_noticed() -> None:
    path = FIGURES / "light-drift.json"
    golden = json.loads(path.read_text())
    assert (
        plotly(drift.drift_figure(np.array([[3, 1], [0, 4]]), ("a", "b"), LIGHT, chosen=(0, 1)))
        != golden
    )
