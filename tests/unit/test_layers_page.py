"""The layers page, its words and figures, and the map of a pair of layers."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from analysis.divergence.depth import Profile
from analysis.divergence.layers import SIMILARITIES
from analysis.store import Study
from dashboard import background
from dashboard.figures.layer_words import doubts, finding, pair_table, reference_words
from dashboard.figures.layers import grid_columns, layer_matrix, profile_figure, shown
from dashboard.loading import STUDY_VARIABLE
from dashboard.loading_layers import LayerGrid, LayerTable, layer_table, reference_profiles
from dashboard.selection import Selection
from dashboard.theme import DARK, LIGHT

LAYERS = ("first", "second", "<i>third")


def profile(values: list[float], null: float = 0.02) -> Profile:
    best = np.where(np.isfinite(values), np.arange(len(values)), -1)
    return Profile(best=best, values=np.array(values), null=np.full((4, len(values)), null))


def profiles(cka: list[float], knn: list[float]) -> dict[str, Profile]:
    return {"cka": profile(cka, 0.0), "knn": profile(knn)}


def table(**changes: object) -> LayerTable:
    values = np.array([[0.9, 0.5, 0.1], [0.4, 0.8, 0.2], [0.1, 0.3, 0.7]])
    grid = LayerGrid(values=values, null=np.stack([np.full((3, 3), v) for v in (-0.01, 0.03)]))
    made = LayerTable(
        teacher_layers=("a", "b", "c"), student_layers=LAYERS, n=400, total=900, subset=200,
        permutations=2, neighbors=10, outlier_share=0.01, grids=dict.fromkeys(SIMILARITIES, grid),
        checked=values, trimmed=values,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


# --- words ---------------------------------------------------------------------------------


def test_the_finding_says_where_the_two_part() -> None:
    thin = "\N{NARROW NO-BREAK SPACE}%"
    parted = finding(profiles([0.9] * 3, [0.5, 0.4, 0.1]), LAYERS)
    assert parted == (
        "They agree up to second and part from &lt;i&gt;third on: shared neighbors fall from "
        f"50.0{thin} to 10.0{thin}, by chance 2.0{thin}"
    )
    together = finding(profiles([0.9] * 3, [0.5, 0.4, 0.45]), LAYERS)
    assert together.startswith("The two do not part in depth: the student’s layers share 40.0")
    nothing = finding(profiles([0.9] * 3, [0.02, 0.02, 0.01]), LAYERS)
    assert nothing.startswith("No layer of the student arranges the images like any layer")
    assert "varies" in finding(profiles([np.nan] * 3, [np.nan] * 3), LAYERS)


def test_a_condition_is_told_against_clean_images() -> None:
    clean = profiles([0.9] * 3, [0.5, 0.4, 0.6])
    apart = finding(
        profiles([0.9] * 3, [0.49, 0.2, 0.25]), LAYERS, clean=clean, condition="<b>Trigger"
    )
    assert apart.startswith("They agree up to first under “&lt;b&gt;Trigger”, and part from second")
    assert "in &lt;i&gt;third shared neighbors fall from 60.0" in apart
    same = finding(profiles([0.9] * 3, [0.5, 0.38, 0.6]), LAYERS, clean=clean, condition="Trigger")
    assert same.startswith("The two do not part in depth under “Trigger”")
    assert "second loses most" in same
    early = finding(profiles([0.9] * 3, [0.1] * 3), LAYERS, clean=clean, condition="Trigger")
    assert early.startswith("They part from the first layer on")


def test_a_disagreement_of_the_measures_is_a_doubt() -> None:
    assert doubts(table(), profiles([0.9] * 3, [0.5, 0.4, 0.45])) == []
    (starts,) = doubts(table(), profiles([0.9, 0.8, 0.9], [0.5, 0.4, 0.1]))
    assert "by CKA they do not part, by mutual k-NN they part from &lt;i&gt;third on" in starts
    other = profiles([0.9] * 3, [0.5, 0.4, 0.45])
    other["knn"] = dataclasses.replace(other["knn"], best=np.array([2, 1, 2]))
    (matches,) = doubts(table(), other)
    assert "disagree on the best match of first: a against c" in matches


def test_a_few_images_that_carry_cka_are_a_doubt() -> None:
    trimmed = table().trimmed.copy()
    trimmed[1, 2] -= 0.3
    (words,) = doubts(table(trimmed=trimmed), profiles([0.9] * 3, [0.5, 0.4, 0.45]))
    assert "for 1 of 9 pairs, most for b × &lt;i&gt;third" in words


def test_references_are_told_by_rank() -> None:
    references = [profile([0.6, 0.5, 0.5]), profile([0.5, 0.5, 0.3])]
    words = reference_words(profile([0.4, 0.5, 0.4]), references, LAYERS, "knn")
    assert words == "Mutual k-NN: lower than all 2 reference students in first."
    inside = reference_words(profile([0.7] * 3), references, LAYERS, "cka")
    assert inside == "CKA: no layer lies below all 2 reference students."
    assert reference_words(profile([0.7] * 3), [], LAYERS, "cka") == ""
    alone = reference_words(profile([0.4, 0.5, 0.4]), references[:1], LAYERS, "knn")
    assert "lower than the reference student in" in alone


def test_the_pair_has_all_measures_with_their_null() -> None:
    html = pair_table(table(), (1, 2))
    for entry in SIMILARITIES.values():
        assert entry.title in html
    assert html.count("by chance") == 1
    assert html.count("−0.01 to 0.03") == 3
    assert "without outliers" in html


def test_numbers_are_written_as_everywhere() -> None:
    assert shown("cka", -0.001) == "0.00"
    assert shown("cka", -0.034) == "−0.03"
    assert shown("knn", 0.5213) == "52.1\N{NARROW NO-BREAK SPACE}%"
    assert shown("rsa", np.nan) == "–"


# --- figures -------------------------------------------------------------------------------


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_the_matrix_shows_every_pair_and_the_best_matches(colors: object) -> None:
    found = table()
    figure = layer_matrix(
        "cka", found.grids["cka"], found.teacher_layers, LAYERS, colors, chosen=(1, 2)
    )  # type: ignore[arg-type]
    heat, path, cells = figure.data
    np.testing.assert_array_equal(heat.z, found.grids["cka"].values)
    assert list(path.y) == [0, 1, 2]
    assert len(cells.customdata) == 9
    at = list(cells.customdata).index("1.2")
    assert (cells.x[at], cells.y[at], cells.text[at]) == (2, 1, "0.20")
    assert "<i>third" not in json.dumps(figure.to_plotly_json(), default=str)
    (outline,) = figure.layout.shapes
    assert (outline.x0, outline.y0) == (1.5, 0.5)
    assert all("gl" not in trace.type for trace in figure.data)


def test_many_layers_have_no_numbers_and_unmeasured_ones_no_match() -> None:
    values = np.full((20, 3), 0.5)
    values[:, 1] = np.nan
    grid = LayerGrid(values=values, null=np.zeros((2, 20, 3)))
    figure = layer_matrix("knn", grid, [f"l{i}" for i in range(20)], LAYERS, LIGHT)
    assert set(figure.data[2].text) == {""}
    assert list(figure.data[1].x) == [0, 2]


def test_a_first_layer_inside_its_null_has_a_sentence_too() -> None:
    own = Profile(
        best=np.arange(3), values=np.array([0.5, 0.15, 0.1]),
        null=np.array([[0.1, 0.1, 0.1], [0.55, 0.12, 0.1], [0.05, 0.08, 0.1]]),
    )  # fmt: skip
    text = finding({"cka": own, "knn": own}, LAYERS)
    assert text.startswith("They part from the first layer on: ")


def test_the_profile_has_its_null_its_references_and_the_other_conditions() -> None:
    own = Profile(
        best=np.arange(3), values=np.array([0.9, 0.5, 0.2]),
        null=np.array([[0.0, 0.1, 0.0], [0.05, 0.2, 0.1]]),
    )  # fmt: skip
    figure = profile_figure(
        "cka", own, LAYERS, LIGHT, others={"<b>Clean": profile([0.8] * 3)},
        references=[profile([0.7, 0.6, 0.5])],
    )  # fmt: skip
    band, ticks, other, line = figure.data
    np.testing.assert_allclose(band.y, [0.05, 0.2, 0.1, 0.0, 0.1, 0.0])
    np.testing.assert_allclose(ticks.y, [0.7, 0.6, 0.5])
    np.testing.assert_allclose(other.y, [0.8] * 3)
    np.testing.assert_allclose(line.y, own.values)
    assert [note.text for note in figure.layout.annotations] == ["&lt;b&gt;Clean"]


def test_pairs_are_saved_with_their_null() -> None:
    columns = grid_columns(table().grids, ("a", "b", "c"), LAYERS)
    row = columns["teacher_layer"].index("b") + 2
    assert columns["student_layer"][row] == "<i>third"
    assert columns["cka"][row] == pytest.approx(0.2)
    assert columns["rsa_null_high"][row] == pytest.approx(0.03)


def test_references_with_the_same_layers_are_found(layered_study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(layered_study, copy)
    manifest = json.loads((copy / "study.json").read_text())
    manifest["models"]["honest"]["role"] = "reference"
    (copy / "study.json").write_text(json.dumps(manifest))
    study = Study.open(copy)
    own = layer_table(study, "backdoored")
    assert own is not None
    (found,) = reference_profiles(study, own, "clean")["knn"]
    honest = layer_table(study, "honest")
    assert honest is not None
    np.testing.assert_allclose(found.values, honest.grids["knn"].profile.values)
    renamed = dataclasses.replace(own, student_layers=("x", "y", "z"))
    assert reference_profiles(study, renamed, "clean")["knn"] == []


# --- the page ------------------------------------------------------------------------------


def layers_script() -> None:
    from dashboard import app

    app.render(app.PAGES["Layers"])


def map_script() -> None:
    from dashboard import app

    app.render(app.PAGES["Map"])


Run = Callable[..., AppTest]


@pytest.fixture
def run(layered_study: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def start(
        query: dict[str, str] | None = None,
        study: Path = layered_study,
        page: Callable[[], None] = layers_script,
    ) -> AppTest:
        monkeypatch.setenv(STUDY_VARIABLE, str(study))
        at = AppTest.from_function(page, default_timeout=60)
        for name, value in (query or {}).items():
            at.query_params[name] = value
        return at.run()

    return start


def text_of(at: AppTest) -> str:
    assert not at.exception, [item.value for item in at.exception]
    return " ".join(item.proto.body for item in at.get("html"))


def specs(at: AppTest) -> list[dict]:
    return [json.loads(chart.proto.spec) for chart in at.get("plotly_chart")]


@pytest.mark.parametrize("condition", ["clean", "trigger"])
def test_the_page_opens_with_a_finding_and_never_shows_cka_alone(
    run: Run, layered_study: Path, condition: str
) -> None:
    at = run({"student": "backdoored", "condition": condition})
    study = Study.open(layered_study)
    tables = {slug: layer_table(study, "backdoored", slug) for slug in ("clean", "trigger")}
    own = {n: grid.profile for n, grid in tables[condition].grids.items()}
    clean = {n: grid.profile for n, grid in tables["clean"].grids.items()}
    expected = finding(
        own, tables[condition].student_layers,
        clean=clean if condition == "trigger" else None, condition="Trigger",
    )  # fmt: skip
    assert f'<div class="ds-finding">{expected}.</div>' in text_of(at)
    drawn = specs(at)
    assert len(drawn) == 4
    for matrix, measure in ((drawn[0], "cka"), (drawn[2], "knn")):
        texts = matrix["data"][2]["text"]
        values = tables[condition].grids[measure].values.ravel()
        expected_texts = [
            shown(measure, value).split("\N{NARROW NO-BREAK SPACE}")[0] for value in values
        ]
        assert texts == expected_texts
    for entry in SIMILARITIES.values():
        assert entry.title in text_of(at)


def test_another_measure_stands_beside_cka_when_it_is_picked(run: Run) -> None:
    at = run({"student": "backdoored"})
    before = specs(at)
    at.segmented_control(key="layers_beside").set_value("rsa").run()
    after = specs(at)
    assert after[0]["data"][0] == before[0]["data"][0], "CKA stays"
    assert after[2]["data"][0] != before[2]["data"][0]
    assert "Rank correlation" in text_of(at)


def test_a_map_that_is_there_opens_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    went: dict[str, object] = {}
    monkeypatch.setattr(
        "dashboard.pages.layers_pair.go", lambda path, **changes: went.update(path=path, **changes)
    )
    names = ("backdoored", ("layer1.0", "layer2.0", "layer3.0"),
             ("layer1.0", "layer2.0", "layer3.0"))  # fmt: skip
    at = run({"student": "backdoored"})
    at.session_state["layers_cell"] = (names, (1, 2))
    at.run()
    assert '<span class="ds-strong">layer2.0</span> of the teacher' in text_of(at)
    at.button(key="layers_to_map").click().run()
    assert went == {"path": "map", "layer": "layer2.0:layer3.0"}


def test_a_pair_without_a_map_is_laid_out_by_a_command(
    run: Run, layered_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(background, "start", started.append)
    at = run({"student": "honest", "condition": "trigger"})
    (button,) = [b for b in at.button if b.label == "Show these two layers on the map"]
    button.click().run()
    ((command, folder, student, condition, pair),) = started
    assert (command, folder) == ("layers", str(layered_study.resolve()))
    assert (student, condition) == ("--student=honest", "--condition=trigger")
    assert re.fullmatch(r"--map=layer\d\.0:layer\d\.0", pair)


def test_a_finished_step_opens_the_map_for_who_asked_for_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Done:
        running, failed = False, None

    went: list[object] = []
    monkeypatch.setattr(
        "dashboard.pages.layers_pair.go", lambda path, **changes: went.append((path, changes))
    )
    steps: dict[tuple[str, ...], Done] = {}
    monkeypatch.setattr(background, "_STEPS", steps)
    monkeypatch.setattr(
        background, "start", lambda arguments: steps.setdefault(tuple(arguments), Done())
    )
    names = ("backdoored", ("layer1.0", "layer2.0", "layer3.0"),
             ("layer1.0", "layer2.0", "layer3.0"))  # fmt: skip
    for cell, pair in (((0, 0), "layer1.0:layer1.0"), ((1, 2), "layer2.0:layer3.0")):
        at = run({"student": "backdoored"})
        at.session_state["layers_cell"] = (names, cell)
        at.run()
        if cell == (1, 2):  # its map is there, and somebody else has just had it computed
            background.start(layers_arguments(at, pair))
            at.run()
            assert not at.exception
            assert not steps
            assert len(went) == 1
            continue
        (button,) = [b for b in at.button if b.label == "Show these two layers on the map"]
        button.click().run()
        assert went == [("map", {"layer": pair})]


def layers_arguments(at: AppTest, pair: str) -> tuple[str, ...]:
    import os

    folder = str(Path(os.environ[STUDY_VARIABLE]).resolve())
    return ("layers", folder, "--student=backdoored", "--condition=clean", f"--map={pair}")


def test_a_step_that_failed_is_a_message_in_place(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failed:
        running = False
        failed = "the disk is full. Make room"

    monkeypatch.setattr(background, "find", lambda arguments: Failed())
    text = text_of(run({"student": "honest"}))
    assert "The disk is full" in text
    assert "Make room." in text


def test_a_step_under_way_shows_its_progress(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Running:
        running, stage, done, total = True, "map of teacher", 30, 150
        failed = None

        def cancel(self) -> None:
            """Not asked to."""

    monkeypatch.setattr(background, "find", lambda arguments: Running())
    at = run({"student": "honest"})
    assert not at.exception
    assert "map of teacher" in str(at.get("progress")[0].proto)
    assert "Cancel" in [button.label for button in at.button]


def test_a_condition_that_was_not_measured_offers_to(run: Run, tiny_study: Path) -> None:
    at = run({"student": "backdoored", "condition": "perturbation"})
    assert "The layers were not compared on condition Perturbation" in text_of(at)
    assert [b.label for b in at.button if b.label == "Compare the layers"]
    assert "not compared on condition Clean" in text_of(run({}, tiny_study))


def test_damaged_layers_are_refused_in_place(run: Run, layered_study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(layered_study, copy)
    manifest = json.loads((copy / "study.json").read_text())
    manifest["records"]["layers/backdoored/clean"]["teacher_layers"].append("more")
    (copy / "study.json").write_text(json.dumps(manifest))
    assert "are damaged" in text_of(run({"student": "backdoored"}, copy))


# --- the map of a pair -----------------------------------------------------------------------


PAIR = "layer2.0:layer3.0"


def test_the_map_shows_the_pair_that_the_address_names(run: Run) -> None:
    at = run({"student": "backdoored", "layer": PAIR}, page=map_script)
    assert not at.exception
    proto = str(at.get("bidi_component")[-1].proto)
    assert "Teacher, layer2.0" in proto
    assert "backdoored, layer3.0" in proto
    assert at.query_params["layer"] in (PAIR, [PAIR])
    at.selectbox(key="layer_picker").set_value(None).run()
    assert "layer" not in at.query_params
    assert "Teacher, layer2.0" not in str(at.get("bidi_component")[-1].proto)


def test_the_map_of_a_pair_colors_by_its_own_neighbors(run: Run) -> None:
    for color in ("overlap", "divergence"):
        at = run({"student": "backdoored", "layer": PAIR, "color": color}, page=map_script)
        assert not at.exception


def test_images_that_are_not_placed_yet_can_be(run: Run) -> None:
    query = {"student": "backdoored", "layer": PAIR, "condition": "perturbation"}
    at = run(query, page=map_script)
    assert "does not hold these images" in text_of(at)
    assert [b.label for b in at.button if b.label == "Place them"]
    at.button(key="last_layers").click().run()
    assert "layer" not in at.query_params


def test_an_unknown_pair_and_another_student_leave_the_map_of_the_last_layers(run: Run) -> None:
    at = run({"student": "backdoored", "layer": "<b>x"}, page=map_script)
    assert "The address names layer" in text_of(at)
    assert "<b>x" not in text_of(at)
    at = run({"student": "backdoored", "layer": PAIR}, page=map_script)
    at.selectbox(key="student_picker").set_value("honest").run()
    assert "layer" not in at.query_params
    assert "honest" in str(at.get("bidi_component")[-1].proto)


def test_the_layer_is_part_of_the_address_and_of_the_filter() -> None:
    chosen = Selection(student="a", layer="x:y")
    query = chosen.to_query()
    assert query["layer"] == "x:y"
    read, notes = Selection.from_query(
        query, students=["a"], conditions=["clean"], classes=2, layers=lambda student: ["x:y"]
    )
    assert read == chosen
    assert notes == ()
    assert chosen.filter_key != Selection(student="a").filter_key
    other, notes = Selection.from_query(query, students=["a"], conditions=["clean"], classes=2)
    assert other.layer is None
    assert len(notes) == 1
