"""What the Runs page shows of a workspace: its studies, each with its nulls. Knows no Streamlit."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from analysis.errors import DistillscopeError
from analysis.store.study import Study
from analysis.store.summary import StudySummary, damaged
from analysis.store.workspace import Workspace
from analysis.study.null import StudentNulls, find_nulls
from dashboard import thumbnails
from dashboard.loading import study_stamp, version_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A study of the workspace, with the nulls of its students where it holds references.

    ``version`` is what caches know its files by.
    """

    summary: StudySummary
    version: str = ""
    nulls: Mapping[str, StudentNulls] = field(default_factory=dict)

    def matches(self, words: str) -> bool:
        """Whether each of ``words`` stands in a name, the teacher, a student or a tag."""
        summary = self.summary
        students = (f"{one.name} {one.role} {one.architecture}" for one in summary.students)
        texts = (summary.folder, summary.title, summary.teacher, *students, *summary.tags)
        whole = "\n".join(texts).casefold()
        return all(word in whole for word in words.casefold().split())


def load_runs(workspace: Workspace) -> tuple[Run, ...]:
    """All studies of ``workspace``, the newest first."""
    return tuple(_run(workspace, summary) for summary in workspace.summaries())


def _run(workspace: Workspace, summary: StudySummary) -> Run:
    if not summary.usable:
        return Run(summary=summary)
    path = workspace.root / summary.folder
    try:
        nulls = _nulls(path, study_stamp(path)) if summary.references else {}
    except DistillscopeError:  # it was taken away just now
        nulls = {}
    except Exception as error:  # one study never takes the list away from the others
        return Run(summary=damaged(summary.folder, error))
    return Run(summary=summary, version=version_in(path, summary.whole), nulls=nulls)


def offer_pictures(workspace: Workspace, runs: Iterable[Run]) -> None:
    """Let pictures of ``runs``, which a page is about to list, be asked for."""
    thumbnails.remember_all(
        (run.version, workspace.root / run.summary.folder) for run in runs if run.summary.usable
    )


@functools.lru_cache(maxsize=256)
def _nulls(path: Path, stamp: tuple[int, int]) -> Mapping[str, StudentNulls]:
    study = Study.open(path)
    return {name: find_nulls(study, name) for name in study.students}


def all_tags(runs: Iterable[Run]) -> list[str]:
    """Every tag that a study carries, in alphabetical order."""
    found = {tag for run in runs for tag in run.summary.tags}
    return sorted(found, key=lambda tag: (tag.casefold(), tag))


def chosen(runs: Iterable[Run], words: str, tags: Iterable[str]) -> list[Run]:
    """The runs that match ``words`` and carry all ``tags``."""
    wanted = set(tags)
    return [run for run in runs if wanted <= set(run.summary.tags) and run.matches(words)]
