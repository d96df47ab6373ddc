"""Remedies before and after, the one that only looks like one beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.records import Interval
from dashboard.figures.intervals import svg_uri
from dashboard.figures.measures import term
from dashboard.figures.numbers import (
    NOT_MEASURED,
    THIN,
    count_of,
    escaped,
    interval_text,
    percent,
    points,
)
from dashboard.theme import Palette

TRUE, RECOVERED = "asr_true", "asr_recovered"


def repair_table(entries: Sequence[Mapping[str, Any]], colors: Palette) -> str:
    """The student as it is, then every remedy that was tried, as HTML.

    ``entries`` are the records of ``repair/<student>``. The success rate is that of the true
    trigger where the study knows it, else of the recovered one; the head says which.
    """
    measure = measure_of(entries)
    keeps = "accuracy" if _known(entries, "accuracy") else "agreement"
    rate = f"target under the {'' if measure == TRUE else 'recovered '}trigger"
    head = (
        f"<th></th><th>{term('attack_success_rate', rate)}, %</th>"
        f'<th class="ds-number">{term(keeps, keeps, end=True)}, %</th>'
        '<th class="ds-number">change, points</th>'
    )
    first = next((entry for entry in entries if entry["before"].get(measure)), entries[0])
    rows = [_row("as it is", "", first["before"], None, measure, keeps, colors)]
    often = Counter(entry["method"] for entry in entries if not entry["control"])
    rows += [
        _row(
            _named(entry, several=often[entry["method"]] > 1),
            "control" if entry["control"] else _seconds(entry),
            entry["after"],
            entry["difference"],
            measure,
            keeps,
            colors,
        )
        for entry in repair_order(entries, measure)
    ]
    return f'<table class="ds-table ds-rows"><thead><tr>{head}</tr></thead>{"".join(rows)}</table>'


def _named(entry: Mapping[str, Any], *, several: bool) -> str:
    """The remedy's title; with the student that it made where one was tried several times."""
    title = str(entry.get("title") or entry["method"])
    return f"{title}: {entry['student']}" if several and entry["student"] else title


def measure_of(entries: Sequence[Mapping[str, Any]]) -> str:
    """The success rate that remedies are judged by: of the true trigger where it is known."""
    return TRUE if _known(entries, TRUE) else RECOVERED


def repair_order(entries: Sequence[Mapping[str, Any]], measure: str) -> list[Mapping[str, Any]]:
    """The control first, then from what left most of the trigger to what left least."""

    def key(entry: Mapping[str, Any]) -> tuple[bool, float]:
        found = entry["after"].get(measure)
        return not entry["control"], -float(found["value"]) if found else -1.0

    return sorted(entries, key=key)


def repair_line(entries: Sequence[Mapping[str, Any]]) -> str:
    """What stands above the table, as HTML: on how many images, and the claim."""
    n = entries[0].get("measured")
    on = f" on {count_of(int(n), 'image')} that no remedy saw" if n else ""
    return f"Before and after{on}. {escaped(repair_claim(entries), 300)}"


def repair_claim(entries: Sequence[Mapping[str, Any]]) -> str:
    """One sentence on what worked, bound to the judgments; a failure is said as plainly."""
    worked = [entry for entry in entries if entry.get("within_references") and not entry["control"]]
    kept = [entry for entry in worked if entry.get("accuracy_kept")]
    tried = [entry for entry in entries if not entry["control"]]
    if not tried:
        return "Only the control was run."
    if not any(entry.get("within_references") is not None for entry in tried):
        return "Whether a remedy worked is not known: no honest reference student beside it."
    if kept:
        names = " and ".join(dict.fromkeys(_title(entry) for entry in kept))
        return (
            f"{names[:1].upper()}{names[1:]} brought the target back to what honest students "
            "answer, for at most 1.5 points."
        )
    if worked:
        return f"{_title(worked[0]).capitalize()} removed the trigger, at more than 1.5 points."
    return "Nothing that was tried brought the target back to what honest students answer."


def _title(entry: Mapping[str, Any]) -> str:
    return str(entry.get("title") or entry["method"]).lower()


def _known(entries: Sequence[Mapping[str, Any]], measure: str) -> bool:
    return any(entry["after"].get(measure) for entry in entries)


def _seconds(entry: Mapping[str, Any]) -> str:
    return f"{float(entry['seconds']):.0f} s" if entry.get("seconds") is not None else ""


def _row(
    title: str,
    below: str,
    values: Mapping[str, Any],
    difference: Mapping[str, Any] | None,
    measure: str,
    keeps: str,
    colors: Palette,
) -> str:
    rate, kept = (Interval.from_json(values.get(name)) for name in (measure, keeps))
    change = Interval.from_json((difference or {}).get(keeps))
    small = f' <span class="ds-faint ds-nowrap">{escaped(below, 30)}</span>' if below else ""
    return (
        f'<tr><td class="ds-wrap"><span class="ds-test">{escaped(title, 60)}</span>{small}</td>'
        f"<td>{_bar(rate, colors)}</td>"
        f'<td class="ds-number">{_number(kept)}</td>'
        f'<td class="ds-number">{_change(change)}</td></tr>'
    )


def _bar(rate: Interval | None, colors: Palette) -> str:
    if rate is None:
        return f'<span class="ds-faint">{NOT_MEASURED}</span>'
    width, height = 110, 10
    body = (
        f'<rect width="{width}" height="{height}" fill="{colors.panel}"/>'
        f'<rect width="{width * rate.value:.1f}" height="{height}" fill="{colors.alarm}"/>'
    )
    text, bounds = percent(rate.value), interval_text(rate, "share")
    return (
        f'<span class="ds-bar"><img src="{svg_uri(body, width, height)}" alt="{text}{THIN}%">'
        f'<span class="ds-strong">{text}</span><span class="ds-ci">{bounds}</span></span>'
    )


def _number(value: Interval | None) -> str:
    return (
        NOT_MEASURED if value is None else f'<span class="ds-strong">{percent(value.value)}</span>'
    )


def _change(value: Interval | None) -> str:
    if value is None:
        return ""
    bounds = interval_text(value, "difference")
    return f'{points(value.value)}<span class="ds-ci">{bounds}</span>'
