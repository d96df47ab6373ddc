"""Inspect: how alike the two models' maps are, and whether each map tells the truth."""

from __future__ import annotations

import math

import numpy as np
import streamlit as st

from analysis.attribution.agreement import AGREEMENTS
from analysis.live.requests import Check, Checks, Explanation, Hiding
from analysis.records import TEACHER
from dashboard import live, messages
from dashboard.figures import trust
from dashboard.figures.measures import MEASURES, term
from dashboard.figures.numbers import THIN, escaped, nats, probability
from dashboard.pages.inspect_look import Look
from dashboard.pages.inspect_maps import Shown, checks_of

_UNUSUAL = 0.05


def agreement_row(found: Explanation) -> None:
    """Every measure of how alike the maps are; gray where moved maps agree as well."""
    if not found.agreement:
        return
    cells = []
    for name, number in found.agreement.items():
        title = AGREEMENTS[name].title if name in AGREEMENTS else name
        named = term(name, escaped(title)) if name in MEASURES else escaped(title)
        if number is None:
            cells.append(f"<div>{named} <b>not defined</b></div>")
            continue
        value, p_value = number
        note, faint = "", ""
        if np.isfinite(p_value):
            note = f' title="p = {p_value:.2f} against the same map moved elsewhere"'
            faint = "" if p_value <= _UNUSUAL else ' class="ds-faint"'
        cells.append(f"<div{note}>{named} <b{faint}>{nats(value)}</b></div>")
    st.html(f'<div class="ds-facts">{"".join(cells)}</div>')


def trust_rows(look: Look, shown: Shown) -> None:
    """The check by hiding in words, and both curves of each map beside random orders."""
    if shown.request is None:
        return
    found, error = checks_of(look, shown)
    if error is not None:
        messages.refused(error.what, error.expected, error.remedy)
        st.button("Try again", key="trust_again", on_click=live.try_again)
        return
    if found is None:
        st.html('<div class="ds-sub" data-live="checking">The maps are being checked…</div>')
        return
    st.html(f'<div class="ds-sub" style="margin-top:6px">{hiding_sentence(look, found)}</div>')
    rows = []
    for part, check in found.maps.items():
        name = {TEACHER: look.sides.left, "student": look.sides.right}.get(part, "pair")
        rows.append(_row(look, escaped(name, 24), part, check))
    heads = (
        "Is the map true?", term("deletion", "hidden first"), term("insertion", "shown first"),
        term("infidelity", "infidelity (moved)", end=True),
    )  # fmt: skip
    titles = "".join(f'<div class="ds-sub">{head}</div>' for head in heads)
    st.html(f'<div class="ds-trust">{titles}{"".join(rows)}</div>')


def _row(look: Look, name: str, part: str, check: Check) -> str:
    colors = look.view.colors
    color = {TEACHER: colors.teacher, "student": colors.student}.get(part, colors.alarm)
    cells = []
    for curve, words in ((check.deletion, "hiding"), (check.insertion, "showing")):
        picture = trust.curve_picture(check.shares, curve.values, curve.random, color, colors)
        alt = f"{name}, {words}: p = {curve.p_value:.2f} against random orders"
        better = "beats random" if curve.p_value <= trust.BETTER else "no better"
        bad = "" if curve.p_value <= trust.BETTER else " ds-alarm"
        cells.append(
            f'<div><img src="{picture}" alt="{alt}" title="{alt}">'
            f'<span class="ds-sub{bad}">{better}</span></div>'
        )
    numbers = f"<div>{_infidelity(check)}</div>"
    return f'<div class="ds-strong">{name}</div>{"".join(cells)}{numbers}'


def hiding_sentence(look: Look, found: Checks) -> str:
    """What both answer without the pair's strongest pixels, and without random ones. HTML."""
    sides, parts = look.sides, []
    for part, name in (("student", sides.the_right), (TEACHER, sides.the_left)):
        hiding = found.hiding[part]
        parts.append(
            f"{escaped(name)} answers {_said(look, hiding.top)}"
            f" (with as many random pixels {_usual(look, hiding)})"
        )
    return (
        f"Check by hiding: with the pair’s {found.hidden} strongest pixels blurred away, "
        + "; ".join(parts)
        + "."
    )


def _said(look: Look, answer: tuple[int, float]) -> str:
    name = escaped(look.names[answer[0]], 24)
    return f'<b class="ds-strong">“{name}” {probability(answer[1])}{THIN}%</b>'


def _usual(look: Look, hiding: Hiding) -> str:
    name = escaped(look.names[hiding.usual[0]], 24)
    return (
        f"“{name}” {probability(hiding.usual[1])}{THIN}% in {hiding.times} of {hiding.draws} draws"
    )


def _infidelity(check: Check) -> str:
    """The number beside that of moved maps; a map that no change moves has none."""
    if not math.isfinite(check.infidelity):
        return '<span class="ds-faint">not defined</span>'
    worse = " ds-alarm" if check.infidelity >= check.moved_infidelity else ""
    return (
        f'<span class="ds-strong{worse}">{nats(check.infidelity)}</span>'
        f' <span class="ds-faint">({nats(check.moved_infidelity)})</span>'
    )
