"""A gate for pipelines: requirements on the headline, such as ``students.s.agreement.low>=0.95``.

A requirement is a path, one comparison, and a number or a word. Nothing is evaluated.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from analysis.errors import InputError, nearest

NOT_MEASURED = "not measured"
_FORM = re.compile(r"\s*([^<>=!]+?)\s*(<=|>=|==|!=|<|>)\s*([^<>=!]+?)\s*", re.DOTALL)
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_EXAMPLE = "PATH<OP>VALUE, e.g. 'students.small.agreement.low>=0.95'"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One comparison of the value at ``path`` with ``word``, whose ``value`` is a number or it."""

    path: str
    comparison: str
    word: str
    value: float | str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a requirement; raises :class:`~analysis.errors.InputError`."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise InputError(f"requirement {text!r}", expected=_EXAMPLE)
        path, comparison, word = match.groups()
        value = _number(word)
        if isinstance(value, str) and comparison not in ("==", "!="):
            raise InputError(f"requirement {text!r}", expected=f"a number behind {comparison}")
        return cls(path, comparison, word, value)

    @property
    def text(self) -> str:
        """The requirement without its spaces."""
        return f"{self.path}{self.comparison}{self.word}"

    def failure(self, headline: Mapping[str, Any]) -> str | None:
        """Say what ``headline`` holds instead, or None when the requirement is met.

        What was not measured fails with that word. Raises :class:`~analysis.errors.InputError`
        for a path that is not there, naming the nearest, and for a number compared with a word.
        """
        leaves = dict(_leaves(headline))
        found = _find(self.path, leaves)
        if found is None:
            return f"{self.text}: {NOT_MEASURED}"
        # A name that looks like a number is a word still: class "80", say.
        numeral = isinstance(found, str) and not isinstance(_number(found), str)
        by_word = numeral and self.comparison in ("==", "!=")
        if isinstance(found, str) != isinstance(self.value, str) and not by_word:
            raise InputError(
                f"requirement {self.text!r}: {self.path} is {_shown(found)}",
                expected="a word" if isinstance(found, str) else "a number to compare it with",
            )
        met = _COMPARE[self.comparison](found, self.word if by_word else self.value)
        return None if met else f"{self.text}: it is {_shown(found)}"


def _number(word: str) -> float | str:
    try:
        value = float(word)
    except ValueError:
        return word
    if not math.isfinite(value):
        raise InputError(f"requirement with {word!r}", expected="a finite number, or a word")
    return value


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value below ``value`` by its path; booleans are words, lists are left out."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, bool):
        yield path, str(value).lower()
    elif value is None or isinstance(value, str | int | float):
        yield path, value


def _find(path: str, leaves: Mapping[str, Any]) -> Any:
    """The value at ``path``; names may hold dots, so whole paths are compared, never parts."""
    if path in leaves:
        return leaves[path]
    # Where a measure is null, so is all that would lie below it.
    if any(value is None and path.startswith(f"{known}.") for known, value in leaves.items()):
        return None
    below = [known for known in leaves if known.startswith(f"{path}.")]
    if below:
        raise InputError(f"{path} is not a single value", expected=" or ".join(sorted(below)[:3]))
    raise InputError(f"the headline has no {path!r}", remedy=_suggestion(path, leaves))


def _suggestion(path: str, leaves: Mapping[str, Any]) -> str:
    near = nearest(path, leaves)
    return near if near.startswith("Did") else "see: distillscope show DIR --json"


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.10g}"
