"""Where the numbers come from: digests, versions, settings, seeds, and how to cite. HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping

import analysis
from dashboard.comparison import Comparison
from dashboard.figures.numbers import compact, count_of, escaped, thousands
from dashboard.report.pieces import columns, section, titled

_ATTACK = "arXiv:2504.21323"


def provenance(c: Comparison) -> str:
    """Digests of everything that was compared, and what computed it."""
    study = c.study
    body = columns(_facts(_study(c)), _facts(_versions(c)))
    body += titled("Models") + _models(c) + titled("Images and conditions") + _conditions(c)
    settings = json.dumps(dict(study.manifest.config), indent=1, ensure_ascii=False)
    body += titled(
        "Settings of the comparison", "Seeds included; nothing else decides the numbers."
    )
    body += f"<pre>{escaped_block(settings)}</pre>"
    return section("provenance", "Where the numbers come from", "", body)


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f'<tr><td class="ds-quiet">{escaped(name)}</td>'
        f'<td class="ds-mono">{escaped(value, 160)}</td></tr>'
        for name, value in facts.items()
    )
    return f'<table class="ds-table facts">{rows}</table>'


def _study(c: Comparison) -> dict[str, str]:
    study = c.study
    return {
        "study": study.name,
        "digest": study.digest,
        "written": study.created,
        "schema": str(study.manifest.schema_version),
        "seed": str(study.manifest.config.get("seed", "not stated")),
        "compared": f"{c.left}, {c.student} on {c.condition}",
    }


def _versions(c: Comparison) -> dict[str, str]:
    found = c.study.manifest.provenance.get("versions", {})
    return {str(name): str(version) for name, version in found.items()}


def _models(c: Comparison) -> str:
    shown = [m for m in c.study.models.values() if m.role != "checkpoint"]
    rows = "".join(
        f"<tr><td>{escaped(m.name)}</td><td>{escaped(m.role)}</td>"
        f"<td>{escaped(m.architecture, 80)}</td>"
        f"<td>{'–' if m.cost is None else compact(m.cost.parameters)}</td>"
        f'<td class="ds-mono digest">{escaped(m.digest, 64)}</td></tr>'
        for m in shown
    )
    head = "".join(
        f"<th>{t}</th>" for t in ("name", "role", "architecture", "parameters", "digest")
    )
    left_out = len(c.study.models) - len(shown)
    more = f'<div class="ds-sub">And {count_of(left_out, "checkpoint")}.</div>' if left_out else ""
    return f'<table class="ds-table"><thead><tr>{head}</tr></thead>{rows}</table>{more}'


def _conditions(c: Comparison) -> str:
    rows = ""
    for card in c.study.image_sets.values():
        size = f"{card.height} × {card.width} × {card.channels}"
        rows += _row(card.name, card.n, f"{card.source}, {size}", card.digest)
    for condition in c.study.conditions.values():
        told = ", ".join(f"{key} {value}" for key, value in condition.parameters.items())
        rows += _row(condition.name, condition.n, told, condition.pixels_digest)
    head = "".join(f"<th>{title}</th>" for title in ("", "images", "what", "digest of the pixels"))
    return f'<table class="ds-table"><thead><tr>{head}</tr></thead>{rows}</table>'


def _row(name: str, n: int, what: str, digest: str) -> str:
    return (
        f"<tr><td>{escaped(name)}</td><td>{thousands(n)}</td><td>{escaped(what, 200)}</td>"
        f'<td class="ds-mono digest">{escaped(digest, 64)}</td></tr>'
    )


def citation(c: Comparison) -> str:
    """How to cite the tool, this study, and the attack where the study shows one."""
    lines = [
        "@software{distillscope,",
        "  title   = {Distillscope: see where a distilled student parts from its teacher},",
        "  author  = {{The Distillscope developers}},",
        f"  version = {{{analysis.__version__}}},",
        f"  note    = {{Study {c.study.digest[:16]}}}",
        "}",
    ]
    text = escaped_block("\n".join(lines))
    attacked = any(condition.kind == "attack" for condition in c.study.conditions.values())
    also = f" The attack is that of {_ATTACK}." if attacked else ""
    below = f"The study’s digest names exactly what is shown here.{also}"
    return section("cite", "How to cite", below, f"<pre>{text}</pre>")


def escaped_block(text: str) -> str:
    """Several lines of text for HTML; each passes through :func:`escaped`."""
    return "\n".join(escaped(line, 2000) for line in text.split("\n"))
