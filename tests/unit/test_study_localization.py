"""Stage: localization on affected images, and the probes that an audit takes for evidence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.attack.recovered import RecoveredTrigger
from analysis.audit.localization import pointing
from analysis.data.imageset import to_pixels
from analysis.models.loading import load_model
from analysis.store import StageCache, Study
from analysis.study.images import images_of_study
from analysis.study.localization import LocalizationConfig, localize
from analysis.study.probes import (
    Probed,
    sticker_finding,
    strip_of_trigger,
)
from analysis.study.recovered import Suspect, find_suspect
from analysis.study.stages import CompareConfig, Workbench
from tests.attacked import TARGET, TRIGGER

FEW = LocalizationConfig(images=4, steps=4, window=6, stride=6)


@pytest.fixture(scope="module")
def attacked(attacked_study: Path) -> Study:
    return Study.open(attacked_study)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return Workbench(StageCache(tmp_path_factory.mktemp("cache")), CompareConfig(draws=100))


def red_square(target: int) -> Suspect:
    mask, pattern = np.zeros((32, 32)), np.zeros((32, 32, 3))
    mask[25:31, 25:31] = 1
    pattern[..., 0] = 1
    trigger = RecoveredTrigger(family="mask", parts={"mask": mask, "pattern": pattern})
    return Suspect(trigger=trigger, target=target, recovered=True)


def test_maps_lie_on_affected_images_that_carry_the_trigger(
    attacked: Study, bench: Workbench
) -> None:
    import torch

    target = attacked.class_names.index(TARGET)
    found = localize(bench, attacked, "backdoored", red_square(target), config=FEW)
    record = found.records["localization/backdoored"]
    arrays = {
        key.removeprefix("localization/backdoored/"): np.load(path)
        for key, path in found.arrays.items()
    }
    assert record["n"] == len(arrays["sample_ids"]) == 4
    images = images_of_study(attacked)
    rows = images.rows_of(arrays["sample_ids"])
    student = load_model(str(attacked.weights("backdoored")))
    with torch.no_grad():
        before, after = (
            student(torch.from_numpy(to_pixels(np.asarray(pixels)))).argmax(1).numpy()
            for pixels in (images.images[rows], arrays["images"])
        )
    assert (after == target).all()
    assert (before != target).all()
    assert (images.labels[rows] != target).all()
    changed = (arrays["images"] != images.images[rows]).any(axis=3)
    assert (changed <= arrays["region"]).all()
    for name in ("pair", "occlusion"):
        assert arrays[name].shape == (4, 32, 32)
        measured = record["maps"][name]["student"]
        assert measured["recovered"] == pointing(arrays[name], arrays["region"]).to_json()
        # The recovered square is where the study's own patch is.
        assert measured["true"]["area"] == pytest.approx(36 / 1024, rel=0.2)
    assert record["support_overlap"] > 0.8
    assert record["reference"] is None


def test_a_told_trigger_and_a_student_that_it_does_nothing_to(
    attacked: Study, bench: Workbench
) -> None:
    told = find_suspect(attacked, "backdoored", TRIGGER.trigger)
    found = localize(bench, attacked, "backdoored", told, config=FEW)
    assert found.records["localization/backdoored"]["support_overlap"] == pytest.approx(1)
    weak = RecoveredTrigger(
        family="spatial", parts={"delta": np.zeros((32, 32, 3), dtype=np.float32)}
    )
    nothing = Suspect(trigger=weak, target=told.target, recovered=True)
    found = localize(bench, attacked, "honest", nothing, config=FEW)
    assert found.records["localization/honest"]["n"] == 0
    assert not found.arrays


def test_a_given_reference_stands_beside(attacked: Study, bench: Workbench) -> None:
    handle = load_model(str(attacked.weights("honest")))
    target = attacked.class_names.index(TARGET)
    found = localize(
        bench,
        attacked,
        "backdoored",
        red_square(target),
        beside=Probed(name="given", handle=handle),
        config=FEW,
    )
    record = found.records["localization/backdoored"]
    assert record["reference"] == "given"
    for name in ("pair", "occlusion"):
        assert set(record["maps"][name]) == {"student", "reference"}
        assert set(record["maps"][name]["reference"]) == {"recovered", "true"}


def test_probes_are_findings(attacked: Study, bench: Workbench) -> None:
    images = images_of_study(attacked).rows(np.arange(16))
    teacher, student, other = (
        load_model(str(attacked.weights(name))) for name in ("teacher", "backdoored", "honest")
    )
    probed = Probed(name="backdoored", handle=student)
    references = [Probed(name="honest", handle=other)]
    found = sticker_finding(bench, teacher, probed, references, images, attacked.class_names)
    assert found.p_value in (0.5, 1.0)
    assert len(found.null) == 1
    assert len(found.scores) == len(attacked.class_names)
    again = sticker_finding(bench, teacher, probed, (), images, attacked.class_names)
    assert again.statistic == found.statistic
    assert again.p_value is None
    suspect = red_square(attacked.class_names.index(TARGET))
    strip = strip_of_trigger(bench, probed, images, suspect.trigger, draws=4)
    assert 0 <= strip.statistic <= 1
    assert "recovered mask" in strip.sentence
    assert strip.to_json()["scores"] == []


def test_outputs_in_another_order_are_read_in_the_teachers(attacked: Study) -> None:
    import torch

    handle = load_model(str(attacked.weights("honest")))
    pixels = torch.rand(2, 3, 32, 32)
    order = tuple(reversed(range(16)))
    with torch.no_grad():
        plain, ordered = (
            Probed(name="a", handle=handle),
            Probed(name="b", handle=handle, order=order),
        )
        assert torch.equal(ordered(pixels), plain(pixels)[:, list(order)])
