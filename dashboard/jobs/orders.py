"""From an order to the commands that carry it out, and what of an order is refused.

An order is data that somebody typed, or that a file holds. Nothing of it is executed: outputs are
names in the workspace, user code is refused by name, every value stays a value of one option.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.errors import ConfigError, InputError, nearest
from analysis.store.workspace import Workspace, is_name
from dashboard.jobs.progress import Part
from dashboard.jobs.record import Order

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")
_CODE = re.compile(r"\.py[a-z]?\b", re.IGNORECASE)
_LONGEST = 4000
_MOST = 256

Values = Mapping[str, Mapping[str, Any]]
"""The values of a form: {section: {field: value}}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a job runs, in the workspace: its ``files``, then its ``commands``.

    ``makes`` are the names in the workspace that it writes to; ``study`` is the one among all
    that a user wants to see afterwards.
    """

    commands: tuple[tuple[str, ...], ...]
    parts: tuple[Part, ...]
    makes: tuple[str, ...]
    study: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    def shown(self, command: Iterable[str]) -> str:
        """A command as a terminal takes it."""
        return shlex.join(["distillscope", *command])


Planner = Callable[[str, Values], Plan]


def plan_of(order: Order, workspace: Path) -> Plan:
    """The plan of ``order``; :class:`~analysis.errors.InputError` for what must not be run."""
    from dashboard.jobs.forms import ORDERS

    if order.kind not in ORDERS:
        raise ConfigError(f"unknown kind of job {order.kind!r}", remedy=nearest(order.kind, ORDERS))
    form = ORDERS[order.kind]
    if form.named:
        check_name(order.name)
    values = _checked(order.values, {section.name for section in form.sections})
    for given in form.fields:
        value = values["inputs"].get(given.name)
        if given.required and not value:
            raise ConfigError(f"no {given.title.lower()}", expected=given.help)
        if given.kind == "study" and value:
            check_study(str(value), workspace)
    return form.plan(order.name, values)


def check_name(name: str) -> str:
    """Return ``name`` when something in the workspace can be called so."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.lower() == "teacher":
        raise ConfigError(
            f"name {name!r}",
            expected="1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first",
            remedy="it names a folder of the workspace; 'teacher' is taken",
        )
    return name


def is_study_name(name: str) -> bool:
    """Whether a command can be given ``name`` as a study: it is none of its options."""
    return is_name(name) and not name.startswith("-")


def check_study(name: str, workspace: Path) -> str:
    """Return ``name`` when a study of the workspace is called so."""
    if not is_study_name(name) or name not in Workspace(workspace).names():
        raise InputError(f"there is no study {name!r} in the workspace", expected="one of its own")
    return name


def check_new(plan: Plan, workspace: Path, taken: Iterable[str] = ()) -> None:
    """Refuse a plan that would write to what is there, or to what another job will make."""
    others = {name.lower() for name in taken}
    for name in plan.makes:
        path = workspace / name
        if path.exists() or path.is_symlink() or name.lower() in others:
            raise InputError(
                f"{name} is there already",
                expected="a new name",
                remedy="nothing is overwritten; choose another name",
            )


def _checked(values: Mapping[str, Any], sections: set[str]) -> dict[str, dict[str, Any]]:
    known = {"inputs", *sections}
    checked: dict[str, dict[str, Any]] = {name: {} for name in known}
    for section, given in values.items():
        if section not in known or not isinstance(given, Mapping):
            raise ConfigError(f"unknown section {str(section)!r}", remedy=nearest(section, known))
        for key, value in given.items():
            if not isinstance(key, str) or not _KEY.fullmatch(key):
                raise ConfigError(f"unknown setting {str(key)!r}", expected="a name")
            checked[section][key] = _value(f"{section}.{key}", value)
    return checked


def _value(name: str, value: Any, *, within: bool = False) -> Any:
    """Return ``value`` when it is a plain one; user code is refused whatever it is meant for."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple) and not within and len(value) <= _MOST:
        return [_value(name, item, within=True) for item in value]
    if not isinstance(value, str) or len(value) > _LONGEST or not _plain(value):
        raise ConfigError(f"{name} is no plain value", expected="a number, or one line of text")
    if _CODE.search(value):
        raise ConfigError(
            f"{name} = {value!r} names Python code",
            expected="weights, images or a built-in architecture",
            remedy="code of your own runs from the command line alone, with --trust-code",
        )
    return value


def _plain(text: str) -> bool:
    # Surrogates cannot be written to a file; control characters move the cursor of a terminal.
    return all(character.isprintable() for character in text)
