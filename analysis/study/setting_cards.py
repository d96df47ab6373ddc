"""What can be set, section by section, as cards: what forms are made of where no torch is loaded.

The records stay the one source of names, help, bounds and defaults; what a registry lets a user
choose becomes the choices of its field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from analysis.attack.perturbations import NORMS, PERTURBATIONS
from analysis.attack.poisoning import HALVES
from analysis.attack.settings import AttackConfig
from analysis.attack.triggers import TRIGGERS
from analysis.audit.screening import ScreeningConfig
from analysis.audit.settings import InversionConfig
from analysis.audit.teacher_use import USES
from analysis.config import SettingCard, cards_of
from analysis.distillation.objectives import OBJECTIVES
from analysis.distillation.settings import TrainingConfig
from analysis.models.architectures import ARCHITECTURES
from analysis.remedy.methods import REMEDIES
from analysis.study.audit_settings import AuditConfig
from analysis.study.experiment_settings import (
    SUPERVISED,
    ImagesConfig,
    NetworkConfig,
    ReferencesConfig,
)
from analysis.study.repair import RepairConfig
from analysis.study.stages import CompareConfig, ConditionConfig

Cards = Mapping[str, tuple[SettingCard, ...]]


def setting_cards() -> Cards:
    """The cards of every section; ``objective/NAME`` and ``remedy/NAME`` of each registered one."""
    network = _choosing(
        cards_of(NetworkConfig),
        arch={name: entry.description for name, entry in ARCHITECTURES.items()},
        objective={name: kind.title for name, kind in OBJECTIVES.items() if name != SUPERVISED},
    )
    methods = {name: kind.title for name, kind in PERTURBATIONS.items()}
    repair = _choosing(
        cards_of(RepairConfig), method={name: kind.title for name, kind in REMEDIES.items()}
    )
    return {
        "images": cards_of(ImagesConfig),
        "network": network,
        "training": cards_of(TrainingConfig),
        "attack": _choosing(cards_of(AttackConfig), method=methods, norm=_same(NORMS)),
        "halves": _choosing(_HALF, half=_same(HALVES)),
        "triggers": _choosing(
            _TRIGGER, trigger={name: kind.title for name, kind in TRIGGERS.items()}
        ),
        "references": cards_of(ReferencesConfig),
        "conditions": _choosing(cards_of(ConditionConfig), method=methods, norm=_same(NORMS)),
        "comparison": cards_of(CompareConfig),
        "audit": cards_of(AuditConfig),
        "search": _choosing(cards_of(InversionConfig), use=_same(USES)),
        "repair": repair,
        "screening": cards_of(ScreeningConfig),
        **{f"objective/{name}": cards_of(kind) for name, kind in OBJECTIVES.items()},
        **{f"remedy/{name}": cards_of(kind) for name, kind in REMEDIES.items()},
        **{f"trigger/{name}": cards_of(kind) for name, kind in TRIGGERS.items()},
    }


_HALF = (SettingCard(name="half", kind="text", default="both", help="what is done to the images"),)
_TRIGGER = (SettingCard(name="trigger", kind="text", default="patch", help="kind of trigger"),)


def _same(names: Sequence[str] | Mapping[str, Any]) -> dict[str, str]:
    return {name: name for name in names}


def _choosing(
    cards: Sequence[SettingCard], **choices: Mapping[str, str]
) -> tuple[SettingCard, ...]:
    """``cards`` with what their fields may be, by name, and a title for each."""
    known = {card.name for card in cards}
    assert known >= set(choices), set(choices) - known
    return tuple(
        replace(card, choices=tuple(choices[card.name]), titles=dict(choices[card.name]))
        if card.name in choices
        else card
        for card in cards
    )
