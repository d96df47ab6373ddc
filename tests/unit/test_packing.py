"""A study as one file: what comes back is what was packed, and nothing else is ever accepted."""

from __future__ import annotations

import dataclasses
import io
import json
import shlex
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.errors import ConfigError, InputError, StudyError
from analysis.store import Study, UnpackConfig, pack_study, unpack_study, writing
from analysis.store.packing import portable
from dashboard.cli import _run
from tests.conftest import ROOT
from tests.unit.test_study_store import publish

GOLDEN = ROOT / "tests" / "golden" / "study-v1"

Change = Callable[[dict[str, bytes]], None]


def packed(tmp_path: Path) -> Path:
    (tmp_path / "first").mkdir()
    return pack_study(publish(tmp_path / "first" / "study"), tmp_path / "study.zip")


def repacked(source: Path, change: Change, target: Path) -> Path:
    """The archive ``source`` after ``change`` had its way with its files."""
    with zipfile.ZipFile(source) as archive:
        files = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    change(files)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target


def refused(source: Path, folder: Path, match: str, **limits: float) -> None:
    with pytest.raises(StudyError, match=match):
        unpack_study(source, folder, config=UnpackConfig(**limits))
    assert not folder.exists()
    assert not list((folder.parent / ".distillscope").glob("staging/*"))


def test_a_study_survives_the_journey(tmp_path: Path) -> None:
    golden = Study.open(GOLDEN)
    stages: list[tuple[str, int, int]] = []
    archive = pack_study(golden, tmp_path / "study.zip")
    back = unpack_study(
        archive, tmp_path / "there" / "study", progress=lambda *at: stages.append(at)
    )
    assert back.digest == golden.digest
    assert back.path == (tmp_path / "there" / "study").resolve()
    assert json.loads((back.path / "study.json").read_text()) == json.loads(
        (GOLDEN / "study.json").read_text()
    )
    files = {p.relative_to(back.path) for p in back.path.rglob("*") if p.is_file()}
    assert files == {p.relative_to(GOLDEN) for p in GOLDEN.rglob("*") if p.is_file()}
    for name in files:
        if name.name != "study.json":
            assert (back.path / name).read_bytes() == (GOLDEN / name).read_bytes()
    assert stages[-1] == ("unpacking", len(files) - 1, len(files) - 1)


def test_packing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    study = publish(tmp_path / "study")
    first = pack_study(study, tmp_path / "a.zip").read_bytes()
    shutil.copytree(study.path, tmp_path / "elsewhere")
    again = pack_study(Study.open(tmp_path / "elsewhere"), tmp_path / "b.zip").read_bytes()
    assert first == again


def test_what_no_manifest_names_stays_behind(tmp_path: Path) -> None:
    study = publish(tmp_path / "study")
    (study.path / "arrays" / ("0" * 64 + ".npy")).write_bytes(b"left over")
    (study.path / "notes.txt").write_text("private")
    with zipfile.ZipFile(pack_study(study, tmp_path / "a.zip")) as archive:
        names = set(archive.namelist())
    assert names == {"study.json", *study.manifest.stored}


def test_a_changed_file_is_not_packed(tmp_path: Path) -> None:
    study = publish(tmp_path / "study")
    (study.path / study.manifest.samples["s/clean"]).write_bytes(b"other")
    with pytest.raises(StudyError, match="not what was computed"):
        pack_study(study, tmp_path / "a.zip")
    (study.path / study.manifest.samples["s/clean"]).unlink()
    with pytest.raises(StudyError, match="is missing"):
        pack_study(study, tmp_path / "a.zip")
    assert not list(tmp_path.glob("*.zip*"))


def test_provenance_keeps_no_path_of_this_machine(tmp_path: Path) -> None:
    study = publish(tmp_path / "study")
    notes = {
        "experiment": {"file": f"{tmp_path}/run.toml", "at": [f"from {tmp_path}/a/b.npz, twice"]},
        "home": "~/models/x.pt", "drive": r"C:\models\x.pt", "address": "file:///srv/x.pt",
        "plain": "signs:test,n=5 and 3/4 of it", f"{tmp_path}/key": 1,
    }  # fmt: skip
    told = dataclasses.replace(study.manifest, provenance=notes)
    kept = portable(told)
    assert kept.digest() == study.digest
    assert kept.provenance == {
        "experiment": {"file": "run.toml", "at": ["from b.npz, twice"]},
        "home": "x.pt", "drive": "x.pt", "address": "x.pt",
        "plain": "signs:test,n=5 and 3/4 of it", "key": 1,
    }  # fmt: skip


def test_a_path_that_the_digest_covers_is_refused(tmp_path: Path) -> None:
    study = publish(tmp_path / "study")
    trigger = {"attack": {"trigger": f"image:file={tmp_path}/ring.png,size=4"}}
    told = dataclasses.replace(study.manifest, config=trigger)
    with pytest.raises(StudyError, match=r"config\.attack\.trigger .*ring\.png"):
        portable(told)
    # Names that only look like paths stay: nothing on this machine begins like them.
    named = dataclasses.replace(study.manifest, class_names=("/m/0cmf2", "a/b"))
    assert portable(named).class_names == ("/m/0cmf2", "a/b")


def test_only_a_new_or_empty_folder_is_filled(tmp_path: Path) -> None:
    archive = packed(tmp_path)
    (tmp_path / "empty").mkdir()
    unpack_study(archive, tmp_path / "empty")
    with pytest.raises(StudyError, match="not empty"):
        unpack_study(archive, tmp_path / "empty")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StudyError, match="not empty"):
        unpack_study(archive, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_what_a_kill_left_is_replaced(tmp_path: Path) -> None:
    archive, folder = packed(tmp_path), tmp_path / "out"
    left = tmp_path / ".distillscope" / "staging" / "out"
    left.mkdir(parents=True)
    (left / "half").write_text("written")
    assert not (unpack_study(archive, folder).path / "half").exists()


def test_a_cancelled_unpacking_leaves_nothing(tmp_path: Path) -> None:
    archive, folder = packed(tmp_path), tmp_path / "out"

    def cancel(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack_study(archive, folder, progress=cancel)
    assert not folder.exists()
    assert not list((tmp_path / ".distillscope").glob("staging/*"))


def test_a_folder_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    archive, folder = packed(tmp_path), tmp_path / "out"
    with writing(folder), pytest.raises(InputError, match="is being written"):
        unpack_study(archive, folder)


@pytest.mark.parametrize(
    "name",
    ["../evil.npy", "/etc/evil.npy", "arrays/../../evil.npy", "samples/../evil.parquet",
     r"arrays\evil.npy", "C:/evil.npy", "arrays/evil.pkl", "evil.py", "arrays/", "",
     "arrays/" + "0" * 64 + ".npy\0.py", ".distillscope/cache/x", "study.json/x"],
)  # fmt: skip
def test_foreign_names_are_refused(name: str, tmp_path: Path) -> None:
    source = packed(tmp_path)
    evil = repacked(source, lambda files: None, tmp_path / "evil.zip")
    with zipfile.ZipFile(evil, "a") as archive:
        entry = zipfile.ZipInfo("x")
        entry.filename = entry.orig_filename = name
        archive.writestr(entry, b"evil")
    refused(evil, tmp_path / "out", "no file of a study|damaged")
    assert not [path for path in tmp_path.rglob("*evil*") if path != evil]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(kind: int, tmp_path: Path) -> None:
    source, evil = packed(tmp_path), tmp_path / "evil.zip"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(evil, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.startswith("arrays/"):
                entry.external_attr, data = (kind | 0o777) << 16, b"/etc/passwd"
            new.writestr(entry, data)
    refused(evil, tmp_path / "out", "link or a device")


def test_files_that_come_twice_are_refused(tmp_path: Path) -> None:
    evil = repacked(packed(tmp_path), lambda files: None, tmp_path / "evil.zip")
    with zipfile.ZipFile(evil, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("study.json", b"{}")
    refused(evil, tmp_path / "out", "twice")


def test_missing_unnamed_and_changed_files_are_refused(tmp_path: Path) -> None:
    source = packed(tmp_path)

    def array(files: dict[str, bytes]) -> str:
        return next(name for name in files if name.startswith("arrays/"))

    def lose(files: dict[str, bytes]) -> None:
        del files[array(files)]

    def gain(files: dict[str, bytes]) -> None:
        files["arrays/" + "a" * 64 + ".npy"] = b"more"

    def change(files: dict[str, bytes]) -> None:
        files[array(files)] = b"other" + files[array(files)][5:]

    def forget(files: dict[str, bytes]) -> None:
        files.pop("study.json")

    expected: dict[Change, str] = {
        lose: "does not hold", gain: "unnamed file", change: "not what the study remembers",
        forget: "no packed study",
    }  # fmt: skip
    for number, (how, match) in enumerate(expected.items()):
        evil = repacked(source, how, tmp_path / f"{number}.zip")
        refused(evil, tmp_path / "out", match)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda data: data.update(name="renamed"), "digest that it states"),
        (lambda data: data.update(schema_version=99), "newer distillscope"),
        (lambda data: data["arrays"].update(x="../../etc/passwd"), "names the file"),
        (lambda data: data["records"].update(bad=float("nan")), "damaged"),
        (lambda data: data.update(models={}), "damaged"),
    ],
)
def test_manifests_that_lie_are_refused(
    change: Callable[[dict[str, object]], None], match: str, tmp_path: Path
) -> None:
    def lie(files: dict[str, bytes]) -> None:
        data = json.loads(files["study.json"])
        change(data)
        files["study.json"] = json.dumps(data).encode()

    refused(repacked(packed(tmp_path), lie, tmp_path / "evil.zip"), tmp_path / "out", match)


def test_declared_sizes_are_limited(tmp_path: Path) -> None:
    source = packed(tmp_path)

    def swell(files: dict[str, bytes]) -> None:
        files["arrays/" + "b" * 64 + ".npy"] = bytes(2 << 20)

    large = repacked(source, swell, tmp_path / "large.zip")
    refused(large, tmp_path / "out", "would unpack to", gib=0.001)
    refused(source, tmp_path / "out", "holds 3 files", files=2)
    with pytest.raises(ConfigError):
        UnpackConfig(files=0)
    assert UnpackConfig().bytes_of(1) == 256 << 20
    assert UnpackConfig().bytes_of(10 << 20) == 1000 << 20
    assert UnpackConfig().bytes_of(1 << 40) == 16 << 30


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    def swell(files: dict[str, bytes]) -> None:
        files["arrays/" + "b" * 64 + ".npy"] = bytes(300 << 20)

    bomb = repacked(packed(tmp_path), swell, tmp_path / "bomb.zip")
    assert bomb.stat().st_size < 1 << 20
    refused(bomb, tmp_path / "out", "would unpack to 0.29 GiB")


def test_a_bomb_that_understates_its_size_is_refused(tmp_path: Path) -> None:
    def swell(files: dict[str, bytes]) -> None:
        name = next(name for name in files if name.startswith("arrays/"))
        files[name] = bytes(8 << 20)

    bomb = repacked(packed(tmp_path), swell, tmp_path / "bomb.zip")
    data = bomb.read_bytes()
    true, small = struct.pack("<L", 8 << 20), struct.pack("<L", 64)
    assert data.count(true) == 2  # in the file's own header and in the directory
    bomb.write_bytes(data.replace(true, small))
    refused(bomb, tmp_path / "out", "damaged")


def test_a_directory_of_millions_is_not_read(tmp_path: Path) -> None:
    # A directory with more bytes than the allowed number of files could take.
    source = packed(tmp_path)
    buffer = io.BytesIO(source.read_bytes())
    with zipfile.ZipFile(buffer, "a") as archive:
        for number in range(30):
            entry = zipfile.ZipInfo(f"arrays/{number:064x}.npy")
            entry.comment = b"x" * 60_000
            archive.writestr(entry, b"")
    (tmp_path / "evil.zip").write_bytes(buffer.getvalue())
    refused(tmp_path / "evil.zip", tmp_path / "out", "too many files", files=10)


def test_encrypted_and_rare_methods_are_refused(tmp_path: Path) -> None:
    source = packed(tmp_path)
    data = bytearray(source.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    refused(tmp_path / "a.zip", tmp_path / "out", "encrypted")
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("study.json", b"{}")
    refused(tmp_path / "b.zip", tmp_path / "out", "not read")


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, out = publish(tmp_path / "my study, ü"), tmp_path / "für dich" / "日本.zip"
    assert _run(["pack", str(study.path), "--out", str(out), "--quiet"]) == 0
    assert study.digest in capsys.readouterr().out
    there = tmp_path / "it's there & 標識"
    assert _run(["unpack", str(out), "--out", str(there), "--quiet"]) == 0
    command = capsys.readouterr().out.splitlines()[-1].partition(":  ")[2]
    assert shlex.split(command) == ["distillscope", "open", str(there)]
    assert Study.open(there).digest == study.digest


@pytest.mark.parametrize(
    "arguments",
    [
        ("pack", "{study}", "--out", "{tmp}/study.tar"),
        ("pack", "{tmp}/nothing", "--out", "{tmp}/a.zip"),
        ("pack", "{study}", "--out", "{study}/study.json/a.zip"),
        ("unpack", "{tmp}/nothing.zip", "--out", "{tmp}/out"),
        ("unpack", "{tmp}", "--out", "{tmp}/out"),
        ("unpack", "{study}/study.json", "--out", "{tmp}/out"),
        ("unpack", "{good}", "--out", "{study}"),
        ("unpack", "{good}", "--out", "{study}/study.json/out"),
        ("unpack", "{good}", "--out", "{tmp}/out", "--max-gib", "0"),
    ],
)
def test_the_commands_refuse_in_one_line(
    arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = packed(tmp_path)
    places = {"tmp": tmp_path, "study": tmp_path / "first" / "study", "good": good}
    status = _run([part.format(**places) for part in arguments])
    err = capsys.readouterr().err
    assert status == 2, err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
