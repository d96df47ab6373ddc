"""Where on images the student and its teacher part: on the recovered trigger, or elsewhere?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboard.figures.numbers import NOT_MEASURED, THIN, count_of, escaped, percent

MAPS = {"pair": "gradients of p_S − p_T", "occlusion": "occlusion of KL(T‖S)"}


def localization_table(record: Mapping[str, Any]) -> str:
    """Shares of each map's positive mass on the recovered trigger, and on the true one, as HTML.

    ``record`` is that of ``localization/<student>``. A map that points nowhere has the trigger's
    share of the area, which stands beside. The true trigger has columns where the study knows it.
    """
    n = int(record.get("n", 0))
    if not n:
        return '<div class="ds-sub">It changes the answer to no image of this study.</div>'
    known = _knows(record)
    named = record.get("reference")
    title = "no reference" if named is None else escaped(named, 28)
    head = (
        '<th>mass on it, %</th><th class="ds-number">student</th>'
        f'<th class="ds-number" title="{title}">honest</th><th class="ds-number">its area</th>'
    )
    if known:
        head += '<th class="ds-number">student, on the true one</th>'
    rows = "".join(
        _row(title, record["maps"][name], known)
        for name, title in MAPS.items()
        if name in record["maps"]
    )
    return (
        f'<table class="ds-table ds-rows"><thead><tr>{head}</tr></thead>{rows}</table>'
        f'<div class="ds-sub">{escaped(_below(record, n), 300)}</div>'
    )


def _knows(record: Mapping[str, Any]) -> bool:
    return record.get("support_overlap") is not None


def _row(title: str, found: Mapping[str, Any], known: bool) -> str:
    student = found["student"]
    honest = found.get("reference", {}).get("recovered", {}).get("mass")
    cells = [student["recovered"]["mass"], honest, student["recovered"]["area"]]
    if known:
        cells.append(student["true"]["mass"])
    numbers = "".join(f'<td class="ds-number">{_share(value)}</td>' for value in cells)
    return f"<tr><td>{title}</td>{numbers}</tr>"


def _share(value: float | None) -> str:
    return NOT_MEASURED if value is None else percent(value)


def _below(record: Mapping[str, Any], n: int) -> str:
    said = f"Mean over {count_of(n, 'image')} that it alone moves to the class."
    if _knows(record):
        overlap = percent(float(record["support_overlap"]))
        said += (
            f" It shares {overlap}{THIN}% of its pixels with the trigger that this study knows "
            "(intersection over union), which the audit was not told."
        )
    return said
