"""What the marks of the headline table mean, and what the honest range is. Results are HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.divergence.null import FEWEST_FOR_INTERVAL, FEWEST_TO_JUDGE, Null
from dashboard.figures.headline import COLUMNS
from dashboard.figures.intervals import null_sample
from dashboard.figures.measures import MEASURES, term
from dashboard.figures.numbers import count_of, escaped
from dashboard.figures.sides import Sides
from dashboard.theme import Palette

_SQUARE = '<span class="ds-square"></span>'
_FAR = '<span class="ds-square ds-far"></span>'
_CIRCLE = '<span class="ds-circle"></span>'


def headline_legend(count: int, colors: Palette, sides: Sides) -> str:
    """The legend line of the headline table, for ``count`` reference students."""
    own = "this student" if sides.against_teacher else escaped(sides.right)
    parts = [
        f"{_SQUARE} {own}, 95 % bootstrap interval",
        f"{_CIRCLE} {escaped(sides.the_left)}",
        *_null_parts(count, colors, sides),
    ]
    return f'<div class="ds-legend">{"".join(f"<span>{part}</span>" for part in parts)}</div>'


def _null_parts(count: int, colors: Palette, sides: Sides) -> list[str]:
    if not sides.against_teacher:
        return ["no null for two students: references are compared with the teacher"]
    if count == 0:
        return ["no reference students"]
    students = count_of(count, "reference student")
    if count < FEWEST_FOR_INTERVAL:
        return [f"{_picture(colors, band=False)}{students} (tick): too few for a range"]
    named = f"{_picture(colors)}{term('honest_range', 'null')}"
    null = f"{named}: 95 % of new honest students, from {students} (ticks)"
    if count < FEWEST_TO_JUDGE:
        return [null, "too few references to call anything outside"]
    return [null, f"{_FAR} outside the honest range"]


def _picture(colors: Palette, *, band: bool = True) -> str:
    return f'<img src="{null_sample(colors, band=band)}" alt="">'


def null_help(count: int, judged: int, differences: Sequence[str]) -> str:
    """What the two intervals cover, folded away; and how the references were made otherwise."""
    if count == 0:
        text = (
            "The line is a bootstrap interval: it covers the choice of images, not the choice of "
            "the training’s seed. Whether another honest student would show the same number is "
            "not known here: <code>distillscope reference</code> makes honest students of this "
            "teacher, and <code>distillscope add DIR --reference</code> puts them into the study."
        )
        return _folded("What would be an honest range?", [text])
    texts = [
        "The line is a bootstrap interval: it covers the choice of images, for this one student. "
        "The gray band covers the choice of seed: one more honest student of this teacher, made "
        "as the references were, lies in it with a probability of 95 % (t prediction interval, "
        f"{count_of(max(count - 1, 0), 'degree')} of freedom). Neither contains the other.",
        f"Magenta means outside after Holm’s correction for the {judged} numbers that are judged "
        "together, on all conditions; a number may lie outside its band and not be called so. "
        f"With fewer than {FEWEST_TO_JUDGE} references nothing is. Point at a glyph for the rank "
        "among the references.",
    ]
    return _folded("What is the honest range?", texts) + _differences(differences)


def _folded(title: str, texts: Sequence[str]) -> str:
    body = "".join(f"<p>{text}</p>" for text in texts)
    return f'<details class="ds-help"><summary>{title}</summary>{body}</details>'


def _differences(differences: Sequence[str]) -> str:
    if not differences:
        return ""
    said = "; ".join(escaped(text, 160) for text in differences)
    text = f"The references differ from this student in more than the seed: {said}."
    return f'<div class="ds-note">{text}</div>'


def range_words(nulls: Mapping[str, Null]) -> str:
    """Whether the headline's numbers lie in the honest range, to end its sentence; or nothing.

    Nothing is said where no number was judged: fewer than three references, or a filter.
    """
    shown = [column.measure for column in COLUMNS]
    judged = {name: nulls[name] for name in shown if name in nulls}
    judged = {name: null for name, null in judged.items() if null.outside is not None}
    outside = [name for name, null in judged.items() if null.outside]
    if not judged:
        return ""
    if not outside:
        return "; inside the honest range"
    if "agreement" in outside or "agreement" not in judged:
        if len(outside) == 1:
            return "; outside the honest range"
        return f"; outside the honest range in {len(outside)} of {len(judged)} numbers"
    named = [MEASURES[name].short for name in outside]
    listed = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
    verb = "is" if len(named) == 1 else "are"
    return f"; that is inside the honest range, its {listed} {verb} not"
