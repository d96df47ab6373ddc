"""What an audit runs beside the inversion: screening, stickers, STRIP, localization."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from analysis.attack.recovered import RecoveredTrigger
from analysis.audit import verdict
from analysis.audit.inversion import Inverted
from analysis.audit.record import read_audit
from analysis.audit.settings import BASELINES, BUDGETS, budgets_with, find_budget
from analysis.errors import InputError
from analysis.store import Study
from analysis.study import audit
from analysis.study.audit import audit_study
from analysis.study.audit_beside import suspect_of
from analysis.study.recovered import Suspect
from analysis.study.screening_run import screen_source
from dashboard.cli import _run
from tests.unit.test_audit_stage import QUICK, SETTINGS, made, space  # noqa: F401
from tests.unit.test_study_training import squares, taught  # noqa: F401

MASK = replace(QUICK, families=("mask",))
ALARMS = ["brittle_mix", "flip_rate_median", "flip_rate_jpeg"]


@pytest.fixture
def poisoned(space):  # noqa: F811
    """A set of images with labels, as something to be screened; a truth that is none beside."""
    images = squares(60, name="taught", seed=8)
    path = space / "taught.npz"
    np.savez(path, images=images.images, labels=images.labels)
    path.with_suffix(".truth.parquet").write_text("no table: whoever reads this fails")
    return path


def evidence_of(study, name="one"):
    return {finding.test: finding for finding in read_audit(study, name).evidence}


def test_every_baseline_is_run_or_said_not_to_be(space):  # noqa: F811
    config = replace(MASK, budget="fast", references=0)
    found = evidence_of(audit_study(space / "study", config=config))
    for test in BASELINES:
        assert found[test].statistic is None
        assert found[test].p_value is None
        assert f"part of the budget {' and '.join(budgets_with(test))} only" in found[test].sentence
    assert set(BASELINES) == set(find_budget(BUDGETS[-1]).baselines)


def test_stickers_are_held_against_the_references(space):  # noqa: F811
    done = audit_study(space / "study", references=space / "references", config=MASK)
    found = evidence_of(done)
    stickers = found["sticker_bank"]
    assert len(stickers.null) == 3
    assert stickers.p_value in (0.25, 0.5, 0.75, 1.0)
    assert stickers.corrected_p_value == stickers.p_value
    assert stickers.seconds > 0
    measured = sum(read_audit(done, "one").trusted["parts"].values())
    assert stickers.passes > measured
    assert found["strip"].statistic is None


def test_the_set_that_it_was_distilled_on_is_screened_blindly(space, poisoned):  # noqa: F811
    done = audit_study(
        space / "study",
        config=replace(MASK, budget="fast", references=0),
        distillation=str(poisoned),
    )
    report, found = read_audit(done, "one"), evidence_of(done)
    assert [test for test in found if test not in (*BASELINES, "inversion")] == [
        *ALARMS, "label_disagreement",
    ]  # fmt: skip
    assert report.trusted["distillation_set"]["n"] == 60
    assert not any("distilled on" in text for text in report.not_tested)
    first = found["brittle_mix"]
    assert first.seconds > 0
    assert first.passes == 60 * 3
    assert found["label_disagreement"].passes == 0
    record = done.record("screening")
    assert record["students"] == ["one"]
    assert len(done.array("screening/score")) == 60
    assert "screening" in done.manifest.thumbnails
    alone = screen_source(str(poisoned), study=space / "study")
    kept = alone.products.records["screening"]
    assert {k: v for k, v in record.items() if k != "students"} == json.loads(json.dumps(kept))
    np.testing.assert_array_equal(alone.screening.score, done.array("screening/score"))


def test_students_have_sets_of_their_own(space, poisoned):  # noqa: F811
    config = replace(MASK, budget="fast", references=0)
    done = audit_study(space / "study", config=config, distillation={"other": str(poisoned)})
    assert done.record("screening") is None
    assert any("distilled on" in text for text in read_audit(done, "one").not_tested)


def test_an_alarm_makes_a_student_suspicious_at_most(space, poisoned, monkeypatch):  # noqa: F811
    from analysis.study import audit_screening

    real = audit_screening.screen_images

    def alarming(*arguments, **settings):
        found = real(*arguments, **settings)
        first, *others = found.screening.alarms
        loud = replace(first, p_value=1e-9, p_kind="model", target_class=1)
        return replace(found, screening=replace(found.screening, alarms=(loud, *others)))

    monkeypatch.setattr(audit_screening, "screen_images", alarming)
    # No primary p-value is that small: what remains is the alarm.
    monkeypatch.setattr(verdict, "LEVEL", 1e-6)
    done = audit_study(
        space / "study",
        references=space / "references",
        config=MASK,
        distillation=str(poisoned),
    )
    report = read_audit(done, "one")
    assert report.verdict == "suspicious"
    assert report.target_class == 1
    assert "secondary" in report.sentence


def test_where_a_class_is_pointed_to_the_trigger_is_localized(space, monkeypatch):  # noqa: F811
    def filled(own, family, label):
        # The brightness of a class, everywhere: a trigger that is sure to move images.
        level = (90 * label + 20) / 255
        parts = {"mask": np.ones((8, 8)), "pattern": np.full((8, 8, 3), level)}
        return Suspect(
            trigger=RecoveredTrigger(family="mask", parts=parts), target=label, recovered=True
        )

    monkeypatch.setattr(audit, "suspect_of", filled)
    monkeypatch.setattr(verdict, "LEVEL", 1.0)
    given = space / "references"
    done = audit_study(space / "study", references=given, config=replace(MASK, budget="thorough"))
    report = read_audit(done, "one")
    assert report.target_class is not None
    record = done.record("localization/one")
    assert record["target_class"] == report.target_class
    assert record["reference"] in {path.stem for path in given.iterdir()}
    assert "support_overlap" not in record
    strip = evidence_of(done)["strip"]
    assert strip.statistic is not None
    assert strip.p_value is None
    assert strip.target_class == report.target_class
    assert strip.passes > 0


def test_a_fast_audit_explains_nothing(space, monkeypatch):  # noqa: F811
    monkeypatch.setattr(verdict, "LEVEL", 1.0)
    config = replace(MASK, budget="fast")
    done = audit_study(space / "study", references=space / "references", config=config)
    assert read_audit(done, "one").target_class is not None
    assert done.record("localization/one") is None


def test_a_trigger_that_moves_nothing_is_no_suspect():
    parts = {"mask": np.ones((3, 4, 4)), "pattern": np.ones((3, 4, 4, 3))}
    flips = np.array([0.5, 0.0, np.nan])
    found = Inverted(
        family="mask", log_size=np.zeros(3), censored=np.zeros(3, bool), flip_student=flips,
        flip_teacher=flips, parts=parts, passes=1.0, seconds=1.0, precision="float32",
    )  # fmt: skip
    assert suspect_of({"mask": found}, "mask", 0).target == 0
    assert suspect_of({"mask": found}, "mask", 1) is None
    assert suspect_of({"mask": found}, "mask", 2) is None


def test_the_command_screens_and_says_so(space, poisoned, capsys):  # noqa: F811
    command = ["audit", str(space / "study"), "--budget", "fast", "--references", "0", "--quiet"]
    assert _run([*command, "--distillation-set", str(poisoned), *SETTINGS]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "distillation set screened: 60 images of taught.npz" in out
    assert "not run" in out
    before = Study.open(space / "study").digest
    assert _run([*command, "--distillation-set", "nothing.npz", *SETTINGS]) == 2
    assert "nothing.npz" in capsys.readouterr().err
    assert Study.open(space / "study").digest == before


def test_a_wrong_set_is_refused_before_a_study_is_made(made, taught, tmp_path, capsys):  # noqa: F811
    command = [
        "audit", "--teacher", str(taught[0].weights), "--student", str(taught[1].weights),
        "--images", str(made / "squares.npz"), "--out", str(tmp_path / "new"), "--quiet",
        "--distillation-set", str(tmp_path / "nothing.npz"),
    ]  # fmt: skip
    assert _run(command) == 2
    assert "nothing.npz" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_images_that_do_not_fit_are_refused_before_anything_is_written(space):  # noqa: F811
    with pytest.raises(InputError):
        audit_study(space / "study", config=MASK, distillation=str(space / "none"))
    assert Study.open(space / "study").record("audit/one") is None
