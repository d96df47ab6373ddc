"""Where it parts most: the slices that were found, each in front of the references."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dashboard.figures.intervals import interval_glyph
from dashboard.figures.measures import term
from dashboard.figures.numbers import THIN, escaped, interval_text, percent, percent_text, thousands
from dashboard.loading_slices import SliceRow
from dashboard.theme import Palette

_WORDS = 60


def slice_table(
    rows: Sequence[SliceRow],
    colors: Palette,
    class_names: Sequence[str],
    link: Callable[[str], str],
    *,
    chosen: str | None = None,
) -> str:
    """The table as HTML; ``link`` gives a slice's address, escaped for HTML."""
    compared = any(row.references for row in rows)
    lows = [row.agreement.low for row in rows if row.agreement.low is not None]
    others = [value for row in rows for value in row.references]
    scale = (0.5, 1.0) if lows and min([*lows, *others]) >= 0.5 else (0.0, 1.0)
    last = "refs" if compared else "rest"
    head = (
        f'<tr><th>{term("slice", "slice")}</th><th class="ds-number">n</th>'
        f"<th>{term('agreement', 'agreement')}, {100 * scale[0]:.0f}–100</th>"
        f'<th class="ds-number">this</th><th class="ds-number">{last}</th></tr>'
    )
    body = "".join(_row(row, colors, class_names, scale, link(row.id), chosen) for row in rows)
    return f'<table class="ds-table ds-rows"><thead>{head}</thead>{body}</table>'


def _row(
    row: SliceRow,
    colors: Palette,
    class_names: Sequence[str],
    scale: tuple[float, float],
    address: str,
    chosen: str | None,
) -> str:
    glyph = interval_glyph(
        row.agreement, scale, colors, references=row.references, width=110, height=14
    )
    share = percent(row.agreement.value, 0)
    beside = sum(row.references) / len(row.references) if row.references else row.rest
    mark = ' class="ds-chosen"' if row.id == chosen else ""
    alt = f"{percent(row.agreement.value)} {interval_text(row.agreement, 'share')}"
    return (
        f'<tr{mark}><td><a class="ds-link ds-slice" href="{address}" target="_self" '
        f'title="{escaped(_title(row), 600)}">{_named(row)}</a>'
        f"{_change(row, class_names)}</td>"
        f'<td class="ds-number ds-quiet">{thousands(row.n)}</td>'
        f'<td><img src="{glyph}" alt="{alt}"></td>'
        f'<td class="ds-number"><span class="ds-strong">{share}</span></td>'
        f'<td class="ds-number ds-quiet">{percent(beside, 0)}</td></tr>'
    )


def _named(row: SliceRow) -> str:
    """The words with the class in bold, where the slice is of one class."""
    if row.first is None or row.first not in row.words:
        return f'<span class="ds-plain">{escaped(row.words, _WORDS)}</span>'
    before, after = row.words.split(row.first, 1)
    plain = '<span class="ds-plain">{}</span>'
    return f"{plain.format(escaped(before))}<b>{escaped(row.first, 24)}</b>" + plain.format(
        escaped(after, _WORDS)
    )


def _change(row: SliceRow, class_names: Sequence[str]) -> str:
    """To what most of the changed answers change, where most change to one class."""
    if row.to is None or class_names[row.to] == row.first:
        return ""
    return f' <span class="ds-faint">→{THIN}{escaped(class_names[row.to], 18)}</span>'


def _title(row: SliceRow) -> str:
    """What the slice is, exactly, and how sure that is."""
    text = (
        f"{row.meaning}. Agreement {percent_text(row.agreement.value)} "
        f"{interval_text(row.agreement, 'share')} on the {row.n_tested} of its images that were "
        f"not searched, {percent_text(row.rest)} on the others; p = {row.p_value:.3f}, corrected."
    )
    if row.grouped:
        text += (
            " Found in the teacher’s features: the words hold for "
            f"{percent_text(row.recall, 0)} of it, and {percent_text(row.precision, 0)} of what "
            "they describe belongs to it."
        )
    return text
