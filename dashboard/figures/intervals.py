"""The recurring glyph: a value and its interval in front of the null, on a fixed scale."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

from analysis.records import Interval
from dashboard.theme import Palette

FEWEST_REFERENCES = 3
_MARK_SIZE = (160, 16)


def interval_glyph(
    interval: Interval,
    scale: tuple[float, float],
    colors: Palette,
    *,
    references: Sequence[float] = (),
    band: tuple[float, float] | None = None,
    far: bool | None = None,
    width: int = 180,
    height: int = 16,
    teacher: float | None = None,
) -> str:
    """Draw ``interval`` on ``scale`` as an SVG data URI.

    Gray band and ticks are the reference students (the null; 20 or more: the band spans 5 to
    95 % and there are no ticks), the line is the 95 % interval, the square the value. Without
    references there is no band. Where a measure has a statistical rule, ``band`` is its range
    and ``far`` its verdict; else the band spans the references, and far is a rule of display.
    The square is magenta only when it is far outside the null. A circle marks the teacher's own
    value, where there is one.
    """
    low, high = scale
    middle = height / 2

    def at(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return 4 + (width - 8) * min(max(share, 0.0), 1.0)

    if far is None:
        far = far_outside(interval.value, references, scale)
    color = colors.alarm if far else colors.student
    parts = [_line(4, width - 4, middle, colors.hairline, 1.5)]
    if references:
        parts += _null(sorted(references), at, middle, colors, band)
    if teacher is not None:
        parts.append(
            f'<circle cx="{at(teacher):.1f}" cy="{middle}" r="3.5" fill="{colors.teacher}"/>'
        )
    if interval.low is not None and interval.high is not None:
        parts.append(_line(at(interval.low), at(interval.high), middle, color, 2))
    x = at(interval.value)
    parts.append(
        f'<rect x="{x - 3.5:.1f}" y="{middle - 3.5}" width="7" height="7" fill="{color}"/>'
    )
    return svg_uri("".join(parts), width, height)


def mark_glyph(
    value: Interval,
    top: float,
    color: str,
    colors: Palette,
    *,
    circle: bool = False,
) -> str:
    """Draw ``value`` and its interval from 0 to ``top`` as an SVG data URI: a square, a circle."""
    width, height = _MARK_SIZE
    middle = height / 2

    def at(share: float) -> float:
        return 4 + (width - 8) * min(max(share / top, 0.0), 1.0)

    x = at(value.value)
    low = x if value.low is None else at(value.low)
    high = x if value.high is None else at(value.high)
    mark = (
        f'<circle cx="{x:.1f}" cy="{middle}" r="4" fill="{color}"/>'
        if circle
        else f'<rect x="{x - 3.5:.1f}" y="{middle - 3.5}" width="7" height="7" fill="{color}"/>'
    )
    lines = _line(4, width - 4, middle, colors.hairline, 1.5) + _line(low, high, middle, color, 2)
    return svg_uri(lines + mark, width, height)


def far_outside(value: float, references: Sequence[float], scale: tuple[float, float]) -> bool:
    """Whether ``value`` lies far outside the null, as a rule of display.

    Far means: distance to the references' mean above 4 times their range and above 5 % of the
    scale. With fewer than three references nothing is ever far.
    """
    if len(references) < FEWEST_REFERENCES:
        return False
    distance = abs(value - sum(references) / len(references))
    spread = max(references) - min(references)
    return distance > 4 * spread and distance > 0.05 * (scale[1] - scale[0])


def _null(
    ticks: list[float],
    at: Callable[[float], float],
    middle: float,
    colors: Palette,
    given: tuple[float, float] | None = None,
) -> list[str]:
    many = len(ticks) >= 20
    cut = len(ticks) // 20 if many else 0
    inner = ticks[cut : len(ticks) - cut]
    start, end = given or (inner[0], inner[-1])
    band = _band(at(start) - 1.5, at(end) + 1.5, middle, colors)
    return [band] if many else [band] + [_tick(at(tick), middle, colors) for tick in ticks]


def _band(start: float, end: float, middle: float, colors: Palette) -> str:
    return (
        f'<rect x="{start:.1f}" y="{middle - 6}" width="{end - start:.1f}" height="12" '
        f'rx="2" fill="{colors.null_band}"/>'
    )


def _tick(x: float, middle: float, colors: Palette) -> str:
    return (
        f'<rect x="{x - 0.5:.1f}" y="{middle - 5}" width="1" height="10" '
        f'fill="{colors.reference}"/>'
    )


def null_sample(colors: Palette, *, band: bool = True) -> str:
    """A piece of null for a legend, as an SVG data URI: the band (or none) with three ticks."""
    ticks = [_tick(x, 8.0, colors) for x in (7.0, 14.0, 18.0)]
    return svg_uri("".join(([_band(0, 26, 8.0, colors)] if band else []) + ticks), 26, 16)


def _line(start: float, end: float, y: float, color: str, width: float) -> str:
    return (
        f'<line x1="{start:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}" stroke="{color}" '
        f'stroke-width="{width}"/>'
    )


def svg_uri(body: str, width: int, height: int) -> str:
    """``body`` as an SVG picture in a data URI; inline SVG would be stripped by ``st.html``."""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">{body}</svg>'
    )
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
