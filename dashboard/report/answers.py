"""The report's first half: what the student lost. Results are HTML."""

from __future__ import annotations

import plotly.graph_objects as go

from analysis.divergence.classes import count_answers
from analysis.study.null import JUDGED
from dashboard.comparison import Comparison
from dashboard.figures import calibration, cells, classes, cost, drift, knowledge, sentences, slices
from dashboard.figures.headline import HeadlineRow, headline_table, teacher_values
from dashboard.figures.legend import headline_legend, null_help, range_words
from dashboard.figures.numbers import count_of, escaped, percent_text, thousands
from dashboard.figures.verdict import verdict_line
from dashboard.loading_headline import condition_rows, four_cells_of
from dashboard.loading_slices import slice_list
from dashboard.report.pieces import (
    columns,
    figure,
    missing,
    section,
    themed,
    titled,
    unlinked,
)
from dashboard.theme import Palette, color_bar

_ROWS = 12
_NULL = "Every number stands in front of its null: what honest students of this teacher show."
_NO_NULL = "No reference students beside it: what honest students would show is not known."


def finding(c: Comparison) -> str:
    """The headline in words, with its interval and where it stands to the honest range."""
    pair = c.pair
    right = None
    if pair.teacher_correct is not None and pair.student_correct is not None and len(pair):
        right = float(pair.teacher_correct.mean()), float(pair.student_correct.mean())
    return sentences.headline_sentence(
        c.measures().get("agreement"),
        len(pair),
        classes.class_rows(pair, c.class_names),
        filtered=False,
        right=right,
        sides=c.sides,
    ) + range_words(c.nulls.on(c.condition))


def verdict(c: Comparison) -> str:
    """The verdict of the audit, or that there was none."""
    return verdict_line(c.study.record(f"audit/{c.student}"), c.class_names)


def warnings(c: Comparison) -> str:
    """What in the study changes how its numbers are read."""
    shown = []
    for item in c.study.record(f"findings/{c.student}", []):
        kind = "ds-note" if item.get("kind") == "joined" else "ds-warning"
        remedy = escaped(item.get("remedy", ""), 400)
        below = f'<div class="ds-sub">{remedy}</div>' if remedy else ""
        shown.append(f'<div class="{kind}">{escaped(item.get("text", ""), 600)}{below}</div>')
    return "".join(shown)


def headline(c: Comparison) -> str:
    """The headline numbers on every condition, the chosen one first."""
    study, nulls = c.study, c.nulls
    first = HeadlineRow(
        name=study.conditions[c.condition].name,
        n=len(c.pair),
        measures=c.measures(),
        nulls=nulls.on(c.condition),
        teacher=teacher_values(c.pair),
    )
    rows = [
        first,
        *condition_rows(study, c.student, c.left, nulls, c.measures, skip=c.condition),
    ]
    count = len(nulls.references)
    judged = sum(measure in JUDGED for _, measure in nulls.nulls)

    def drawn(colors: Palette) -> str:
        table = headline_table(rows, colors, labeled=c.pair.labels is not None, sides=c.sides)
        below = headline_legend(count, colors, c.sides)
        if c.sides.against_teacher:
            below += null_help(count, judged, nulls.differences)
        return table + below

    return section("numbers", "The numbers", _NULL if count else _NO_NULL, themed(drawn))


def four_cells(c: Comparison) -> str:
    """Who answers the target with and without trigger and perturbation; empty without a trigger."""
    found = four_cells_of(c.study, c.student, c.nulls)
    if found is None:
        return ""
    claim = cells.cell_claim(found.rows, found.target) or "Not measured for this student."
    table = themed(lambda colors: cells.cell_table(found.rows, found.target, found.counts, colors))
    return section("cells", "Does the trigger single anybody out?", claim, table)


def changes(c: Comparison) -> str:
    """Whose answers change, and where the two part most."""
    counts = count_answers(c.pair.teacher_answer, c.pair.student_answer, len(c.class_names))
    chart = figure(
        lambda colors: drift.drift_figure(counts, c.class_names, colors, sides=c.sides),
        alt="Share of each pair of answers",
    )  # fmt: skip
    top = drift.color_top(counts)
    scale = themed(lambda colors: f"<span>0 {color_bar(colors.divergence)} {top}</span>")
    kept = len(drift.shown_classes(counts))
    some = "" if kept == len(counts) else f" The {kept} classes with the most changes."
    below = (
        f"Rows: {escaped(c.sides.left)}’s answer, columns: {escaped(c.sides.right)}’s, "
        f"% of the row.{some}"
    )
    head = titled("Whose answers change, and to what", below) + scale
    return section(
        "answers", "Where do they part?", "", columns(head + chart, _parts(c))
    )  # fmt: skip


def _parts(c: Comparison) -> str:
    found = slice_list(c.study, c.student, c.condition) if c.sides.against_teacher else None
    if found is not None and found.rows:
        shown = found.rows[:_ROWS]
        table = themed(
            lambda colors: unlinked(
                slices.slice_table(shown, colors, c.class_names, lambda wanted: "#")
            )
        )
        below = (
            "Slices found on one half of the images and tested on the other. "
            f"{count_of(found.candidates, 'candidate')} tested; chance of any false slice "
            f"{percent_text(found.alpha, 0)}."
        )
        more = len(found.rows) - len(shown)
        below += f" {more} more are in the study." if more else ""
        return titled("Slices on which it parts most", below) + table
    rows = classes.class_rows(c.pair, c.class_names)[:_ROWS]
    table = themed(
        lambda colors: unlinked(classes.class_table(rows, colors, lambda index: "#", sides=c.sides))
    )
    return titled("Classes on which it parts most", "The lowest agreement first.") + table


def confidence(c: Comparison) -> str:
    """Confidence and calibration, temperatures, the classes below the answer, costs."""
    first = _reliability(c)
    histogram = titled("", "Images by confidence, %") + figure(
        lambda colors: calibration.confidence_figure(c.pair, colors, sides=c.sides),
        alt="Histogram of both models’ confidence",
    )  # fmt: skip
    return section(
        "confidence", "Is it as sure as it should be?", "",
        columns(first + histogram, _temperatures(c) + _below(c) + _cost(c)),
    )  # fmt: skip


def _reliability(c: Comparison) -> str:
    marks = (
        f'<span class="ds-circle"></span><span class="ds-teacher">{escaped(c.sides.left)}</span> '
        f'&nbsp;<span class="ds-square"></span>'
        f'<span class="ds-student">{escaped(c.sides.right)}</span>'
    )
    head = titled("", f"How often each is right when it says so. {marks}")
    if c.pair.labels is None or len(c.pair) == 0:
        return head + missing("Needs labels: whether an answer is right is not known here.")

    def drawn(colors: Palette) -> go.Figure:
        chart = calibration.reliability_figure(c.pair, colors, sides=c.sides)
        assert chart is not None
        return chart

    return head + figure(drawn, alt="Reliability of both models")


def _temperatures(c: Comparison) -> str:
    scaled = [c.study.record(f"temperature/{name}/{c.condition}") for name in (c.left, c.student)]
    table = knowledge.temperature_table(*scaled)
    if not table:
        return ""
    n = next(item["n_tested"] for item in scaled if item is not None)
    return (
        titled("Temperature", f"Fitted on half of the images, errors on the other {thousands(n)}.")
        + table
    )


def _below(c: Comparison) -> str:
    references: dict[str, list[float]] = {}
    if c.sides.against_teacher:
        for name in c.study.references:
            for measure, value in c.study.measures(name, c.condition).items():
                if value is not None:
                    references.setdefault(measure, []).append(value.value)
    left = escaped(c.sides.the_left)
    table = themed(lambda colors: knowledge.below_table(c.measures(), references, colors, left))
    head = titled(
        "Do they rank the rest alike?", "What the two say of the classes below the answer."
    )
    return head + table if table else ""


def _cost(c: Comparison) -> str:
    table = cost.cost_table(c.study.models[c.left], c.study.models[c.student])
    if table is None:
        return ""
    title = "What the compression bought" if c.sides.against_teacher else "What each costs"
    return titled(title, "Latency: median on the computer that made the study.") + table
