"""What is wrong with a field of the Lab, said below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from analysis.errors import DistillscopeError
from dashboard.figures.jobs import problem_html


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is wrong with one field, or with the form where ``field`` is None."""

    section: str
    field: str | None
    what: str
    expected: str | None = None
    remedy: str | None = None

    @classmethod
    def of(cls, error: DistillscopeError, section: str, field: str | None = None) -> Trouble:
        """The trouble that an error tells of."""
        return cls(
            section=section, field=field, what=error.what, expected=error.expected,
            remedy=error.remedy,
        )  # fmt: skip


def say(troubles: Sequence[Trouble]) -> None:
    """Draw what is wrong, in place."""
    for one in troubles:
        st.html(problem_html(one.what, one.expected, one.remedy))
