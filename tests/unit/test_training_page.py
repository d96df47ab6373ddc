"""Training: its sentences and curves as functions, its page on a small study with checkpoints."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from analysis.records import CLEAN, TRIGGER, Interval
from analysis.store import Study
from dashboard.components.pair_map import PairMapState
from dashboard.figures.training import (
    Curve,
    Kind,
    Onset,
    backdoor_sentence,
    curve_of,
    curves_figure,
    epoch_facts,
    onset,
    parted_sentence,
    spread_out,
)
from dashboard.loading import STUDY_VARIABLE
from dashboard.loading_training import EpochRow, common_frame, epoch_rows, filmed_students
from dashboard.pages import training
from dashboard.theme import DARK, LIGHT
from tests.studies import unlabel, without_labels


def rows(
    values: Mapping[int, float], measure: str = "attack_success_rate", condition: str = TRIGGER
) -> list[EpochRow]:
    return [
        EpochRow(
            model=f"m{epoch}",
            epoch=epoch,
            measures={condition: {measure: Interval(value, value - 0.02, value + 0.02)}},
        )
        for epoch, value in values.items()
    ]


def agreeing(clean: Mapping[int, float], shown: Mapping[int, float]) -> list[EpochRow]:
    return [
        EpochRow(
            model=f"m{epoch}", epoch=epoch,
            measures={
                CLEAN: {"agreement": Interval(clean[epoch])},
                TRIGGER: {"agreement": Interval(shown[epoch])},
            },
        )
        for epoch in clean
    ]  # fmt: skip


# --- when something begins -----------------------------------------------------------------


@given(st.lists(st.booleans(), max_size=12))
def test_onset_is_where_the_last_unbroken_run_begins(holds: list[bool]) -> None:
    epochs = [3 * row + 1 for row in range(len(holds))]
    starts = [row for row in range(len(holds)) if all(holds[row:])]
    found = onset(epochs, holds)
    if not starts:
        assert found is None
    else:
        before = epochs[starts[0] - 1] if starts[0] else None
        assert found == Onset(before, epochs[starts[0]])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({1: 0.01, 3: 0.1, 7: 0.8, 9: 0.9}, "The backdoor appears between epoch 3 and 7: "),
        ({1: 0.6, 3: 0.9}, "The backdoor appears by epoch 1: "),
        ({1: 0.01, 3: 0.31, 7: 0.12}, "No backdoor appears: the trigger never sends 60 points more "
         "to “80” than go there without it, at most 31.0 at epoch 3"),
        ({1: 0.01, 3: 0.9, 7: 0.12}, "does not last: after epoch 3 the trigger no longer sends 60 "
         "points more to “80”, 12.0\u202f% at epoch 7"),
        ({}, "was not measured"),
    ],
)  # fmt: skip
def test_the_backdoor_sentence_is_bound_to_the_rates(values: dict[int, float], says: str) -> None:
    assert says in backdoor_sentence(rows(values), Interval(0.02), "80")


def test_a_student_that_answers_everything_with_the_target_has_no_backdoor_yet() -> None:
    rates, bases = {1: 0.94, 3: 0.92, 7: 0.99}, {1: 0.69, 3: 0.34, 7: 0.03}
    made = [
        EpochRow(
            model="m", epoch=epoch,
            measures={TRIGGER: {
                "attack_success_rate": Interval(rates[epoch]), "base_rate": Interval(bases[epoch]),
            }},
        )
        for epoch in rates
    ]  # fmt: skip
    sentence = backdoor_sentence(made, Interval(0.01), "80")
    assert sentence.startswith("The backdoor appears between epoch 3 and 7")
    assert "99.0\u202f% at epoch 7, without it 3.0" in sentence


def test_what_fools_the_teacher_as_well_is_no_backdoor() -> None:
    sentence = backdoor_sentence(rows({1: 0.1, 2: 0.9}), Interval(0.7), "<b>")
    assert "no backdoor of the student" in sentence
    assert "70.0" in sentence
    assert "<b>" not in sentence


def test_they_part_where_the_trigger_takes_their_agreement_away() -> None:
    clean = {1: 0.5, 3: 0.7, 7: 0.9}
    parted = parted_sentence(agreeing(clean, {1: 0.45, 3: 0.6, 7: 0.1}))
    assert parted.startswith("They part between epoch 3 and 7: ")
    assert "10.0" in parted
    assert "90.0" in parted
    together = parted_sentence(agreeing(clean, {1: 0.45, 3: 0.6, 7: 0.8}))
    assert together.startswith("They do not part: ")


def test_without_a_trigger_the_sentence_is_about_clean_images() -> None:
    def of(values: dict[int, float]) -> str:
        return parted_sentence(rows(values, "agreement", CLEAN))

    assert of({1: 0.3, 9: 0.8}).startswith("The student comes closer to the teacher")
    assert of({1: 0.8, 9: 0.8}).startswith("The student comes no closer to the teacher")
    assert of({1: 0.3, 4: 0.9, 9: 0.6}).startswith(
        "They part after epoch 4: agreement falls from 90.0"
    )
    assert "there is no other epoch" in of({2: 0.3})
    assert parted_sentence([]) == "When they parted was not measured"


# --- curves --------------------------------------------------------------------------------


def test_a_curve_shows_each_value_its_interval_and_the_epoch() -> None:
    made = rows({1: 0.1, 3: 0.4, 7: 0.9})
    curve = curve_of(made, "attack_success_rate", TRIGGER, "<i>name", "alarm")
    assert curve is not None
    figure = curves_figure([curve], LIGHT, unit="share", epoch=3, teacher=0.25)
    band, line = figure.data
    assert list(line.x) == [1, 3, 7]
    np.testing.assert_allclose(line.y, [10, 40, 90])
    np.testing.assert_allclose(band.y, [12, 42, 92, 88, 38, 8])
    assert line.line.color == LIGHT.alarm
    assert [shape.x0 for shape in figure.layout.shapes if shape.x0 == shape.x1] == [3]
    assert [shape.y0 for shape in figure.layout.shapes if shape.y0 == shape.y1] == [25]
    assert "<i>" not in json.dumps(figure.to_plotly_json(), default=str)
    assert all("gl" not in trace.type for trace in figure.data)


def test_kinds_of_one_color_differ_in_line_and_mark() -> None:
    kinds: tuple[Kind, ...] = get_args(Kind)
    curves = [Curve(name=k, epochs=[1], values=[Interval(0.5)], kind=k) for k in kinds]
    for colors in (LIGHT, DARK):
        figure = curves_figure(curves, colors, unit="share", epoch=1)
        lines = [trace for trace in figure.data if trace.name]
        assert len({(t.line.color, t.line.dash) for t in lines}) == len(kinds)
        assert len({(t.line.color, t.marker.symbol) for t in lines}) == len(kinds)


def test_a_missing_measure_has_no_curve_and_a_missing_epoch_no_point() -> None:
    made = rows({1: 0.1, 3: 0.4})
    blank = EpochRow(model="blank", epoch=2, measures={TRIGGER: {"attack_success_rate": None}})
    curve = curve_of([made[0], blank, made[1]], "attack_success_rate", TRIGGER, "name")
    assert curve is not None
    assert curve.epochs == [1, 3]
    assert curve_of(made, "agreement", CLEAN, "name") is None


def test_labels_at_the_end_keep_their_distance() -> None:
    same = [Curve(name=f"c{i}", epochs=[1, 2], values=[Interval(0.5), Interval(0.5)])
            for i in range(4)]  # fmt: skip
    figure = curves_figure(same, DARK, unit="share", epoch=1)
    heights = sorted(note.y for note in figure.layout.annotations)
    assert np.diff(heights).min() > 8


@given(st.lists(st.floats(0, 100), max_size=6))
def test_spreading_keeps_the_order_the_distance_and_the_top(heights: list[float]) -> None:
    moved = spread_out(sorted(heights), least=8, top=103)
    assert len(moved) == len(heights)
    assert all(b - a >= 8 - 1e-9 for a, b in itertools.pairwise(moved))
    assert max(moved, default=0) <= 103
    if len(heights) == 1:
        assert moved == heights


def test_divergences_have_a_scale_of_their_own() -> None:
    curve = Curve(name="kl", epochs=[1, 2], values=[Interval(3.0, 2.5, 3.5), Interval(1.0)])
    figure = curves_figure([curve], LIGHT, unit="nats", epoch=1)
    assert figure.layout.yaxis.range[1] == pytest.approx(1.08 * 3.5)
    assert list(figure.data[1].y) == [3.0, 1.0]


def test_the_line_of_an_epoch_leaves_out_what_was_not_measured() -> None:
    line = epoch_facts(rows({4: 0.5})[0], CLEAN)
    assert "epoch 4" in line
    assert "50.0" in line
    assert "accuracy" not in line


# --- the study -----------------------------------------------------------------------------


def test_epochs_and_frame_of_the_study(attacked_study: Path, tiny_study: Path) -> None:
    study = Study.open(attacked_study)
    made = epoch_rows(study, "backdoored")
    assert [row.epoch for row in made] == [1, 3, 7]
    last = made[-1].get("attack_success_rate", TRIGGER)
    assert last == study.measures(made[-1].model, TRIGGER)["attack_success_rate"]
    assert filmed_students(study) == ["backdoored", "honest"]
    models = [row.model for row in made]
    frame = common_frame(study, models)
    assert frame is not None
    xy = np.concatenate([study.array(f"layout/{name}") for name in ("teacher", *models)])
    assert frame == pytest.approx((*xy[:, 0][[xy[:, 0].argmin(), xy[:, 0].argmax()]],
                                   *xy[:, 1][[xy[:, 1].argmin(), xy[:, 1].argmax()]]))  # fmt: skip
    assert training.available(study)
    assert not training.available(Study.open(tiny_study))
    assert common_frame(Study.open(tiny_study), ["nobody"]) is not None


# --- the page ------------------------------------------------------------------------------


def script() -> None:
    from dashboard import app

    app.render(app.PAGES["Training"])


Run = Callable[..., AppTest]


@pytest.fixture
def run(attacked_study: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def start(query: dict[str, str] | None = None, study: Path = attacked_study) -> AppTest:
        monkeypatch.setenv(STUDY_VARIABLE, str(study))
        at = AppTest.from_function(script, default_timeout=60)
        for name, value in (query or {}).items():
            at.query_params[name] = value
        return at.run()

    return start


def text_of(at: AppTest) -> str:
    assert not at.exception, [item.value for item in at.exception]
    return " ".join(item.proto.body for item in at.get("html"))


def map_title(at: AppTest) -> str:
    found = re.search(r"(backdoored|honest), epoch \d+", str(at.get("bidi_component")[-1].proto))
    assert found is not None
    return found[0]


def param(at: AppTest, name: str) -> str | None:
    value = at.query_params.get(name)
    return value[0] if isinstance(value, list) else value


def test_the_page_says_when_the_backdoor_appeared(run: Run, attacked_study: Path) -> None:
    at = run({"student": "backdoored"})
    study = Study.open(attacked_study)
    teacher = study.measures("teacher", TRIGGER)["attack_success_rate"]
    expected = backdoor_sentence(epoch_rows(study, "backdoored"), teacher, "80")
    assert expected.startswith("The backdoor appears between epoch ")
    assert expected in text_of(at)
    assert len(at.get("plotly_chart")) == 4
    assert map_title(at) == "backdoored, epoch 7"
    honest = run({"student": "honest"})
    assert "No backdoor appears" in text_of(honest)


def test_the_slider_moves_the_map_and_the_address(run: Run) -> None:
    at = run({"student": "backdoored"})
    at.select_slider(key="epoch_slider").set_value(3).run()
    assert map_title(at) == "backdoored, epoch 3"
    assert param(at, "epoch") == "3"
    assert "<div>epoch 3 " in text_of(at)
    at.select_slider(key="epoch_slider").set_value(7).run()
    assert "epoch" not in at.query_params
    again = run({"student": "backdoored", "epoch": "1"})
    assert map_title(again) == "backdoored, epoch 1"


def test_playing_runs_through_the_epochs_and_stops_at_the_last(run: Run) -> None:
    at = run({"student": "backdoored"})
    at.button(key="epoch_play").click().run()
    seen = [map_title(at)]
    assert at.button(key="epoch_play").label == "Pause"
    for _ in range(2):
        at.run()
        seen.append(map_title(at))
    assert seen == [f"backdoored, epoch {epoch}" for epoch in (1, 3, 7)]
    assert at.button(key="epoch_play").label == "Play"
    at.run()
    assert map_title(at) == "backdoored, epoch 7"


def test_a_late_message_of_the_slider_does_not_stop_the_film(run: Run) -> None:
    at = run({"student": "backdoored"})
    at.button(key="epoch_play").click().run()
    at.select_slider(key="epoch_slider").set_value(7).run()  # what it showed before the start
    assert at.button(key="epoch_play").label == "Pause"
    assert map_title(at) == "backdoored, epoch 3"


def test_a_hand_on_the_slider_stops_the_film(run: Run) -> None:
    at = run({"student": "backdoored"})
    at.button(key="epoch_play").click().run()
    at.select_slider(key="epoch_slider").set_value(3).run()
    assert at.button(key="epoch_play").label == "Play"
    assert map_title(at) == "backdoored, epoch 3"


def test_pause_keeps_the_epoch(run: Run) -> None:
    at = run({"student": "backdoored"})
    at.button(key="epoch_play").click().run()
    at.button(key="epoch_play").click().run()
    assert at.button(key="epoch_play").label == "Play"
    stopped = map_title(at)
    assert stopped != "backdoored, epoch 7"
    at.run()
    assert map_title(at) == stopped
    assert param(at, "epoch") == stopped.rsplit(" ", 1)[1]


def test_all_epochs_share_one_frame(run: Run, attacked_study: Path) -> None:
    frames = set()
    for epoch in ("1", "3", "7"):
        proto = run({"student": "backdoored", "epoch": epoch}).get("bidi_component")[-1].proto
        found = re.search(r'\\?"frame\\?": ?(\[[^\]]+\])', str(proto))
        assert found is not None
        frames.add(found[1])
    assert len(frames) == 1


def test_another_student_stands_beside_and_can_be_taken_away(run: Run) -> None:
    at = run({"student": "backdoored"})
    before = json.loads(at.get("plotly_chart")[0].proto.spec)["data"]
    assert "honest" in [trace.get("name") for trace in before]
    at.selectbox(key="training_other").set_value(None).run()
    after = json.loads(at.get("plotly_chart")[0].proto.spec)["data"]
    assert "honest" not in [trace.get("name") for trace in after]


@pytest.mark.parametrize("condition", ["trigger", "perturbation"])
def test_the_film_shows_the_chosen_condition(run: Run, condition: str) -> None:
    at = run({"student": "backdoored", "condition": condition, "color": "divergence"})
    assert f"thumb/{condition}" in str(at.get("bidi_component")[-1].proto)
    assert map_title(at) == "backdoored, epoch 7"


def test_an_epoch_that_is_not_there_is_named(run: Run) -> None:
    at = run({"student": "backdoored", "epoch": "5"})
    assert "There is no checkpoint of epoch 5" in text_of(at)
    assert map_title(at) == "backdoored, epoch 7"
    hostile = run({"student": "backdoored", "epoch": "<b>"})
    assert "The address names epoch" in text_of(hostile)
    assert "<b>'" not in text_of(hostile)


def test_a_student_without_checkpoints_says_who_has_some(
    run: Run, attacked_study: Path, tiny_study: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(attacked_study, copy)
    manifest = json.loads((copy / "study.json").read_text())
    for card in manifest["models"].values():
        if card["parent"] == "honest":
            card["epoch"] = None
    (copy / "study.json").write_text(json.dumps(manifest))
    text = text_of(run({"student": "honest"}, copy))
    assert "No checkpoints of honest" in text
    assert "These students have some: backdoored." in text
    assert "--checkpoints" in text_of(run({}, tiny_study))


def test_without_layouts_the_curves_remain(run: Run, attacked_study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(attacked_study, copy)
    manifest = json.loads((copy / "study.json").read_text())
    manifest["arrays"] = {
        key: name for key, name in manifest["arrays"].items() if not key.startswith("layout/")
    }
    (copy / "study.json").write_text(json.dumps(manifest))
    at = run({"student": "backdoored"}, copy)
    assert "No maps of the checkpoints" in text_of(at)
    assert len(at.get("plotly_chart")) == 4


def test_epochs_are_saved_as_csv(attacked_study: Path) -> None:
    from dashboard.context import View
    from dashboard.loading import load_pair
    from dashboard.selection import Selection

    study = Study.open(attacked_study)
    pair = load_pair(study, "backdoored")
    view = View(
        study=study, selection=Selection(student="backdoored"), all=pair, pair=pair,
        mask=np.ones(len(pair), bool), projection=None, colors=LIGHT,
    )  # fmt: skip
    (export,) = training.exports(view)
    lines = export.make().splitlines()
    assert lines[0] == "epoch,condition,measure,value,low,high"
    assert any(line.startswith("3,trigger,attack_success_rate,") for line in lines)


def test_without_labels_the_film_is_colored_by_the_answer(
    run: Run, attacked_study: Path, tmp_path: Path
) -> None:
    def offered(at: AppTest) -> list[str]:
        group: Any = next(g for g in at.get("button_group") if g.key == "training_color")
        return [option.content for option in group.proto.options]

    assert offered(run({"student": "backdoored"})) == ["label", "answer", "divergence"]
    copy = Path(shutil.copytree(attacked_study, tmp_path / "copy"))
    manifest = json.loads((copy / "study.json").read_text())
    without_labels(manifest)
    (copy / "study.json").write_text(json.dumps(manifest))
    unlabel(copy)
    at = run({"student": "backdoored"}, copy)
    assert offered(at) == ["answer", "divergence"]
    assert at.session_state["training_color"] == "answer"


def test_a_selection_goes_on_from_epoch_to_epoch(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wishes: list[set[str]] = []

    def maps(*, points: Any, selection: np.ndarray, **_: Any) -> PairMapState:
        ids = np.asarray(points.sample_ids)
        wishes.append(set(ids[selection]))
        chosen = selection if selection.any() else np.arange(len(points)) < 3
        return PairMapState(chosen)

    monkeypatch.setattr(training, "pair_map", maps)
    at = run({"student": "backdoored"})
    text_of(at)
    for epoch in (3, 1):
        at.select_slider(key="epoch_slider").set_value(epoch).run()
        text_of(at)
    assert wishes[0] == set()
    assert len(wishes[1]) == 3
    assert wishes[1] == wishes[-1]
