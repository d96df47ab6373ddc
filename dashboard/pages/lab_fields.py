"""Fields of the Lab's forms: a widget for every card, and what the widgets hold as values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from analysis.config import SettingCard
from analysis.errors import ConfigError
from dashboard.figures.numbers import markdown, sentence_case
from dashboard.jobs.form import Form, Input, Section

Cards = Mapping[str, tuple[SettingCard, ...]]
_MOST = 2**53 - 1
"""The largest whole number that a browser holds exactly."""
_UNSET = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a form under a section: its card, and whether it is open at once."""

    section: str
    card: SettingCard
    title: str
    main: bool = True
    input: Input | None = None


def input_fields(form: Form) -> list[Field]:
    """The fields for what goes in."""
    return [
        Field(section="inputs", card=_input_card(one), title=one.title, input=one)
        for one in form.fields
    ]


def _input_card(one: Input) -> SettingCard:
    kinds: Mapping[str, Any] = {"int": "int", "specs": "texts", "many": "texts"}
    return SettingCard(
        name=one.name,
        kind=kinds.get(one.kind, "text"),
        default=one.default,
        help=one.help,
        optional=True,
        low=0 if one.kind == "int" else None,
        choices=one.choices or None,
        titles=one.titles,
    )


def section_fields(section: Section, cards: Cards, values: Mapping[str, Any]) -> list[Field]:
    """The fields of a section's settings; some depend on what others of it say."""
    fields = []
    for name in section.cards:
        key = name
        if name.endswith("/*"):
            own = {"objective/*": ("objective", "hinton"), "remedy/*": ("method", "unlearn")}[name]
            key = name.replace("*", str(values.get(own[0]) or own[1]))
        for card in cards.get(key, ()):
            if card.name in section.hidden:
                continue
            default = section.defaults.get(card.name, card.default)
            fields.append(
                Field(
                    section=section.name,
                    card=dataclasses.replace(card, default=default),
                    title=section.labels.get(card.name, label(card.name)),
                    main=card.name in section.main,
                )
            )
    order = {name: place for place, name in enumerate(section.main)}
    return sorted(fields, key=lambda one: order.get(one.card.name, len(order)))


class Book:
    """What the widgets of one form hold, under keys that change when the form is filled anew."""

    def __init__(self, kind: str):
        self.kind = kind
        self._state: dict[str, Any] = st.session_state.setdefault(
            f"lab_book_{kind}", {"generation": 0, "held": {}}
        )

    def key(self, section: str, name: str) -> str:
        """The key of a widget."""
        return f"lab/{self.kind}/{self._state['generation']}/{section}/{name}"

    def fill(self, values: Mapping[str, Mapping[str, Any]], name: str) -> None:
        """Fill the whole form; what is not among ``values`` is as at first."""
        held = {("", "name"): name}
        for section, given in values.items():
            held |= {(section, field): value for field, value in given.items()}
        self._state.update(generation=self._state["generation"] + 1, held=held)

    def suggest(self, section: str, name: str, value: Any) -> None:
        """Let a field hold ``value`` at first."""
        self._state["held"].setdefault((section, name), value)

    def rename(self, name: str) -> None:
        """Give the next one another name; all else stays as it is."""
        self._state["held"]["", "name"] = name
        self._state["generation"] += 1

    def raw(self, section: str, name: str, default: Any) -> Any:
        """What the widget holds, or held before it was last drawn, or ``default``."""
        held = self._state["held"]
        value = st.session_state.get(self.key(section, name), _UNSET)
        if value is _UNSET:
            return held.get((section, name), default)
        held[section, name] = value
        return value


def value_of(field: Field, raw: Any) -> Any:
    """What a widget holds as a value of the field; :class:`ConfigError` for what is none."""
    if isinstance(raw, str):
        raw = raw.strip()
    if raw is None or raw == "":
        return None
    if field.card.kind == "texts":
        separator = "\n" if field.input is not None else ","
        parts = raw.split(separator) if isinstance(raw, str) else list(raw)
        return [part.strip() for part in parts if part.strip()] or None
    if field.card.kind == "ints":
        return _whole_numbers(field.card.name, raw)
    if field.card.kind == "text":
        return _shown(raw)
    if field.card.kind == "float" and not isinstance(raw, str):
        return float(raw)
    return raw


def _whole_numbers(name: str, raw: Any) -> list[int] | None:
    parts = [part.strip() for part in raw.split(",")] if isinstance(raw, str) else list(raw)
    try:
        return [int(part) for part in parts if part != ""] or None
    except ValueError:
        raise ConfigError(f"{name} = {raw!r}", expected="whole numbers, by commas") from None


def is_default(field: Field, value: Any) -> bool:
    """Whether ``value`` is what the field's card says anyway."""
    default = field.card.default
    if value is None:
        return True  # emptied: there is nothing to be sent
    if isinstance(default, tuple | list):
        return list(default) == value
    if field.card.kind == "text" and default is not None:
        return str(value) == _shown(default)
    return bool(value == default)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def label(name: str) -> str:
    """The name of a setting as a label."""
    return sentence_case(name.replace("_", " "))


def help_of(card: SettingCard) -> str:
    """The card's help with its range and its default, for a tooltip."""
    parts = [f"{sentence_case(card.help).rstrip('.')}."]
    if card.low is not None and card.high is not None and card.high <= 1e6:
        parts.append(f"{card.low:g} to {card.high:g}.")
    elif card.low is not None:
        parts.append(f"At least {card.low:g}.")
    if card.default not in (None, "", ()):
        shown = card.default
        if isinstance(shown, tuple | list):
            shown = ", ".join(map(str, shown))
        elif isinstance(shown, bool):
            shown = "on" if shown else "off"
        parts.append(f"Default: {_shown(shown)}.")
    return markdown(" ".join(parts), 400)


def draw(book: Book, field: Field, *, choices: Sequence[str] | None = None) -> None:
    """Draw the widget of ``field``; ``choices`` are those that only the workspace knows."""
    card = field.card
    key = book.key(field.section, card.name)
    raw = book.raw(field.section, card.name, card.default)
    title = f"{field.title} *" if _required(field) else field.title
    given: dict[str, Any] = {"key": key, "help": help_of(card)}
    if choices is not None:
        _pick(title, list(choices), raw, given, optional=not _required(field))
    elif field.input is not None and field.input.kind == "many":
        st.multiselect(
            title, list(card.choices or ()), default=list(raw or ()),
            format_func=lambda name: card.titles.get(name, name), **given,
        )  # fmt: skip
    elif field.input is not None and field.input.kind == "specs":
        text = raw if isinstance(raw, str) else "\n".join(raw or ())
        st.text_area(title, text, placeholder=f"{field.input.example}\none a line", height=96,
                     **given)  # fmt: skip
    elif card.choices is not None:
        _choose(title, card, raw, given)
    elif card.kind == "bool":
        st.checkbox(title, bool(raw), **given)
    elif card.kind in ("int", "float"):
        _number(title, card, raw, given)
    else:
        empty = _placeholder(card) if field.input is None else field.input.example
        st.text_input(title, _text(raw), placeholder=empty, **given)


def _required(field: Field) -> bool:
    return field.input is not None and field.input.required


def _pick(title: str, known: list[str], raw: Any, given: dict[str, Any], *, optional: bool) -> None:
    at = known.index(raw) if raw in known else None
    # Without a student all of them are meant; without a study, none.
    open_choice = "none" if title == "Study" else "all"
    empty = "none there" if not known else open_choice if optional else "choose"
    st.selectbox(title, known, index=at, placeholder=empty, **given)


def _choose(title: str, card: SettingCard, raw: Any, given: dict[str, Any]) -> None:
    known = list(card.choices or ())
    at = known.index(raw) if raw in known else None
    given["help"] = f"{given['help']}\n\n" + "\n".join(
        f"- {markdown(name)}: {markdown(card.titles[name], 120)}"
        for name in known
        if card.titles.get(name, name) != name
    )
    st.selectbox(title, known, index=at, placeholder="choose",
                 format_func=lambda name: name or "no", **given)  # fmt: skip


def _number(title: str, card: SettingCard, raw: Any, given: dict[str, Any]) -> None:
    whole = card.kind == "int"
    low = card.low if card.low is not None else -_MOST
    high = min(card.high if card.high is not None else _MOST, _MOST)
    kind: Any = int if whole else float
    st.number_input(
        title, min_value=kind(low), max_value=kind(high), value=None if raw is None else kind(raw),
        step=1 if whole else _step(card), format="%d" if whole else "%g",
        placeholder=_placeholder(card), **given,
    )  # fmt: skip


def _step(card: SettingCard) -> float:
    """A tenth of the default's magnitude, for the buttons beside a number."""
    if not isinstance(card.default, float) or card.default <= 0:
        return 0.1
    return float(f"{card.default / 10:.0e}")


def _placeholder(card: SettingCard) -> str:
    return "default" if card.optional and card.default is None else ""


def _text(raw: Any) -> str:
    if raw is None:
        return ""
    return ", ".join(map(str, raw)) if isinstance(raw, list | tuple) else _shown(raw)
