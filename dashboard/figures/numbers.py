"""How numbers and names are written, the same on every screen.

Shares in % with one decimal, differences of shares in points with a sign (a true minus, never
-0.0), KL in nats with two decimals, thousands by a thin space, "not measured" as a dash.
"""

from __future__ import annotations

import html
import math
import re
from typing import Literal

from analysis.divergence.null import Null
from analysis.records import Interval

Unit = Literal["share", "difference", "nats", "points"]

THIN = "\N{NARROW NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
NOT_MEASURED = "–"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_QUOTED = re.compile(r"(?<!\w)'([^']+)'(?!\w)")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def visible(name: object, limit: int = 60) -> str:
    """``name`` without control and direction characters, cut to ``limit`` characters."""
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(name))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def escaped(name: object, limit: int = 60) -> str:
    """``name`` for HTML, where it can only ever be text.

    Every name that comes out of a study passes through here, :func:`charted` or :func:`markdown`.
    """
    return html.escape(visible(name, limit), quote=True)


def said(sentence: object, limit: int = 400) -> str:
    """A sentence that a study holds, for HTML, with quotation marks and % as ours are written."""
    text = _QUOTED.sub("“\\1”", visible(sentence, limit)).replace(" %", f"{THIN}%")
    return html.escape(sentence_case(text), quote=True)


def charted(name: object, limit: int = 60) -> str:
    """``name`` for plotly's texts, which read tags but know no entity for quotation marks."""
    return html.escape(visible(name, limit), quote=False)


def markdown(name: object, limit: int = 60) -> str:
    """``name`` for labels that read Markdown; every ASCII punctuation mark is escaped."""
    return _PUNCTUATION.sub(r"\\\1", visible(name, limit))


def thousands(count: int) -> str:
    """``10000`` as ``10 000`` with a thin space."""
    return f"{count:,}".replace(",", THIN)


def percent(share: float, decimals: int = 1) -> str:
    """A share in [0, 1] as a percentage without its unit, ``96.2``; a dash for no number."""
    return _signless_zero(f"{100 * share:.{decimals}f}") if math.isfinite(share) else NOT_MEASURED


def percent_text(share: float, decimals: int = 1) -> str:
    """A share in [0, 1] with its unit, ``96.2 %`` with a thin space; a dash for no number."""
    if not math.isfinite(share):
        return NOT_MEASURED
    return f"{percent(share, decimals)}{THIN}%"


def points(difference: float, decimals: int = 1) -> str:
    """A difference of shares as signed points, ``+14.0`` or ``−0.4``."""
    if not math.isfinite(difference):
        return NOT_MEASURED
    number = _signless_zero(f"{100 * difference:+.{decimals}f}")
    if float(number.replace(MINUS, "-")) == 0:
        return number.lstrip("+")
    return number


def nats(value: float) -> str:
    """A divergence in nats, two decimals; a dash for no number."""
    return _signless_zero(f"{value:.2f}") if math.isfinite(value) else NOT_MEASURED


def probability(value: float) -> str:
    """A probability in % for bars: one decimal, ``<0.1`` for the rest."""
    return "<0.1" if value < 0.0005 else percent(value)


def number(value: float, unit: Unit) -> str:
    """``value`` as its unit is written; ``points`` is a share shown without a sign."""
    if not math.isfinite(value):
        return NOT_MEASURED
    if unit == "nats":
        return nats(value)
    return points(value) if unit == "difference" else percent(value)


def interval_text(interval: Interval | None, unit: Unit) -> str:
    """``[95.3, 97.0]``, empty where there is no interval."""
    if interval is None or interval.low is None or interval.high is None:
        return ""
    return f"[{number(interval.low, unit)}, {number(interval.high, unit)}]"


def count_of(value: int, one: str, many: str | None = None) -> str:
    """``1 image``, ``2 000 images``."""
    return f"{thousands(value)} {one if value == 1 else many or one + 's'}"


def ranked(null: Null) -> str:
    """Where a number stands: ``lower than all 3 reference students``; never a percentile."""
    if null.n == 1:
        return f"{null.rank.removesuffix(' one')} reference student"
    return f"{null.rank} reference students"


def sentence_case(text: object) -> str:
    """``text`` with its first letter in upper case, the rest as it is."""
    return str(text)[:1].upper() + str(text)[1:]


def compact(value: float) -> str:
    """A count with its magnitude: ``272 k``, ``41.6 M``, ``1.25 G``."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            scaled = value / limit
            return f"{scaled:.0f}{THIN}{suffix}" if scaled >= 100 else f"{scaled:.3g}{THIN}{suffix}"
    return f"{value:.0f}"


def _signless_zero(text: str) -> str:
    if float(text) == 0:
        return text.replace("-", "")
    return text.replace("-", MINUS)
