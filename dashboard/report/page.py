"""One self-contained HTML file out of the sections of a report.

It asks for nothing from anywhere: fonts, pictures, maps and their data are inside, and its
policy forbids everything else. The same comparison gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import analysis
from analysis.errors import InputError
from dashboard.comparison import Comparison
from dashboard.drawing.svg import font_face
from dashboard.drawing.words import FONTS
from dashboard.figures.numbers import count_of, escaped
from dashboard.report import answers, origin, why
from dashboard.report.audit import audit
from dashboard.report.images import Carried, carried_pictures, drawn_order, thumbnails_of
from dashboard.report.maps import coverage, drawn_maps, map_data, map_section, script, still_picture
from dashboard.report.settings import ReportConfig
from dashboard.theme import DARK, LIGHT

_FOLDER = Path(__file__).parent
_LINKS = {
    "numbers": "Numbers", "cells": "Four cells", "answers": "Answers", "confidence": "Confidence",
    "maps": "Maps", "samples": "Images", "pixels": "Pixels", "layers": "Layers",
    "epochs": "Training", "audit": "Audit", "provenance": "Provenance", "cite": "Cite",
}  # fmt: skip
_SPARE = 2000
"""Characters that the sentence about the pictures may take."""


def report_html(comparison: Comparison, config: ReportConfig | None = None) -> str:
    """The report of ``comparison`` as the text of one HTML file.

    Pictures of images are carried as far as ``config.megabytes`` allows; the text says which.
    Raises :class:`InputError` where the report is larger than that without any.
    """
    chosen = config or ReportConfig()
    order = drawn_order(comparison.pair, 4 * chosen.rows, chosen.seed)
    maps = drawn_maps(comparison, order, chosen)
    before, after = _sections(comparison, chosen)
    still = "" if maps is None else still_picture(comparison, maps)
    if maps is None:
        shown = [*before, map_section(comparison, None, "", ""), *after]
        return _page(comparison, shown, "")

    def page(carried: Carried) -> str:
        below = coverage(maps, carried, chosen.seed)
        shown = [*before, map_section(comparison, maps, still, below), *after]
        return _page(comparison, shown, _embedded(map_data(comparison, maps, carried)))

    on_map = drawn_order(maps.pair, 4 * chosen.rows, chosen.seed)
    left = int(chosen.megabytes * 1e6) - len(page(Carried({}, 0)).encode()) - _SPARE
    if left < 0:
        raise InputError(
            f"a report of {chosen.megabytes:g} MB",
            expected=f"at least {chosen.megabytes - left / 1e6:.1f} MB for this study",
            remedy="put fewer images on the maps, or allow more",
        )
    return page(carried_pictures(maps.pair, on_map, thumbnails_of(comparison), left))


def notebook_html(comparison: Comparison, *, dark: bool = False) -> str:
    """The first part of the report as a piece of HTML for a notebook's cell, without a script.

    Its style reaches nothing outside; ``dark`` says which theme it is drawn in.
    """
    c, colors = comparison, DARK if dark else LIGHT
    shown = [answers.headline(c), answers.four_cells(c), answers.changes(c), answers.confidence(c)]
    maps = drawn_maps(c, drawn_order(c.pair, 0, 0), ReportConfig())
    if maps is not None:
        picture = f'<img class="paper" src="{still_picture(c, maps, colors)}" alt="Both maps">'
        shown.append(f"<section><h2>Where in the representation?</h2>{picture}</section>")
    # A name for each theme: the styles of two cells would reach one another.
    name, other = f"distillscope-{colors.name}", "light" if dark else "dark"
    frame = (_FOLDER / "notebook.css").read_text(encoding="utf-8")
    shared = (FONTS / "distillscope.css").read_text(encoding="utf-8")
    rules = f"{colors.css_variables()}{shared}{frame}.on-{other}{{display:none}}"
    return (
        f'<div class="{name}"><style>.{name}{{{rules}}}</style>'
        f"{_facts(c)}<h1>{answers.finding(c)}.</h1>{answers.warnings(c)}{answers.verdict(c)}"
        f"{_joined(shown)}</div>"
    )


def _sections(c: Comparison, config: ReportConfig) -> tuple[list[str], list[str]]:
    """All sections before the maps, and all that follow them."""
    before = [
        answers.headline(c), answers.four_cells(c), answers.changes(c), answers.confidence(c),
    ]  # fmt: skip
    after = [
        why.samples(c, config.rows, thumbnails_of(c)), why.pixels(c, config.maps),
        why.layer_section(c), why.epochs(c), audit(c), origin.provenance(c), origin.citation(c),
    ]  # fmt: skip
    return before, after


def _page(c: Comparison, sections: list[str], data: str) -> str:
    code = f"const pairMap = {script()};\n{(_FOLDER / 'report.js').read_text(encoding='utf-8')}"
    title = escaped(f"{c.study.name}: {c.student} and {c.left}", 120)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(code)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="generator" content="Distillscope {analysis.__version__}">'
        f"<title>{title}</title><style>{_style()}</style></head>\n<body>"
        f"<header>{_head(c)}{_nav(sections)}</header>\n<main>{_joined(sections)}</main>\n"
        f"<footer>{_foot(c)}</footer>\n"
        f'<script id="data" type="application/json">{data}</script>\n'
        f"<script>{code}</script></body></html>\n"
    )


def _policy(code: str) -> str:
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    rules = (
        "default-src 'none'", f"script-src 'sha256-{digest}'", "style-src 'unsafe-inline'",
        "img-src data:", "font-src data:", "connect-src data:", "base-uri 'none'",
        "form-action 'none'",
    )  # fmt: skip
    return "; ".join(rules)


def _embedded(data: Any) -> str:
    # Inside a script element only "<" could end it or begin a comment.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _style() -> str:
    mono = base64.b64encode((FONTS / "IBMPlexMono-400.woff2").read_bytes()).decode()
    fonts = "".join(font_face(weight) for weight in (400, 500, 600))
    fonts += (
        "@font-face{font-family:'IBM Plex Mono';font-weight:400;"
        f"src:url(data:font/woff2;base64,{mono})}}"
    )
    own = (_FOLDER / "report.css").read_text(encoding="utf-8")
    shared = (FONTS / "distillscope.css").read_text(encoding="utf-8")
    dark = f"@media (prefers-color-scheme: dark){{:root{{{DARK.css_variables()}}}}}"
    light = f":root{{{LIGHT.css_variables()}}}"
    paper = f"@media print{{:root{{{LIGHT.css_variables()}}}}}"
    return f"{fonts}{light}{dark}{paper}\n{shared}\n{own}"


def _head(c: Comparison) -> str:
    logos = "".join(
        f'<span class="on-{name}"><img class="logo" alt="Distillscope" '
        f'src="data:image/svg+xml;base64,{_encoded(f"logo-{name}.svg")}"></span>'
        for name in ("light", "dark")
    )
    return (
        f"{logos}{_facts(c)}<h1>{answers.finding(c)}.</h1>{answers.warnings(c)}{answers.verdict(c)}"
    )


def _facts(c: Comparison) -> str:
    """What is compared, in one line."""
    study = c.study
    condition = study.conditions[c.condition].name
    facts = " · ".join(
        (
            f"Study <b>{escaped(study.name)}</b>",
            f'<span class="ds-square"></span><b>{escaped(c.student)}</b> against '
            f'<span class="ds-circle"></span><b>{escaped(c.left)}</b>',
            f"condition <b>{escaped(condition)}</b>",
            count_of(len(c.pair), "image"),
            count_of(len(c.class_names), "class", "classes"),
        )
    )
    return f'<p class="facts">{facts}</p>'


def _encoded(name: str) -> str:
    return base64.b64encode((FONTS / name).read_bytes()).decode()


def _nav(sections: list[str]) -> str:
    shown = [name for name in _LINKS if any(f'<section id="{name}">' in s for s in sections)]
    links = "".join(f'<a href="#{name}">{_LINKS[name]}</a>' for name in shown)
    return f'<nav aria-label="Sections">{links}</nav>'


def _joined(sections: list[str]) -> str:
    return "\n".join(part for part in sections if part)


def _foot(c: Comparison) -> str:
    return (
        f"Made by Distillscope {analysis.__version__} from study {c.study.digest}, written "
        f"{escaped(c.study.created)}. This file asks for nothing from the network."
    )
