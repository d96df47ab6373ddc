"""The command line as its users meet it: what it prints, how it exits, what it refuses."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.data.sources import load_images
from analysis.errors import InputError
from analysis.models.architectures import build
from analysis.models.loading import load_model
from analysis.models.normalization import Normalization
from analysis.models.saving import save_model
from analysis.store import Study, writing
from dashboard.cli import _commands, _run
from dashboard.jobs.options import command_options
from tests.conftest import ROOT

FEW = ("--images", "signs:test,n=40,seed=9", "--probe", "2", "--quiet")


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = _run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a refusal prints."""
    status, _, err = call(capsys, *arguments)
    assert status == 2, err
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


def test_show_prints_the_headline(
    tiny_study: Path, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = call(capsys, "show", tiny_study, "--json")
    shown = json.loads(out)
    assert status == 0
    stored = study.measures("alpha")["agreement"].to_json()
    assert shown["students"]["alpha"]["agreement"] == {**stored, "null": None}
    assert shown["teacher"]["parameters"] == study.teacher.cost.parameters
    status, out, _ = call(capsys, "show", tiny_study)
    assert status == 0
    assert f"{100 * study.measures('alpha')['agreement'].value:.1f} [" in out


def test_an_option_of_several_commands_has_one_meaning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    by_file = {"run", "sweep"}  # what they leave out, the experiment's file says
    shared = {
        name: {
            (found[name].help, found[name].default)
            for command in _commands() - by_file
            if name in (found := command_options(command))
        }
        for name in ("threads", "device", "quiet", "as_json")
    }
    assert {name: len(meanings) for name, meanings in shared.items()} == dict.fromkeys(shared, 1)
    for command in by_file:
        for name in ("threads", "device"):
            ((text, _),) = shared[name]
            assert command_options(command)[name].help.startswith(text.rstrip("."))
    refusal = refused(capsys, "screen", "--images", "digits", "--threads", "-1")
    assert "--threads" in refusal


def test_compare_add_export_clean(
    tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "space" / "study"
    status, text, _ = call(
        capsys, "compare", "--teacher", tiny_models["teacher"],
        "--student", tiny_models["alpha"], "--out", out, *FEW,
    )  # fmt: skip
    assert status == 0
    assert f"distillscope open {out}" in text
    assert list(Study.open(out).students) == ["alpha"], "named after its file"
    assert call(capsys, "add", out, "--student", f"b={tiny_models['beta']}", "--quiet")[0] == 0
    assert list(Study.open(out).students) == ["alpha", "b"]
    status, text, _ = call(capsys, "export", out, "--samples", tmp_path / "rows.parquet")
    assert text.startswith("120 rows")
    status, text, _ = call(capsys, "clean", out.parent)
    assert status == 0
    assert float(text.split()[0]) > 0
    assert Study.open(out).trace("alpha").logits.shape == (40, 16)


def test_distill_bounds_both_sources_and_notes_an_open_normalization(
    tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare.pt"
    torch.save(load_model(str(tiny_models["teacher"])).module.state_dict(), bare)
    options = (
        "--arch", "convnet", "--width", 4, "--images", "signs:train,n=80,seed=1", "--epochs", 1,
        "--validation", "signs:test,n=90,seed=2", "--limit", 40, "--quiet",
    )  # fmt: skip
    status, text, said = call(
        capsys,
        "distill",
        "--teacher",
        f"resnet8@{bare}",
        *options,
        "--out",
        tmp_path / "a.safetensors",
    )
    assert status == 0
    assert "note: nothing says how inputs of resnet8@bare.pt are normalized" in said
    assert "resnet8@bare.pt,normalize=imagenet" in said
    assert str(tmp_path) not in said
    # Of 40 validation images every share is a multiple of 2.5 %.
    share = float(re.search(r"validation accuracy\D+([\d.]+) ?%", text)[1])
    assert share / 2.5 == pytest.approx(round(share / 2.5), abs=0.05)
    status, _, said = call(
        capsys, "distill", "--teacher", tiny_models["teacher"], *options,
        "--out", tmp_path / "b.safetensors",
    )  # fmt: skip
    assert status == 0
    assert "note:" not in said


@pytest.mark.parametrize("limit", [(), ("--limit", 12)])
def test_a_part_of_the_images_is_loaded_as_all_of_them_are(
    limit: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    drawn = tmp_path / "drawn"
    for number in range(16):
        place = drawn / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        shades = rng.integers(0, 256, (12, 12), dtype=np.uint8)
        Image.fromarray(shades).save(place / f"{number}.png")
    torch.manual_seed(0)
    module = build("vit_tiny", num_classes=2, width=32, in_channels=1, image_size=(8, 8))
    teacher = save_model(
        tmp_path / "gray.safetensors", module, architecture="vit_tiny", width=32,
        class_names=("class0", "class1"), normalization=Normalization(), num_classes=2,
        in_channels=1, image_size=(8, 8),
    )  # fmt: skip
    given = ("--teacher", teacher, "--images", drawn, *limit, "--quiet")
    status, _, err = call(
        capsys, "distill", *given, "--arch", "convnet", "--width", 4, "--epochs", 1,
        "--shift", 1, "--validation", drawn, "--out", tmp_path / "student.safetensors",
    )  # fmt: skip
    assert status == 0, err
    made = load_model(str(tmp_path / "student.safetensors"))
    assert made.metadata["images"]["n"] == (12 if limit else 16)
    status, _, err = call(
        capsys, "attack", *given, "--target", "class1", "--rate", 0.2, "--epsilon", 200,
        "--trigger", "patch:size=2", "--set", "check_views=0", "--half", "none",
        "--out", tmp_path / "poisoned",
    )  # fmt: skip
    assert status == 0, err
    written = load_images(tmp_path / "poisoned", channels=1)
    assert (len(written), written.image_shape) == (12 if limit else 16, (8, 8, 1))


def test_checkpoints_become_epochs_of_their_student(
    tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"what training resumes from")
    for epoch, name in ((1, "alpha"), (12, "beta")):
        (tmp_path / f"epoch_{epoch:04d}.safetensors").write_bytes(tiny_models[name].read_bytes())
    out = tmp_path / "study"
    pattern = tmp_path / "*.safetensors"
    status, _, err = call(
        capsys, "compare", "--teacher", tiny_models["teacher"],
        "--student", f"s={tiny_models['alpha']}", "--checkpoints", f"s={pattern}",
        "--out", out, *FEW,
    )  # fmt: skip
    assert status == 0, err
    opened = Study.open(out)
    assert [(m.parent, m.epoch) for m in opened.checkpoints("s")] == [("s", 1), ("s", 12)]
    assert list(opened.students) == ["s"], "pickers do not list checkpoints"
    assert opened.measures("s.epoch-0001")["agreement"] == opened.measures("s")["agreement"]


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "--help")
    assert status == 0
    for command in ("compare", "add", "train", "distill", "show", "open", "demo", "export"):
        assert command in out
    assert "ARCH@WEIGHTS" in out
    assert call(capsys)[1] == out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frob"], ["No such command 'frob'"]),
        (["show"], ["Missing argument", "distillscope show --help"]),
        (["show", "nowhere"], ["there is no study at nowhere"]),
        (["open", "nowhere"], ["there is no study at nowhere"]),
        (["add", "nowhere", "--student", "x.pt"], ["there is no study at nowhere"]),
        (["clean", "nowhere"], ["nowhere is not a workspace"]),
        (["show", ".", "--jsn"], ["--jsn"]),
        (["open", ".", "--port", "99999"], ["--port"]),
    ],
)
def test_wrong_words_are_one_line(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, *arguments)
    for word in words:
        assert word in line


COMPARE = {"--teacher": "TEACHER", "--student": "alpha=ALPHA", "--images": FEW[1]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--teacher": "resnet21@TEACHER"}, ["resnet21", "Did you mean 'resnet20'"]),
        ({"--teacher": "missing.safetensors"}, ["missing.safetensors"]),
        ({"--student": "te acher=ALPHA"}, ["te acher"]),
        ({"--student": "teacher=ALPHA"}, ["reserved"]),
        ({"--student": "bad=EVIL"}, ["evil.pt"]),
        ({"--student": "bad=ALPHA,normalise=none"}, ["normalise", "normalize"]),
        ({"--student": "mine=CODE:make@ALPHA"}, ["--trust-code"]),
        ({"--images": "nowhere.parquet"}, ["nowhere.parquet"]),
        ({"--images": "digits"}, ["10 classes", "16"]),
        ({"--images": "EMPTY"}, ["empty"]),
        ({"--images": "NANS"}, ["nan"]),
        ({"--limit": "0"}, ["limit = 0", "at least 1"]),
        ({"--probe": "-1"}, ["probe = -1"]),
        ({"--class-names": "nobody=NAMES"}, ["nobody"]),
        ({"--class-names": "NAMES"}, ["2 class names"]),
        ({"--checkpoints": "nobody=*.pt"}, ["nobody"]),
        ({"--checkpoints": "alpha=no_*.pt"}, ["no file matches"]),
        ({"--device": "cuda:7"}, ["cuda:7", "--device cpu"]),
        ({"--trigger": "patch"}, ["--trigger alone", "together"]),
        ({"--trigger": "patsh", "--target": "80"}, ["patsh", "Did you mean 'patch'"]),
        ({"--trigger": "patch", "--target": "81"}, ["'81'", "a class name"]),
        ({"--trigger": "patch", "--target": "80", "--epsilon": "0.03"}, ["0.03", "8"]),
        ({"--trigger": "patch", "--target": "80", "--method": "pgt"}, ["pgt", "pgd"]),
        ({"--trigger": "patch:size=99", "--target": "80"}, ["99"]),
        ({"--out": "TAKEN"}, ["not empty and is not a study"]),
    ],
)
def test_bad_input_of_compare(
    change: dict[str, str],
    words: list[str],
    tiny_models: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import numpy as np

    torch.save(EvilPickle(), tmp_path / "evil.pt")
    (tmp_path / "net.py").write_text("raise SystemExit('executed')")
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").write_text("x")
    images = np.full((2, 8, 8, 3), np.nan, dtype=np.float32)
    np.savez(tmp_path / "nans.npz", images=images)
    places = {
        "TEACHER": tiny_models["teacher"], "ALPHA": tiny_models["alpha"],
        "EVIL": tmp_path / "evil.pt", "CODE": tmp_path / "net.py",
        "NAMES": tmp_path / "names.txt", "EMPTY": tmp_path / "empty",
        "NANS": tmp_path / "nans.npz", "TAKEN": tmp_path / "taken",
    }  # fmt: skip
    given = {**COMPARE, "--out": str(tmp_path / "study"), **change}
    arguments: list[str] = []
    for option, value in given.items():
        for word, place in places.items():
            value = value.replace(word, str(place))
        arguments += [option, value]
    line = refused(capsys, "compare", *arguments, "--quiet")
    for word in words:
        assert word in line.lower() or word in line
    assert not (tmp_path / "study").exists()
    assert not (tmp_path / "executed").exists()


class EvilPickle:
    """A weights file that would run code if it were unpickled."""

    def __reduce__(self) -> tuple:
        return (os.mkdir, ("executed",))


def test_a_study_that_is_being_written_is_busy(
    tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom analysis.store import writing\n"
        f"with writing(Path({str(tmp_path / 'study')!r})):\n"
        "    print('held', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as holder:  # fmt: skip
        assert holder.stdout.readline() == "held\n"
        line = refused(
            capsys, "compare", "--teacher", tiny_models["teacher"],
            "--student", tiny_models["alpha"], "--out", tmp_path / "study", *FEW,
        )  # fmt: skip
        holder.stdin.close()
    assert f"process {holder.pid}" in line
    with writing(tmp_path / "study"):
        pass


def test_clean_waits_for_no_writer_and_deletes_nothing_under_it(
    tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "space" / "study"
    call(
        capsys, "compare", "--teacher", tiny_models["teacher"],
        "--student", tiny_models["alpha"], "--out", out, *FEW,
    )  # fmt: skip
    before = sorted(out.parent.rglob("*"))
    with writing(out.parent / "another"):
        assert "is being written by process" in refused(capsys, "clean", out.parent)
    after = set(out.parent.rglob("*"))
    assert {path for path in before if path.is_file() and path.suffix == ".npy"} <= after


def test_ctrl_c_is_answered(
    tiny_study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dashboard.terminal.print_study", interrupted)
    status, _, err = call(capsys, "show", tiny_study)
    assert status == 130
    assert err == "error: cancelled; finished stages are kept\n"


def test_a_port_in_use_is_one_line(tiny_study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused(capsys, "open", tiny_study, "--port", port, "--no-browser")
    assert str(port) in line


def test_a_defect_of_ours_is_no_traceback_either(
    tiny_study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("dashboard.terminal.print_study", broken)
    monkeypatch.delenv("DISTILLSCOPE_TRACEBACK", raising=False)
    status, _, err = call(capsys, "show", tiny_study)
    assert status == 1
    assert err.startswith("error: internal error, ZeroDivisionError: oops")
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [("show", "STUDY"), ("show", "STUDY", "--json"), ("--help",)])
def test_a_reader_that_goes_away_is_no_error(tiny_study: Path, arguments: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "dashboard.cli"]
            + [str(tiny_study) if part == "STUDY" else part for part in arguments],
            stdout=pipe, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_an_exit_that_no_pipe_is_behind_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(*_: object, **__: object) -> None:
        raise SystemExit(7)

    monkeypatch.setattr("dashboard.cli.app", ends)
    with pytest.raises(SystemExit, match="7"):
        _run(["show"])


def test_a_file_where_the_studies_should_be_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "studies").write_text("")
    monkeypatch.chdir(tmp_path)
    assert "cannot write studies" in refused(capsys, "open", "--no-browser")


@pytest.mark.parametrize("name", [r"x\[/y]", r"a\[red]b", "ends in \\", "[bold]b[/bold]"])
def test_names_are_printed_as_they_are(name: str) -> None:
    from rich.text import Text

    from dashboard.terminal import plain

    assert Text.from_markup(f"[bold]{plain(name)}[/bold]").plain == name


def test_settings_of_references_win_over_what_is_left_out(monkeypatch, tmp_path: Path) -> None:
    from dashboard import cli_reference

    seen: list[dict[str, object]] = []

    def stop(student: object, asked: dict[str, object], where: object) -> None:
        seen.append(asked)
        raise InputError("enough")

    monkeypatch.setattr(cli_reference, "_recipe", stop)
    command = ["reference", "--teacher", "t.pt", "--images", "digits", "--out", str(tmp_path / "r")]
    assert _run([*command, "--arch", "resnet8", "--set", "epochs=3", "--set", "temperature=9"]) == 2
    assert seen == [{"arch": "resnet8", "epochs": 3, "temperature": 9}]
