"""The remedies that a user can choose: one registry for the command line, pages and tests.

A new remedy is a subclass of :class:`~analysis.remedy.case.Remedy` and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.errors import ConfigError, nearest
from analysis.remedy.case import Case, Remedy
from analysis.remedy.purification import Dropping, Purification
from analysis.remedy.unlearning import FineTuning, Unlearning

__all__ = ["CONTROL", "REMEDIES", "Case", "Remedy", "make_remedy"]

REMEDIES: Mapping[str, type[Remedy]] = {
    kind.name: kind for kind in (Unlearning, Purification, Dropping, FineTuning)
}
CONTROL = FineTuning.name
"""What is always shown beside: the same number of steps, without the idea."""


def make_remedy(name: str, **settings: Any) -> Remedy:
    """Build the remedy called ``name`` with ``settings``.

    Raises :class:`~analysis.errors.ConfigError` for an unknown name or setting (the nearest
    known one is named) and for values out of bounds.
    """
    if name not in REMEDIES:
        raise ConfigError(f"unknown remedy {name!r}", remedy=nearest(name, REMEDIES))
    return REMEDIES[name].from_mapping(settings)
