"""Sweeps: what varies, what is shared, one table of all."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

from analysis.errors import ConfigError
from analysis.models.loading import load_model
from analysis.records import CLEAN, PERTURBATION, TEACHER, TRIGGER
from analysis.store import Study
from analysis.study.experiment import poison_report
from analysis.study.sweep import TABLE, parse_vary, plan_cells, run_sweep, table_text
from dashboard.cli import _run
from tests.experiment_files import write_experiment

FEWER = ("[conditions]", '[students]\nbad = "both"\n[controls]\nhonest = "none"\n[conditions]')
VARY = {"attack.rate": [0.1, 0.2]}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A finished sweep over two rates: its folder, cells, rows and the stages it reported."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("sweep")
    out, seen = folder / "out", []
    cells = plan_cells(write_experiment(folder, FEWER), VARY, out)
    rows = run_sweep(cells, out, progress=lambda stage, *_: seen.append(stage))
    return out, cells, rows, seen


def test_every_cell_is_a_study_of_its_own(swept):
    out, cells, _, _ = swept
    assert [cell.experiment.out.name for cell in cells] == ["rate-0.1", "rate-0.2"]
    rates = [Study.open(cell.experiment.out).students["bad"].recipe for cell in cells]
    assert [recipe["attack"]["rate"] for recipe in rates] == [0.1, 0.2]
    assert not list(out.parent.glob("space")), "nothing beside the sweep's folder"


def test_what_cells_share_is_made_once(swept):
    out, cells, _, seen = swept
    weights = [path.name.split("-")[0] for path in (out / "runs").glob("*.safetensors")]
    assert sorted(weights) == ["student", "student", "student", "teacher"]
    first, second = (Study.open(cell.experiment.out) for cell in cells)
    assert first.teacher.digest == second.teacher.digest
    assert first.students["honest"].digest == second.students["honest"].digest
    assert first.students["bad"].digest != second.students["bad"].digest
    assert "1/2 honest: training" in seen
    assert not any(stage.startswith(("2/2 honest: ", "2/2 teacher: ")) for stage in seen)


def test_the_table_says_what_the_studies_say(swept):
    out, _cells, rows, _ = swept
    with (out / TABLE).open() as file:
        read = list(csv.DictReader(file))
    assert [(row["attack.rate"], row["student"]) for row in read] == [
        ("0.1", "bad"), ("0.1", "honest"), ("0.2", "bad"), ("0.2", "honest"),
    ]  # fmt: skip
    for row, text in zip(rows, read, strict=True):
        study = Study.open(out / row["study"])
        name = row["student"]
        under = study.measures(name, TRIGGER)
        assert float(text["attack_success_rate"]) == under["attack_success_rate"].value
        assert float(text["attack_success_rate_low"]) == under["attack_success_rate"].low
        assert float(text["base_rate"]) == under["base_rate"].value
        clean = study.measures(name, CLEAN)
        assert float(text["accuracy"]) == clean["accuracy"].value
        assert float(text["agreement"]) == clean["agreement"].value
        teacher = study.measures(TEACHER, PERTURBATION)["attack_success_rate"].value
        assert float(text["teacher_perturbation"]) == teacher
        assert float(text["flip_rate"]) == poison_report(study).flip_rate
        assert float(text["view_flip_rate"]) == poison_report(study).view_flip_rate
    assert [row["half"] for row in rows] == ["both", "none", "both", "none"]


def test_success_and_base_rate_are_counted_over_other_classes(swept, tmp_path):
    _out, cells, rows, _ = swept
    study = Study.open(cells[1].experiment.out)
    handle = load_model(str(study.weights("bad")))
    stamped = np.array(study.images)
    trigger = study.array("images/condition/trigger")
    others = np.asarray(study.labels) != 2
    answers = {}
    for name, pixels in (("clean", stamped), ("trigger", np.array(trigger))):
        shown = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            answers[name] = handle(shown).argmax(1).numpy()[others]
    row = rows[2]
    assert row["attack_success_rate"] == pytest.approx(np.mean(answers["trigger"] == 2))
    assert row["base_rate"] == pytest.approx(np.mean(answers["clean"] == 2))


def test_a_finished_sweep_repeats_nothing(swept, capsys):
    out, _cells, _, _ = swept
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file() and p.name != TABLE}
    path = out.parent / "experiment.toml"
    table = (out / TABLE).read_bytes()
    (out / TABLE).unlink()
    status = _run(
        ["sweep", str(path), "--vary", "attack.rate=0.1,0.2", "--out", str(out), "--quiet"]
    )
    assert status == 0
    printed = capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert (out / TABLE).read_bytes() == table
    assert "view flip rate, %" in printed
    assert len([line for line in printed.splitlines() if " honest " in line]) == 2


def test_values_are_read_as_json_or_text():
    assert parse_vary(["attack.rate=0.1, 0.2", "attack.epsilon=4,8/255", "seed=1"]) == {
        "attack.rate": [0.1, 0.2],
        "attack.epsilon": [4, "8/255"],
        "seed": [1],
    }
    assert parse_vary(["attack.trigger=patch:size=3,margin=2;warp"]) == {
        "attack.trigger": ["patch:size=3,margin=2", "warp"]
    }


def test_the_last_key_varies_fastest(tmp_path):
    path = write_experiment(tmp_path)
    triggers = ["patch:size=2", "patch:size=2,margin=0"]
    vary = {"attack.rate": [0.1, 0.2], "attack.trigger": triggers}
    cells = plan_cells(path, vary, tmp_path / "out")
    assert [tuple(cell.values.values()) for cell in cells] == [
        (0.1, "patch:size=2"), (0.1, "patch:size=2,margin=0"),
        (0.2, "patch:size=2"), (0.2, "patch:size=2,margin=0"),
    ]  # fmt: skip
    assert len({cell.experiment.out for cell in cells}) == 4
    assert cells[3].experiment.attack.rate == 0.2
    assert cells[3].experiment.attack.trigger == "patch:size=2,margin=0"


def test_values_that_make_the_same_file_name_get_different_folders(tmp_path):
    path = write_experiment(tmp_path)
    values = ["patch:size=2", "patch:size= 2"]
    cells = plan_cells(path, {"attack.trigger": values}, tmp_path / "out")
    assert cells[0].experiment.out != cells[1].experiment.out
    assert all(len(cell.experiment.out.name) < 100 for cell in cells)


def test_what_was_not_measured_is_an_empty_field():
    assert table_text([{"a": None, "b": 0.0}]) == "a,b\n,0.0\n"


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        ("attack.rat=0.1", "[attack] unknown key 'rat'. Did you mean 'rate'?"),
        ("atack.rate=0.1", "Did you mean 'attack'?"),
        ("rate=0.1", "unknown key 'rate'"),
        ("attack.rate", "expected SECTION.KEY=VALUE,VALUE"),
        ("attack.rate=0.1,", "expected SECTION.KEY=VALUE,VALUE"),
        ("attack.rate=0.1,0.1", "each key and each of its values once"),
        ("out=a,b", "--vary out; expected a key that decides the result"),
        ("attack.rate=0.1,2", "[attack] rate = 2.0; expected a number from 0 to 1"),
        ("attack.target=2,dark", "with attack.target = dark: target class 'dark'"),
        ("students.a.epochs=1", "expected SECTION.KEY"),
    ],
)
def test_a_wrong_key_or_value_is_refused_before_anything_runs(tmp_path, vary, words, capsys):
    path = write_experiment(tmp_path)
    assert _run(["sweep", str(path), "--vary", vary, "--out", str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert words in line
    assert not (tmp_path / "out").exists()


def test_nothing_that_varies_is_refused():
    with pytest.raises(ConfigError, match="nothing varies"):
        parse_vary([])
    with pytest.raises(ConfigError, match="each key and each of its values once"):
        parse_vary(["seed=1", "seed=2"])
