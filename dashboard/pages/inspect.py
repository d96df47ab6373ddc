"""Inspect: one image."""

from __future__ import annotations

from dashboard.context import Export, View


def show(view: View) -> None:
    """Draw the page."""


def exports(view: View) -> list[Export]:
    """What the Save menu offers on this page."""
    return []
