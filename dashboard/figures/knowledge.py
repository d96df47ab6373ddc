"""Calibration at a fitted temperature, and what the two models say below their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.records import Interval
from dashboard.figures.intervals import interval_glyph
from dashboard.figures.measures import MEASURES, term
from dashboard.figures.numbers import MINUS, interval_text, nats, percent
from dashboard.theme import Palette

_BELOW = (
    ("top5_order", "Kendall’s tau over {left}’s five, 1 is the same order", (-1.0, 1.0)),
    ("dark_kl", "all classes but {left}’s answer, nats", (0.0, 2.0)),
)


def temperature_table(left: Mapping[str, Any] | None, right: Mapping[str, Any] | None) -> str:
    """Temperatures of both models and their calibration errors before and after, as HTML.

    Arguments are the stored records, None where it was not measured; empty when both are.
    """
    if left is None and right is None:
        return ""
    rows = (
        (f"{term('ece', MEASURES['ece'].short)}, points", lambda item: _error(item["ece_before"])),
        (term("temperature", "best temperature"), lambda item: nats(item["temperature"])),
        (f"{MEASURES['ece'].short} with it", lambda item: _error(item["ece_after"])),
    )
    body = "".join(
        f"<tr><td>{title}</td>"
        + "".join(
            f'<td class="ds-number">{"–" if item is None else write(item)}</td>'
            for item in (left, right)
        )
        + "</tr>"
        for title, write in rows
    )
    marks = (
        f'<th class="ds-number"><span class="ds-{mark}"></span></th>'
        for mark in ("circle", "square")
    )
    head = f"<tr><th></th>{''.join(marks)}</tr>"
    return f'<table class="ds-table"><thead>{head}</thead>{body}</table>'


def _error(value: Mapping[str, float]) -> str:
    interval = Interval.from_json(value)
    assert interval is not None
    bounds = interval_text(interval, "points")
    return f'{percent(interval.value)}<span class="ds-ci">{bounds}</span>'


def below_table(
    measures: Mapping[str, Interval | None],
    references: Mapping[str, Sequence[float]],
    colors: Palette,
    left: str,
) -> str:
    """How alike the two are below their answers, each value in front of its null, as HTML.

    ``left`` names the left model, escaped. Empty where nothing was measured.
    """
    rows = []
    for name, below, scale in _BELOW:
        interval = measures.get(name)
        if interval is None:
            continue
        reach = max(interval.high or interval.value, *references.get(name, [0.0]))
        top = scale[1] if scale[0] < 0 or reach <= scale[1] else 2 * reach
        glyph = interval_glyph(
            interval, (scale[0], top), colors, references=references.get(name, ()), width=150,
            height=14,
        )  # fmt: skip
        bounds = interval_text(interval, "nats")
        rows.append(
            f"<tr><td>{term(name, MEASURES[name].short)}<br>"
            f'<span class="ds-sub">{below.format(left=left)}</span></td>'
            f'<td><img src="{glyph}" alt="{nats(interval.value)} {bounds}">'
            f'<span class="ds-label">{_end(scale[0])} to {_end(top)}</span></td>'
            f'<td class="ds-number"><span class="ds-strong">{nats(interval.value)}</span> '
            f'<span class="ds-ci">{bounds}</span></td></tr>'
        )
    return f'<table class="ds-table">{"".join(rows)}</table>' if rows else ""


def _end(value: float) -> str:
    return f"{value:.3g}".replace("-", MINUS)
