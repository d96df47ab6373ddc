"""Findings in plain words, bound to the numbers that they state. Results are HTML."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.records import Interval
from dashboard.figures.classes import ClassRow
from dashboard.figures.numbers import count_of, escaped, interval_text, percent_text
from dashboard.figures.sides import TEACHING, Sides, begun

FEWEST_IN_CLASS = 5


def headline_sentence(
    agreement: Interval | None,
    n: int,
    rows: Sequence[ClassRow],
    *,
    filtered: bool,
    right: tuple[float, float] | None = None,
    sides: Sides = TEACHING,
) -> str:
    """How many of ``n`` images get the same answer, and where it parts most.

    The class with the lowest agreement is named when it holds at least 5 images and lies below
    the overall agreement; when nothing differs the sentence says so. When everything differs
    it says who is ``right`` (shares of teacher and student), where that is known.
    """
    if agreement is None:
        return "The two models’ answers were not compared"
    images = count_of(n, "image")
    where = f"these {images}" if filtered else images
    left, other = escaped(sides.the_left), escaped(sides.the_right)
    gives = f"{begun(other)} gives {left}’s answer"
    if agreement.value == 1:
        return f"{gives} on all of {where}"
    if agreement.value == 0:
        start = f"{gives} on none of {where}"
        if right is None:
            return start
        shares = [f"{percent_text(share)}" for share in right]
        return f"{start}; {left} is right on {shares[0]} of them, {other} on {shares[1]}"
    bounds = interval_text(agreement, "share")
    faint = f' <span class="ds-ci">{bounds}</span>' if bounds else ""
    with_whom = "" if sides.against_teacher else f" with {left}"
    start = f"{begun(other)} agrees{with_whom} on {percent_text(agreement.value)}{faint} of {where}"
    worst = next((row for row in rows if row.n >= FEWEST_IN_CLASS), None)
    if worst is None or len(rows) < 2 or worst.agreement.value >= agreement.value:
        return start
    return (
        f"{start}; it parts most on <em style='font-style:normal;white-space:nowrap'>"
        f"“{escaped(worst.name, 40)}”</em>, where it agrees on "
        f"{percent_text(worst.agreement.value, 0)}"
    )


def neighbors_line(names: Sequence[str], answers: Sequence[str]) -> str:
    """How many of the neighbors carry each of ``answers``: ``6 of 6 “stop”, 0 “80”``."""
    wanted = list(dict.fromkeys(answers))
    counts = (f"{names.count(answer)} “{escaped(answer, 20)}”" for answer in wanted)
    return ", ".join(counts).replace(" ", f" of {len(names)} ", 1)
