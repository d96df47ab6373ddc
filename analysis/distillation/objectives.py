"""The objectives that a user can choose: one registry for loop, menus and tests.

A new objective is a subclass of :class:`~analysis.distillation.signals.Objective` and a line
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.distillation.feature_objectives import AttentionTransfer, FitNets, RelationalKD
from analysis.distillation.logit_objectives import DIST, DecoupledKD, HintonKD, Supervised
from analysis.distillation.signals import Answers, Objective
from analysis.errors import ConfigError, nearest

__all__ = [
    "OBJECTIVES",
    "DIST",
    "Answers",
    "AttentionTransfer",
    "DecoupledKD",
    "FitNets",
    "HintonKD",
    "Objective",
    "RelationalKD",
    "Supervised",
    "make_objective",
]

OBJECTIVES: Mapping[str, type[Objective]] = {
    kind.name: kind
    for kind in (
        Supervised,
        HintonKD,
        DecoupledKD,
        DIST,
        FitNets,
        AttentionTransfer,
        RelationalKD,
    )
}


def make_objective(name: str, **settings: Any) -> Objective:
    """Build the objective called ``name`` with ``settings``.

    Raises :class:`~analysis.errors.ConfigError` for an unknown name or setting (the nearest
    known one is named) and for values out of bounds.
    """
    if name not in OBJECTIVES:
        raise ConfigError(f"unknown objective {name!r}", remedy=nearest(name, OBJECTIVES))
    return OBJECTIVES[name].from_mapping(settings)
