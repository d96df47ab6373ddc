"""Layers of a study: the stage, the maps of a pair, and the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.digest import digest_json
from analysis.divergence.layers import SIMILARITIES
from analysis.errors import Cancelled, ConfigError, InputError, ModelError, TrustError
from analysis.records import TEACHER
from analysis.store import Study
from analysis.study import layer_batches
from analysis.study import layers as layers_stage
from analysis.study.images import images_of_study
from analysis.study.layer_batches import LayersConfig
from analysis.study.layer_map import _without_name, map_layers
from analysis.study.layers import array_names, measure_layers
from analysis.study.models import load_stored
from dashboard.cli import main
from dashboard.loading_layers import (
    has_condition,
    layer_maps,
    layer_overlap,
    layer_projection,
    layer_table,
)

FEW = LayersConfig(images=48, batch=24, permutations=4)


@pytest.fixture
def copy(attacked_study: Path, tmp_path: Path) -> Path:
    target = tmp_path / "workspace" / "copy"
    shutil.copytree(attacked_study, target)
    return target


@pytest.fixture
def measured(layered_study: Path) -> Study:
    return Study.open(layered_study)


def activations(study: Study, model: str, layer: str, rows: np.ndarray) -> np.ndarray:
    handle, images = load_stored(study, model), images_of_study(study)
    found: list[torch.Tensor] = []
    hook = handle.module.get_submodule(layer).register_forward_hook(
        lambda _, __, output: found.append(output.detach().clone())
    )
    with torch.no_grad():
        handle(torch.from_numpy(next(images.batches(len(rows), rows))[1]))
    hook.remove()
    return found[0].double().numpy()


def test_the_stage_measures_what_the_layers_put_out(measured: Study) -> None:
    table = layer_table(measured, "backdoored")
    assert table is not None
    assert table.teacher_layers == ("layer1.0", "layer2.0", "layer3.0")
    assert (table.n, table.total, table.subset) == (48, 64, 48)
    rows = np.random.default_rng(0).permutation(64)[:48]
    teacher = activations(measured, TEACHER, "layer2.0", rows)
    student = activations(measured, "backdoored", "layer3.0", rows)
    pooled = [values.mean(axis=(2, 3)) for values in (teacher, student)]
    for name in ("knn", "procrustes", "rsa"):
        expected = SIMILARITIES[name].value(*pooled)
        assert table.grids[name].values[1, 2] == pytest.approx(expected, abs=5e-3), name
    flat = [values.reshape(48, -1) for values in (teacher, student)]
    parts = [[SIMILARITIES["cka"].prepare(values[at : at + 24]) for values in flat]
             for at in (0, 24)]  # fmt: skip
    by_part = [float(np.vdot(*pair)) for pair in parts]
    assert table.grids["cka"].values[1, 2] == pytest.approx(np.mean(by_part), abs=0.05)
    assert np.abs(table.shift).max() < 0.3
    assert table.grids["cka"].null.shape == (4, 3, 3)


def test_every_listed_student_is_measured_clean_and_with_the_trigger(measured: Study) -> None:
    keys = {key for key in measured.manifest.records if key.startswith("layers/")}
    assert keys == {
        f"layers/{name}/{slug}"
        for name in ("backdoored", "honest")
        for slug in ("clean", "trigger")
    }
    for key in keys:
        assert {f"{key}/{name}" for name in array_names()} <= set(measured.manifest.arrays)
    assert measured.manifest.provenance["seconds"]["layers/honest/clean"] > 0
    assert layer_table(measured, "honest", "perturbation") is None


def test_a_second_time_nothing_is_computed_and_the_study_is_the_same(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measure_layers(copy, students=["honest"], config=FEW)

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(layer_batches, "layer_grams", forbidden)
    second = measure_layers(copy, students=["honest"], config=FEW)
    assert second.digest == first.digest
    assert digest_json(first.record("layers/honest/clean")) == digest_json(
        second.record("layers/honest/clean")
    )


def test_a_cancelled_run_leaves_the_study_and_goes_on_later(copy: Path) -> None:
    before = Study.open(copy).digest

    def stop(name: str, done: int, total: int) -> None:
        if name == "layers of honest, trigger":
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        measure_layers(copy, students=["honest"], config=FEW, progress=stop)
    assert Study.open(copy).digest == before
    seen: set[str] = set()
    measure_layers(copy, students=["honest"], config=FEW, progress=lambda n, *_: seen.add(n))
    assert "layers of honest, clean" not in seen, "the finished stage is kept"
    assert "layers of honest, trigger" in seen


def test_named_layers_replace_what_was_measured_before(copy: Path) -> None:
    measure_layers(copy, students=["honest"], conditions=["clean"], config=FEW)
    config = LayersConfig(
        images=48, batch=24, permutations=4, layers=("relu", "penultimate"),
        student_layers=("layer3.0",),
    )  # fmt: skip
    study = measure_layers(copy, students=["honest"], conditions=["clean"], config=config)
    table = layer_table(study, "honest")
    assert table is not None
    assert table.teacher_layers == ("relu", "penultimate")
    assert table.grids["rsa"].values.shape == (2, 1)


def test_beyond_the_subset_only_cka_sees_more_images(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (layer_batches, layers_stage):
        monkeypatch.setattr(module, "SUBSET", 40)
    config = LayersConfig(images=64, batch=16, permutations=2)
    study = measure_layers(copy, students=["honest"], conditions=["clean"], config=config)
    table = layer_table(study, "honest")
    assert table is not None
    assert (table.n, table.subset) == (64, 32)
    monkeypatch.undo()
    whole = layer_table(
        measure_layers(
            copy,
            students=["honest"],
            conditions=["clean"],
            config=LayersConfig(images=64, batch=16, permutations=3),
        ),
        "honest",
    )
    assert whole is not None
    np.testing.assert_allclose(whole.grids["cka"].values, table.grids["cka"].values, atol=1e-9)


def test_bad_names_suggest_the_nearest_and_change_nothing(copy: Path) -> None:
    before = (copy / "study.json").read_bytes()
    cases: list[tuple[dict[str, object], str]] = [
        ({"students": ["honst"]}, "no student 'honst'.*Did you mean 'honest'"),
        ({"conditions": ["triger"]}, "no condition 'triger'.*Did you mean 'trigger'"),
        ({"config": LayersConfig(layers=("layer2.O",))}, "no layer 'layer2.O'.*'layer2.0'"),
        ({"config": LayersConfig(student_layers=("lay3.0",))}, "no layer 'lay3.0'"),
    ]
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            measure_layers(copy, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="images = 4; expected a number of at least 16"):
        LayersConfig(images=4)
    with pytest.raises(InputError, match="12 image\\(s\\) of condition 'perturbation'"):
        measure_layers(copy, conditions=["perturbation"], config=FEW)
    assert (copy / "study.json").read_bytes() == before


def test_user_code_must_be_trusted(copy: Path) -> None:
    manifest = json.loads((copy / "study.json").read_text())
    manifest["models"]["honest"] |= {"user_code": "0" * 64, "architecture": "net.py:make"}
    (copy / "study.json").write_text(json.dumps(manifest))
    with pytest.raises(TrustError, match=r"made by user code, net.py"):
        measure_layers(copy, students=["honest"], config=FEW)


# --- maps -------------------------------------------------------------------------------------


def test_a_pair_of_layers_has_a_map_in_one_frame(measured: Study) -> None:
    assert layer_maps(measured, "backdoored") == ["layer2.0:layer3.0"]
    assert layer_maps(measured, "honest") == []
    found = layer_projection(measured, "backdoored", "layer2.0:layer3.0", "clean")
    assert found is not None
    assert found.teacher.shape == found.student.shape == (64, 2)
    assert found.sample_ids.tolist() == measured.sample_ids.tolist()
    # One frame: the student's layout was moved onto the teacher's as a rigid body.
    np.testing.assert_allclose(found.teacher.mean(axis=0), found.student.mean(axis=0), atol=1e-3)
    assert 0 < found.teacher_quality.trustworthiness <= 1
    shown = layer_projection(measured, "backdoored", "layer2.0:layer3.0", "trigger")
    assert shown is not None
    assert len(shown.teacher) == 64
    assert has_condition(measured, "backdoored", "layer2.0:layer3.0", "trigger")
    assert not has_condition(measured, "backdoored", "layer2.0:layer3.0", "perturbation")
    pair = ("backdoored", "layer2.0:layer3.0")
    assert layer_projection(measured, *pair, "perturbation") is None
    overlap = layer_overlap(measured, *pair, "clean", np.array(["nobody", found.sample_ids[3]]))
    assert np.isnan(overlap[0])
    assert 0 <= overlap[1] <= 1


def test_a_map_of_some_images_says_which(copy: Path) -> None:
    study = map_layers(
        copy, student="honest", teacher_layer="penultimate", student_layer="layer1.0", images=30
    )
    found = layer_projection(study, "honest", "penultimate:layer1.0", "clean")
    assert found is not None
    assert len(found.sample_ids) == 30
    assert study.record("layer_map/honest/penultimate:layer1.0")["n"] == {"clean": 30}
    again = map_layers(
        copy, student="honest", teacher_layer="penultimate", student_layer="layer1.0", images=30
    )
    assert again.digest == study.digest


@pytest.mark.parametrize(
    ("key", "student", "expected"),
    [
        ("layout/teacher", "teach", "layout/teacher"),
        ("layout/teach", "teach", "layout/student"),
        ("placed/teacher/small_note", "small", "placed/teacher/small_note"),
        ("placed/small/small_note", "small", "placed/student/small_note"),
    ],
)
def test_the_keys_of_a_map_are_renamed_whole(key: str, student: str, expected: str) -> None:
    assert _without_name(key, student) == expected


def test_an_unknown_layer_of_a_map_is_named(copy: Path) -> None:
    with pytest.raises(ModelError, match=r"no layer 'layer9.0'"):
        map_layers(copy, student="honest", teacher_layer="layer9.0", student_layer="layer1.0")


# --- the command ------------------------------------------------------------------------------


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


def test_the_command_prints_matches_with_their_null(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--student", "honest", "--condition", "clean", "--images", 48, "--quiet"]
    assert run("layers", copy, *options) == 0
    text = capsys.readouterr().out
    assert "honest, clean images: 3 layers of the teacher, 3 of the student, 48 images" in text
    table = layer_table(Study.open(copy), "honest")
    assert table is not None
    best = table.grids["cka"].profile
    line = next(row for row in text.splitlines() if row.startswith("layer3.0"))
    assert f"{best.values[2]:.2f} [{best.null[:, 2].max():.2f}]" in line
    assert run("layers", copy, *options, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert set(row["similarities"]) == set(SIMILARITIES)
    assert row["similarities"]["knn"]["values"][2][2] == pytest.approx(
        float(table.grids["knn"].values[2, 2])
    )


def test_the_command_maps_a_pair(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = "layer1.0:layer3.0"
    assert run("layers", copy, "--student", "honest", "--map", pair, "--images", 20, "--quiet") == 0
    assert "layer1.0:layer3.0 of honest is on the map" in capsys.readouterr().out
    assert layer_maps(Study.open(copy), "honest") == [pair]
    assert run("layers", copy, "--student", "honest", "--map", pair, "--images", 20, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "student": "honest", "teacher_layer": "layer1.0", "student_layer": "layer3.0",
        "conditions": ["clean"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "layer2.O"], "has no layer 'layer2.O'. Did you mean 'layer2.0'?"),
        (["--student", "honst"], "no student 'honst'"),
        (["--images", 3], "images = 3; expected a number of at least 16"),
        (["--map", "layer1.0"], "--map 'layer1.0'; expected TEACHER_LAYER:STUDENT_LAYER"),
        (["--map", "a:b", "--layers", "a"], "--layers beside --map"),
        (["--map", "a:b", "--student-layers", "b"], "--student-layers beside --map"),
        (["--map", "a:b"], "--map for 2 students; expected one"),
        (["--map", "layer1.0:nope", "--student", "honest"], "has no layer 'nope'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    copy: Path, capsys: pytest.CaptureFixture[str], options: list[object], message: str
) -> None:
    assert run("layers", copy, *options, "--quiet") == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
