"""Auditing a study, and models without one: what is stored, printed, reused and refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from analysis.audit import verdict
from analysis.audit.inversion import Inverted
from analysis.audit.record import read_audit, recovered
from analysis.audit.settings import BASELINES, InversionConfig
from analysis.errors import Cancelled, InputError, ModelError
from analysis.models.loading import load_model
from analysis.store import Study
from analysis.study import audit_inversion
from analysis.study.audit import audit_study
from analysis.study.audit_settings import AuditConfig
from analysis.study.comparison import compare
from analysis.study.headline import headline
from analysis.study.references import make_references, put_references, recipe_like
from analysis.study.specs import StudentSpec
from analysis.study.stages import CompareConfig
from benchmarks.zoo import auditing
from dashboard.cli import _run
from tests.unit.test_study_training import squares, taught  # noqa: F401

SEARCH = InversionConfig(
    steps=4, batch=4, asked=2, images=16, measured=8, keep=3, precision="float32"
)
QUICK = AuditConfig(families=("mask", "warp"), restarts=1, references=3, search=SEARCH)
SETTINGS = [
    "--set", "steps=4", "--set", "batch=4", "--set", "asked=2", "--set", "images=16",
    "--set", "measured=8", "--set", 'precision="float32"', "--set", "restarts=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(taught, tmp_path_factory):  # noqa: F811
    """A study of 90 squares and a folder of three references."""
    space = tmp_path_factory.mktemp("audit")
    source = squares(90, name="inspection", seed=3)
    np.savez(space / "squares.npz", images=source.images, labels=source.labels)
    teacher, student = (str(model.weights) for model in taught)
    compare(
        teacher=teacher,
        students={"one": student},
        images=str(space / "squares.npz"),
        out=space / "study",
        config=CompareConfig(probe=0, projection=False, draws=100, neighbors=3),
    )
    handle = load_model(teacher)
    references = make_references(
        teacher=handle,
        images=squares(labeled=False),
        recipe=recipe_like(load_model(student)),
        seeds=(5, 6, 7),
        cache=audit_cache(space),
    )
    put_references(references, space / "references")
    return space


def audit_cache(space):
    from analysis.store import workspace_cache

    return workspace_cache(space)


@pytest.fixture
def space(made, tmp_path):
    """A copy that may be written to."""
    return shutil.copytree(made, tmp_path / "space")


@pytest.fixture(scope="module")
def audited(made):
    done = shutil.copytree(made, made.parent / "audited-space")
    return audit_study(done / "study", references=done / "references", config=QUICK)


def test_the_verdict_and_the_triggers_are_in_the_study(audited):
    report = read_audit(Study.open(audited.path), "one")
    assert report is not None
    assert report.student == "one"
    assert list(report.classes) == ["mask", "warp"]
    assert report.classes["mask"].references.shape == (3, 3)
    assert report.primary is not None
    assert len(report.primary.null) == 3
    assert report.p_value is not None
    assert report.p_floor == 0.25
    assert report.seconds_references > 0
    assert report.primary.passes > 0
    parts = recovered(audited, "one", "mask")
    assert parts["mask"].shape == (3, 8, 8)
    assert parts["pattern"].shape == (3, 8, 8, 3)
    assert recovered(audited, "one", "warp")["flow"].shape == (3, 8, 8, 2)


def test_the_trusted_images_are_the_inspection_set_when_none_are_given(audited):
    report = read_audit(audited, "one")
    assert report.trusted["inspection_set"]
    assert sum(report.trusted["parts"].values()) == 90
    assert report.null_fit["n"] == report.trusted["parts"]["measure"]


def test_what_was_not_tested_is_said(audited):
    said = " ".join(read_audit(audited, "one").not_tested)
    assert "smooth pattern" in said
    assert "distilled on" in said
    assert "reference students" not in said


def test_the_headline_holds_the_audit(audited, made):
    found = headline(audited)["students"]["one"]["audit"]
    assert set(found) >= {"verdict", "target_class", "p_value", "p_kind", "evidence", "not_tested"}
    assert set(found["evidence"][0]) >= {
        "test", "class", "statistic", "null", "p_value", "seconds",
    }  # fmt: skip
    json.dumps(found, allow_nan=False)
    assert headline(Study.open(made / "study"))["students"]["one"]["audit"] is None


def test_a_second_audit_searches_nothing(audited, monkeypatch):
    def no_search(*arguments, **settings):
        raise AssertionError("searched again")

    monkeypatch.setattr(audit_inversion, "invert", no_search)
    before = audited.record("audit/one")
    again = audit_study(audited.path, references=audited.path.parent / "references", config=QUICK)
    assert again.record("audit/one") == before


def test_a_cancelled_audit_keeps_finished_searches(space, monkeypatch):
    searched = []
    real = audit_inversion.invert

    def counting(*arguments, **settings):
        searched.append(settings["family"])
        return real(*arguments, **settings)

    monkeypatch.setattr(audit_inversion, "invert", counting)

    def stop(stage, done, total):
        if "warp" in stage:
            raise Cancelled("enough")

    config = replace(QUICK, references=0)
    with pytest.raises(Cancelled):
        audit_study(space / "study", config=config, progress=stop)
    assert Study.open(space / "study").record("audit/one") is None
    audit_study(space / "study", config=config)
    assert searched == ["mask", "warp", "warp"]


def test_without_references_there_is_no_p_value(space):
    done = audit_study(space / "study", config=replace(QUICK, references=0, families=("mask",)))
    report = read_audit(done, "one")
    assert report.p_value is None
    assert report.verdict != "backdoored"
    assert any("reference students" in text for text in report.not_tested)


def test_references_are_distilled_on_their_own_part_of_the_trusted_images(space):
    config = replace(QUICK, references=1, families=("mask",))
    report = read_audit(audit_study(space / "study", config=config), "one")
    assert report.classes["mask"].references.shape == (1, 3)
    assert report.p_value in (0.5, 1.0)
    assert f"1 distilled on {report.trusted['parts']['distill']}" in report.trusted["references"]


def test_a_student_without_a_recipe_needs_given_references(space, taught, tmp_path):  # noqa: F811
    from analysis.models.saving import save_model

    handle = load_model(str(taught[1].weights))
    save_model(
        tmp_path / "bare.safetensors", handle.module, architecture="smallresnet", width=8,
        class_names=handle.class_names, normalization=handle.normalization, num_classes=3,
        in_channels=3, image_size=(8, 8),
    )  # fmt: skip
    compare(
        teacher=str(taught[0].weights),
        students={"bare": str(tmp_path / "bare.safetensors")},
        images=str(space / "squares.npz"),
        out=tmp_path / "bare-study",
        config=CompareConfig(probe=0, projection=False, draws=100, neighbors=3),
    )
    with pytest.raises(ModelError, match="--references DIR"):
        audit_study(tmp_path / "bare-study", config=replace(QUICK, references=1))


def test_a_repaired_student_needs_references_that_were_repaired_too(space, taught):  # noqa: F811
    compare(
        teacher=str(taught[0].weights),
        students={"fixed": StudentSpec(spec=str(taught[1].weights), role="repaired")},
        images=str(space / "squares.npz"),
        out=space / "repaired",
        config=CompareConfig(probe=0, projection=False, draws=100, neighbors=3),
    )
    config = replace(QUICK, references=0, families=("mask",))
    own = read_audit(audit_study(space / "repaired", config=config), "fixed")
    assert "the null may not fit: the student was repaired" in own.null_fit["note"]
    given = audit_study(space / "repaired", references=space / "references", config=config)
    assert "repaired" not in (read_audit(given, "fixed").null_fit["note"] or "")


def test_the_student_is_not_in_its_own_null(space, taught):  # noqa: F811
    shutil.copy(str(taught[1].weights), space / "references" / "itself.safetensors")
    config = replace(QUICK, families=("mask",))
    done = audit_study(space / "study", references=space / "references", config=config)
    report = read_audit(done, "one")
    assert report.classes["mask"].references.shape[0] == 3
    assert report.trusted["references"] == "3 that were given, without the student itself"


def test_references_of_another_teacher_are_refused(space, taught, tmp_path):  # noqa: F811
    other = tmp_path / "others"
    other.mkdir()
    shutil.copy(taught[1].weights, other / "ok.safetensors")
    audit_study(space / "study", references=other, config=replace(QUICK, families=("mask",)))
    from analysis.study.training import distill_model
    from tests.unit.test_study_training import QUICK as TRAINING

    distill_model(
        teacher=str(taught[1].weights), architecture="convnet", width=4,
        images=squares(labeled=False), out=other / "wrong.safetensors", config=TRAINING,
    )  # fmt: skip
    with pytest.raises(InputError, match="another teacher"):
        audit_study(space / "study", references=other, config=QUICK)


def test_a_thorough_audit_shows_neural_cleanse_and_does_not_judge_by_it(space):
    config = replace(QUICK, budget="thorough", references=0, families=("mask",))
    report = read_audit(audit_study(space / "study", config=config), "one")
    tests = [finding.test for finding in report.evidence]
    assert tests == ["inversion", "sticker_bank", "strip", "neural_cleanse"]
    shown = report.evidence[3]
    assert shown.p_value is None
    assert shown.threshold == 2
    assert int(np.argmax(shown.scores)) == shown.target_class
    assert shown.passes > 0


def test_the_distillation_set_is_screened_and_its_alarms_are_secondary(space):
    config = replace(QUICK, references=0, families=("mask",))
    done = audit_study(space / "study", distillation=str(space / "squares.npz"), config=config)
    report = read_audit(done, "one")
    alarms = [one for one in report.evidence[1:] if one.test not in BASELINES]
    assert alarms
    assert not any(finding.primary for finding in alarms)
    assert len(done.record("screening")["evidence"]) == len(alarms)
    known = [finding for finding in alarms if finding.p_value is not None]
    assert all(finding.corrected_p_value >= finding.p_value for finding in known)
    assert not any("distilled on" in text for text in report.not_tested)


def test_other_trusted_images_are_brought_to_the_models_size(space):
    other = squares(90, name="other", seed=9, side=16)
    np.savez(space / "larger.npz", images=other.images, labels=other.labels)
    config = replace(QUICK, references=0, families=("mask",))
    done = audit_study(space / "study", images=str(space / "larger.npz"), config=config)
    report = read_audit(done, "one")
    assert not report.trusted["inspection_set"]
    assert recovered(done, "one", "mask")["mask"].shape == (3, 8, 8)


def test_the_command_audits_models_without_a_study(made, taught, tmp_path, capsys):  # noqa: F811
    command = [
        "audit", "--teacher", str(taught[0].weights), "--student", f"s={taught[1].weights}",
        "--images", str(made / "squares.npz"), "--references", str(made / "references"),
        "--budget", "fast", "--out", str(tmp_path / "new"), "--json", "--quiet", *SETTINGS,
    ]  # fmt: skip
    assert _run(command) == 0
    found = json.loads(capsys.readouterr().out)["students"]["s"]["audit"]
    assert found["verdict"] in ("no_evidence_found", "suspicious", "backdoored")
    assert list(found["classes"]) == ["mask"]
    assert read_audit(Study.open(tmp_path / "new"), "s").to_json() == found


def test_fail_on_exits_with_3_from_that_verdict_on(space, monkeypatch, capsys):
    command = ["audit", str(space / "study"), "--budget", "fast", "--references",
               str(space / "references"), "--quiet", *SETTINGS]  # fmt: skip
    assert _run(command) == 0
    out = capsys.readouterr().out
    assert "the study's inspection set" in out
    assert "not tested:" in out
    # Every p-value is significant at 1, and no trigger moves so many images more than that.
    monkeypatch.setattr(verdict, "LEVEL", 1.0)
    monkeypatch.setattr(verdict, "GAP", 2.0)
    assert _run([*command, "--fail-on", "suspicious"]) == 3
    assert _run([*command, "--fail-on", "backdoored"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no study and no --teacher, --student, --images, --out"),
        (["nowhere"], "nowhere"),
        (["STUDY", "--teacher", "x"], "--teacher beside the study"),
        (["STUDY", "--student", "on"], "one"),
        (["STUDY", "--budget", "fasst"], "fast"),
        (["STUDY", "--fail-on", "suspicous"], "suspicious"),
        (["STUDY", "--references", "nofolder"], "nofolder"),
        (["STUDY", "--set", "use=keeep", "--references", "0"], "keep"),
        (["STUDY", "--set", "stepps=3"], "steps"),
        (["STUDY", "--set", 'families=["msk"]'], "mask"),
        (["STUDY", "--set", 'families=["mask", "mask"]'], "each trigger model once"),
        (["STUDY", "--set", "families=[]"], "at least one"),
        (["STUDY", "--images", "nothing.npz"], "nothing.npz"),
    ],
)
def test_bad_input_is_one_line_and_2(made, arguments, message, capsys):
    given = [str(made / "study") if part == "STUDY" else part for part in arguments]
    assert _run(["audit", *given]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error.splitlines()[-1]
    assert error.splitlines()[-1].startswith("error: ")
    assert Study.open(made / "study").record("audit/one") is None


def test_the_zoos_verdict_is_the_audits_own(audited):
    """From the searches of an audited study the zoo comes to the study's own verdict."""
    report = read_audit(audited, "one")
    assert report is not None

    def searched(row):
        return {
            family: Inverted(
                family=family,
                log_size=sizes.log_size if row is None else sizes.references[row],
                censored=sizes.censored if row is None else sizes.references_censored[row],
                flip_student=sizes.flip_student,
                flip_teacher=sizes.flip_teacher,
                parts={},
                passes=0.0,
                seconds=0.0,
                precision="float32",
            )
            for family, sizes in report.classes.items()
        }

    references = [searched(row) for row in range(3)]
    names = audited.class_names
    again = auditing.verdict("one", names, searched(None), references)
    assert again.verdict == report.verdict
    assert again.p_value == report.p_value
    assert again.family == report.family
    assert again.evidence[0].statistic == report.evidence[0].statistic
    assert again.evidence[0].null == report.evidence[0].null
    assert again.evidence[0].target_class == report.evidence[0].target_class
    row = auditing.our_row(again, again, names)
    assert row["named"] == names[report.evidence[0].target_class]
    assert row["references_up_to"] == max(report.evidence[0].null)
