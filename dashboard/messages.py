"""Messages in place: empty, refused, notes; and the one style block."""

from __future__ import annotations

import functools
from pathlib import Path

import streamlit as st

from dashboard.figures.numbers import escaped, visible
from dashboard.theme import Palette

SQUARE = '<span class="ds-square"></span>'
CIRCLE = '<span class="ds-circle"></span>'


def strong(name: object) -> str:
    """A name from a study, escaped and in medium weight."""
    return f'<span class="ds-strong">{escaped(name)}</span>'


def style(colors: Palette) -> None:
    """Send the style block; everything else about the look is in the theme."""
    st.html(f"<style>:root{{{colors.css_variables()}}}\n{_css()}</style>")


@functools.cache
def _css() -> str:
    return (Path(__file__).parent / "static" / "distillscope.css").read_text(encoding="utf-8")


def section(title: str, below: str = "") -> None:
    """A section's title, a question or a finding, and the method in the gray line below.

    Both are HTML: names in them must come escaped.
    """
    sub = f'<div class="ds-sub">{below}</div>' if below else ""
    st.html(f'<div class="ds-title">{title}</div>{sub}')


def note(text: str) -> None:
    """Something the user should know, in place and quiet."""
    st.html(f'<div class="ds-note">{escaped(text, 400)}</div>')


def empty(title: str, below: str) -> None:
    """A dashed frame where nothing matches: what emptied it."""
    st.html(
        f'<div class="ds-empty"><div class="ds-strong">{escaped(title, 200)}</div>'
        f'<div class="ds-sub">{escaped(below, 400)}</div></div>'
    )


def refused(what: str, expected: str | None, remedy: str | None) -> None:
    """What was given, what was expected, the remedy; only the title is magenta."""
    lines = [f"Expected {expected}." if expected else "", f"{remedy}." if remedy else ""]
    below = " ".join(line[:1].upper() + line[1:] for line in lines if line)
    st.html(
        f'<div class="ds-refused"><div class="ds-alarm">{escaped(what[:1].upper() + what[1:], 400)}'
        f'</div><div class="ds-sub">{escaped(below, 400)}</div></div>'
    )


def warning(title: str, below: str) -> None:
    """Something in the study that changes how its numbers are read."""
    st.html(
        f'<div class="ds-warning"><div class="ds-alarm">{escaped(title, 600)}</div>'
        f'<div class="ds-sub">{escaped(below, 400)}</div></div>'
    )


def cell(name: object) -> str:
    """A name for a table cell, which shows plain text."""
    return visible(name)
