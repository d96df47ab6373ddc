"""Whole experiments: what a file may say, what is run, what a killed run goes on with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from analysis.digest import digest_file
from analysis.distillation.objectives import OBJECTIVES, DecoupledKD, HintonKD, Supervised
from analysis.distillation.settings import TrainingConfig
from analysis.errors import InputError, StudyError, TrustError
from analysis.records import TRIGGER
from analysis.store import Study
from analysis.study.experiment import poison_report, run_experiment
from analysis.study.experiment_checks import check_experiment, glance
from analysis.study.experiment_file import read_experiment
from analysis.study.experiment_keys import find_keys
from analysis.study.experiment_settings import NetworkConfig
from analysis.study.null import find_nulls
from dashboard.cli import _run
from dashboard.terminal_conditions import print_conditions
from tests.conftest import ROOT
from tests.experiment_files import TIMELINE, squares, write_experiment

ALL = ["backdoored", "honest", "trigger_only", "perturbation_only"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The file of a finished experiment and its study."""
    torch.set_num_threads(1)
    path = write_experiment(tmp_path_factory.mktemp("experiment"), TIMELINE)
    return path, run_experiment(read_experiment(path))


def files(folder: Path) -> dict[str, tuple[str, int]]:
    """Contents and time of every file below ``folder``, locks left out."""
    return {
        str(path.relative_to(folder)): (digest_file(path), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def test_the_study_has_subject_controls_checkpoints_and_four_cells(done):
    _, study = done
    assert {name: model.role for name, model in study.students.items()} == {
        "backdoored": "subject",
        "honest": "control",
        "trigger_only": "control",
        "perturbation_only": "control",
    }
    assert [(m.parent, m.epoch) for m in study.checkpoints("backdoored")] == [("backdoored", 1)]
    assert list(study.conditions) == [
        "clean", "trigger", "perturbation", "trigger_perturbation",
    ]  # fmt: skip
    halves = {name: model.recipe["half"] for name, model in study.students.items()}
    assert list(halves.values()) == ["both", "none", "trigger", "perturbation"]
    assert study.students["honest"].recipe["attack"] is None
    assert study.students["backdoored"].recipe["attack"]["rate"] == 0.2
    for name in ("teacher", *ALL):
        assert study.measures(name, TRIGGER)["attack_success_rate"] is not None
    assert len({study.models[name].digest for name in ALL}) == 4, "each half made another student"


def test_the_run_folder_says_which_file_is_which(done):
    path, study = done
    folder = path.parent / "space" / "study.run"
    noted = json.loads((folder / "study.json").read_text())
    assert list(noted["students"]) == ALL
    for entry in noted["students"].values():
        assert (folder / entry["weights"]).is_file()
        assert (folder / entry["images"]).is_dir()
    images = noted["students"]["backdoored"]["images"]
    report = json.loads((folder / f"{images}.report.json").read_text())
    assert poison_report(study).to_json() == report["result"]
    assert report["half"] == "both"


def test_nothing_of_the_machine_is_in_the_study(done):
    path, study = done
    assert str(path.parent) not in (study.path / "study.json").read_text()


def test_a_finished_experiment_is_only_printed(done, capsys):
    path, study = done
    before = files(path.parent)
    assert _run(["run", str(path), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert files(path.parent) == before
    assert "answers 'class 2', % of non-target images" in out
    assert "Trigger + perturbation, n = 8" in out
    rate = study.measures("backdoored", TRIGGER)["attack_success_rate"]
    assert f"{100 * rate.value:.1f} [" in out
    assert _run(["show", str(study.path)]) == 0
    assert "Under attack: patch:size=2" in capsys.readouterr().out


def test_another_experiment_is_not_written_over_a_study(done, tmp_path):
    path, study = done
    other = read_experiment(path, changes={"attack.rate": 0.1}, out=study.path)
    with pytest.raises(StudyError, match="the study of another experiment"):
        run_experiment(other)
    other = read_experiment(path, changes={"distillation.epochs": 3}, out=study.path)
    with pytest.raises(StudyError, match="another student 'backdoored'"):
        run_experiment(other)


KILLER = """
    import os, signal, sys
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    from analysis.study.experiment import run_experiment
    from analysis.study.experiment_file import read_experiment

    for point in sys.argv[2:]:
        def progress(stage, done, total):
            if point in stage and done >= total:
                os.kill(os.getpid(), signal.SIGKILL)
        child = os.fork()
        if not child:
            try:
                run_experiment(read_experiment(sys.argv[1]), progress=progress)
            finally:
                os._exit(3)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status), (point, status)
        runs = Path(sys.argv[1]).parent / "space" / "study.run"
        print(point, sorted(path.name for path in runs.glob("*.safetensors")), sep="|", flush=True)
"""


def test_a_killed_run_goes_on_and_repeats_nothing(done, tmp_path):
    points = ["teacher: training", "backdoored: training", "cost of backdoored"]
    fewer = ("[conditions]", '[controls]\nhonest = "none"\n[conditions]')
    path = write_experiment(tmp_path, TIMELINE, fewer)
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLER), str(path), *points],
        capture_output=True, text=True, cwd=ROOT, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert killed.returncode == 0, killed.stderr[-2000:]
    made = [line.split("|")[1].count("safetensors") for line in killed.stdout.splitlines()]
    assert made == [0, 1, 3], "teacher first, then the students, then the comparison"
    runs = tmp_path / "space" / "study.run"
    before, seen = files(runs), []
    study = run_experiment(read_experiment(path), progress=lambda stage, *_: seen.append(stage))
    assert files(runs) == before | {"study.json": files(runs)["study.json"]}
    assert not any("training" in stage or "poison" in stage for stage in seen)
    whole = done[0].parent / "space" / "study.run"
    for weights in runs.rglob("*.safetensors"):
        if weights.name != "state.safetensors":
            same = whole / weights.relative_to(runs)
            assert weights.read_bytes() == same.read_bytes(), "as if it had never been killed"
    for name in ("teacher", "backdoored", "honest"):
        for slug in study.conditions:
            assert study.measures(name, slug) == done[1].measures(name, slug)


def test_a_student_can_be_added(done, tmp_path):
    source, _ = done
    for name in ("train.npz", "test.npz"):
        (tmp_path / name).write_bytes((source.parent / name).read_bytes())
    path = tmp_path / "experiment.toml"
    text = source.read_text().replace(".backdoored", ".b") + "[controls]\n"
    path.write_text(text)
    assert list(run_experiment(read_experiment(path)).students) == ["b"]
    path.write_text(text + 'cold = { half = "both", temperature = 1 }\n')
    seen: list[str] = []
    study = run_experiment(read_experiment(path), progress=lambda stage, *_: seen.append(stage))
    assert {name: model.role for name, model in study.students.items()} == {
        "b": "subject",
        "cold": "control",
    }
    assert not any(stage.startswith(("b: ", "teacher: ")) for stage in seen)
    assert study.students["cold"].recipe["objective"]["temperature"] == 1
    assert study.checkpoints("cold") == []
    assert Study.open(study.path).digest == run_experiment(read_experiment(path)).digest


def test_defaults_follow_from_one_another(tmp_path):
    read = read_experiment(write_experiment(tmp_path, ("[conditions]", "[conditions]\nsteps = 5")))
    assert list(read.students) == ALL
    assert (read.name, read.seed, read.out) == ("experiment", 3, tmp_path / "space" / "study")
    assert (read.attack.shift, read.attack.flip, read.attack.seed) == (1, True, 3)
    assert isinstance(read.teacher.objective, Supervised)
    assert (read.teacher.training.seed, read.comparison.seed) == (3, 3)
    assert read.teacher.network.normalize == "dataset"
    condition = read.comparison.attack
    assert (condition.trigger, condition.target, condition.epsilon) == ("patch:size=2", "2", "96")
    assert (condition.steps, condition.probe) == (5, 8)
    assert read.images.inspection == str(tmp_path / "test.npz")


def test_a_target_that_is_a_number_is_a_name_first(tmp_path):
    path = write_experiment(tmp_path, ('target = "2"', "target = 2"))
    read = read_experiment(path)
    assert (read.attack.target, read.comparison.attack.target) == ("2", "2")


def test_a_clean_study_has_no_table_of_conditions(done, capsys):
    study = done[1]
    conditions = {"clean": study.conditions["clean"]}
    print_conditions(replace(study, manifest=replace(study.manifest, conditions=conditions)))
    assert capsys.readouterr().out == ""


def test_a_student_changes_its_own_recipe(tmp_path):
    path = write_experiment(
        tmp_path,
        ("[conditions]", '[students]\na = { objective = "dkd", beta = 2 }\n[conditions]'),
    )
    read = read_experiment(path)
    assert read.students["a"].recipe.objective == DecoupledKD(beta=2.0)
    assert read.students["a"].half == "both"
    assert read.students["honest"].recipe.objective == HintonKD()


def test_the_given_threads_and_device_win_and_decide_nothing(tmp_path):
    path = write_experiment(tmp_path)
    read, plain = read_experiment(path, threads=2), read_experiment(path)
    assert plain.students["honest"].recipe.training.threads == 1, "the file's"
    assert read.teacher.training.threads == 2
    assert read.students["honest"].recipe.training.threads == 2
    assert find_keys(read) == find_keys(plain)


def test_keys_follow_contents_not_places(tmp_path):
    here, there = tmp_path / "a", tmp_path / "b"
    here.mkdir()
    there.mkdir()
    first = find_keys(read_experiment(write_experiment(here)))
    assert find_keys(read_experiment(write_experiment(there))) == first
    squares(there / "train.npz", 48, 9)
    other = find_keys(read_experiment(there / "experiment.toml"))
    assert not set(first.students.values()) & set(other.students.values())
    assert first.base != other.base


@pytest.mark.parametrize(
    ("key", "value", "honest", "backdoored", "base"),
    [
        ("attack.rate", 0.1, True, False, False),
        ("attack.trigger", "patch:size=3", True, False, False),
        ("distillation.epochs", 3, False, False, True),
        ("teacher.epochs", 3, False, False, False),
        ("images.limit", 40, False, False, False),
        ("conditions.probe", 9, True, True, False),
        ("comparison.draws", 101, True, True, False),
    ],
)
def test_a_key_changes_with_what_it_is_made_from(tmp_path, key, value, honest, backdoored, base):
    path = write_experiment(tmp_path)
    first = find_keys(read_experiment(path))
    other = find_keys(read_experiment(path, changes={key: value}))
    assert (first.students["honest"] == other.students["honest"]) is honest
    assert (first.students["backdoored"] == other.students["backdoored"]) is backdoored
    assert (first.base == other.base) is base


def test_settings_of_one_recipe_have_different_names():
    training = set(TrainingConfig.__dataclass_fields__) | set(NetworkConfig.__dataclass_fields__)
    for objective in OBJECTIVES.values():
        assert not training & set(objective.__dataclass_fields__), objective.name


WRONG = {
    "section": (("[attack]", "[atack]"), "unknown section 'atack'. Did you mean 'attack'?"),
    "top key": (("seed = 3", "sed = 3"), "unknown key 'sed'. Did you mean 'seed'?"),
    "seed": (("seed = 3", "seed = -1"), "seed = -1; expected a whole number"),
    "no section": (('[attack]\ntrigger', '[controls]\ntrigger'), "the experiment has no [attack]"),
    "not a section": (("seed = 3", 'controls = "x"'), "expected a section [controls]"),
    "toml": (("seed = 3", "seed = "), "experiment.toml is not valid TOML"),
    "images key": (("inspection =", "inspecton ="), "[images] unknown key 'inspecton'"),
    "no images": (('inspection = "test.npz"', ""), "[images] no inspection images"),
    "images": (('"test.npz"', '"tset.npz"'), "tset.npz"),
    "teacher key": (("epochs = 2\nlearning", "epoch = 2\nlearning"), "Did you mean 'epochs'?"),
    "teacher arch": (('"convnet"\nwidth = 4\nepochs = 2\nlearn', '"convnt"\nlearn'),
                     "[teacher] unknown architecture 'convnt'"),
    "teacher normalize": (("width = 4\nepochs = 2\nlearn", 'normalize = "teacher"\nlearn'),
                          "[teacher] normalize = 'teacher'; expected dataset"),
    "attack key": (("rate = 0.2", "rat = 0.2"), "[attack] unknown key 'rat'. Did you mean 'rate'?"),
    "epsilon": (("epsilon = 96", "epsilon = 0.03"), "[attack] epsilon = 0.03; expected at least 1"),
    "target": (('target = "2"', 'target = "dark"'), "target class 'dark'; expected a number"),
    "trigger": (("patch:size=2", "patch:size=20"), "20 pixels on images of 8 x 8"),
    "rate type": (("rate = 0.2", 'rate = "much"'), "[attack] rate = 'much'; expected float"),
    "objective": (("[distillation]\n", '[distillation]\nobjective = "hintn"\n'),
                  "[distillation] unknown objective 'hintn'. Did you mean 'hinton'?"),
    "features": (("[distillation]\n", '[distillation]\nobjective = "fitnets"\n'),
                 "reads the teacher's features; expected teacher_views"),
    "layer": (("[distillation]\n", '[distillation]\nobjective = "fitnets"\n'
               'teacher_views = "augmented"\nstudent_layers = ["layer9"]\n'),
              "[backdoored] ConvNet has no layer 'layer9'"),
    "no map": (("[distillation]\n", '[distillation]\nobjective = "attention"\n'
                'teacher_views = "augmented"\nstudent_layers = ["layer1"]\n'
                'teacher_layers = ["linear"]\n'),
               "[backdoored] layer 'linear' gives 2-dimensional features; expected maps"),
    "width": (('[distillation]\narch = "convnet"\nwidth = 4',
               '[distillation]\narch = "vit_tiny"\nwidth = 33'),
              "[backdoored] vit_tiny of width 33; expected a positive multiple"),
    "teacher width": (('[teacher]\narch = "convnet"\nwidth = 4',
                       '[teacher]\narch = "vit_tiny"\nwidth = 33'),
                      "[teacher] vit_tiny of width 33"),
    "channels": (('[distillation]\narch = "convnet"\nwidth = 4',
                  '[distillation]\narch = "convnet"\nwidth = 4\nnormalize = "0.5/0.5"'),
                 "[backdoored] normalize=0.5/0.5 is for 1 channels; expected 3"),
    "setting": (("[distillation]\n", "[distillation]\ntemprature = 4\n"),
                "unknown key 'temprature'. Did you mean 'temperature'?"),
    "code": (("[distillation]\narch = \"convnet\"", '[distillation]\narch = "n.py:make"'),
             "expected a built-in architecture"),
    "half": (("[conditions]", '[students]\na = "bth"\n[conditions]'),
             "[students] a: half 'bth'. Did you mean 'both'?"),
    "student": (("[conditions]", '[students]\nteacher = "both"\n[conditions]'),
                "[students] student name 'teacher' is reserved"),
    "student key": (("[conditions]", "[students]\na = { epoch = 3 }\n[conditions]"),
                    "[students] [a] unknown key 'epoch'. Did you mean 'epochs'?"),
    "twice": (("[conditions]", '[controls]\na = "both"\nA = "none"\n[conditions]'), "is taken"),
    "references": (("[conditions]", "[references]\nseeds = -1\n[conditions]"),
                   "[references] seeds = -1; expected a number from 0"),
    "references key": (("[conditions]", "[references]\nseed = 3\n[conditions]"),
                       "[references] unknown key 'seed'. Did you mean 'seeds'?"),
    "references name": (("[conditions]", '[students]\nreference-1000 = "both"\n'
                         "[references]\nseeds = 1\n[conditions]"), "'reference-1000' is taken"),
    "none": (("[conditions]", "[students]\n[controls]\n[conditions]"), "has no student"),
    "conditions": (("probe = 8", "prob = 8"), "[conditions] unknown key 'prob'"),
    "condition trigger": (("probe = 8", 'trigger = "ptch"'), "Did you mean 'patch'?"),
    "comparison": (("draws = 100", "draw = 100"), "[comparison] unknown key 'draw'"),
    "comparison attack": (("draws = 100", "attack = {}"), "Write it as the section [conditions]"),
    "spec and recipe": (('arch = "convnet"\nwidth = 4\nepochs = 2\nlearn',
                         'spec = "a.safetensors"\nlearn'), "[teacher] learning_rate beside spec"),
    "spec": (('arch = "convnet"\nwidth = 4\nepochs = 2\nlearning_rate = 0.05\nshift = 1\nthreads',
              'spec = "a.safetensors"\n[controls]\n#'), "there is no file"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_line_before_anything_runs(tmp_path, case, capsys):
    change, words = WRONG[case]
    path = write_experiment(tmp_path, change)
    assert _run(["run", str(path)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert words in line
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "experiment.toml",
        "test.npz",
        "train.npz",
    ]


def test_a_missing_file_is_said(capsys):
    assert _run(["run", "nowhere.toml"]) == 2
    assert "there is no experiment nowhere.toml" in capsys.readouterr().err


TEACHER_BY_CODE = (
    'arch = "convnet"\nwidth = 4\nepochs = 2\nlearning_rate = 0.05\nshift = 1\nthreads = 1',
    'spec = "net.py:make@net.pt"',
)
CODE = """
import torch

def make():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(4, 3))
"""


def test_code_of_the_user_runs_only_when_trusted(tmp_path):
    path = write_experiment(tmp_path, TEACHER_BY_CODE)
    code = tmp_path / "net.py"
    code.write_text(CODE)
    spaces: dict[str, object] = {}
    exec(CODE, spaces)
    torch.save(spaces["make"]().state_dict(), tmp_path / "net.pt")
    read = read_experiment(path)
    assert read.teacher == f"{code}:make@{tmp_path / 'net.pt'}"
    with pytest.raises(TrustError, match="--trust-code"):
        check_experiment(read)
    with pytest.raises(TrustError, match="--trust-code"):
        run_experiment(read)
    check_experiment(read, [code])
    first = find_keys(read)
    code.write_text(CODE + "\n")
    assert find_keys(read).teacher != first.teacher, "another code is another teacher"


def test_a_trigger_picture_lies_beside_the_file(tmp_path):
    from PIL import Image

    Image.new("RGBA", (3, 3), "red").save(tmp_path / "logo.png")
    path = write_experiment(tmp_path, ("patch:size=2", "image:file=logo.png,size=3"))
    read = read_experiment(path)
    assert read.attack.trigger == f"image:file={tmp_path / 'logo.png'},size=3"
    path = write_experiment(tmp_path, ("patch:size=2", "image:size=3, file=logo.png"))
    assert read_experiment(path).attack.make_trigger().key() == read.attack.make_trigger().key()
    assert read.comparison.attack.trigger == read.attack.trigger
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    shutil.copytree(tmp_path, moved)
    assert find_keys(read_experiment(moved / path.name)).base == find_keys(read).base
    Image.new("RGBA", (3, 3), "blue").save(moved / "logo.png")
    assert find_keys(read_experiment(moved / path.name)).base != find_keys(read).base


def test_labels_are_asked_for_where_they_are_needed(tmp_path):
    import numpy as np

    path = write_experiment(tmp_path)
    images = np.load(tmp_path / "train.npz")["images"]
    np.savez(tmp_path / "train.npz", images=images)
    with pytest.raises(InputError, match="the teacher is to be trained on have no labels"):
        check_experiment(read_experiment(path))
    changes = {"images.teacher": str(tmp_path / "test.npz"), "distillation.hard_label_weight": 0.5}
    with pytest.raises(InputError, match="'backdoored' needs labels"):
        check_experiment(read_experiment(path, changes=changes))


def test_a_glance_at_generated_images_makes_one():
    seen = glance("signs:train,n=600000,seed=4")
    assert len(seen) == 1
    assert "80" in seen.class_names
    for wrong in ("signs:tran", "signs:train,n=x", "signs:train,sed=3"):
        with pytest.raises(InputError):
            glance(wrong)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda p: p.stem)
def test_the_examples_are_valid(path):
    read = read_experiment(path)
    assert read.out.parent == path.parent / "studies"
    assert "honest" in read.students
    assert tomllib.loads(path.read_text())["name"] == read.name
    if "cifar10" not in path.stem:
        check_experiment(read)


def test_references_are_honest_students_with_other_seeds(tmp_path):
    asked = ("[conditions]", "[references]\nseeds = 2\nfirst = 7\n[conditions]")
    path = write_experiment(tmp_path, TIMELINE, asked)
    experiment = read_experiment(path)
    plans = {name: plan for name, plan in experiment.students.items() if plan.role == "reference"}
    assert list(plans) == ["reference-7", "reference-8"]
    honest = experiment.students["honest"].recipe
    for seed, plan in zip((7, 8), plans.values(), strict=True):
        assert plan.half == "none"
        assert plan.recipe.training == replace(honest.training, seed=seed)
        assert (plan.recipe.network, plan.recipe.objective) == (honest.network, honest.objective)
    avoided = read_experiment(path, changes={"references.first": 3})
    assert "reference-3" not in avoided.students  # the honest student's own seed
    assert "reference-5" in avoided.students


def test_no_reference_has_the_seed_of_a_student_on_clean_images(tmp_path):
    asked = (
        "[conditions]",
        '[controls]\nhonest = {half = "none", seed = 7}\n'
        'trigger_only = {half = "trigger", seed = 8}\n'
        "[references]\nseeds = 2\nfirst = 7\n[conditions]",
    )
    plans = read_experiment(write_experiment(tmp_path, asked)).students
    references = [plan for plan in plans.values() if plan.role == "reference"]
    assert [plan.recipe.training.seed for plan in references] == [8, 9]


def test_references_come_into_the_study_and_can_be_added(done, tmp_path):
    shutil.copytree(done[0].parent, tmp_path / "copy")
    path = tmp_path / "copy" / "experiment.toml"
    path.write_text(
        path.read_text().replace("[conditions]", "[references]\nseeds = 3\n[conditions]")
    )
    study = run_experiment(read_experiment(path))
    assert list(study.references) == ["reference-1000", "reference-1001", "reference-1002"]
    assert list(study.students) == ALL
    assert find_nulls(study, "honest").differences == ()
    assert find_nulls(study, "honest").of("agreement").n == 3
    (images,) = find_nulls(study, "backdoored").differences
    assert images.startswith("images: 48, references 48")
    assert study.record("seen_images/honest")["n"] == 0
    assert run_experiment(read_experiment(path)).digest == study.digest
