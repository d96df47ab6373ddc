"""The embedded models are the ones that their log speaks of, and still read today's signs."""

import json

import numpy as np
import pytest
import torch

from analysis.data.signs import SIGN_CLASSES
from analysis.data.sources import load_images
from analysis.distillation.history import History
from analysis.models.loading import load_model
from analysis.study.demo import ASSETS, IMAGES

FILES = ("teacher", "honest")


@pytest.fixture(scope="module")
def log():
    return json.loads((ASSETS / "log.json").read_text())


@pytest.fixture(scope="module")
def handles():
    return {name: load_model(str(ASSETS / f"{name}.safetensors")) for name in FILES}


def test_the_log_speaks_of_these_files(log, handles):
    assert {name: handle.digest for name, handle in handles.items()} == log["test"]["digests"]
    assert log["test"]["images"] == IMAGES
    assert sum((ASSETS / f"{name}.safetensors").stat().st_size for name in FILES) < 3_000_000


def test_the_student_was_distilled_from_the_teacher_without_labels(handles):
    recipe = handles["honest"].metadata
    assert recipe["teacher"]["digest"] == handles["teacher"].digest
    assert recipe["objective"]["hard_label_weight"] == 0
    assert recipe["training"]["flip"] is False, "a mirrored sign is another sign"
    assert handles["honest"].class_names == handles["teacher"].class_names == SIGN_CLASSES


def test_the_log_holds_every_epoch(log):
    epochs = {name: len(History.from_json(data).epochs) for name, data in log["models"].items()}
    assert epochs == {"teacher": 9, "honest": 26}
    assert str(ASSETS.parent.parent) not in json.dumps(log)


def test_the_models_read_the_signs_that_are_rendered_today(log, handles):
    images = load_images(IMAGES.replace("n=2000", "n=320"))
    pixels = torch.from_numpy(next(images.batches(320))[1])
    for name, handle in handles.items():
        with torch.no_grad():
            answer = handle(pixels).argmax(1).numpy()
        # 320 images: three standard errors of an accuracy of 95 % are under 4 points.
        assert np.mean(answer == images.labels) > log["test"]["accuracy"][name] - 0.04
