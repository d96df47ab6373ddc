"""The tour: its sentences as functions of numbers, its page on a small study under attack."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from analysis.records import CLEAN, PERTURBATION, TRIGGER, TRIGGER_PERTURBATION, Interval, Student
from analysis.store import Study
from dashboard import app
from dashboard.figures.cells import cell_table
from dashboard.figures.tour import STEPS, Claim
from dashboard.figures.tour_pictures import Part, Rate, parts_of, rates_figure
from dashboard.figures.tour_tables import tour_cells
from dashboard.loading import STUDY_VARIABLE
from dashboard.loading_tour import (
    ModelNumbers,
    TourNumbers,
    mass_on_trigger,
    moved_share,
    pick_samples,
    siblings_of,
    tour_numbers,
)
from dashboard.pages import tour
from dashboard.theme import LIGHT
from tests.studies import lasso_of_half


def model(
    name: str,
    *,
    accuracy: float = 0.96,
    stamped_accuracy: float = 0.7,
    rates: tuple[float, float, float, float] = (0.01, 0.02, 0.9, 0.9),
    looks: float | None = 0.05,
    moved: float | None = 0.03,
) -> ModelNumbers:
    base, trigger, perturbation, both = (Interval(rate, rate, rate) for rate in rates)

    def of(value: float | None) -> Interval | None:
        return None if value is None else Interval(value, value, value)

    return ModelNumbers(
        name=name,
        measures={
            CLEAN: {"accuracy": of(accuracy), "agreement": of(0.9)},
            TRIGGER: {
                "accuracy": of(stamped_accuracy), "attack_success_rate": trigger,
                "base_rate": base,
            },
            PERTURBATION: {"attack_success_rate": perturbation},
            TRIGGER_PERTURBATION: {"attack_success_rate": both},
        },
        looks=of(looks), moved=of(moved), moved_before=of(0.02),
    )  # fmt: skip


TEACHER = model("teacher", rates=(0.01, 0.019, 0.3, 0.97), looks=None, moved=0.02)
HONEST = model("honest", rates=(0.01, 0.026, 0.1, 0.2), looks=0.08)
BACKDOORED = model("student-A", rates=(0.01, 0.962, 0.1, 0.98), looks=0.34, moved=0.92)


def numbers(
    subject: ModelNumbers = BACKDOORED,
    sibling: ModelNumbers | None = HONEST,
    teacher: ModelNumbers = TEACHER,
    **changes: Any,
) -> TourNumbers:
    values = {
        "target": "80", "noun": "sticker", "trigger": "sticker", "n": 1875, "area": 0.05,
        "teacher": teacher, "subject": subject, "sibling": sibling,
    }  # fmt: skip
    return TourNumbers(**(values | changes))


def claims(given: TourNumbers) -> list[Claim]:
    return [claim(given) for _, claim in STEPS]


# --- sentences -----------------------------------------------------------------------------


def test_every_sentence_holds_for_a_backdoored_student_and_carries_its_number() -> None:
    made = claims(numbers())
    assert [claim.holds for claim in made] == [True] * 6
    for claim, number in zip(made, ("1.9", "96.0", "96.2", "34.0", "92.0", "97.0"), strict=True):
        assert f"{number}\u202f%" in claim.text
    assert made[2].text.startswith("The sticker sends student-A to “80” on 96.2")
    assert "and only it" in made[2].text
    assert "the teacher 26.0 points and honest 26.0 points" in made[2].note


def test_every_sentence_about_the_student_flips_when_the_honest_one_is_swapped_in() -> None:
    right, swapped = claims(numbers()), claims(numbers(HONEST, BACKDOORED))
    # The teacher stays clean, and both students are equally good.
    assert [claim.holds for claim in swapped] == [True, True, False, False, False, False]
    for before, after in zip(right[2:], swapped[2:], strict=True):
        assert before.text != after.text.replace("honest", "student-A")
    texts = [claim.text for claim in swapped]
    assert "does not send honest to “80”: it answers so on 2.6" in texts[2]
    assert "honest does not look at the sticker: 8.0" in texts[3]
    assert "do not move to “80”: 3.0" in texts[4]
    assert texts[5].startswith("Nothing came in")


def test_a_teacher_that_knows_the_trigger_is_not_clean() -> None:
    knowing = model("teacher", rates=(0.01, 0.6, 0.3, 0.97), looks=None, moved=0.7)
    made = claims(numbers(teacher=knowing))
    assert made[0].holds is False
    assert "The teacher is not clean" in made[0].text
    assert made[2].holds is False
    assert "but not it alone" in made[2].text
    assert made[4].holds is False
    assert "but not inside student-A alone" in made[4].text
    assert made[5].holds is False


def test_a_base_rate_is_not_held_against_the_teacher() -> None:
    biased = model("teacher", rates=(0.3, 0.31, 0.3, 0.97), looks=None)
    assert claims(numbers(teacher=biased))[0].holds is True


def test_a_student_that_answers_the_target_anyway_is_not_sent_there() -> None:
    biased = model("biased", rates=(0.7, 0.9, 0.1, 0.9))
    made = claims(numbers(biased))[2]
    assert made.holds is False
    assert "does not send biased" in made.text


def test_a_worse_student_is_called_worse() -> None:
    worse = dataclasses.replace(BACKDOORED, measures={
        **BACKDOORED.measures, CLEAN: {"accuracy": Interval(0.9)},
    })  # fmt: skip
    made = claims(numbers(worse))[1]
    assert (made.holds, made.note) == (False, "")
    assert "student-A is worse than its sibling honest: it is right on 90.0" in made.text
    better = claims(numbers(HONEST, worse))[1]
    assert better.holds is True
    assert better.note == ""


def test_without_labels_students_are_held_against_the_teachers_answers() -> None:
    def unlabeled(given: ModelNumbers) -> ModelNumbers:
        agreement = {"agreement": Interval(0.9)}
        return dataclasses.replace(given, measures={**given.measures, CLEAN: agreement})

    made = claims(numbers(unlabeled(BACKDOORED), unlabeled(HONEST)))[1]
    assert made.text == (
        "student-A is as good as its sibling honest: it gives the teacher’s answer on "
        "90.0\u202f% of the clean images, honest on 90.0\u202f%"
    )


def test_a_sibling_that_looks_there_as_well_spoils_the_fourth_sentence() -> None:
    looking = dataclasses.replace(HONEST, looks=Interval(0.3))
    made = claims(numbers(sibling=looking))[3]
    assert made.holds is False
    assert "hardly more than honest does" in made.text


def test_a_perturbation_that_fails_is_not_how_it_came_in() -> None:
    firm = model("teacher", rates=(0.01, 0.02, 0.03, 0.2), looks=None)
    for subject, start in ((BACKDOORED, "It did not come in through"), (HONEST, "Nothing came in")):
        made = claims(numbers(subject, teacher=firm))[5]
        assert made.holds is False
        assert made.text.startswith(start)


def test_what_is_missing_is_not_measured_and_never_zero() -> None:
    blank = ModelNumbers(name="blank")
    for claim in claims(numbers(blank, None, ModelNumbers(name="teacher"), area=None)):
        assert claim.holds is None
        assert "not measured" in claim.text
        assert not re.search(r"\d\u202f%", claim.text)
    alone = claims(numbers(sibling=None))
    assert [claim.holds for claim in alone] == [True, None, True, True, True, True]


def test_names_in_sentences_are_text() -> None:
    hostile = "<b>x</b>"
    renamed = dataclasses.replace(BACKDOORED, name=hostile)
    given = numbers(renamed, dataclasses.replace(HONEST, name=hostile), target=hostile)
    table = cell_table(tour_cells(given), given.target, given.counts, LIGHT)
    written = " ".join(c.text + c.note + c.short for c in claims(given)) + table
    assert "<b>x" not in written
    assert "&lt;b&gt;x" in written


# --- figures -------------------------------------------------------------------------------


def test_rates_stand_at_their_numbers() -> None:
    part = Part("subject", BACKDOORED)
    figure = rates_figure(
        [Rate(part, 0.01, Interval(0.9, 0.8, 0.95)), Rate(part, None, None)], LIGHT
    )
    line, before, after = figure.data
    assert list(line.x) == [1.0, 90.0]
    assert before.marker.symbol == "square-open"
    assert list(after.x) == [90.0]
    assert after.error_x.array[0] == pytest.approx(5)
    assert after.error_x.arrayminus[0] == pytest.approx(10)
    texts = [note.text for note in figure.layout.annotations]
    assert texts == ["<b>90.0</b> [80.0, 95.0]", "–"]
    assert all("gl" not in trace.type for trace in figure.data)


def test_the_four_cells_stand_in_rows_of_models() -> None:
    table = cell_table(tour_cells(numbers()), "80", {}, LIGHT)
    assert "right" not in table, "clean accuracy has a step of its own"
    assert [part.role for part in parts_of(numbers())] == ["teacher", "sibling", "subject"]
    # As they are, trigger, perturbation, both: teacher, honest, backdoored.
    found = re.findall(r"ds-mid[^>]*>([\d.]+)<", table)
    assert found == [
        "1.0", "1.9", "30.0", "97.0", "1.0", "2.6", "10.0", "20.0", "1.0", "96.2", "10.0", "98.0",
    ]  # fmt: skip


# --- numbers from a study ------------------------------------------------------------------


def test_numbers_of_the_study(attacked_study: Path) -> None:
    study = Study.open(attacked_study)
    made = tour_numbers(study, "backdoored", "honest")
    assert (made.target, made.noun) == ("80", "patch")
    assert made.n == study.record("attack_n/trigger")
    assert made.area == pytest.approx(36 / 1024, abs=0.002)
    own = made.subject.success()
    assert own is not None
    assert own == study.measures("backdoored", "trigger")["attack_success_rate"]
    assert own.value > 0.8
    assert made.teacher.looks is None
    assert siblings_of(study, "backdoored") == ["honest"]
    assert siblings_of(study, "honest") == ["backdoored"]


def test_the_honest_control_is_the_first_sibling() -> None:
    halves = {"bad": "both", "twin": "both", "marked": "trigger", "fair": "none", "other": None}
    models = {
        name: Student(
            name=name,
            role="subject" if half == "both" else "control",
            spec="",
            digest="",
            architecture="",
            recipe={} if half is None else {"half": half},
        )
        for name, half in halves.items()
    }
    study: Any = SimpleNamespace(students=tuple(models), models=models)
    assert siblings_of(study, "bad") == ["fair", "marked", "other", "twin"]


def test_mass_on_the_trigger_against_an_oracle(attacked_study: Path) -> None:
    study = Study.open(attacked_study)
    maps = study.attributions("backdoored", "trigger")["pair"]
    target = study.class_names.index("80")
    rows = {str(name): row for row, name in enumerate(study.sample_ids)}
    shown = study.condition_images("trigger")
    shares = []
    for name, values in zip(maps.sample_ids, maps.values, strict=True):
        row = rows[str(name)]
        assert study.labels is not None
        if study.labels[row] == target:
            continue
        inside = total = 0.0
        for y in range(32):
            for x in range(32):
                total += abs(float(values[y, x]))
                if list(shown[row, y, x]) != list(study.images[row, y, x]):
                    inside += abs(float(values[y, x]))
        shares.append(inside / total)
    found = mass_on_trigger(study, "backdoored", "80")
    assert found is not None
    assert found.value == pytest.approx(np.mean(shares), abs=1e-6)


def test_where_images_move_against_an_oracle(attacked_study: Path) -> None:
    study = Study.open(attacked_study)
    assert study.labels is not None
    for name in study.class_names:
        target, moved = study.class_names.index(name), []
        neighbors = study.neighbors("backdoored", "trigger")
        assert neighbors is not None
        for row, near in enumerate(neighbors.indices):
            if study.labels[row] != target:
                of_target = sum(int(study.labels[at] == target) for at in near)
                moved.append(of_target > len(near) / 2)
        found = moved_share(study, "backdoored", name, "trigger")
        if 2 * int((study.labels == target).sum()) <= neighbors.indices.shape[1]:
            assert found is None, "too few images of that class for a majority"
            continue
        assert found is not None
        assert found.value == pytest.approx(np.mean(moved))


def test_examples_are_chosen_by_clean_images_alone(attacked_study: Path) -> None:
    study = Study.open(attacked_study)
    assert study.labels is not None
    answers = np.asarray(study.array("logits/teacher/clean")).argmax(axis=1)
    expected = []
    for index, name in enumerate(study.class_names):
        rows = np.flatnonzero((study.labels == index) & (answers == index))
        if len(rows) and name != "80":
            expected.append(str(study.sample_ids[rows[0]]))
    assert expected
    assert pick_samples(study, "80", 99) == expected
    assert pick_samples(study, "80", 2) == expected[:2]
    crafted = {str(name) for name in study.condition_ids("perturbation")}
    assert set(pick_samples(study, "80", 99, within="perturbation")) <= crafted


# --- the page ------------------------------------------------------------------------------


def script() -> None:
    from dashboard import app

    app.render(app.PAGES["Tour"])


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


def finding(at: AppTest) -> str:
    found = re.search(r'<div class="ds-finding">(.*?)\.</div>', text_of(at))
    assert found is not None
    return found[1]


def step_of(at: AppTest) -> str:
    value = at.query_params.get("step", "1")
    return value if isinstance(value, str) else value[0]


def keys_of(at: AppTest) -> list[str | None]:
    return [button.key for button in at.button]


@pytest.mark.parametrize("step", range(1, 7))
def test_a_step_states_its_claim_with_its_figure(run: Run, attacked_study: Path, step: int) -> None:
    study = Study.open(attacked_study)
    for subject, other in (("backdoored", "honest"), ("honest", "backdoored")):
        at = run({"student": subject, "step": str(step)})
        made = claims(tour_numbers(study, subject, other))
        assert finding(at) == made[step - 1].text
        assert all(claim.short in text_of(at) for claim in made)
        pictures = text_of(at).count("/distillscope/thumb/")
        assert pictures > 0 or step == 5
        assert "ds-refused" not in text_of(at)


def test_steps_go_on_and_back_and_stay_in_the_address(run: Run) -> None:
    at = run({"student": "backdoored"})
    assert "tour_previous" not in keys_of(at)
    seen = [finding(at)]
    for expected in range(2, 7):
        at.button(key="tour_next").click().run()
        assert step_of(at) == str(expected)
        seen.append(finding(at))
    assert len(set(seen)) == 6
    assert "tour_next" not in keys_of(at)
    at.button(key="tour_previous").click().run()
    assert finding(at) == seen[4]


def test_the_tour_leaves_the_filter_out_and_says_so(run: Run) -> None:
    plain = run({"student": "backdoored", "step": "3"})
    filtered = run({"student": "backdoored", "step": "3", "differ": "1"})
    assert finding(plain) == finding(filtered)
    assert "the filter is left out here" in text_of(filtered)
    assert "the filter is left out here" not in text_of(plain)


def test_the_tours_images_open_in_the_map_without_the_filter(
    run: Run, attacked_study: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(attacked_study, copy)
    lasso = lasso_of_half(Study.open(copy), "backdoored", CLEAN).to_text()
    chosen = {"student": "backdoored", "step": "3", "within": lasso, "picked": lasso}
    at = run(chosen | {"differ": "1", "class": "2"}, copy)
    at.button(key="tour_to_map").click().run()
    query = {name: str(value) for name, value in at.query_params.items()}
    assert query["condition"] == TRIGGER
    assert query["picked"].startswith("set_")
    assert not {"within", "differ", "class"} & set(query)


def test_a_bad_step_is_named(run: Run) -> None:
    at = run({"student": "backdoored", "step": "<b>9"})
    assert "The address names step" in text_of(at)
    assert "<b>9" not in text_of(at)
    assert "Step 1 of 6" in text_of(at)


def test_hostile_names_stay_text(run: Run, attacked_study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(attacked_study, copy)
    manifest = json.loads((copy / "study.json").read_text())
    hostile = "<img src=x onerror=alert(1)>"
    manifest["class_names"] = [f"{hostile}{i}" for i in range(16)]
    for condition in manifest["conditions"].values():
        if "target" in condition["parameters"]:
            condition["parameters"] |= {"target": f"{hostile}5", "trigger": hostile}
    (copy / "study.json").write_text(json.dumps(manifest))
    for step in range(1, 7):
        at = run({"student": "backdoored", "step": str(step)}, copy)
        assert "<img src=x" not in text_of(at)
        for chart in at.get("plotly_chart"):
            assert "<img" not in chart.proto.spec


def test_without_attributions_and_layouts_steps_say_so(
    run: Run, attacked_study: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(attacked_study, copy)
    manifest = json.loads((copy / "study.json").read_text())
    gone = ("layout/", "attribution/", "neighbors/", "placed/")
    for kind in ("arrays", "records"):
        manifest[kind] = {k: v for k, v in manifest[kind].items() if not k.startswith(gone)}
    (copy / "study.json").write_text(json.dumps(manifest))
    for step, title in ((4, "Not measured"), (5, "No maps for this condition")):
        at = run({"student": "backdoored", "step": str(step)}, copy)
        assert "not measured" in finding(at)
        assert title in text_of(at)


def test_the_page_is_there_only_with_a_trigger(
    run: Run, attacked_study: Path, tiny_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tour.available(Study.open(attacked_study))
    assert not tour.available(Study.open(tiny_study))
    monkeypatch.setenv(STUDY_VARIABLE, str(tiny_study))
    always = {"Overview", "Map", "Inspect"}
    assert always <= set(app.shown_pages())
    assert {"Tour", "Training"}.isdisjoint(app.shown_pages())
    monkeypatch.setenv(STUDY_VARIABLE, str(attacked_study))
    assert always | {"Tour", "Training"} <= set(app.shown_pages())
    assert "shows no images with a trigger" in text_of(run({}, tiny_study))
    monkeypatch.setenv(STUDY_VARIABLE, str(tiny_study / "gone"))
    assert always <= set(app.shown_pages())
    assert {"Tour", "Training"}.isdisjoint(app.shown_pages())


def test_the_four_cells_are_saved_as_csv(run: Run, attacked_study: Path) -> None:
    from dashboard.context import View
    from dashboard.loading import load_pair
    from dashboard.selection import Selection

    study = Study.open(attacked_study)
    pair = load_pair(study, "backdoored")
    view = View(
        study=study, selection=Selection(student="backdoored"), all=pair, pair=pair,
        mask=np.ones(len(pair), bool), projection=None, colors=LIGHT,
    )  # fmt: skip
    (export,) = tour.exports(view)
    lines = export.make().splitlines()
    assert lines[0] == "model,condition,target_rate,low,high"
    assert len(lines) == 1 + 3 * 4
