"""What the terminal shows of the null: every judged number against the reference students."""

from __future__ import annotations

from rich.table import Table

from analysis.divergence.null import Null
from analysis.records import Interval
from analysis.store import Study
from analysis.study.null import JUDGED, StudentNulls, find_nulls
from dashboard.figures.measures import MEASURES
from dashboard.terminal import decimals, plain, results, share


def print_nulls(study: Study) -> None:
    """Print for every student what the references show, and what lies outside of it.

    Prints nothing for a study without reference students.
    """
    for name in study.students:
        nulls = find_nulls(study, name)
        if nulls.nulls:
            _print(study, name, nulls)


def _print(study: Study, student: str, nulls: StudentNulls) -> None:
    out = results()
    count = len(nulls.references)
    out.print(
        f"\n[bold]{plain(student)}[/bold] against {count} reference student"
        f"{'' if count == 1 else 's'} (null: 95 % of new honest students)"
    )
    table = Table(show_edge=False, pad_edge=False, box=None, header_style="bold")
    for title in ("", "", "value", "null", "among the references", "p (Holm)", ""):
        table.add_column(title)
    for slug, condition in study.conditions.items():
        for measure in JUDGED:
            null, interval = nulls.of(measure, slug), study.measures(student, slug).get(measure)
            if null is not None and interval is not None:
                table.add_row(
                    plain(condition.name), _title(measure), *_cells(measure, interval, null)
                )
    out.print(table)
    for difference in nulls.differences:
        out.print(f"! other recipe: {plain(difference)}")


def _title(measure: str) -> str:
    named = MEASURES[measure]
    # The title of a divergence says in which direction it is taken, its short form does not.
    title = named.title.replace("∥", "||") if "∥" in named.title else named.short
    return f"{title}, {'%' if named.unit == 'share' else named.unit}"


def _cells(measure: str, interval: Interval, null: Null) -> tuple[str, ...]:
    form = decimals if measure.startswith("kl") else share
    band = "too few" if null.low is None else form(Interval(null.mean, null.low, null.high))
    corrected = "" if null.p_holm is None else f"{null.p_holm:.2g}"
    word = "outside the honest range" if null.outside else ""
    return form(Interval(interval.value)), band, null.rank, corrected, word
