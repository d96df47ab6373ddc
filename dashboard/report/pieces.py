"""What the sections of a report are made of. Results are HTML."""

from __future__ import annotations

import re
from collections.abc import Callable

import plotly.graph_objects as go

from dashboard.drawing import drawing_of, svg
from dashboard.theme import DARK, LIGHT, Palette

_LINK = re.compile(r'<a class="[^"]*" href="[^"]*" target="_self"([^>]*)>(.*?)</a>', re.DOTALL)


def themed(make: Callable[[Palette], str]) -> str:
    """What ``make`` gives in both themes; once where the colors make no difference."""
    light, dark = make(LIGHT), make(DARK)
    if light == dark:
        return light
    return f'<div class="on-light">{light}</div><div class="on-dark">{dark}</div>'


def figure(
    make: Callable[[Palette], go.Figure], *, alt: str, width: float = 536, fluid: bool = True
) -> str:
    """A chart in both themes, at ``width`` pixels, or as wide as its column when ``fluid``."""
    kind = "figure fluid" if fluid else "figure"
    return themed(
        lambda colors: (
            f'<div class="{kind}">{svg(drawing_of(make(colors), width=width), alt=alt)}</div>'
        )
    )


def titled(title: str, below: str = "") -> str:
    """A title inside a section, with the method in the gray line below; both are HTML."""
    sub = f'<div class="ds-sub">{below}</div>' if below else ""
    head = f"<h3>{title}</h3>" if title else ""
    return f'<div class="head">{head}{sub}</div>'


def section(name: str, title: str, below: str, body: str) -> str:
    """A section with an anchor; ``title`` and ``below`` are HTML."""
    sub = f'<p class="ds-sub">{below}</p>' if below else ""
    return f'<section id="{name}"><h2>{title}</h2>{sub}{body}</section>'


def columns(*parts: str) -> str:
    """Parts beside one another, where the page is wide enough."""
    kept = [part for part in parts if part]
    return f'<div class="columns">{"".join(f"<div>{part}</div>" for part in kept)}</div>'


def missing(text: str) -> str:
    """What is not in the study, in words."""
    return f'<div class="ds-empty"><div class="ds-sub">{text}</div></div>'


def unlinked(html: str) -> str:
    """``html`` of a page without its links: there is no server that they could lead to."""
    return _LINK.sub(r"<span\1>\2</span>", html)
