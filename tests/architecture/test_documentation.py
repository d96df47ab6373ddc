"""What the documents point to is there, and the commands that they show are commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from dashboard.cli import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
BLOCK = re.compile(r"^ *```([^\n]*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (document.parent / target).exists(), target


def shown_commands(document: Path) -> list[list[str]]:
    """Every ``distillscope ...`` in the code blocks of ``document``, as words."""
    lines = []
    for language, block in BLOCK.findall(document.read_text(encoding="utf-8")):
        if language not in ("", "sh"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip().startswith("distillscope "):
                lines.append(shlex.split(line, comments=True)[1:])
    return lines


def test_commands_are_found_after_other_code_and_in_lists() -> None:
    own = [words[0] for words in shown_commands(ROOT / "docs" / "own-models.md")]
    assert own == ["compare", "open"]
    guide = [words[0] for words in shown_commands(ROOT / "docs" / "guides" / "what-was-lost.md")]
    assert guide == ["compare", "open", "reference", "add", "show", "show"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist_with_their_options(document: Path) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for words in shown_commands(document):
        assert words[0] in commands, words
        known = {name for option in commands[words[0]].params for name in option.opts}
        known |= {name for option in commands[words[0]].params for name in option.secondary_opts}
        used = {word.partition("=")[0] for word in words[1:] if word.startswith("--")}
        assert used <= known, (words[0], used - known)
