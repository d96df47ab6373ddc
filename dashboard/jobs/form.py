"""What a form is: fields for what goes in and out, sections of settings, the plan of its commands.

Settings are the cards of configuration records (:mod:`analysis.study.setting_cards`); the rest the
command line's own help describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dashboard.jobs.options import command_options
from dashboard.jobs.orders import Planner

InputKind = Literal["text", "source", "spec", "specs", "study", "student", "int", "choice", "many"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A field for what goes in: ``kind`` says what it may be, ``example`` what a user may type."""

    name: str
    title: str
    kind: InputKind
    help: str
    required: bool = False
    example: str = ""
    choices: tuple[str, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    default: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Settings of one or several records: ``cards`` are keys of the cards.

    ``objective/*`` stands for the cards of what the field ``objective`` says, likewise
    ``remedy/*``. ``main`` fields are open, the others behind "More settings"; ``hidden`` ones are
    not offered. Sections of one ``title`` stand together. ``labels`` name fields that their own
    names do not say enough of here, ``defaults`` are those that the command has other than the
    record.
    """

    name: str
    title: str
    cards: tuple[str, ...]
    main: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What can be run: its words on the screen, its fields, its plan.

    ``makes`` says what comes out; a form that is not ``named`` makes nothing new. ``page`` is
    where the result is looked at.
    """

    kind: str
    title: str
    short: str
    about: str
    makes: str
    fields: tuple[Input, ...]
    sections: tuple[Section, ...]
    plan: Planner
    named: bool = True
    page: str = "overview"


def command_input(
    command: str, option: str, title: str, kind: InputKind, *, name: str | None = None, **more: Any
) -> Input:
    """A field for an option of ``command``, in that command's own words."""
    help = command_options(command)[option].help
    return Input(name=name or option, title=title, kind=kind, help=help, **more)


SOURCE = "signs:train,n=2000,seed=1"
RECIPE_LABELS: Mapping[str, str] = {"arch": "Architecture"}
COMPARISON_LABELS: Mapping[str, str] = {
    "limit": "Image limit",
    "probe": "Explained images",
    "projection": "Maps",
    "epochs": "Epochs of the maps",
    "steps": "Steps of attributions",
    "draws": "Bootstrap draws",
    "size": "Resize to, pixels",
}
RECIPE = Section(
    name="recipe",
    title="Recipe",
    cards=("network", "objective/*", "training"),
    main=("arch", "width", "objective", "temperature", "epochs"),
    hidden=("device",),
    labels=RECIPE_LABELS,
)
ATTACK_MAIN = ("trigger", "target", "rate", "method", "epsilon")
COMPARISON = Section(
    name="comparison",
    title="Comparison",
    cards=("comparison",),
    main=("limit", "probe", "projection"),
    labels=COMPARISON_LABELS,
)
