"""Studies of a workspace: asked for by name, switched in the address, and nothing outside it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.applications import Starlette
from streamlit.testing.v1 import AppTest

from analysis.errors import StudyError
from analysis.store import Study
from analysis.store.workspace import Workspace
from dashboard import context, loading, server, thumbnails
from dashboard.cli import main
from dashboard.loading import STUDY_VARIABLE, WORKSPACE_VARIABLE
from dashboard.selection import Selection
from tests.unit.test_server import ask
from tests.workspaces import put_study

HOSTILE = (
    "", ".", "..", "../b", "b/..", "/etc", "a/../../x", "a\\b", ".hidden", "a\0b", "x" * 300,
    "missing", "file", "away",
)  # fmt: skip
UNUSUAL = (
    "road signs, 2nd try", "Straßenschilder", "日本の標識", "a&b <i>=?#%+", "it's \"so\"",
    "ä" * 127, "-x", "head",
)  # fmt: skip


@pytest.fixture
def space(tiny_study: Path, tmp_path: Path) -> Path:
    """Two studies, ``a`` and ``b``, a file, and a link to a study elsewhere."""
    root = tmp_path / "space"
    for name in ("a", "b"):
        shutil.copytree(tiny_study, root / name)
        path = root / name / "study.json"
        manifest = json.loads(path.read_text())
        manifest["name"] = f"Study {name}"
        path.write_text(json.dumps(manifest))
    (root / "file").write_text("nothing")
    (root / "away").symlink_to(tiny_study, target_is_directory=True)
    return root


def test_names_are_those_of_whole_studies_inside(space: Path) -> None:
    assert Workspace(space).names() == ("a", "b")
    assert Workspace(space).path("b") == space / "b"
    assert Workspace(space / "missing").names() == ()


@pytest.mark.parametrize("name", UNUSUAL)
def test_a_name_may_hold_whatever_can_be_seen(name: str, tmp_path: Path) -> None:
    root = tmp_path / "Straßen und Wege"
    put_study(root, name)
    workspace = Workspace(root)
    assert workspace.names() == workspace.beside(name) == (name,)
    assert workspace.name_of(workspace.path(name)) == name
    (summary,) = workspace.summaries()
    assert (summary.folder, summary.usable) == (name, True)


def test_a_name_that_is_none_is_listed_with_the_reason(tmp_path: Path) -> None:
    for name in ("back\\slash", "bell\a", " before", "behind ", "\u202eesrever"):
        put_study(tmp_path, name)
    assert Workspace(tmp_path).names() == ()
    problems = [str(summary.problem) for summary in Workspace(tmp_path).summaries()]
    assert [problem.partition(". ")[0] for problem in problems] == [
        "The folder's name cannot stand in an address"
    ] * 5


def test_studies_of_a_sweep_are_named_with_its_folder(tmp_path: Path) -> None:
    space, deep = tmp_path / "space", tmp_path / "space" / "two rates"
    for root, name in ((space, "a"), (space, "b"), (deep, "a")):
        put_study(root, name)
    put_study(space / "no sweep", "a")
    workspace = Workspace(space)
    with pytest.raises(StudyError, match="there is no study"):
        workspace.path("two rates/a")
    (deep / "sweep.csv").write_text("student\n")
    assert workspace.path("two rates/a") == deep / "a"
    assert workspace.name_of(deep / "a") == "two rates/a"
    assert workspace.names("two rates") == workspace.beside("two rates/a") == ("two rates/a",)
    assert workspace.names() == workspace.beside("a") == ("a", "b")
    (tmp_path / "sweep.csv").write_text("student\n")
    (space / "out").symlink_to(tmp_path, target_is_directory=True)
    assert workspace.names("no sweep") == workspace.names("..") == workspace.names("out") == ()
    for name in ("no sweep/a", "two rates/../a", "two rates/", "/a", "two rates//a", "out/space"):
        with pytest.raises(StudyError, match="there is no study"):
            workspace.path(name)


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_else_is_a_study(space: Path, name: str) -> None:
    with pytest.raises(StudyError, match="there is no study"):
        Workspace(space).path(name)


def test_the_newest_study_stands_for_a_workspace(
    space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(STUDY_VARIABLE, raising=False)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(space))
    (space / "a" / "study.json").touch()
    assert loading.served_path() == space / "a"
    assert loading.study_path("b") == space / "b"
    monkeypatch.setenv(STUDY_VARIABLE, str(space / "b"))
    assert loading.study_path(None) == space / "b"
    monkeypatch.delenv(WORKSPACE_VARIABLE)
    assert loading.workspace_path() == space


def script(page: str) -> None:
    from dashboard import app

    app.render(app.PAGES[page])


def opened(space: Path, monkeypatch: pytest.MonkeyPatch, **query: str) -> AppTest:
    monkeypatch.setenv(STUDY_VARIABLE, str(space / "a"))
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(space))
    at = AppTest.from_function(script, args=("Overview",), default_timeout=60)
    for name, value in query.items():
        at.query_params[name] = value
    return at.run()


def params(at: AppTest) -> dict[str, str]:
    return {key: v if isinstance(v, str) else v[0] for key, v in at.query_params.items()}


def test_the_address_names_the_study_and_the_picker_changes_it(
    space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = opened(space, monkeypatch)
    assert not at.exception
    assert "study" not in params(at)
    picker = at.selectbox(key="study_picker")
    assert (picker.options, picker.value) == (["a", "b"], "a")
    picker.set_value("b").run()
    assert params(at) == {"student": "alpha", "study": "b"}
    assert at.selectbox(key="study_picker").value == "b"
    at.selectbox(key="student_picker").set_value("beta").run()
    assert params(at) == {"student": "beta", "study": "b"}


def test_an_address_of_another_study_is_opened_and_of_none_is_told(
    space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = opened(space, monkeypatch, study="b", student="beta")
    assert at.selectbox(key="study_picker").value == "b"
    for name in ("../../etc", "gone"):
        at = opened(space, monkeypatch, study=name)
        assert not at.exception
        assert not [box for box in at.selectbox if box.key == "study_picker"]


def test_a_study_that_is_deleted_while_it_is_open_is_a_message(
    space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = opened(space, monkeypatch, study="b")
    shutil.rmtree(space / "b")
    at.run()
    assert not at.exception
    assert not [box for box in at.selectbox if box.key == "study_picker"]


def test_pictures_come_from_the_study_that_a_page_opened(
    space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "_opened", {})
    study = Study.open(space / "b")
    app = Starlette(routes=[thumbnails.thumbnail_route(None)])
    sample, version = str(study.condition_ids("clean")[0]), thumbnails.study_version(study)
    address = thumbnails.thumbnail_url(sample, "clean", version)
    assert ask(app, address)[0] == 404
    thumbnails.remember(study)
    assert ask(app, address)[1]["content-type"] == "image/webp"


def test_an_address_of_a_study_never_gets_pictures_of_another(
    space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "_opened", {})
    study, other = Study.open(space / "a"), Study.open(space / "b")
    app = Starlette(routes=[thumbnails.thumbnail_route(space / "a")])
    sample = str(study.condition_ids("clean")[0])
    versions = [thumbnails.study_version(one) for one in (study, other)]
    addresses = [thumbnails.thumbnail_url(sample, version=version) for version in versions]
    assert [ask(app, address)[0] for address in addresses] == [200, 404]
    assert ask(app, thumbnails.thumbnail_url(sample))[0] == 200
    thumbnails.remember(other)
    assert [ask(app, address)[0] for address in addresses] == [200, 200]


def test_studies_of_one_digest_share_neither_rows_nor_pictures(
    tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = tmp_path / "twins"
    for name in ("a", "b"):
        shutil.copytree(tiny_study, space / name)
    path = space / "b" / Study.open(space / "b").manifest.samples["alpha/clean"]
    table = pq.read_table(path)
    at, field = table.column_names.index("answer"), table.schema.field("answer")
    pq.write_table(table.set_column(at, field, pa.array([0] * len(table), field.type)), path)
    first, second = (Study.open(space / name) for name in ("a", "b"))
    assert first.digest == second.digest
    assert thumbnails.study_version(first) != thumbnails.study_version(second)
    picked = Selection(student="alpha")
    rows = [context._pair(context._key(study, picked), study) for study in (first, second)]
    assert rows[0].student_answer.any()
    assert not rows[1].student_answer.any()
    monkeypatch.setattr(thumbnails, "_opened", {})
    for study in (first, second):
        thumbnails.remember(study)
    assert sorted(thumbnails._opened.values()) == [first.path, second.path]
    assert first.manifest.whole == second.manifest.whole
    stored = dict.fromkeys(first.manifest.stored, "0" * 64)
    assert dataclasses.replace(first.manifest, stored=stored).whole != first.manifest.whole


def test_studies_that_a_page_lists_stay_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "_opened", {})
    names = [f"{number:016x}" for number in range(thumbnails._MOST_OPENED + 50)]
    thumbnails.remember_all((name, Path(name)) for name in names)
    assert list(thumbnails._opened) == names
    thumbnails.remember_all([(names[0], Path("again"))])
    assert len(thumbnails._opened) == thumbnails._MOST_OPENED
    assert thumbnails._opened[names[0]] == Path("again")
    thumbnails.remember_all((f"new{number}", Path("new")) for number in range(200))
    assert names[0] in thumbnails._opened


def test_a_folder_of_studies_or_an_empty_one_is_a_workspace(space: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    assert server.is_workspace(space)
    assert server.is_workspace(tmp_path / "empty")
    assert not server.is_workspace(space / "a")
    assert not server.is_workspace(tmp_path / "other")
    assert not server.is_workspace(tmp_path / "missing")


def test_open_takes_a_workspace_and_makes_the_usual_one(
    space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[Path] = []
    monkeypatch.setattr(server, "serve", lambda study, **_: served.append(Path(study)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["open"])
    assert end.value.code == 0
    with pytest.raises(SystemExit):
        main(["open", str(space)])
    assert served == [Path("studies"), space]
    assert (tmp_path / "studies").is_dir()
    (tmp_path / "net.py").write_text("")
    with pytest.raises(SystemExit) as end:
        main(["open", str(space), "--trust-code", "net.py"])
    assert end.value.code == 2
    assert "Open the one study" in capsys.readouterr().err
