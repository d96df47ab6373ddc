"""The table's two pictures, as SVG that needs no program to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from analysis.store.files import write_bytes
from benchmarks.reproduction.cells import BASE, EPSILONS, RATES
from benchmarks.reproduction.running import ROOT, Row
from benchmarks.reproduction.table import SUBJECT, gain

PICTURES = ROOT / "docs" / "pictures"
INK, FAINT, LINE, PAPER = "#17202b", "#5b6774", "#c9d0d8", "#ffffff"
STUDENT, ALARM = "#b8730a", "#a3195b"
_FONT = "font-family='IBM Plex Sans, Helvetica, Arial, sans-serif'"


def write_pictures(rows: Sequence[Row], folder: Path = PICTURES) -> None:
    """Write the grid of rate x epsilon and the scatter of fooled views against success."""
    write_bytes(folder / "reproduction-grid.svg", grid(rows).encode())
    write_bytes(folder / "reproduction-views.svg", scatter(rows).encode())


def grid(rows: Sequence[Row]) -> str:
    """Success rate minus base rate, in points, by poisoning rate and epsilon; mean over seeds."""
    width, height, left, top = 118, 46, 96, 40
    parts = []
    for column, rate in enumerate(RATES):
        center = left + (column + 0.5) * width
        parts.append(text(center, top - 12, f"{100 * rate:g} % poison", FAINT, "middle"))
        for line, epsilon in enumerate(EPSILONS):
            x, y = left + column * width, top + line * height
            found = cells_of(rows, rate, epsilon)
            shade = sum(found) / len(found) if found else 0.0
            parts.append(
                f"<rect x='{x}' y='{y}' width='{width - 2}' height='{height - 2}' rx='3' "
                f"fill='{ALARM}' fill-opacity='{0.05 + 0.85 * max(0.0, shade):.3f}'/>"
            )
            words = f"{100 * shade:+.0f} points" if found else "not run"
            color = PAPER if shade > 0.5 else INK
            parts.append(text(center - 1, y + 20, words, color, "middle"))
            if found:
                parts.append(text(center - 1, y + 35, f"n = {len(found)}", color, "middle", 10))
    for line, epsilon in enumerate(EPSILONS):
        y = top + line * height + 27
        parts.append(text(left - 12, y, f"epsilon {epsilon}/255", FAINT, "end"))
    return picture(left + len(RATES) * width + 8, top + len(EPSILONS) * height + 8, parts)


def cells_of(rows: Sequence[Row], rate: float, epsilon: int) -> list[float]:
    """Gains of the cells that differ from the base in rate and epsilon at most."""
    wanted = {**BASE, "attack.rate": rate, "attack.epsilon": epsilon}
    return [
        gain(row)
        for row in rows
        if row["student"] == SUBJECT and all(same(row[key], value) for key, value in wanted.items())
    ]


def same(text_value: object, value: object) -> bool:
    """Whether a field of the file holds ``value``."""
    if value is None or text_value is None:
        return value is None and text_value is None
    if isinstance(value, int | float):
        return float(str(text_value)) == float(value)
    return str(text_value) == str(value)


def scatter(rows: Sequence[Row]) -> str:
    """Share of fooled augmented views (across) against success minus base rate (up)."""
    left, top, width, height = 64, 20, 420, 260
    parts = [
        f"<rect x='{left}' y='{top}' width='{width}' height='{height}' fill='none' "
        f"stroke='{LINE}'/>"
    ]
    for tick in (0, 0.25, 0.5, 0.75, 1.0):
        x, y = left + tick * width, top + (1 - tick) * height
        parts.append(text(x, top + height + 18, f"{100 * tick:.0f}", FAINT, "middle"))
        parts.append(text(left - 8, y + 4, f"{100 * tick:.0f}", FAINT, "end"))
    for row in rows:
        if row["student"] != SUBJECT or row["view_flip_rate"] is None:
            continue
        x = left + float(row["view_flip_rate"]) * width
        y = top + (1 - min(1.0, max(0.0, gain(row)))) * height
        at_base = same(row["attack.rate"], BASE["attack.rate"])
        told = f"{row['factor']} {row['level']}, seed {row['seed']}"
        parts.append(
            f"<rect x='{x - 4:.1f}' y='{y - 4:.1f}' width='8' height='8' stroke='{STUDENT}' "
            f"fill='{STUDENT if at_base else PAPER}'><title>{escape(told)}</title></rect>"
        )
    below = top + height + 38
    words = "augmented views that fool the teacher, % (filled: the base's poisoning rate)"
    parts.append(text(left + width / 2, below, words, INK, "middle"))
    parts.append(
        f"<text {_FONT} font-size='12' fill='{INK}' text-anchor='middle' "
        f"transform='translate(16 {top + height / 2}) rotate(-90)'>success minus base rate, "
        "points</text>"
    )
    return picture(left + width + 16, below + 14, parts)


def text(x: float, y: float, words: str, color: str, anchor: str, size: int = 12) -> str:
    """One line of text as SVG."""
    return (
        f"<text {_FONT} x='{x:.1f}' y='{y:.1f}' font-size='{size}' fill='{color}' "
        f"text-anchor='{anchor}'>{escape(words)}</text>"
    )


def picture(width: float, height: float, parts: Sequence[str]) -> str:
    """A whole SVG file on white paper, readable on a dark page too."""
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:.0f}' height='{height:.0f}' "
        f"viewBox='0 0 {width:.0f} {height:.0f}'>"
        f"<rect width='100%' height='100%' fill='{PAPER}'/>" + "".join(parts) + "</svg>\n"
    )
