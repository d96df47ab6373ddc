"""A frozen zoo names the commit of its method and goes on with no other."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.errors import InputError
from benchmarks.zoo.method import (
    PATTERNS,
    ROOT,
    UNKNOWN,
    manifest_path,
    method_digest,
    method_files,
    noted_method,
    settle_method,
)
from benchmarks.zoo.plan import Zoo
from tests.zoo_plans import tiny_zoo


def git(root: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    command = ["git", "-C", str(root), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with two files of a method, one other, and a plan."""
    folder = tmp_path / "clone"
    for name in ("analysis/audit/null.py", "analysis/study/audit.py", "analysis/study/run.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")
    tiny_zoo(folder)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "method")
    return folder


def frozen(root: Path) -> Zoo:
    return replace(tiny_zoo(root), frozen=True)


def test_the_method_are_the_files_that_search_judge_and_decide() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in method_files()}
    assert {
        "analysis/audit/search.py",
        "analysis/audit/null.py",
        "analysis/audit/verdict.py",
        "analysis/study/audit.py",
        "analysis/study/audit_inversion.py",
    } <= names
    assert not any("benchmarks" in name for name in names)


def test_the_commit_is_noted_once_and_later_commits_are_no_change(
    root: Path, tmp_path: Path
) -> None:
    zoo, results = frozen(root), tmp_path / "results"
    assert noted_method(results, zoo) is None
    found = settle_method(results, zoo, root)
    assert found.commit == git(root, "rev-parse", "HEAD")
    assert noted_method(results, zoo) == found
    assert json.loads(manifest_path(results, zoo).read_text())["digest"] == method_digest(root)
    (root / "analysis/study/run.py").write_text("# something else\n")
    git(root, "commit", "-qam", "no part of the method")
    assert settle_method(results, zoo, root) == found


@pytest.mark.parametrize("how", ["changed", "added", "removed"])
def test_another_method_is_refused(root: Path, tmp_path: Path, how: str) -> None:
    zoo, results = frozen(root), tmp_path / "results"
    commit = settle_method(results, zoo, root).commit
    if how == "changed":
        (root / "analysis/audit/null.py").write_text("# better\n")
    elif how == "added":
        (root / "analysis/study/audit_more.py").write_text("# more\n")
    else:
        (root / "analysis/study/audit.py").unlink()
    git(root, "add", "-A")
    git(root, "commit", "-qm", "another method")
    with pytest.raises(InputError, match=f"the method has changed.*{commit[:12]}.*a new zoo"):
        settle_method(results, zoo, root)


def test_another_plan_is_refused(root: Path, tmp_path: Path) -> None:
    zoo, results = frozen(root), tmp_path / "results"
    settle_method(results, zoo, root)
    zoo.path.write_text(zoo.path.read_text() + "\n# changed\n")
    with pytest.raises(InputError, match="the plan has changed"):
        settle_method(results, zoo, root)


@pytest.mark.parametrize("name", ["analysis/audit/null.py", "tiny.toml"])
def test_what_is_not_committed_is_refused_at_first(root: Path, tmp_path: Path, name: str) -> None:
    zoo = frozen(root)
    (root / name).write_text((root / name).read_text() + "# not committed\n")
    with pytest.raises(InputError, match=f"{name} is not committed"):
        settle_method(tmp_path / "results", zoo, root)
    assert noted_method(tmp_path / "results", zoo) is None


def test_without_git_a_frozen_zoo_is_refused_and_another_notes_that(tmp_path: Path) -> None:
    zoo = tiny_zoo(tmp_path / "plans")
    with pytest.raises(InputError, match="no commit can be named"):
        settle_method(tmp_path / "results", replace(zoo, frozen=True), tmp_path)
    assert settle_method(tmp_path / "results", zoo, tmp_path).commit == UNKNOWN


def test_a_zoo_that_is_not_frozen_follows_the_method(root: Path, tmp_path: Path) -> None:
    zoo, results = tiny_zoo(root), tmp_path / "results"
    first = settle_method(results, zoo, root)
    (root / "analysis/audit/null.py").write_text("# better\n")
    second = settle_method(results, zoo, root)
    assert second.digest != first.digest
    assert noted_method(results, zoo) == second


def test_patterns_name_files_of_this_repository() -> None:
    assert all(list(ROOT.glob(pattern)) for pattern in PATTERNS)
