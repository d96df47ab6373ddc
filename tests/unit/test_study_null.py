"""From a study to the nulls of its students: which references, which numbers, which recipes."""

import dataclasses
import math
from pathlib import Path

import pytest

from analysis.divergence.null import judge, null_of
from analysis.divergence.outputs import MEASURES
from analysis.records import CLEAN, TRIGGER, Condition, ImageSetCard, ModelCost, Student
from analysis.store import Study
from analysis.store.manifest import Manifest
from analysis.study.headline import headline
from analysis.study.null import JUDGED, _bounds, find_nulls, recipe_differences
from dashboard.terminal_null import _title, print_nulls

RECIPE = {
    "kind": "distill",
    "objective": {"name": "hinton", "temperature": 4.0},
    "training": {"epochs": 26, "seed": 1, "checkpoint_count": 8, "learning_rate": 0.02},
    "images": {"source": "signs", "n": 600, "digest": "d1"},
    "teacher": {"digest": "t", "spec": "teacher"},
}
AGREEMENT = {"r1": 0.96, "r2": 0.962, "r3": 0.958, "r4": 0.961}
UNDER_TRIGGER = {"r1": 0.80, "r2": 0.82, "r3": 0.81, "r4": 0.815}


def model(name, role="reference", *, digest=None, recipe=RECIPE, **changes):
    made = {**recipe, "training": {**recipe["training"], "seed": hash(name) % 1000}}
    made = made if recipe.get("training") else {}
    return Student(
        name=name, role=role, spec=name, digest=digest or name, architecture="smallresnet",
        recipe=made, **changes,
    )  # fmt: skip


def interval(value):
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def make_study(references=AGREEMENT, subject=0.96, under_trigger=0.1):
    models = {
        "teacher": model("teacher", "teacher"),
        "s": model("s", "subject"),
        "honest": model("honest", "control", digest="r1"),
        **{name: model(name) for name in references},
    }
    values = {"s": (subject, under_trigger), "honest": (0.96, 0.8)}
    values |= {name: (value, UNDER_TRIGGER[name]) for name, value in references.items()}
    records = {"attack_n/trigger": 500}
    for name, (clean, trigger) in values.items():
        records[f"measures/{name}/clean"] = {
            "agreement": interval(clean), "js": interval(0.1), "ece": None,
        }  # fmt: skip
        records[f"measures/{name}/trigger"] = {
            "agreement": interval(trigger), "attack_success_rate": interval(1 - trigger),
        }  # fmt: skip
    conditions = {
        slug: Condition(
            name=slug, slug=slug, kind=slug, image_set="inspection", n=600, covers_all=True,
            pixels_digest=slug,
        )
        for slug in (CLEAN, TRIGGER)
    }  # fmt: skip
    card = ImageSetCard(
        name="inspection", n=600, height=8, width=8, channels=3, labeled=True, digest="i",
        source="signs",
    )  # fmt: skip
    manifest = Manifest(
        name="made", class_names=("a", "b"), models=models, image_sets={"inspection": card},
        conditions=conditions, config={}, records=records,
    )  # fmt: skip
    return Study(Path("nowhere"), manifest)


def test_every_number_is_held_against_the_references():
    nulls = find_nulls(make_study(), "s")
    assert nulls.references == ("r1", "r2", "r3", "r4")
    assert nulls.differences == ()
    family = {
        (CLEAN, "agreement"): null_of(0.96, list(AGREEMENT.values()), resolution=1 / 600),
        (TRIGGER, "agreement"): null_of(0.1, list(UNDER_TRIGGER.values()), resolution=1 / 600),
        (TRIGGER, "attack_success_rate"): null_of(
            0.9, [1 - v for v in UNDER_TRIGGER.values()], resolution=1 / 500
        ),
    }
    slow = judge(family, set(family))
    assert {key: nulls.nulls[key].p_holm for key in family} == {
        key: pytest.approx(null.p_holm) for key, null in slow.items()
    }
    assert nulls.of("agreement").outside is False
    assert nulls.of("agreement", TRIGGER).outside is True
    assert nulls.of("agreement", TRIGGER).rank == "lower than all 4"
    # What is not shown is not judged, and what was not measured has no null.
    assert "js" not in JUDGED
    assert nulls.of("js").outside is None
    assert nulls.of("ece") is None


@pytest.mark.parametrize("measure", MEASURES)
def test_the_honest_range_holds_all_that_a_measure_can_be(measure):
    low, high = _bounds(measure)
    unit = MEASURES[measure][1]
    assert low == (-1 if unit == "difference" else 0)
    assert high == {"js": math.log(2)}.get(measure, math.inf if unit == "nats" else 1)


def test_a_student_is_no_reference_of_its_own():
    nulls = find_nulls(make_study(), "honest")
    assert nulls.references == ("r2", "r3", "r4")


def test_a_reference_under_two_names_counts_once():
    study = make_study()
    models = {**study.models, "r2": model("r2", digest="r1")}
    study = Study(study.path, dataclasses.replace(study.manifest, models=models))
    assert find_nulls(study, "s").references == ("r1", "r3", "r4")


def test_a_share_of_attacked_images_has_a_step_too():
    study = make_study()
    records = {**study.manifest.records}
    for name in ("s", *AGREEMENT):
        key = f"measures/{name}/trigger"
        records[key] = {**records[key], "titg": interval(0.001 if name == "s" else 0.0)}
    study = Study(study.path, dataclasses.replace(study.manifest, records=records))
    null = find_nulls(study, "s").of("titg", TRIGGER)
    assert null.p > 0.05
    assert null.high > 0.002


def test_without_references_there_is_no_null():
    study = make_study(references={})
    assert find_nulls(study, "s").nulls == {}
    assert find_nulls(study, "s").to_json("agreement") is None
    assert headline(study)["students"]["s"]["agreement"]["null"] is None
    assert find_nulls(make_study(), "teacher").nulls == {}


def test_the_headline_keeps_its_keys_and_adds_the_null():
    shown = headline(make_study())
    number = shown["students"]["s"]["agreement"]
    assert {key: number[key] for key in ("value", "low", "high")} == interval(0.96)
    assert set(number["null"]) == {
        "low", "high", "mean", "n", "rank", "p", "p_holm", "outside", "recipe_differences",
    }  # fmt: skip
    assert number["null"]["n"] == 4
    assert shown["students"]["s"]["ece"] is None
    under = shown["conditions"]["trigger"]["students"]["s"]["agreement"]["null"]
    assert under["outside"] is True
    assert "null" not in (shown["teacher"]["accuracy"] or {})
    assert "r1" not in shown["students"]


def changed(**changes):
    return {**RECIPE, **changes}


@pytest.mark.parametrize(
    ("references", "said"),
    [
        ([model("r1")], ()),
        ([model("r1"), model("r2", recipe=changed(role="reference", varied=None, epoch=3))], ()),
        (
            [model("r1", recipe=changed(training={"epochs": 20, "learning_rate": 0.02}))],
            ("epochs: 26, references 20",),
        ),
        (
            [model("r1"), model("r2", recipe=changed(objective={"name": "dkd"}))],
            ("objective: hinton, references hinton / dkd",
             "temperature: 4.0, references 4.0 / none"),
        ),
        (
            [model("r1", recipe=changed(images={"source": "signs", "n": 500, "digest": "d2"}))],
            ("images: 600, references 500 of the same source, with other pixels",),
        ),
        (
            [model("r1", recipe=changed(images={"source": "photos", "n": 9, "digest": "d2"}))],
            ("images: 600, references 9 others, from photos",),
        ),
        ([model("r1", recipe={"training": {}})], ("the recipe of r1 is not known",)),
    ],
)  # fmt: skip
def test_recipes_are_compared_field_by_field(references, said):
    assert recipe_differences(model("s", "subject"), references) == said


def test_the_same_pixels_are_the_same_images():
    own = changed(images={"source": "a", "n": 6, "digest": "d1", "pixels": "p"})
    other = changed(images={"source": "b", "n": 6, "digest": "d2", "pixels": "p"})
    assert recipe_differences(model("s", recipe=own), [model("r", recipe=other)]) == ()


def test_another_network_and_an_unknown_recipe_are_differences():
    cost = ModelCost(parameters=100, macs=1)
    small = dataclasses.replace(model("r1"), cost=ModelCost(parameters=50, macs=1))
    other = dataclasses.replace(model("r2"), architecture="convnet", cost=cost)
    said = recipe_differences(model("s", "subject", cost=cost), [small, other])
    assert said == (
        "architecture: smallresnet, references smallresnet / convnet",
        "parameters: 100, references 50 / 100",
    )
    unknown = model("s", "subject", recipe={"training": {}})
    assert recipe_differences(unknown, [model("r1")]) == ("the recipe of s is not known",)


def test_the_terminal_prints_each_judged_number(capsys):
    print_nulls(make_study())
    lines = capsys.readouterr().out.splitlines()
    assert "s against 4 reference students (null: 95 % of new honest students)" in lines
    (trigger,) = [
        line for line in lines if "ASR" in line and "outside the honest range" in line
    ]  # fmt: skip
    assert "90.0" in trigger
    assert "higher than all 4" in trigger
    assert sum("outside the honest range" in line for line in lines) == 2
    assert not any("js" in line for line in lines)


def test_a_divergence_in_the_terminal_says_its_direction():
    assert _title("kl_teacher_student") == "KL (teacher || student), nats"
    assert _title("agreement") == "agreement, %"


def test_the_terminal_says_what_is_missing(capsys):
    print_nulls(make_study(references={}))
    assert capsys.readouterr().out == ""
    print_nulls(make_study(references={"r2": 0.96}))
    out = capsys.readouterr().out
    assert "against 1 reference student (" in out
    assert "too few" in out
    assert "outside" not in out
