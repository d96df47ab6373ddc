"""The options of our commands, read from the command line itself."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.errors import InputError
from dashboard.jobs.texts import option_text, setting_text

_SETTINGS = "settings"
WIRING = frozenset(
    {
        "study", "student", "teacher", "images", "validation", "out", "reference", "references",
        "references_out", "like", "truth", "distillation", "distillation_set", "checkpoints",
        "class_names", "teacher_outputs", "student_outputs", "experiment", "name", "settings",
        "trust_code", "quiet", "as_json", "fail_on",
    }
)  # fmt: skip
"""Parameters that say what goes in and out; no setting of a record may stand for one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOption:
    """A parameter of a command: how it is written, what it says of itself."""

    name: str
    flag: str
    opposite: str | None
    multiple: bool
    help: str
    default: Any


@functools.cache
def command_options(command: str) -> Mapping[str, CommandOption]:
    """The options of ``distillscope COMMAND`` by parameter; what is positional is none."""
    import typer

    from dashboard.cli import app

    group: Any = typer.main.get_command(app)
    return {
        param.name: CommandOption(
            name=param.name,
            flag=max(param.opts, key=len),
            opposite=next(iter(param.secondary_opts), None),
            multiple=bool(param.multiple),
            help=param.help or "",
            default=param.default,
        )
        for param in group.commands[command].params
        if param.opts[0].startswith("-")
    }


def written(
    command: str, inputs: Iterable[tuple[str, Any]], settings: Iterable[tuple[str, Any]] = ()
) -> list[str]:
    """``inputs`` and ``settings`` as words of a command line; None says nothing.

    An input must be an option of the command. A setting is one where the command has it, else
    ``--set``. A value always stands in the same word as its option, so none is taken for another.
    """
    words: list[str] = []
    options = command_options(command)
    for name, value in inputs:
        if name not in options:
            raise InputError(f"{command} has no option for {name!r}")
        words += _option(options[name], value)
    for name, value in settings:
        if name in options and name not in WIRING:
            words += _option(options[name], value)
        elif value is not None and _SETTINGS in options:
            words.append(f"--set={name}={setting_text(value)}")
        elif value is not None:
            raise InputError(f"{command} has no setting {name!r}")
    return words


def as_settings(values: Iterable[tuple[str, Any]]) -> list[str]:
    """``values`` as ``--set``, whatever options the command has."""
    return [f"--set={name}={setting_text(value)}" for name, value in values if value is not None]


def _option(option: CommandOption, value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, bool):
        flag = option.flag if value else option.opposite
        return [flag] if flag else []
    many: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    if len(many) > 1 and not option.multiple:
        raise InputError(f"several values for {option.flag}", expected="one")
    return [f"{option.flag}={option_text(item)}" for item in many]
