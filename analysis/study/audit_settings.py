"""What an audit is asked for: budget, references, and how triggers are searched for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from analysis.audit.settings import (
    ALL_FAMILIES,
    BUDGETS,
    InversionConfig,
    check_families,
    find_budget,
)
from analysis.config import Config, field


@dataclass(frozen=True, kw_only=True)
class AuditConfig(Config):
    """How students are audited.

    ``references`` and the search's families and restarts are the budget's unless given.
    """

    budget: str = field(
        "standard",
        "fast: patches, no references; standard: four trigger models, 5 references; "
        "thorough: warps too, 3 restarts, 19 references",
        choices=BUDGETS,
    )
    references: int | None = field(None, "reference students to make, 0 for none", low=0)
    families: tuple[str, ...] | None = field(None, f"trigger models: {', '.join(ALL_FAMILIES)}")
    restarts: int | None = field(None, "searches from different starts", low=1)
    search: InversionConfig = field(InversionConfig(), "how triggers are searched for")  # noqa: RUF009

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.families is not None:
            check_families(self.families)

    @property
    def wanted(self) -> int:
        """How many references are made where none are given."""
        budget = find_budget(self.budget)
        return budget.references if self.references is None else self.references

    @property
    def inversion(self) -> InversionConfig:
        """The search, with the budget's families and restarts."""
        budget = find_budget(self.budget)
        return replace(
            self.search,
            families=self.families or budget.families,
            restarts=self.restarts or budget.restarts,
        )
