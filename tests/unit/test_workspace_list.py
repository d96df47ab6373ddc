"""A workspace as a list: summaries of its studies, tags, sweeps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.errors import InputError, StorageError, StudyError
from analysis.records import Interval
from analysis.store.study import Study
from analysis.store.tags import MAX_TAGS, load_tags
from analysis.store.workspace import HERE, Workspace
from tests.workspaces import put_study

_AGREEMENT = ("records", "measures/alpha/clean", "agreement")
DAMAGES: tuple[tuple[tuple[str, ...], Any], ...] = (
    (("image_sets", "inspection", "n"), "12"),
    (("image_sets", "inspection", "n"), None),
    (("image_sets", "inspection", "n"), 1.5),
    (("image_sets", "inspection", "n"), True),
    (("image_sets", "inspection", "labeled"), 1),
    (("image_sets", "inspection", "source"), []),
    (("models", "teacher", "spec"), 5),
    (("models", "alpha", "spec"), None),
    (("models", "alpha", "epoch"), "3"),
    (("models", "alpha", "cost"), {"parameters": "many", "macs": 1}),
    (("conditions", "clean", "n"), None),
    (_AGREEMENT, {"value": "0.9", "low": 0.8, "high": 1.0}),
    (_AGREEMENT, {"value": 0.9, "low": [], "high": 1.0}),
    (_AGREEMENT, {"value": 10**400, "low": None, "high": None}),
    (("arrays",), []),
    (("stored",), 5),
    (("config",), None),
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "workspace"
    put_study(root, "first", created="2026-01-01T00:00:00+00:00")
    put_study(
        root,
        "second",
        created="2026-02-01T00:00:00+00:00",
        students={"alpha": {"agreement": 0.9, "attack_success_rate": 0.8, "base_rate": 0.1}},
        references={"reference-1": {"agreement": 0.95}, "reference-2": {"agreement": 0.97}},
    )
    return Workspace(root)


def test_a_link_that_leaves_the_workspace_says_so(workspace: Workspace, tmp_path: Path) -> None:
    (workspace.root / "way-out").symlink_to(put_study(tmp_path, "outside"))
    (workspace.root / "loop").symlink_to(workspace.root / "loop")
    problems = {entry.folder: entry.problem for entry in workspace.summaries()}
    assert set(problems) == {"first", "second", "way-out"}
    assert "leads out of the workspace" in str(problems["way-out"])
    assert Workspace(tmp_path / "nowhere").summaries() == ()


def test_hidden_and_deeper_folders_are_not_listed(workspace: Workspace) -> None:
    put_study(workspace.root, ".hidden")
    put_study(workspace.root / "deeper", "third")
    (workspace.root / "study.json").write_text("{}")
    assert [entry.folder for entry in workspace.summaries()] == ["second", "first"]


def test_a_summary_is_read_from_the_manifest(workspace: Workspace) -> None:
    newest, oldest = workspace.summaries()
    assert (newest.folder, oldest.folder) == ("second", "first")
    assert newest.digest == Study.open(workspace.path("second")).digest
    assert (newest.images, newest.classes, newest.labeled) == (40, 2, True)
    assert newest.teacher == "resnet8@teacher.safetensors"
    (student,) = newest.students
    assert student.role == "subject"
    assert student.values["agreement"] == Interval(0.9, 0.89, 0.91)
    assert student.values["attack_success_rate"].value == 0.8
    assert "accuracy" not in student.values
    assert newest.references == {"agreement": (0.95, 0.97)}
    assert newest.usable
    assert not newest.pictures


def test_damaged_studies_are_listed_with_the_reason(workspace: Workspace) -> None:
    broken = {
        "text": "no json",
        "empty": "{}",
        "newer": json.dumps({"schema_version": 99}),
        "list": "[]",
    }
    for name, text in broken.items():
        (workspace.root / name).mkdir()
        (workspace.root / name / "study.json").write_text(text)
    data = json.loads((workspace.root / "first" / "study.json").read_text())
    data["records"]["measures/alpha/clean"]["agreement"] = {"value": 0.5, "low": 0, "high": None}
    data["records"]["audit/alpha"] = "bad"
    (put_study(workspace.root, "strange") / "study.json").write_text(json.dumps(data))
    put_study(workspace.root, "a name with a \\")
    entries = {entry.folder: entry for entry in workspace.summaries()}
    assert len(entries) == 8
    for name in broken:
        assert entries[name].problem
        assert not entries[name].usable
    assert "schema 99" in str(entries["newer"].problem)
    assert "Rename it" in str(entries["a name with a \\"].problem)
    assert entries["strange"].students[0].values == {"agreement": Interval(0.5)}
    assert entries["strange"].students[0].verdict is None


@pytest.mark.parametrize(("keys", "value"), DAMAGES)
def test_a_value_of_another_type_is_a_reason(
    workspace: Workspace, keys: tuple[str, ...], value: Any
) -> None:
    path = workspace.root / "first" / "study.json"
    data = json.loads(path.read_text())
    place = data
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(data))
    with pytest.raises(StudyError, match="is damaged"):
        Study.open(path.parent)
    entries = {entry.folder: entry for entry in workspace.summaries()}
    assert "is damaged" in str(entries["first"].problem)
    assert entries["second"].usable


def test_a_summary_follows_its_study(workspace: Workspace) -> None:
    assert workspace.summaries()[1].title == "The study first"
    path = workspace.root / "first" / "study.json"
    path.write_text(path.read_text().replace("The study first", "Another title here"))
    assert workspace.summaries()[1].title == "Another title here"
    path.unlink()
    assert [entry.folder for entry in workspace.summaries()] == ["second"]


def test_tags_are_added_removed_and_listed(workspace: Workspace) -> None:
    for tag in ("poisoned", "  to   show ", "poisoned"):
        workspace.tag("first", tag)
    workspace.tag("second", "Control")
    tags = {entry.folder: entry.tags for entry in workspace.summaries()}
    assert tags == {"first": ("poisoned", "to show"), "second": ("Control",)}
    workspace.untag("first", "poisoned")
    workspace.untag("gone", "never there")
    assert load_tags(workspace.root) == ({"first": ("to show",), "second": ("Control",)}, None)


@pytest.mark.parametrize("tag", ["", "   ", "x" * 41, "a\x00b", "bell\x07"])
def test_what_can_be_no_tag_is_refused(workspace: Workspace, tag: str) -> None:
    with pytest.raises(InputError, match="visible characters"):
        workspace.tag("first", tag)
    with pytest.raises(InputError):
        workspace.tag("../first", "tag")
    assert load_tags(workspace.root) == ({}, None)


def test_there_is_an_end_to_tags(workspace: Workspace) -> None:
    for number in range(MAX_TAGS):
        workspace.tag("first", f"tag {number}")
    with pytest.raises(InputError, match="Remove one"):
        workspace.tag("first", "one more")


@pytest.mark.parametrize(
    "text", ["no json", "[]", '{"tags": []}', '{"tags": 3}', "\x00", "[" * 9000]
)
def test_a_hostile_file_of_tags_survives(workspace: Workspace, text: str) -> None:
    path = workspace.root / ".distillscope" / "tags.json"
    path.parent.mkdir()
    path.write_text(text)
    assert len(workspace.summaries()) == 2
    with pytest.raises(StorageError, match="Move it away"):
        workspace.tag("first", "tag")
    assert path.read_text() == text


def test_entries_that_are_no_tags_are_left_out(workspace: Workspace) -> None:
    path = workspace.root / ".distillscope" / "tags.json"
    path.parent.mkdir()
    entries = {"first": ["good", 3, "", None, "x" * 50, "good"], "second": "text", "../x": ["a"]}
    path.write_text(json.dumps({"tags": entries}))
    assert workspace.summaries()[1].tags == ("good",)
    assert workspace.summaries()[0].tags == ()


def test_sweeps_are_found_here_and_one_level_down(workspace: Workspace) -> None:
    assert workspace.sweeps() == ()
    for folder in (workspace.root, workspace.root / "rates", workspace.root / ".hidden"):
        folder.mkdir(exist_ok=True)
        (folder / "sweep.csv").write_text("seed,student\n0,alpha\n")
    assert workspace.sweeps() == (HERE, "rates")
    assert workspace.sweep_table("rates") == workspace.root / "rates" / "sweep.csv"
    assert workspace.sweep_table(HERE).read_text().startswith("seed")
    with pytest.raises(InputError, match="no sweep"):
        workspace.sweep_table("../rates")


def test_listing_loads_no_torch(workspace: Workspace) -> None:
    code = (
        "import sys; from pathlib import Path; from analysis.store.workspace import Workspace;"
        f"assert len(Workspace(Path({str(workspace.root)!r})).summaries()) == 2;"
        "assert not {'torch', 'captum', 'umap', 'streamlit'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
