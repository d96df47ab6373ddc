"""Any two models: a student beside another student, in numbers, maps, pages and on the command
line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from analysis.errors import InputError
from analysis.records import AttributionMaps
from analysis.store import Study
from analysis.study.between import check_left, measures_between, overlap_between
from analysis.study.headline import headline
from dashboard.cli import main
from dashboard.figures.sides import TEACHING, Sides, begun
from dashboard.loading import STUDY_VARIABLE, load_pair, projection_of
from dashboard.loading_maps import maps_between

Run = Callable[..., AppTest]


def script(page: str) -> None:
    from dashboard import app

    app.render(app.PAGES[page])


@pytest.fixture
def run(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def start(page: str, query: dict[str, str]) -> AppTest:
        monkeypatch.setenv(STUDY_VARIABLE, str(tiny_study))
        at = AppTest.from_function(script, args=(page,), default_timeout=60)
        for name, value in query.items():
            at.query_params[name] = value
        return at.run()

    return start


def text_of(at: AppTest) -> str:
    assert not at.exception, [item.value for item in at.exception]
    return " ".join(item.proto.body for item in at.get("html"))


# --- numbers -------------------------------------------------------------------------------


def slow_softmax(row: np.ndarray) -> list[float]:
    terms = [math.exp(float(value) - float(row.max())) for value in row]
    return [term / sum(terms) for term in terms]


def test_the_measures_of_two_students_are_those_of_their_answers(study: Study) -> None:
    measures = measures_between(study, "beta", "alpha")
    left, right = (study.array(f"logits/{name}/clean") for name in ("beta", "alpha"))
    same, total = 0, 0.0
    for one, other in zip(left, right, strict=True):
        p, q = slow_softmax(one), slow_softmax(other)
        same += p.index(max(p)) == q.index(max(q))
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert measures["agreement"].value == pytest.approx(same / len(left))
    assert measures["kl_teacher_student"].value == pytest.approx(total / len(left))
    shared = [
        len(set(a.tolist()) & set(b.tolist())) / len(a)
        for a, b in zip(
            study.neighbors("beta").indices, study.neighbors("alpha").indices, strict=True
        )
    ]
    assert measures["mean_neighborhood_overlap"].value == pytest.approx(np.mean(shared))
    assert overlap_between(study, "beta", "alpha") == pytest.approx(shared)


def test_the_accuracy_is_the_students_own(study: Study) -> None:
    measures = measures_between(study, "beta", "alpha")
    assert measures["accuracy"] == study.measures("alpha")["accuracy"]
    assert measures["ece"] == study.measures("alpha")["ece"]


def test_changing_places_swaps_both_divergences(study: Study) -> None:
    one, other = measures_between(study, "beta", "alpha"), measures_between(study, "alpha", "beta")
    assert one["agreement"] == other["agreement"]
    assert one["js"].value == pytest.approx(other["js"].value)
    assert one["kl_teacher_student"].value == pytest.approx(other["kl_student_teacher"].value)
    assert one["confidence_gap"].value == pytest.approx(-other["confidence_gap"].value)


def test_against_the_teacher_nothing_is_computed(study: Study) -> None:
    assert measures_between(study, "teacher", "alpha") == study.measures("alpha")


def test_the_rows_of_two_students_are_joined_by_sample_id(study: Study) -> None:
    pair = load_pair(study, "alpha", left="beta")
    whole = measures_between(study, "beta", "alpha")
    assert pair.agree.mean() == pytest.approx(whole["agreement"].value)
    assert pair.kl.mean() == pytest.approx(whole["kl_teacher_student"].value)
    assert pair.overlap.mean() == pytest.approx(whole["mean_neighborhood_overlap"].value)
    swapped = load_pair(study, "beta", left="alpha")
    assert pair.confidence_gap == pytest.approx(-swapped.confidence_gap)
    assert pair.teacher_answer.tolist() == load_pair(study, "beta").student_answer.tolist()


def test_conditions_are_compared_on_the_images_that_they_cover(attacked_study: Path) -> None:
    study = Study.open(attacked_study)
    for slug, condition in study.conditions.items():
        pair = load_pair(study, "backdoored", slug, left="honest")
        measures = measures_between(study, "honest", "backdoored", slug)
        assert len(pair) == condition.n
        assert pair.agree.mean() == pytest.approx(measures["agreement"].value)
        stored = study.measures("backdoored", slug)
        assert measures["accuracy"] == stored["accuracy"]
        assert measures.get("attack_success_rate") == stored.get("attack_success_rate")


def test_an_unknown_left_model_is_named(study: Study) -> None:
    assert check_left(study, "beta") == "beta"
    with pytest.raises(InputError, match=r"no model 'bete'.*Did you mean 'beta'"):
        check_left(study, "bete")


# --- maps ----------------------------------------------------------------------------------


def test_both_layouts_are_the_students_own(study: Study) -> None:
    projection = projection_of(study, "alpha", "clean", left="beta")
    assert projection is not None
    assert np.array_equal(projection.teacher, study.array("layout/beta"))
    assert np.array_equal(projection.student, study.array("layout/alpha"))
    assert projection.teacher_quality.trustworthiness == pytest.approx(
        study.record("layout_quality/beta")["trustworthiness"]
    )


def maps_of(name: str, ids: list[str], classes: list[int], seed: int) -> AttributionMaps:
    values = np.random.default_rng(seed).normal(size=(len(ids), 3, 3)).astype(np.float32)
    return AttributionMaps(
        method="integrated_gradients", model=name, scalar="p(c)", baseline="blur", signed=True,
        sample_ids=np.asarray(ids), explained_class=np.asarray(classes), values=values,
        completeness_error=np.zeros(len(ids), np.float32),
    )  # fmt: skip


class Stored:
    """Stands for a study that holds nothing but maps."""

    def __init__(self, maps: dict[str, dict[str, AttributionMaps]]):
        self.maps = maps

    def attributions(self, student: str, condition: str = "clean") -> dict[str, AttributionMaps]:
        return self.maps.get(student, {})


def stored(**changes: Any) -> Stored:
    """Students one and two on overlapping images; the teacher and one agree on class 1 of "b"."""
    one = maps_of("one", ["a", "b", "c"], [0, 1, 2], 1)
    two = replace(maps_of("two", ["c", "b", "d"], [2, 5, 3], 2), **changes)
    teacher = maps_of("teacher", ["a", "b", "c"], [3, 1, 4], 3)
    pair = replace(one, values=one.values - teacher.values)
    return Stored({
        "one": {"teacher": teacher, "student": one, "pair": pair},
        "two": {"teacher": teacher, "student": two, "pair": two},
    })  # fmt: skip


def test_the_pair_is_the_difference_where_both_explain_the_same_class() -> None:
    study = stored()
    maps = maps_between(study, "two", "one")  # type: ignore[arg-type]
    assert maps["teacher"] is study.maps["two"]["student"]
    assert maps["student"] is study.maps["one"]["student"]
    assert maps["pair"].sample_ids.tolist() == ["c"]
    one, two = study.maps["one"]["student"].values, study.maps["two"]["student"].values
    assert np.allclose(maps["pair"].values[0], one[2] - two[0])
    assert np.isnan(maps["pair"].completeness_error).all()


@pytest.mark.parametrize("changes", [{"baseline": "black"}, {"method": "other"}])
def test_maps_made_in_another_way_are_not_subtracted(changes: dict[str, Any]) -> None:
    assert set(maps_between(stored(**changes), "two", "one")) == {"teacher", "student"}  # type: ignore[arg-type]


def test_a_method_that_does_not_subtract_gives_no_pair() -> None:
    study = stored()
    pair = study.maps["one"]["pair"]
    study.maps["one"]["pair"] = replace(pair, values=pair.values + 1)
    assert "pair" not in maps_between(study, "two", "one")  # type: ignore[arg-type]


def test_against_the_teacher_the_maps_are_the_stored_ones(study: Study) -> None:
    maps = maps_between(study, "teacher", "alpha")
    assert set(maps) == {"teacher", "student", "pair"}
    assert np.array_equal(maps["pair"].values, study.attributions("alpha")["pair"].values)


def test_a_student_without_maps_has_none(study: Study) -> None:
    assert maps_between(Stored({}), "two", "one") == {}  # type: ignore[arg-type]


# --- words ---------------------------------------------------------------------------------


def test_models_are_called_by_their_part_or_their_name() -> None:
    assert Sides.of("teacher", "alpha") == TEACHING
    assert (TEACHING.the_left, TEACHING.the_right) == ("the teacher", "the student")
    sides = Sides.of("beta", "alpha")
    assert (sides.the_left, sides.the_right, sides.kl) == ("beta", "alpha", "KL (beta ∥ alpha)")
    assert (begun("the student"), begun("beta")) == ("The student", "beta")


def test_names_that_begin_alike_are_told_apart() -> None:
    sides = Sides.of("x" * 40 + "1", "x" * 40 + "2")
    assert sides.left != sides.right
    assert len(set(sides.columns)) == 2


# --- pages ---------------------------------------------------------------------------------


def test_the_overview_speaks_of_the_two_students(run: Run, study: Study) -> None:
    at = run("Overview", {"student": "alpha", "left": "beta"})
    text = text_of(at)
    value = measures_between(study, "beta", "alpha")["agreement"].value
    assert f"alpha agrees with beta on {100 * value:.1f}" in text
    assert "Agreement with beta" in text
    assert "KL (beta ∥ alpha)" in text
    assert "references are compared with the teacher" in text
    assert "What each costs" in text
    assert "Here the teacher’s columns are those of beta" in text
    assert 'ds-strong">teacher<' not in text
    assert 'ds-nowrap">teacher<' not in text
    charts = [json.loads(item.proto.spec) for item in at.get("plotly_chart")]
    assert any("beta says" in hover for hover in charts[0]["data"][2]["hovertext"])
    assert [trace["name"] for trace in charts[1]["data"][1:]] == ["beta", "alpha"]


def test_the_map_shows_both_students_and_says_in_which_frame(run: Run) -> None:
    at = run("Map", {"student": "alpha", "left": "beta"})
    text_of(at)
    assert "s frame, as each was laid out beside the teacher" in str(
        at.get("bidi_component")[-1].proto
    )


def test_inspect_shows_the_maps_of_both_students_where_there_are_any(
    run: Run, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.live.refusal", lambda study, models: "No live answers here.")
    maps = maps_between(study, "beta", "alpha")
    both = set(maps["teacher"].sample_ids) & set(maps["student"].sample_ids)
    only = sorted(set(maps["student"].sample_ids) - both)
    assert only
    text = text_of(run("Inspect", {"student": "alpha", "left": "beta", "sample": str(only[0])}))
    assert text.count('class="ds-map"') == 1
    assert "Not computed for these two" in text
    assert "No map here" in text
    assert "in beta" in text
    covered = set(maps["pair"].sample_ids) if "pair" in maps else set()
    for sample in sorted(both)[:2]:
        text = text_of(run("Inspect", {"student": "alpha", "left": "beta", "sample": str(sample)}))
        assert text.count('class="ds-map"') == (3 if sample in covered else 2)


def test_the_pickers_choose_both_models(run: Run) -> None:
    at = run("Overview", {"student": "alpha"})
    assert at.selectbox(key="left_picker").options == ["teacher", "beta"]
    at.selectbox(key="left_picker").set_value("beta").run()
    assert at.query_params["left"] == "beta"
    at.selectbox(key="student_picker").set_value("beta").run()
    assert (at.query_params["student"], at.query_params["left"]) == ("beta", "alpha")
    at.selectbox(key="left_picker").set_value("teacher").run()
    assert "left" not in at.query_params
    assert "The student agrees on" in text_of(at)


@pytest.mark.parametrize("left", ["alpha", "nobody", "<script>"])
def test_an_unusable_left_model_is_a_note_and_the_teacher(run: Run, left: str) -> None:
    text = text_of(run("Overview", {"student": "alpha", "left": left}))
    assert "ds-note" in text
    assert "Agreement with the teacher" in text
    assert "<script>" not in text


def test_only_what_the_left_model_has_alone_stands_beside(
    attacked_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STUDY_VARIABLE, str(attacked_study))
    at = AppTest.from_function(script, args=("Overview",), default_timeout=60)
    at.query_params["student"], at.query_params["left"] = "backdoored", "honest"
    text = text_of(at.run())
    own = Study.open(attacked_study).measures("honest", "trigger")
    row = text[text.index(">Trigger<") :]
    row = row[: row.index("</tr>")]
    assert row.count('class="ds-circle"') == 2
    assert f"{100 * own['accuracy'].value:.1f}" in row


# --- command line --------------------------------------------------------------------------


def test_show_compares_with_another_model(
    tiny_study: Path, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["show", str(tiny_study), "--left", "beta"])
    printed = capsys.readouterr().out
    assert "agreement with beta, %" in printed
    value = measures_between(study, "beta", "alpha")["agreement"].value
    assert f"{100 * value:.1f} [" in printed
    data = headline(study, left="beta")
    assert data["left"] == "beta"
    assert list(data["students"]) == ["alpha"]
    assert data["students"]["alpha"]["agreement"]["value"] == value


def test_show_refuses_an_unknown_model(
    tiny_study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["show", str(tiny_study), "--left", "bet"])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Did you mean 'beta'?" in error
