"""The distillation set, ranked by how easily the teacher's answers break."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dashboard.figures.numbers import NOT_MEASURED, escaped, said, thousands


def alarm_table(record: Mapping[str, Any], names: Sequence[str]) -> str:
    """The class-level alarms as HTML, one row each: the class, the sentence, the p-value."""
    rows = "".join(_alarm(alarm, names) for alarm in record.get("evidence", ()))
    return (
        '<table class="ds-table ds-rows"><thead><tr><th>alarm</th><th>stands out</th>'
        f'<th class="ds-number">p</th></tr></thead>{rows}</table>'
    )


def _alarm(alarm: Mapping[str, Any], names: Sequence[str]) -> str:
    p_value = alarm.get("p_value")
    loud = p_value is not None and p_value <= 0.05
    text = (
        NOT_MEASURED if p_value is None else "under 0.001" if p_value < 0.001 else f"{p_value:.2g}"
    )
    place = alarm.get("class")
    name = escaped(names[place], 24) if isinstance(place, int) else NOT_MEASURED
    kind = "ds-alarm" if loud else "ds-strong"
    title = said(alarm["title"], 80)
    return (
        f'<tr><td class="ds-wrap"><span class="ds-test">{title}</span>'
        f'<div class="ds-sub">{said(alarm["sentence"], 300)}</div></td>'
        f'<td><span class="{kind}">{name}</span></td><td class="ds-number">{text}</td></tr>'
    )


def ranked_gallery(
    samples: Sequence[str],
    answers: Sequence[str],
    scores: Sequence[float],
    picture: Callable[[str], str],
) -> str:
    """The most brittle images, the most brittle first, with the teacher's answer and the score."""
    cells = []
    for rank, (sample, answer, score) in enumerate(zip(samples, answers, scores, strict=True), 1):
        title = escaped(sample, 120)
        cells.append(
            f'<span title="{title}"><img src="{escaped(picture(sample), 8000)}" loading="lazy" '
            f'alt="{title}: the teacher says {escaped(answer, 24)}">'
            f'<div class="ds-teacher"><span class="ds-circle"></span>{escaped(answer, 24)}</div>'
            f'<div class="ds-sub">{thousands(rank)}. &nbsp;{score:.2f}</div></span>'
        )
    return f'<div class="ds-gallery">{"".join(cells)}</div>'
