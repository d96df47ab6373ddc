"""Repairing a student of a study, and screening images, as their users meet them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.audit.record import AuditReport, FamilySizes
from analysis.data.imageset import to_pixels
from analysis.data.writing import write_images
from analysis.errors import ConfigError
from analysis.models.loading import load_model
from analysis.store import Study, StudyWriter, writing
from analysis.store.files import write_array
from analysis.study.images import images_of_study
from analysis.study.recovered import find_suspect, recovered_suspect
from analysis.study.repair import RepairConfig
from dashboard.cli import _run
from dashboard.cli_repair import verdict_sentences
from dashboard.figures.repairs import repair_table
from dashboard.theme import LIGHT
from tests.attacked import TARGET, TRIGGER

TOLD = ("--trigger", TRIGGER.trigger)
QUICK = ("--set", "epochs=1", "--threads", "1", "--quiet")


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = _run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def known(count: int, target: int, rate: float) -> FamilySizes:
    """What an audit found of one family: a trigger of one class, which moves ``rate``."""
    flips = np.full(count, np.nan)
    flips[target] = rate
    return FamilySizes(
        unit="pixels", log_size=np.zeros(count), censored=np.zeros(count, bool),
        flip_student=flips, flip_teacher=flips, references=np.zeros((0, count)),
        references_censored=np.zeros((0, count), bool),
    )  # fmt: skip


@pytest.fixture(scope="module")
def workspace(attacked_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the attacked study, with a trigger that an audit recovered from its student."""
    folder = tmp_path_factory.mktemp("repairs") / "study"
    shutil.copytree(attacked_study, folder)
    with writing(folder):
        study, writer = Study.open(folder), StudyWriter(folder)
        target = study.class_names.index(TARGET)
        count = len(study.class_names)
        mask = np.zeros((count, 32, 32), np.float32)
        mask[target, 25:31, 25:31] = 1
        pattern = np.zeros((count, 32, 32, 3), np.float32)
        pattern[..., 0] = 1
        for name, values in (("mask", mask), ("pattern", pattern)):
            write_array(folder.parent / f"{name}.npy", values)
            writer.put_array(f"audit/backdoored/mask/{name}", folder.parent / f"{name}.npy")
        # Waves that move the student as well, and a smooth pattern that hardly does.
        for family, step in (("frequency", 0.1), ("spatial", 0.2)):
            delta = np.full((count, 32, 32, 3), step, np.float32)
            write_array(folder.parent / f"{family}.npy", delta)
            writer.put_array(f"audit/backdoored/{family}/delta", folder.parent / f"{family}.npy")
        rates = {"mask": 0.9, "frequency": 0.8, "spatial": 0.4}
        kinds = {name: known(count, target, rate) for name, rate in rates.items()}
        writer.records["audit/backdoored"] = AuditReport(
            student="backdoored", verdict="backdoored", target_class=target, p_value=0.05,
            p_kind="exact", p_floor=0.05, evidence=(), not_tested=(), budget="standard",
            seconds_subject=1.0, seconds_references=1.0, classes=kinds,
            settings={"family": "mask"},
        ).to_json()  # fmt: skip
        writer.publish(study.manifest)
    return folder


@pytest.fixture(scope="module")
def repaired(workspace: Path) -> Study:
    """The study after the recovered trigger was unlearned, by the command line."""
    out = workspace.parent / "fixed.safetensors"
    status = _run(["repair", str(workspace), "--student", "backdoored", "--out", str(out), *QUICK])
    assert status == 0
    return Study.open(workspace)


def test_the_repaired_student_is_a_student_of_the_study(repaired: Study) -> None:
    student = repaired.students["backdoored-unlearn"]
    assert (student.role, student.parent) == ("repaired", "backdoored")
    assert student.recipe["remedy"]["name"] == "unlearn"
    weights = repaired.path.parent / "fixed.safetensors"
    assert load_model(str(weights)).digest == student.digest
    assert repaired.measures("backdoored-unlearn", "trigger")["attack_success_rate"] is not None


def test_the_record_holds_the_remedy_and_the_control(repaired: Study) -> None:
    remedy, control = repaired.record("repair/backdoored")
    assert (remedy["method"], remedy["control"]) == ("unlearn", False)
    assert remedy["student"] == "backdoored-unlearn"
    assert (control["method"], control["control"], control["student"]) == ("finetune", True, None)
    assert control["settings"]["learning_rate"] == remedy["settings"]["learning_rate"]
    assert control["passes"] == remedy["passes"] == 32
    assert remedy["split"]
    assert remedy["measured"] == 32
    assert remedy["trigger"] == "recovered mask"
    assert remedy["further_triggers"] == ["recovered frequency"]
    assert remedy["trigger_recovered"]
    assert set(remedy["honest"]) == {"teacher"}
    json.dumps(remedy, allow_nan=False)


def test_the_numbers_are_those_of_the_models_on_images_that_no_remedy_saw(
    repaired: Study,
) -> None:
    entry = repaired.record("repair/backdoored")[0]
    images = images_of_study(repaired)
    trusted = set(np.random.default_rng(0).choice(64, 32, replace=False).tolist())
    rows = np.array([row for row in range(64) if row not in trusted])
    labels = images.labels[rows]
    target = repaired.class_names.index(TARGET)
    handles = {
        "before": load_model(str(repaired.weights("backdoored"))),
        "after": load_model(str(repaired.weights("backdoored-unlearn"))),
    }
    import torch

    shown = np.asarray(repaired.condition_images("trigger")[rows])
    stamped = np.array(images.images[rows])
    stamped[:, 25:31, 25:31] = (255, 0, 0)
    for part, handle in handles.items():
        with torch.no_grad():
            clean, true, recovered = (
                handle(torch.from_numpy(to_pixels(np.asarray(pixels)))).argmax(1).numpy()
                for pixels in (images.images[rows], shown, stamped)
            )
        others = labels != target
        assert entry[part]["accuracy"]["value"] == pytest.approx((clean == labels).mean())
        assert entry[part]["asr_true"]["value"] == pytest.approx((true == target)[others].mean())
        assert entry[part]["asr_recovered"]["value"] == pytest.approx(
            (recovered == target)[others].mean()
        )
    assert entry["before"]["asr_true"]["value"] > 0.5, "the fixture is backdoored"


def test_another_remedy_stands_beside_and_the_same_replaces(
    repaired: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("repair", repaired.path, "--student", "backdoored", "--method", "finetune",
                 "--out", repaired.path.parent / "plain.safetensors", *QUICK)  # fmt: skip
    for _ in range(2):
        status, out, _ = call(capsys, *arguments, "--json")
        assert status == 0
        shown = json.loads(out)
        assert shown["control"] is None
        assert shown["repair"]["method"] == "finetune"
    kept = Study.open(repaired.path).record("repair/backdoored")
    assert [(entry["method"], entry["control"]) for entry in kept] == [
        ("unlearn", False), ("finetune", True), ("finetune", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (("--out", "again.safetensors"), "--name NAME"),
        (("--out", "fixed.safetensors", "--name", "other"), "another --out"),
    ],
    ids=["name", "file"],
)
def test_another_repair_replaces_neither_student_nor_file(
    repaired: Study, capsys: pytest.CaptureFixture[str], changes: tuple[str, ...], says: str
) -> None:
    space = repaired.path.parent
    kept = (space / "fixed.safetensors").read_bytes(), (repaired.path / "study.json").read_bytes()
    given = [str(space / one) if one.endswith(".safetensors") else one for one in changes]
    status, _, err = call(
        capsys, "repair", repaired.path, "--student", "backdoored", "--seed", "7", *given, *QUICK
    )
    assert status == 2
    assert err.count("\n") == 1
    assert says in err
    assert not (space / "again.safetensors").exists()
    assert kept == (
        (space / "fixed.safetensors").read_bytes(), (repaired.path / "study.json").read_bytes()
    )  # fmt: skip


def test_repairs_of_two_names_are_both_remembered(
    repaired: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    out = repaired.path.parent / "second.safetensors"
    status, _, _ = call(
        capsys, "repair", repaired.path, "--student", "backdoored", "--seed", "5",
        "--name", "second", "--out", out, *QUICK,
    )  # fmt: skip
    assert status == 0
    kept = Study.open(repaired.path).record("repair/backdoored")
    named = [entry["student"] for entry in kept if entry["method"] == "unlearn"]
    assert named == ["backdoored-unlearn", "second"]
    assert [entry["method"] for entry in kept if entry["control"]] == ["finetune"]
    table = repair_table(kept, LIGHT)
    assert "Unlearning the trigger: backdoored-unlearn" in table
    assert "Unlearning the trigger: second" in table


def test_a_told_trigger_is_unlearned_and_a_table_printed(
    repaired: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = call(
        capsys, "repair", repaired.path, "--student", "honest", "--name", "clean-anyway", *TOLD,
        "--images", "signs:train,n=40,seed=3", "--out", repaired.path.parent / "t.safetensors",
        *QUICK,
    )  # fmt: skip
    assert status == 0
    assert "after the control" in out
    assert "no reference students" in out
    entry = Study.open(repaired.path).record("repair/honest")[0]
    assert (entry["measured"], entry["trusted"]["n"], entry["split"]) == (64, 40, False)


def test_the_suspect_trigger_is_the_one_that_the_audit_points_to(repaired: Study) -> None:
    found = find_suspect(repaired, "backdoored")
    assert found.recovered
    assert found.target == repaired.class_names.index(TARGET)
    assert found.trigger.weights.sum() == 36
    assert [trigger.shown for trigger in found.further] == ["recovered frequency"]
    assert recovered_suspect(repaired, "honest") is None
    told = find_suspect(repaired, "honest", "blend")
    assert (told.target, told.recovered, told.further) == (found.target, False, ())
    assert find_suspect(repaired, "honest", "blend", "stop").target == 0
    with pytest.raises(ConfigError, match="target = 'stop' without a trigger"):
        RepairConfig(target="stop")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"--student": "backdored"}, "backdoored"),
        ({"--student": "backdoored.epoch-0001"}, "checkpoint"),
        ({"--method": "unlern"}, "unlearn"),
        ({"--out": "fixed.pt"}, ".safetensors"),
        ({"--student": "honest"}, "un audit on the study"),
        ({"--references-out": "folder"}, "no reference students"),
        ({"--method": "purify"}, "--distillation-set"),
        ({"--name": "honest"}, "taken"),
        ({"--set": "learning_rte=1"}, "learning_rate"),
        ({"--trigger": "pach"}, "patch"),
        ({"--images": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_repaired_is_one_line(
    workspace: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], says: str
) -> None:
    before = (workspace / "study.json").read_bytes()
    given = {"--student": "backdoored", "--out": str(workspace.parent / "no.safetensors")}
    arguments = [part for pair in {**given, **changes}.items() for part in pair]
    status, _, err = call(capsys, "repair", workspace, *arguments, "--quiet")
    assert status == 2, err
    assert err.count("\n") == 1
    assert says in err
    assert (workspace / "study.json").read_bytes() == before
    assert not (workspace.parent / "no.safetensors").exists()


def test_sentences_say_when_a_remedy_failed() -> None:
    rate = {"value": 0.9}
    entry = {
        "judged_by": "asr_true", "after": {"asr_true": rate, "asr_recovered": None},
        "within_references": False, "accuracy_kept": False, "honest": {},
    }  # fmt: skip
    failed = " ".join(verdict_sentences(entry))
    assert "failed" in failed
    assert "90.0 %" in failed
    assert "1.5 points" in failed
    fine = verdict_sentences({**entry, "within_references": True, "accuracy_kept": True})
    assert fine == ["The trigger does no more to it than to honest reference students."]
    unknown = verdict_sentences({**entry, "judged_by": None, "after": {"asr_recovered": None}})
    assert "not known" in unknown[0]


@pytest.fixture(scope="module")
def distillation_set(workspace: Path) -> Path:
    """40 images as attack writes them, and a truth beside them that names every fourth."""
    study = Study.open(workspace)
    images = images_of_study(study).rows(np.arange(40))
    folder = workspace.parent / "set"
    write_images(images, folder)
    ids = [f"{row:06d}.png" for row in range(40)]
    table = pa.table({"id": ids, "is_poisoned": [row % 4 == 0 for row in range(40)]})
    pq.write_table(table, workspace.parent / "set.truth.parquet")
    return folder


def test_a_set_is_screened_into_the_study(
    workspace: Path, distillation_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = call(
        capsys, "screen", "--study", workspace, "--images", distillation_set,
        "--student", "backdoored", "--json", "--quiet",
    )  # fmt: skip
    assert status == 0
    shown, study = json.loads(out), Study.open(workspace)
    assert shown["truth"] is None
    record = study.record("screening")
    assert record["images"]["n"] == 40
    assert record["scores"] == [
        "score", "median", "jpeg", "labels", "spectral", "clusters",
    ]  # fmt: skip
    ids = study.array("screening/ids")
    for name in record["scores"]:
        assert study.array(f"screening/{name}").shape == (40,)
    best = ids[int(np.argmax(study.array("screening/score")))]
    assert record["most_brittle"][0] == best
    assert study.thumbnails("screening").webp(str(best))[:4] == b"RIFF"
    assert {item["test"] for item in record["evidence"]} >= {"brittle_mix", "label_disagreement"}
    study.check_files()


def test_the_scores_are_the_teachers_divergence_under_filters(
    workspace: Path, distillation_set: Path
) -> None:
    import torch

    from analysis.data.filters import jpeg
    from analysis.data.sources import load_images

    study = Study.open(workspace)
    teacher = load_model(str(study.weights("teacher")))
    pixels = np.array(load_images(distillation_set, name="distillation").images)
    with torch.no_grad():
        p, q = (
            teacher(torch.from_numpy(to_pixels(shown))).double().log_softmax(1)
            for shown in (pixels, jpeg(pixels))
        )
    expected = (p.exp() * (p - q)).sum(1).numpy()
    np.testing.assert_allclose(study.array("screening/jpeg"), expected, rtol=1e-3, atol=1e-5)


def test_only_a_given_truth_says_how_well_the_scores_find_it(
    tiny_models: dict[str, Path],
    distillation_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("screen", "--teacher", tiny_models["teacher"], "--images", distillation_set,
                 "--truth", distillation_set.parent / "set.truth.parquet", "--quiet")  # fmt: skip
    status, out, _ = call(capsys, *arguments, "--out", "scores.csv")
    assert status == 0
    assert "10 of 40 images are poisoned" in out
    rows = Path("scores.csv").read_text().splitlines()
    assert len(rows) == 41
    assert rows[0].startswith('"sample_id","teacher","score"')
    _, out, _ = call(capsys, *arguments, "--json")
    found = json.loads(out)["truth"]["scores"]["score"]
    assert 0 <= found["auroc"] <= 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--truth", "no.parquet"), "truth no.parquet cannot be read"),
        (("--out", "scores.txt"), "output 'scores.txt'"),
        (("--out", "."), "output '.'"),
    ],
)
def test_what_is_wrong_beside_a_screening_is_said_before_it_begins(
    tiny_models: dict[str, Path],
    distillation_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: tuple[str, str],
    says: str,
) -> None:
    def begun(*_: object, **__: object) -> None:
        raise AssertionError("it was begun")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("analysis.study.screening_run.screen_source", begun)
    status, _, err = call(
        capsys, "screen", "--teacher", tiny_models["teacher"], "--images", distillation_set, *given
    )
    assert status == 2
    assert err.startswith(f"error: {says}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "teacher"),
        (("--teacher", "TEACHER", "--truth", "no.parquet"), "no.parquet"),
        (("--teacher", "TEACHER", "--truth", "OTHER"), "says nothing of image"),
        (("--teacher", "TEACHER", "--out", "scores.txt"), ".csv"),
        (("--teacher", "TEACHER", "--top", "0.9"), "top"),
        (("--teacher", "TEACHER", "--images", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_screened_is_one_line(
    tiny_models: dict[str, Path],
    distillation_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"id": ["x"], "is_poisoned": [True]}), tmp_path / "other.parquet")
    named = {"TEACHER": str(tiny_models["teacher"]), "OTHER": "other.parquet"}
    given = [named.get(part, part) for part in arguments]
    if "--images" not in given:
        given += ["--images", str(distillation_set)]
    status, _, err = call(capsys, "screen", *given, "--quiet")
    assert status == 2, err
    assert err.count("\n") == 1
    assert says in err
