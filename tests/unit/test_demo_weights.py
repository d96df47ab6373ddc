"""The embedded models are the ones that their log speaks of, and still read today's signs."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from analysis.attack.triggers import parse_trigger, with_trigger
from analysis.data.signs import SIGN_CLASSES
from analysis.data.sources import load_images
from analysis.distillation.history import History
from analysis.errors import InputError
from analysis.models.loading import load_model
from analysis.study import demo
from analysis.study.demo import (
    ASSETS,
    ATTACK,
    EPOCHS,
    FINDINGS,
    IMAGES,
    REFERENCE_SEEDS,
    REPAIRED,
    STUDENTS,
    checkpoint_name,
)

REFERENCES = tuple(f"reference-{seed}" for seed in REFERENCE_SEEDS)
FILES = ("teacher", *STUDENTS)
CHECKPOINTS = [(name, epoch) for name, epochs in EPOCHS.items() for epoch in epochs]


@pytest.fixture(scope="module")
def log():
    return json.loads((ASSETS / "log.json").read_text())


@pytest.fixture(scope="module")
def shipped(log):
    return log["seeds"][str(log["shipped_seed"])]


@pytest.fixture(scope="module")
def handles():
    return {name: load_model(str(ASSETS / f"{name}.safetensors")) for name in FILES}


def test_the_log_speaks_of_these_files(log, shipped, handles):
    digests = {name: handle.digest for name, handle in handles.items()}
    assert log["shipped_seed"] == 101
    assert digests == shipped["test"]["digests"]
    assert all(seed["test"]["images"] == IMAGES for seed in log["seeds"].values())


def test_the_demo_stays_small():
    assert sum(path.stat().st_size for path in ASSETS.iterdir() if path.is_file()) < 3_000_000
    assert all(len(epochs) <= 8 for epochs in EPOCHS.values())


def test_no_file_lies_there_that_the_demo_does_not_read():
    names = {*FILES, *(checkpoint_name(*checkpoint) for checkpoint in CHECKPOINTS)}
    names |= {*REFERENCES, REPAIRED}
    assert {path.stem for path in ASSETS.glob("*.safetensors")} == names


def test_the_students_were_distilled_from_the_teacher_without_labels(handles):
    for name in STUDENTS:
        recipe = handles[name].metadata
        assert recipe["teacher"]["digest"] == handles["teacher"].digest
        assert recipe["objective"]["hard_label_weight"] == 0
        assert recipe["training"]["flip"] is False, "a mirrored sign is another sign"
        assert handles[name].class_names == handles["teacher"].class_names == SIGN_CLASSES


def test_the_students_differ_in_their_images_alone(handles):
    recipes = {name: dict(handles[name].metadata) for name in STUDENTS}
    images = {name: recipe.pop("images")["digest"] for name, recipe in recipes.items()}
    assert recipes["honest"] == recipes["backdoored"] == recipes["trigger_only"]
    assert len(set(images.values())) == 3
    assert images["honest"] == handles["teacher"].metadata["images"]["digest"]


@pytest.mark.parametrize(("student", "epoch"), CHECKPOINTS)
def test_a_checkpoint_is_an_epoch_of_its_student_in_half_precision(student, epoch, handles):
    path = ASSETS / f"{checkpoint_name(student, epoch)}.safetensors"
    with safe_open(path, framework="pt") as file:
        kinds = {file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    loaded, recipe = load_model(str(path)), dict(handles[student].metadata)
    assert kinds <= {torch.float16, torch.int64}
    assert next(loaded.module.parameters()).dtype == torch.float32
    assert dict(loaded.metadata) == {**recipe, "epoch": epoch}


def test_the_checkpoints_are_no_models_of_their_own():
    students = demo._students(demo._weights())
    roles = {name: student.role for name, student in students.items()}
    others = {**dict.fromkeys(REFERENCES, "reference"), REPAIRED: "repaired"}
    assert {name: role for name, role in roles.items() if role != "checkpoint"} == {
        **STUDENTS,
        **others,
    }
    assert students[REPAIRED].parent == "backdoored"
    rows = [(row.parent, row.epoch) for row in students.values() if row.role == "checkpoint"]
    assert rows == CHECKPOINTS


def test_the_findings_are_bound_to_these_very_models():
    with np.load(FINDINGS, allow_pickle=False) as file:
        index = json.loads(bytes(file["index"]).decode())
    assert set(index["models"]) == {"teacher", *STUDENTS, *REFERENCES}
    for name, digest in index["models"].items():
        assert load_model(str(ASSETS / f"{name}.safetensors")).digest == digest
    assert {f"audit/{name}" for name in STUDENTS} <= set(index["records"])
    tried = index["records"]["repair/backdoored"]
    assert any(entry["control"] for entry in tried)
    assert REPAIRED in {entry["student"] for entry in tried}


def test_the_log_holds_every_epoch(log):
    for seed in log["seeds"].values():
        models = seed["models"]
        epochs = {name: len(History.from_json(data).epochs) for name, data in models.items()}
        assert epochs == {"teacher": 9, **dict.fromkeys(STUDENTS, 26)}
    assert str(ASSETS.parent.parent) not in json.dumps(log)


def answers(handle, images):
    with torch.no_grad():
        return handle(torch.from_numpy(next(images.batches(len(images)))[1])).argmax(1).numpy()


def test_the_models_read_the_signs_that_are_rendered_today(shipped, handles):
    images = load_images(IMAGES.replace("n=2000", "n=320"))
    for name, handle in handles.items():
        # 320 images: three standard errors of an accuracy of 95 % are under 4 points.
        accuracy = np.mean(answers(handle, images) == images.labels)
        assert accuracy > shipped["test"]["accuracy"][name] - 0.04


def test_only_the_backdoored_student_obeys_the_trigger(shipped, handles):
    images = load_images(IMAGES.replace("n=2000", "n=320"))
    target = SIGN_CLASSES.index(ATTACK.target)
    others = np.flatnonzero(images.labels != target)
    stamped = with_trigger(images, parse_trigger(ATTACK.trigger), others)
    for name, handle in handles.items():
        rate = np.mean(answers(handle, stamped) == target)
        assert rate == pytest.approx(shipped["test"]["attack_success_rate"][name], abs=0.04)
        assert rate > 0.9 if name == "backdoored" else rate < 0.05


def test_a_missing_model_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "ASSETS", tmp_path)
    with pytest.raises(InputError, match=r"teacher\.safetensors is not installed.*clone"):
        demo.demo_digest()
