"""Which state of the method a zoo's results belong to, and the refusal to mix two of them.

The method are the files that search, judge and decide. A frozen zoo names the commit that held
them when its first student was distilled; from then on it goes on with these very files only.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from analysis.digest import digest_file, digest_json
from analysis.errors import InputError
from analysis.store.files import write_json
from benchmarks.zoo.plan import Zoo

ROOT = Path(__file__).parents[2]
PATTERNS = ("analysis/audit/*.py", "analysis/study/audit*.py")
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Method:
    """The commit (40 hexadecimal digits), the digest of the method's files, that of the plan."""

    commit: str
    digest: str
    plan: str


def method_files(root: Path = ROOT) -> list[Path]:
    """The files that the method consists of, in order."""
    return sorted(path for pattern in PATTERNS for path in root.glob(pattern))


def method_digest(root: Path = ROOT) -> str:
    """Digest of the method's files by their names below ``root``."""
    rows = [[path.relative_to(root).as_posix(), digest_file(path)] for path in method_files(root)]
    return digest_json(rows)


def manifest_path(results: Path, zoo: Zoo) -> Path:
    """Where the commit of a zoo is noted, beside its results."""
    return results / f"zoo-{zoo.name}.json"


def noted_method(results: Path, zoo: Zoo) -> Method | None:
    """What the results in the folder ``results`` were begun with, or None before the first."""
    path = manifest_path(results, zoo)
    return Method(**json.loads(path.read_text())) if path.exists() else None


def settle_method(results: Path, zoo: Zoo, root: Path = ROOT) -> Method:
    """Return the method of ``zoo``, noting it at its first student.

    Raises :class:`InputError` for a frozen zoo when method or plan are not as they were then, or,
    at first, when they are not committed.
    """
    noted = noted_method(results, zoo)
    digest = method_digest(root)
    if noted is not None:
        if zoo.frozen and (noted.digest, noted.plan) != (digest, zoo.digest):
            what = "the method" if noted.digest != digest else "the plan"
            raise InputError(
                f"{what} has changed since the zoo {zoo.name!r} was begun "
                f"(commit {noted.commit[:12]})",
                expected=f"the files of that commit: {', '.join(PATTERNS)}, {zoo.path.name}",
                remedy="check them out, or begin a new zoo: another plan with new seeds",
            )
        if zoo.frozen:
            return noted
    found = Method(_commit(zoo, root), digest, zoo.digest)
    write_json(manifest_path(results, zoo), asdict(found))
    return found


def _commit(zoo: Zoo, root: Path) -> str:
    """The commit at hand; a frozen zoo wants method and plan to be part of it."""
    try:
        commit = _git(root, "rev-parse", "HEAD").strip()
        files = (*PATTERNS, str(zoo.path)) if zoo.frozen else ()
        changed = _git(root, "status", "--porcelain", "--", *files).strip() if files else ""
    except (OSError, subprocess.CalledProcessError):
        if not zoo.frozen:
            return UNKNOWN
        raise InputError(
            f"no commit can be named for the zoo {zoo.name!r}",
            expected="a clone of the repository, and git",
        ) from None
    if changed:
        raise InputError(
            f"{changed.split()[-1]} is not committed",
            remedy="commit method and plan before the zoo is begun",
        )
    return commit


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
