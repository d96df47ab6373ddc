"""Configurations: keyword-only, frozen, validated on construction, equal by content.

A configuration is a frozen dataclass that inherits from :class:`Config` and describes its
fields with :func:`field`: help text, bounds and choices live there once, and serve validation,
``--help``, error messages and forms alike.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from analysis.digest import digest_json
from analysis.errors import ConfigError, nearest


def field(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] | None = None,
    provenance: bool = False,
) -> Any:
    """Describe one configuration value.

    ``low`` and ``high`` are inclusive. A ``provenance`` field (threads, device) says where a
    result was computed, not which result; it stays outside the digest.
    """
    metadata = {
        "help": help,
        "low": low,
        "high": high,
        "choices": tuple(choices) if choices is not None else None,
        "provenance": provenance,
    }
    return dataclasses.field(default=default, metadata=metadata)


Kind = Literal["bool", "int", "float", "text", "ints", "texts"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SettingCard:
    """What is to be known of one configuration value by those who cannot load its record.

    ``kind`` says what it is made of; what may be a number or a text is a text. ``optional``
    values may be None. ``choices`` are all that it may be, with a ``title`` each where the
    names alone do not say enough.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    optional: bool = False
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] | None = None
    titles: Mapping[str, str] = dataclasses.field(default_factory=dict)


def cards_of(config: type[Config]) -> tuple[SettingCard, ...]:
    """A card of every value of ``config``; configurations within it have cards of their own."""
    hints = typing.get_type_hints(config)
    cards = []
    for spec in dataclasses.fields(config):
        kind, optional = _kind(hints[spec.name])
        if kind is None:
            continue
        cards.append(
            SettingCard(
                name=spec.name,
                kind=kind,
                default=spec.default,
                help=spec.metadata["help"],
                optional=optional,
                low=spec.metadata["low"],
                high=spec.metadata["high"],
                choices=spec.metadata["choices"],
            )
        )
    return tuple(cards)


def _kind(hint: Any) -> tuple[Kind | None, bool]:
    """What values of a type are made of, and whether None is one of them."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        kinds = {_kind(option)[0] for option in options if option is not type(None)}
        kind = kinds.pop() if len(kinds) == 1 else "text" if "text" in kinds else None
        return kind, type(None) in options
    if typing.get_origin(hint) is tuple:
        return ("ints" if typing.get_args(hint)[0] is int else "texts"), False
    plain: dict[Any, Kind] = {bool: "bool", int: "int", float: "float", str: "text"}
    return plain.get(hint), False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base of all configurations.

    Raises :class:`~analysis.errors.ConfigError` on construction when a value has the wrong type,
    lies outside its bounds or is not among its choices.
    """

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for spec in dataclasses.fields(self):
            value = _coerce(getattr(self, spec.name), hints[spec.name])
            if value is _WRONG:
                raise ConfigError(
                    f"{spec.name} = {getattr(self, spec.name)!r}",
                    expected=_type_name(hints[spec.name]),
                    remedy=spec.metadata.get("help"),
                )
            object.__setattr__(self, spec.name, value)
            _check_bounds(spec, value)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build a configuration from a mapping; unknown keys are refused, the nearest is named."""
        known = [spec.name for spec in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise ConfigError(f"unknown key {key!r}", remedy=nearest(key, known))
        return cls(**values)

    def to_mapping(self) -> dict[str, Any]:
        """Return all values as a plain mapping (JSON-like)."""
        return dataclasses.asdict(self)

    def key(self) -> dict[str, Any]:
        """Return the values that decide the result: everything but provenance."""
        return {
            spec.name: _plain(getattr(self, spec.name))
            for spec in dataclasses.fields(self)
            if not spec.metadata.get("provenance")
        }

    def digest(self) -> str:
        """Digest of :meth:`key`; equal configurations have equal digests."""
        return digest_json(self.key())


def _plain(value: Any) -> Any:
    return value.key() if isinstance(value, Config) else value


_WRONG = object()


def _coerce(value: Any, hint: Any) -> Any:
    """Return ``value`` as the type that ``hint`` names, or ``_WRONG``."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        results = (_coerce(value, option) for option in typing.get_args(hint))
        return next((result for result in results if result is not _WRONG), _WRONG)
    if origin is tuple:
        return _coerce_tuple(value, typing.get_args(hint))
    if hint is type(None):
        return None if value is None else _WRONG
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, bool):
        return _WRONG
    if isinstance(hint, type) and issubclass(hint, Config) and isinstance(value, Mapping):
        return hint.from_mapping(value)
    if isinstance(hint, type):
        return value if isinstance(value, hint) else _WRONG
    return value


def _coerce_tuple(value: Any, args: tuple[Any, ...]) -> Any:
    if not isinstance(value, list | tuple):
        return _WRONG
    hints = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else list(args)
    if len(hints) != len(value):
        return _WRONG
    items = tuple(_coerce(item, hint) for item, hint in zip(value, hints, strict=True))
    return _WRONG if any(item is _WRONG for item in items) else items


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _check_bounds(spec: dataclasses.Field[Any], value: Any) -> None:
    low, high = spec.metadata.get("low"), spec.metadata.get("high")
    choices = spec.metadata.get("choices")
    if value is None:
        return
    if choices is not None and value not in choices:
        raise ConfigError(
            f"{spec.name} = {value!r}",
            expected=f"one of {', '.join(map(str, choices))}",
            remedy=spec.metadata.get("help"),
        )
    if isinstance(value, int | float) and not isinstance(value, bool):
        # `not (x >= low)` also refuses NaN.
        below = low is not None and not value >= low
        above = high is not None and not value <= high
        if below or above or not math.isfinite(value):
            raise ConfigError(
                f"{spec.name} = {value!r}",
                expected=_bounds(low, high),
                remedy=spec.metadata.get("help"),
            )


def _bounds(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"a number from {low:g} to {high:g}"
    if low is not None:
        return f"a number of at least {low:g}"
    return f"a number of at most {high:g}" if high is not None else "a finite number"
