"""Values as the command line's ``--set`` and a TOML file write them; both are read back equal."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from analysis.errors import InputError

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def option_text(value: Any) -> str:
    """A value as an option of its own takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def setting_text(value: Any) -> str:
    """A value as ``--set KEY=VALUE`` takes it: JSON, or a text that cannot be read as JSON."""
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        json.loads(value)
    except ValueError:
        return value
    return json.dumps(value, ensure_ascii=False)


def toml_text(values: Mapping[str, Any]) -> str:
    """A TOML document; what is None is left out, tables follow the plain values."""
    return "\n\n".join(_tables(values, ())) + "\n"


def _tables(values: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    plain = {k: v for k, v in values.items() if not isinstance(v, Mapping) and v is not None}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    head = [f"[{'.'.join(map(_key, path))}]"] if path else []
    parts = ["\n".join([*head, *lines])] if lines or head else []
    for key, value in values.items():
        if isinstance(value, Mapping):
            parts += _tables(value, (*path, key))
    return parts


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    raise InputError(f"a value of the type {type(value).__name__}", expected="text or numbers")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    text = repr(value)
    # TOML wants digits on both sides of a point, and an exponent is enough to be a float.
    return text if any(mark in text for mark in ".e") else f"{text}.0"


def _text(value: str) -> str:
    """A basic string; JSON's escapes are TOML's but for the delete character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
