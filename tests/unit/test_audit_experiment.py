"""The section [audit] of an experiment."""

from __future__ import annotations

import dataclasses

import pytest

from analysis.audit.record import read_audit
from analysis.errors import ConfigError, InputError
from analysis.store import Study, StudyWriter, writing
from analysis.study import audit_inversion
from analysis.study.audit import audit_study
from analysis.study.experiment import run_experiment
from analysis.study.experiment_file import read_experiment
from tests.experiment_files import squares, write_experiment

AUDIT = """
[audit]
budget = "fast"
images = "trusted.npz"
restarts = 1
references = 0

[audit.search]
steps = 4
batch = 4
asked = 2
images = 16
measured = 8

[controls]
honest = "none"

[comparison]"""


def written(folder, audit=AUDIT):
    squares(folder / "trusted.npz", 90, 5)
    return write_experiment(folder, ("\n[comparison]", audit))


def test_students_are_audited_once_they_are_compared(tmp_path, monkeypatch):
    experiment = read_experiment(written(tmp_path))
    assert experiment.audit is not None
    assert experiment.audit.search.seed == 3
    study = run_experiment(experiment)
    for name in ("backdoored", "honest"):
        report = read_audit(study, name)
        assert report is not None
        assert report.budget == "fast"
        assert not report.trusted["inspection_set"]
        assert report.trusted["distillation_set"]["n"] == 48
        tests = [finding.test for finding in report.evidence]
        assert "brittle_mix" in tests
        assert "four_cells" not in tests
    # Each by the images that it was itself distilled on.
    digests = {
        read_audit(study, name).trusted["distillation_set"]["digest"]
        for name in ("backdoored", "honest")
    }
    assert len(digests) == 2
    assert set(study.record("screening")["students"]) < set(study.students)

    def no_search(*arguments, **settings):
        raise AssertionError("searched again")

    monkeypatch.setattr(audit_inversion, "invert", no_search)
    again = run_experiment(read_experiment(tmp_path / "experiment.toml"))
    assert again.digest == study.digest


def test_other_trusted_images_are_another_audit(tmp_path, monkeypatch):
    experiment = read_experiment(written(tmp_path))
    asked = []

    def spied(*arguments, **given):
        asked.append(tuple(given["students"]))
        return audit_study(*arguments, **given)

    monkeypatch.setattr("analysis.study.experiment.audit_study", spied)
    run_experiment(experiment)
    run_experiment(experiment)
    assert len(asked) == 1
    squares(tmp_path / "trusted.npz", 90, 6)
    again = run_experiment(experiment)
    assert asked[1:] == [("backdoored", "honest")]
    # A study of an earlier release says nothing of what was read: it is not audited again.
    squares(tmp_path / "trusted.npz", 90, 7)
    with writing(again.path):
        manifest = Study.open(again.path).manifest
        kept = {k: v for k, v in manifest.records.items() if not k.startswith("experiment_audit/")}
        StudyWriter(again.path).publish(dataclasses.replace(manifest, records=kept))
    run_experiment(experiment)
    assert len(asked) == 2


def test_a_named_set_is_looked_for_first(tmp_path):
    named = AUDIT.replace('"fast"', '"fast"\ndistillation_set = "gone.npz"')
    with pytest.raises(InputError, match="gone"):
        run_experiment(read_experiment(written(tmp_path, named)))
    assert not (tmp_path / "space" / "study").exists()
    plan = read_experiment(tmp_path / "experiment.toml").audit
    assert plan.distillation_set == str(tmp_path / "gone.npz")


@pytest.mark.parametrize(
    ("audit", "message"),
    [
        ('\n[audit]\nbuget = "fast"\n[comparison]', "budget"),
        ('\n[audit]\nbudget = "fats"\n[comparison]', "fast"),
        ("\n[audit.search]\nstepps = 3\n[comparison]", "steps"),
    ],
)
def test_wrong_values_are_refused_before_anything_runs(tmp_path, audit, message):
    with pytest.raises(ConfigError, match=message):
        read_experiment(written(tmp_path, audit))
