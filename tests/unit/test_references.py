"""Reference students: one per seed, cached, varied within stated ranges, added to a study."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.audit.null import split_by_id
from analysis.distillation.objectives import FitNets, HintonKD
from analysis.errors import Cancelled, ConfigError, InputError, ModelError, SpecError, StudyError
from analysis.models.loading import load_model
from analysis.records import CLEAN
from analysis.store import StageCache, Study
from analysis.study.comparison import add_students
from analysis.study.experiment_settings import Recipe
from analysis.study.headline import headline
from analysis.study.references import (
    Variation,
    choose_seeds,
    make_references,
    put_references,
    recipe_like,
    recipe_values,
    trusted_images,
)
from analysis.study.specs import expand_references
from dashboard.cli import _run
from tests.unit.test_study_training import squares, taught  # noqa: F401

RECIPE = Recipe.from_mapping(
    {"arch": "smallresnet", "width": 8, "epochs": 4, "batch_size": 16, "shift": 1, "threads": 1}
)


def make(taught, cache, **changes):  # noqa: F811
    arguments = {
        "teacher": str(taught[0].weights),
        "images": squares(labeled=False),
        "recipe": RECIPE,
        "seeds": (1, 2),
        "cache": StageCache(cache),
    }
    return make_references(**{**arguments, **changes})


@pytest.fixture(scope="module")
def references(taught, tmp_path_factory):  # noqa: F811
    return make(taught, tmp_path_factory.mktemp("references"))


def test_one_student_per_seed_that_says_what_it_is(taught, references):  # noqa: F811
    teacher = load_model(str(taught[0].weights))
    handles = [load_model(str(made.weights)) for made in references]
    assert len({handle.digest for handle in handles}) == 2
    assert [made.name for made in references] == ["reference-1", "reference-2"]
    for made, handle in zip(references, handles, strict=True):
        assert handle.metadata["role"] == "reference"
        assert handle.metadata["varied"] is None
        assert handle.metadata["training"]["seed"] == made.seed
        assert handle.metadata["teacher"]["digest"] == teacher.digest
        assert handle.normalization == teacher.normalization
        assert made.spec().role == "reference"
        assert [path.name for path in made.weights.parent.iterdir() if path.is_dir()] == []


def test_the_same_recipe_and_seed_is_the_student_that_distill_makes(
    taught,  # noqa: F811
    tmp_path,
):
    student = load_model(str(taught[1].weights))
    (made,) = make(
        taught, tmp_path, recipe=recipe_like(student), seeds=(0,), images=squares(labeled=False)
    )
    assert load_model(str(made.weights)).digest == student.digest


def test_a_finished_reference_is_not_made_again(taught, tmp_path):  # noqa: F811
    first = make(taught, tmp_path)
    stages = []
    again = make(
        taught, tmp_path, seeds=(2, 1), progress=lambda stage, done, total: stages.append(stage)
    )
    assert stages == []
    assert [made.weights for made in again] == [made.weights for made in reversed(first)]


def test_an_interrupted_reference_goes_on(taught, references, tmp_path):  # noqa: F811
    def stop(stage, done, total):
        assert "reference 1 of 2: " in stage
        if stage.endswith("training") and done == 10:  # of 12 steps: in epoch 4
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        make(taught, tmp_path, progress=stop)
    steps = []
    again = make(taught, tmp_path, progress=lambda stage, done, total: steps.append((stage, done)))
    trained = [done for stage, done in steps if stage == "reference 1 of 2: training"]
    assert trained[0] == 9
    assert again[0].weights.read_bytes() == references[0].weights.read_bytes()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 1), st.floats(0.2, 1), st.floats(1, 3))
def test_what_is_varied_stays_within_its_ranges(seed, share, low, high):
    from analysis.study.references import _vary

    variation = Variation(
        images=(share, 1.0), temperature=(low, high), epochs=(low, high), architectures=("convnet",)
    )
    own, drawn = _vary(RECIPE, variation, seed)
    assert (own, drawn) == _vary(RECIPE, variation, seed)
    assert share - 1e-4 <= drawn["images"] <= 1
    assert 4 * low - 1e-3 <= drawn["temperature"] <= 4 * high + 1e-3
    assert max(1, round(4 * low)) <= drawn["epochs"] <= round(4 * high)
    assert own.objective == HintonKD(temperature=drawn["temperature"])
    assert own.training.epochs == drawn["epochs"]
    assert own.network.arch == drawn["arch"] in {"smallresnet", "convnet"}
    assert own.network.width == (8 if drawn["arch"] == "smallresnet" else None)


def test_varied_references_record_what_was_drawn(taught, tmp_path):  # noqa: F811
    made = make(taught, tmp_path, vary=True)
    assert made[0].varied != made[1].varied
    for reference in made:
        header = load_model(str(reference.weights)).metadata
        assert reference.name.startswith("varied-")
        assert header["varied"] == reference.varied
        assert header["images"]["n"] == round(reference.varied["images"] * 48)
        assert header["training"]["epochs"] == reference.varied["epochs"]
        assert header["objective"]["temperature"] == reference.varied["temperature"]
    again = make(taught, tmp_path / "elsewhere", vary=Variation(), seeds=(2,))
    assert again[0].varied == made[1].varied


def test_seeds_avoid_the_subject_s_own():
    assert choose_seeds(3, 5) == [5, 6, 7]
    assert choose_seeds(3, 5, avoid=[6, 99]) == [5, 7, 8]
    with pytest.raises(ConfigError):
        choose_seeds(0)


def test_a_recipe_survives_the_flat_form():
    assert Recipe.from_mapping(recipe_values(RECIPE)) == RECIPE
    other = Recipe.from_mapping({**recipe_values(RECIPE, objective=False), "objective": "dkd"})
    assert other.objective.name == "dkd"
    assert other.training == RECIPE.training


def test_images_get_the_name_under_which_a_student_knows_them(taught, tmp_path):  # noqa: F811
    teacher = load_model(str(taught[0].weights))
    given = squares(labeled=False)
    np.savez(tmp_path / "squares.npz", images=given.images)
    source = tmp_path / "squares.npz"
    plain = trusted_images(source, teacher)
    assert plain.name == "distillation"
    assert trusted_images(source, teacher, wanted=plain.digest).digest == plain.digest
    known = plain.renamed("training")
    assert trusted_images(source, teacher, wanted=known.digest).digest == known.digest
    assert trusted_images(source, teacher, wanted="0" * 64).name == "distillation"


def test_references_for_an_audit_leave_it_the_images_that_it_searches_on(taught, tmp_path):  # noqa: F811
    teacher = load_model(str(taught[0].weights))
    given = squares(120, labeled=False)
    np.savez(tmp_path / "squares.npz", images=given.images)
    whole = trusted_images(tmp_path / "squares.npz", teacher)
    kept = trusted_images(tmp_path / "squares.npz", teacher, for_audit=True)
    # The audit calls its set by another name.
    theirs = split_by_id(whole.renamed("trusted").sample_ids)
    assert set(kept.sample_ids) == set(whole.sample_ids[theirs["distill"]])
    others = whole.sample_ids[np.concatenate([theirs["optimize"], theirs["measure"]])]
    assert not set(kept.sample_ids) & set(others)
    assert len(kept) + len(others) == len(whole)
    # Of images that are known by a student's name for them, likewise.
    known = whole.renamed("training")
    again = trusted_images(tmp_path / "squares.npz", teacher, wanted=known.digest, for_audit=True)
    assert again.digest == known.rows(theirs["distill"]).digest


def test_what_cannot_be_used_is_refused(taught, tmp_path):  # noqa: F811
    with pytest.raises(ConfigError, match="seeds"):
        make(taught, tmp_path, seeds=(1, 1))
    with pytest.raises(ConfigError, match="images = 0"):
        Variation(images=(0.5, 1.5))
    with pytest.raises(ConfigError, match="epochs"):
        Variation(epochs=(2.0, 1.0))
    with pytest.raises(SpecError, match="unknown architecture 'bogus'"):
        Variation(architectures=("bogus",))
    shown = replace(RECIPE.training, teacher_views="augmented")
    lost = replace(RECIPE, objective=FitNets(student_layers=("layer9",)), training=shown)
    with pytest.raises(InputError, match="no layer 'layer9'"):
        make(taught, tmp_path, recipe=lost)
    teacher = load_model(str(taught[0].weights))
    for told in ({}, {"kind": "distill", "objective": "hinton", "training": {"epochs": 2}}):
        with pytest.raises(ModelError, match="does not say how it was distilled"):
            recipe_like(replace(teacher, metadata=told))
    assert not any(tmp_path.iterdir())


def test_nothing_is_replaced_in_the_folder(references, tmp_path):
    paths = put_references(references, tmp_path / "out")
    assert [path.name for path in paths] == ["reference-1.safetensors", "reference-2.safetensors"]
    assert put_references(references, tmp_path / "out") == paths
    paths[0].unlink()
    shutil.copyfile(references[1].weights, paths[0])
    paths[1].unlink()
    with pytest.raises(InputError, match="another model"):
        put_references(references, tmp_path / "out")
    assert not paths[1].exists(), "all, or none"


def test_folders_files_and_specs_name_references(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.safetensors").touch()
    found = expand_references([str(tmp_path), "resnet8@other.pt"])
    assert list(found) == ["a", "b", "other"]
    assert {spec.role for spec in found.values()} == {"reference"}
    with pytest.raises(InputError, match="two references"):
        expand_references([str(tmp_path), str(tmp_path / "a.safetensors")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no reference student"):
        expand_references([str(tmp_path / "empty")])


@pytest.fixture(scope="module")
def with_references(attacked_study, tmp_path_factory):
    """The attacked study with two references, made by the command line; and their folder."""
    workspace = tmp_path_factory.mktemp("workspace")
    study = workspace / "study"
    shutil.copytree(attacked_study, study)
    teacher = Study.open(study).weights("teacher")
    command = [
        "reference", "--teacher", str(teacher), "--arch", "convnet", "--width", "4",
        "--images", "signs:train,n=64,seed=3", "--seeds", "2", "--epochs", "1",
        "--set", "flip=false", "--threads", "1", "--out", str(workspace / "refs"), "--quiet",
    ]  # fmt: skip
    assert _run(command) == 0
    before = json.dumps(headline(Study.open(study))["students"]["honest"])
    assert _run(["add", str(study), "--reference", str(workspace / "refs"), "--quiet"]) == 0
    return Study.open(study), workspace / "refs", before


def test_references_are_measured_on_every_condition_and_nothing_more(with_references):
    study, _, _ = with_references
    assert list(study.references) == ["reference-1000", "reference-1001"]
    assert not set(study.references) & set(study.students)
    for name, model in study.references.items():
        assert model.recipe["role"] == "reference"
        for slug in study.conditions:
            assert study.measures(name, slug)["agreement"] is not None
            assert study.measures(name, slug)["mean_neighborhood_overlap"] is not None
            assert study.has_array(f"features/{name}/{slug}/penultimate")
        assert study.measures(name, "trigger")["attack_success_rate"] is not None
        assert study.projection(name) is None
        assert study.attributions(name) == {}
        assert not study.has_array(f"placed/{name}/trigger/layout")
    assert CLEAN in study.conditions


def test_a_reference_is_not_taken_for_a_student(with_references):
    study, folder, _ = with_references
    with pytest.raises(StudyError, match="'reference-1000' as reference, not as subject"):
        add_students(study.path, {"reference-1000": str(folder / "reference-1000.safetensors")})


def test_a_reference_of_another_teacher_is_refused(with_references, tmp_path, references):
    study, _, _ = with_references
    with pytest.raises(InputError, match="distilled from another teacher"):
        add_students(study.path, {"stranger": references[0].spec()})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--images", "signs:train,n=8"], "--arch NAME, or --like"),
        (["--arch", "smalresnet", "--images", "signs:train,n=8"], "smallresnet"),
        (["--arch", "convnet", "--images", "nowhere"], "nowhere"),
        (["--arch", "convnet", "--images", "signs:train,n=8", "--set", "epoch=3"], "epochs"),
        (["--arch", "convnet", "--images", "signs:train,n=8", "--for-audit"], "at least 8"),
    ],
)
def test_bad_input_is_one_line(taught, tmp_path, capsys, arguments, words):  # noqa: F811
    command = ["reference", "--teacher", str(taught[0].weights), "--out", str(tmp_path / "refs")]
    assert _run([*command, *arguments, "--quiet"]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "refs").exists()
    assert isinstance(tmp_path, Path)
