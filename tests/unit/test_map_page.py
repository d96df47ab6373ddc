"""The map of a further condition: its images among the clean ones, which lie beneath."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from analysis.records import CLEAN, PERTURBATION, TRIGGER
from analysis.store import Study
from dashboard.components.pair_map import PairMapState
from dashboard.context import View
from dashboard.figures.points import map_points
from dashboard.loading import STUDY_VARIABLE, load_pair, projection_of
from dashboard.loading_layers import layer_maps, layer_projection
from dashboard.pages import map as map_page
from dashboard.selection import Lasso, Selection
from dashboard.theme import LIGHT

STUDY = Path(__file__).parents[1] / "golden" / "study-v1"


def test_clean_images_lie_beneath_those_of_another_condition() -> None:
    study = Study.open(STUDY)
    pair, clean = load_pair(study, "alpha", TRIGGER), load_pair(study, "alpha")
    placed, among = (projection_of(study, "alpha", slug) for slug in (TRIGGER, CLEAN))
    assert placed is not None
    assert among is not None
    found = map_points(
        pair, placed, study.class_names, "/t?at={index}", triggered=True, beneath=(clean, among)
    )
    n, drawn = len(pair), found.points
    assert len(drawn) == n + len(clean)
    assert drawn.backdrop is not None
    assert drawn.backdrop.tolist() == [False] * n + [True] * len(clean)
    assert drawn.has_trigger is not None
    assert (drawn.has_trigger != drawn.backdrop).all()
    assert np.array_equal(drawn.student_xy[n:], np.asarray(among.student))
    assert drawn.far is not None
    assert np.array_equal(drawn.far[:n], np.asarray(placed.far))
    assert not drawn.far[n:].any()
    mask = np.arange(n) % 2 == 0
    assert found.spread(mask).tolist() == [*mask.tolist(), *[False] * len(clean)]


def script() -> None:
    from dashboard import app

    app.render(app.PAGES["Map"])


Draw = Callable[[dict[str, str]], dict[str, Any]]


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Draw:
    """Runs the page with a query; returns what it drew: points, colors, selection, highlight."""
    monkeypatch.setenv(STUDY_VARIABLE, str(STUDY))
    drawn: list[dict[str, Any]] = []
    original = map_page.pair_map

    def noting(**arguments: Any) -> Any:
        drawn.append(arguments)
        return original(**arguments)

    monkeypatch.setattr(map_page, "pair_map", noting)

    def start(query: dict[str, str]) -> dict[str, Any]:
        at = AppTest.from_function(script, default_timeout=60)
        for name, value in query.items():
            at.query_params[name] = value
        at.run()
        assert not at.exception, [item.value for item in at.exception]
        return drawn[-1]

    return start


def test_a_condition_is_drawn_over_the_clean_images(draw: Draw) -> None:
    study = Study.open(STUDY)
    for condition in (TRIGGER, PERTURBATION):
        for color in ("label", "overlap"):
            made = draw({"student": "alpha", "condition": condition, "color": color})
            n, points = len(study.condition_ids(condition)), made["points"]
            assert points.backdrop.sum() == len(study.sample_ids)
            assert not points.backdrop[:n].any()
            assert len(made["color"].codes) == len(points)
            assert made["highlight"] is None
    assert draw({"student": "alpha"})["points"].backdrop is None


def test_a_filter_and_a_lasso_leave_out_what_lies_beneath(draw: Draw) -> None:
    around = Lasso.around("teacher", ((-1e3, -1e3), (1e3, -1e3), (1e3, 1e3), (-1e3, 1e3)))
    query = {"student": "alpha", "condition": TRIGGER, "picked": around.to_text()}
    made = draw(query)
    assert made["selection"] == around
    filtered = draw({**query, "differ": "1"})
    pair = load_pair(Study.open(STUDY), "alpha", TRIGGER)
    beneath = filtered["points"].backdrop
    assert filtered["highlight"].tolist() == [*(~pair.agree).tolist(), *[False] * beneath.sum()]
    assert filtered["selection"].tolist() == filtered["highlight"].tolist()


def test_save_writes_the_images_of_a_lasso_that_was_just_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(STUDY_VARIABLE, str(STUDY))
    written: list[np.ndarray] = []
    original = map_page.sample_exports

    def noting(view: Any, mask: np.ndarray) -> Any:
        written.append(mask)
        return original(view, mask)

    pair = load_pair(Study.open(STUDY), "alpha")
    rows = np.arange(len(pair)) < 5
    closed = PairMapState(selected=rows, opened=None, lasso=None)
    monkeypatch.setattr(map_page, "sample_exports", noting)
    monkeypatch.setattr(map_page, "pair_map", lambda **_: closed)
    monkeypatch.setattr(map_page, "region_of", lambda *_: None)
    at = AppTest.from_function(script, default_timeout=60)
    at.query_params["student"] = "alpha"
    at.run()
    assert not at.exception, [item.value for item in at.exception]
    assert written[-1].tolist() == rows.tolist()


def test_a_map_of_single_layers_asks_for_its_own_pictures(
    layered_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study.open(layered_study)
    layers = layer_maps(study, "backdoored")[0]
    placed = layer_projection(study, "backdoored", layers, CLEAN)
    assert placed is not None
    some = slice(20, 30)  # as where a map holds only part of the images
    fewer = dataclasses.replace(
        placed, sample_ids=placed.sample_ids[some], conditions=placed.conditions[some],
        teacher=placed.teacher[some], student=placed.student[some], far=placed.far[some],
    )  # fmt: skip
    pair = load_pair(study, "backdoored")
    view = View(
        study=study, selection=Selection(student="backdoored", layer=layers), all=pair, pair=pair,
        mask=np.ones(len(pair), bool), projection=fewer, colors=LIGHT,
    )  # fmt: skip
    drawn = map_page._points.__wrapped__(("", "", "", ""), layers, view).points
    assert study.condition_ids()[drawn.thumbnail_index].tolist() == list(drawn.sample_ids)
