"""What server and worker say to each other over their pipe."""

from __future__ import annotations

import copyreg
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from analysis.errors import DistillscopeError
from analysis.live.requests import Request


# Records hold their mappings read-only, in a type that does not travel by itself.
def _read_only(mapping: dict[str, Any]) -> MappingProxyType[str, Any]:
    return MappingProxyType(mapping)


copyreg.pickle(MappingProxyType, lambda mapping: (_read_only, (dict(mapping),)))


@dataclass(frozen=True, slots=True)
class Do:
    """To the worker: answer ``request``, in at most ``seconds``."""

    number: int
    request: Request
    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """To the worker: nobody waits for ``number`` any more."""

    number: int


@dataclass(frozen=True, slots=True)
class Ready:
    """From the worker: it can be asked."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """From the worker: ``done`` of ``total`` of a stage."""

    number: int
    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Done:
    """From the worker: the answer, and how long it took."""

    number: int
    answer: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """From the worker: why there is no answer. ``stopped``: because nobody waited any more."""

    number: int
    what: str
    expected: str | None = None
    remedy: str | None = None
    stopped: bool = False

    @classmethod
    def because(cls, number: int, error: Exception, *, stopped: bool = False) -> Failed:
        """Say what ``error`` says; of errors that were not meant for users, their type as well."""
        if isinstance(error, DistillscopeError):
            return cls(number, error.what, error.expected, error.remedy, stopped)
        words = " ".join(f"{type(error).__name__}: {error}".split())
        return cls(number, f"the live computation failed ({words[:300]})")
