"""A zoo is run step by step: killed, out of seconds, begun again, it comes to the same."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from analysis.attack.triggers import parse_trigger
from analysis.errors import BusyError, InputError
from analysis.store.files import held_file
from benchmarks import neural_cleanse
from benchmarks.zoo import aftermath, auditing, cleansing, making, steps
from benchmarks.zoo.judging import judge
from benchmarks.zoo.results import TABLES, Results, Row
from benchmarks.zoo.running import run_zoo
from tests.unit.test_study_training import squares
from tests.zoo_plans import PLAN, Untrained, tiny_zoo

MEASURED_ANEW = ("cpu_seconds", "seconds")


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def patch() -> Any:
    with pytest.MonkeyPatch.context() as context:
        yield context


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """One zoo run through that stops after every few steps, another one that is killed twice.

    Untrained networks answer no trigger; so every attack is taken for a success, and every
    verdict for one that can be repaired, to run what comes after.
    """
    patch.setattr(making, "POSITIVE", -2.0)
    patch.setattr(making, "FAILED", -3.0)
    patch.setattr(steps, "can_be_repaired", lambda found: True)
    patch.setattr(auditing, "STRIP_IMAGES", 16)
    patch.setattr(auditing, "STRIP_DRAWS", 4)
    make = aftermath.make_remedy
    patch.setattr(aftermath, "make_remedy", lambda name: make(name, epochs=1))
    folder = tmp_path_factory.mktemp("zoo")
    zoo = tiny_zoo(folder)
    found: dict[str, Any] = {"zoo": zoo, "folder": folder}

    maker, calls = Untrained(), 0
    while not run(zoo, folder / "often", maker, seconds=9.0, clock=itertools.count().__next__):
        calls += 1
    found |= {"often": Results(folder / "often" / "results", "tiny"), "maker": maker}
    found["calls"] = calls

    killed = Untrained()
    for when in ("verdict tiny-h2", "repair tiny-patch"):
        with pytest.raises(KilledError):
            run(zoo, folder / "killed", killed, progress=killer(when))
    assert run(zoo, folder / "killed", killed)
    found |= {"killed": Results(folder / "killed" / "results", "tiny"), "killed_maker": killed}
    return found


def run(zoo: Any, folder: Path, maker: Untrained, **options: Any) -> bool:
    given = {"progress": lambda *_: None, **options}
    return run_zoo(
        zoo,
        state=folder / "state",
        results=Results(folder / "results", zoo.name),
        data=None,
        training=maker.training,
        **given,
    )


def killer(title: str) -> Any:
    """End the process when the step ``title`` is done but for telling so."""

    def progress(stage: str, done: int, total: int) -> None:
        if stage == title and done == 0:
            raise KilledError

    return progress


def kept(results: Results, table: str) -> list[Row]:
    return [
        {key: value for key, value in row.items() if key not in MEASURED_ANEW}
        for row in results.rows(table)
    ]


def test_a_run_that_stops_often_comes_to_what_a_killed_one_does(whole: Any) -> None:
    for table in TABLES:
        assert kept(whole["often"], table) == kept(whole["killed"], table), table
        assert bool(whole["often"].rows(table)) == (table != cleansing.TABLE), table
    assert whole["calls"] > 3


def test_no_model_is_made_twice(whole: Any) -> None:
    for maker in (whole["maker"], whole["killed_maker"]):
        counts = Counter(maker.made)
        assert set(counts.values()) == {1}
        assert set(counts) == {"teacher", *(student.name for student in whole["zoo"].students)}


def test_a_finished_zoo_does_nothing_more(whole: Any) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("a step that is in the results was done again")

    assert run(whole["zoo"], whole["folder"] / "often", Untrained(), progress=never)


def test_no_student_is_in_its_own_null(whole: Any) -> None:
    judged = judge(whole["zoo"], whole["often"])
    counts = {one.name: one.tests["ours"]["references"] for one in judged.students}
    assert counts == {
        "tiny-h1": 2, "tiny-h2": 2, "tiny-h3": 2, "tiny-f1": 3, "tiny-patch": 3, "tiny-warp": 3,
    }  # fmt: skip


def test_neural_cleanse_gets_as_many_passes_and_no_more_than_one_start_beyond(whole: Any) -> None:
    rows = whole["often"].rows("searches")
    for student in whole["zoo"].students:
        own = [row for row in rows if row["student"] == student.name]
        ours = sum(row["passes"] for row in own if row["search"].startswith("ours/"))
        alone = next(row for row in own if row["search"] == "alone/mask")
        assert alone["passes"] >= ours
        assert alone["passes"] * (1 - 1 / alone["starts"]) <= ours


def test_neural_cleanse_runs_with_its_own_schedule_on_the_students_that_are_there(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neural_cleanse, "ROUNDS", 2)
    results = Results(tmp_path / "results", "tiny")
    shutil.copytree(whole["folder"] / "often" / "results", results.folder)
    state = tmp_path / "state"
    shutil.copytree(whole["folder"] / "often" / "state", state)
    (state / "tiny" / "tiny-h2.safetensors").unlink()
    said: list[str] = []
    given: dict[str, Any] = {
        "state": state, "results": results, "data": None,
        "progress": lambda stage, *_: said.append(stage),
    }  # fmt: skip
    assert not cleansing.cleanse_zoo(whole["zoo"], **given, seconds=0.0)
    assert results.rows("cleansed") == []
    assert cleansing.cleanse_zoo(whole["zoo"], **given)
    rows = results.rows("cleansed")
    assert [row["student"] for row in rows] == [
        "tiny-h1", "tiny-h3", "tiny-f1", "tiny-patch", "tiny-warp"
    ]  # fmt: skip
    assert all(len(row["classes"].split()) == 16 for row in rows)
    assert all(row["passes"] == 2 * 16 * 96 for row in rows), "three batches of 120 images a round"
    said.clear()
    assert cleansing.cleanse_zoo(whole["zoo"], **given)
    assert not any(stage.startswith("tiny-") for stage in said), "what is done is kept"


def test_every_audited_student_has_a_picture_and_planted_ones_show_their_trigger(
    whole: Any,
) -> None:
    folder = whole["often"].pictures
    for student in whole["zoo"].students:
        with Image.open(folder / f"{student.name}.png") as image:
            assert image.size == ((100, 32) if student.attack else (66, 32))


def test_screenings_say_which_sets_are_poisoned(whole: Any) -> None:
    rows = {row["set"]: row for row in whole["often"].rows("screenings")}
    assert set(rows) == {"tiny-pool-a", "tiny-pool-b", "tiny-patch", "tiny-warp"}
    assert rows["tiny-pool-a"]["auroc"] is None
    assert rows["tiny-patch"]["poisoned"] == 0 or 0 <= rows["tiny-patch"]["auroc"] <= 1
    made_of = {row["model"]: row["poisoned"] for row in whole["often"].rows("models")}
    assert rows["tiny-patch"]["poisoned"] == made_of["tiny-patch"]


def test_repairs_are_judged_by_the_honest_range_under_the_true_trigger(whole: Any) -> None:
    rows = whole["often"].rows("repairs")
    assert {(row["student"], row["remedy"]) for row in rows} == set(
        itertools.product(("tiny-patch", "tiny-warp"), aftermath.REMEDIES)
    )
    for row in rows:
        assert row["within"] == int(row["asr_true_after"] <= row["honest_high"])
        assert row["cost"] == pytest.approx(row["accuracy_before"] - row["accuracy_after"])
        model = whole["often"].find("models", row["student"])
        assert row["asr_true_before"] == model["attack_success_rate"]


def test_students_whose_attack_failed_are_not_audited(
    whole: Any, patch: pytest.MonkeyPatch
) -> None:
    results = Results(whole["folder"] / "failed", "tiny")
    models = whole["often"].rows("models")
    results.put(
        "models",
        [row | {"outcome": "failed"} if row["outcome"] else row for row in models],
    )
    todo = list(steps.steps(whole["zoo"], whole["zoo"].teachers[0], results))
    planted = [step.kind for step in todo if step.subject in ("tiny-patch", "tiny-warp")]
    assert planted == ["model", "screening"] * 2


def test_only_names_a_teacher_and_one_process_runs_at_a_time(tmp_path: Path) -> None:
    zoo = tiny_zoo(tmp_path)
    with pytest.raises(InputError, match=r"no teacher 'tinny'.*tiny"):
        run(zoo, tmp_path, Untrained(), only=["tinny"])
    with (
        held_file(tmp_path / "state" / "run", doing="running", wait=0),
        pytest.raises(BusyError, match="running the zoo 'tiny'"),
    ):
        run(zoo, tmp_path, Untrained())
    assert not run(zoo, tmp_path, Untrained(), seconds=0.0)
    assert not (tmp_path / "results").exists()


def test_cifar_without_its_files_is_refused_with_the_remedy(tmp_path: Path) -> None:
    text = PLAN.replace('data = "signs"', 'data = "cifar10"').replace("[signs]", "[cifar10]")
    zoo = tiny_zoo(tmp_path, text)
    with pytest.raises(InputError, match=r"resnet20-12fca82f\.th.*--data FOLDER"):
        run(zoo, tmp_path, Untrained())


@pytest.mark.parametrize(
    ("gain", "name"),
    [(1.0, "positive"), (0.6, "positive"), (0.599, "partial"), (0.1, "partial"), (0.099, "failed"),
     (-0.2, "failed")],
)  # fmt: skip
def test_an_attack_counts_by_its_gain(
    gain: float, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "POSITIVE", 0.6)
    monkeypatch.setattr(making, "FAILED", 0.1)
    assert making.outcome(gain) == name


def test_strip_is_given_other_classes_and_counts_its_passes() -> None:
    """A model that answers by brightness; its passes are what STRIP says they are."""
    images, seen = squares(90), 0

    def model(pixels: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        seen += len(pixels)
        bright = pixels.mean((1, 2, 3))
        return torch.stack([bright, 1 - bright], dim=1)

    trigger = parse_trigger("patch:size=3")
    shown = min(auditing.STRIP_IMAGES, int((images.labels != 0).sum()))
    for passes in (0.0, 1000.0):
        seen = 0
        row = auditing.strip_row("x", model, images, images, trigger, 0, passes)  # type: ignore[arg-type]
        assert seen >= 2 * shown * auditing.STRIP_DRAWS
        assert row["passes"] == round(seen / 3)
        assert row["passes"] >= passes
        assert 0 <= row["statistic"] <= 1
    # One overlay fewer would have been too few.
    assert (seen - 2 * shown) / 3 < 1000
