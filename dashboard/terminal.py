"""What the terminal shows: progress of stages, tables, one-line errors."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from analysis.records import TEACHER, Interval
from analysis.store import Progress as Report
from analysis.store import Study
from analysis.study.between import measures_between
from dashboard.figures.measures import MEASURES
from dashboard.figures.sides import Sides
from dashboard.missing import summary

console = Console(stderr=True)
NOT_MEASURED = "not measured"
PROGRESS_VARIABLE = "DISTILLSCOPE_PROGRESS"
"""Set to ``all`` it makes commands report every step of every stage, one a line."""
_UNCUT = 500


def opening(folder: Path) -> str:
    """The command that opens ``folder``, as a shell takes it."""
    return f"distillscope open {shlex.quote(str(folder))}"


def results() -> Console:
    """Where results are printed; what goes into a pipe or a file is not cut to 80 columns."""
    out = _Results()
    return out if out.is_terminal else _Results(width=_UNCUT)


class _Results(Console):
    """A console that leaves it to the command what a reader's going away means."""

    def on_broken_pipe(self) -> None:
        """Raise ``BrokenPipeError`` as ``print`` does; rich itself exits with status 1."""
        raise BrokenPipeError


def fail(message: str, *, kind: str = "error") -> None:
    """Print an error as one line on stderr, whatever is in it."""
    line = " ".join(message.split())
    print(f"{kind}: {line}", file=sys.stderr)


def note_normalization(specs: Iterable[object]) -> None:
    """Say of every model spec that leaves open how its inputs are normalized."""
    from analysis.models.loading import leaves_normalization_open
    from analysis.models.spec import ModelSpec

    for spec in specs:
        if isinstance(spec, str | ModelSpec) and leaves_normalization_open(spec):
            name = (ModelSpec.parse(spec) if isinstance(spec, str) else spec).text
            fail(
                f"nothing says how inputs of {name} are normalized: it is shown pixels in [0, 1] "
                f"as they are. Name it, as in {name},normalize=imagenet; normalize=none says that "
                "this is right",
                kind="note",
            )


_listener: ContextVar[Report | None] = ContextVar("listener", default=None)


@contextlib.contextmanager
def reporting_to(report: Report) -> Iterator[None]:
    """Let commands that run in this block report their stages to ``report``, and show none."""
    token = _listener.set(report)
    try:
        yield
    finally:
        _listener.reset(token)


@contextlib.contextmanager
def stage_progress(*, quiet: bool = False) -> Iterator[Report]:
    """Show one bar per stage; without a terminal, one line per finished stage."""
    if (listener := _listener.get()) is not None:
        yield listener
    elif quiet:
        yield lambda stage, done, total: None
    elif os.environ.get(PROGRESS_VARIABLE) == "all":
        yield _every_line()
    elif not console.is_terminal:
        yield _lines()
    else:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bars:
            yield _bars(bars)


def _bars(bars: Progress) -> Report:
    tasks: dict[str, TaskID] = {}

    def report(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total)
        bars.update(tasks[stage], completed=done, total=total)

    return report


def _lines() -> Report:
    finished: set[str] = set()

    def report(stage: str, done: int, total: int) -> None:
        if done >= total and stage not in finished:
            finished.add(stage)
            print(f"{stage}: {done} of {total}", file=sys.stderr, flush=True)

    return report


def _every_line() -> Report:
    last = [0.0]

    def report(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done >= total or now - last[0] > 0.2:
            last[0] = now
            print(f"{stage}: {done} of {total}", file=sys.stderr, flush=True)

    return report


def share(value: Interval | None) -> str:
    """Format a share in percent with its interval."""
    return _interval(value, 100.0, ".1f")


def decimals(value: Interval | None) -> str:
    """Format a number, of nats or without unit, with two decimals and its interval."""
    return _interval(value, 1.0, ".2f")


def _interval(value: Interval | None, scale: float, form: str) -> str:
    if value is None:
        return NOT_MEASURED
    text = f"{value.value * scale:{form}}"
    if value.low is not None and value.high is not None:
        text += f" [{value.low * scale:{form}}, {value.high * scale:{form}}]"
    return text


def print_study(study: Study, *, left: str = TEACHER) -> None:
    """Print the headline of a study as a table, every student compared with ``left``."""
    out = results()
    card = study.inspection
    out.print(
        f"[bold]{plain(study.name)}[/bold]: {card.n} images, {len(study.class_names)} classes, "
        f"{len(study.students)} student(s)"
    )
    others = {name: model for name, model in study.students.items() if name != left}
    models = {left: study.models[left], **others}
    table = Table(show_edge=False, pad_edge=False, box=None, header_style="bold")
    table.add_column("")
    for name in models:
        table.add_column(plain(name), justify="right", overflow="fold")
    sides = Sides.of(left, "student")
    words = {"left": plain(sides.left), "the_left": plain(sides.the_left)}
    measured = {name: measures_between(study, left, name) for name in others}
    alone = study.measures(left)
    for key, title, form in _ROWS:
        own = form(alone.get(key)) if key in _ALONE else ""
        cells = [form(measured[name].get(key)) for name in others]
        table.add_row(
            title.format(short=MEASURES[key].short, **words),
            "" if own == NOT_MEASURED else own,
            *cells,
        )
    costs = [model.cost for model in models.values()]
    table.add_row("parameters", *("" if c is None else f"{c.parameters:,}" for c in costs))
    table.add_row("MACs, million", *("" if c is None else f"{c.macs / 1e6:.1f}" for c in costs))
    out.print(table)
    if (without := summary(study)) is not None:
        out.print(without)
    for name in study.students:
        for finding in study.record(f"findings/{name}", []):
            out.print(f"! {plain(name)}: {plain(finding['text'])}")
            if "remedy" in finding:
                out.print(f"  {plain(finding['remedy'])}")


_ALONE = ("accuracy", "ece")
_ROWS: tuple[tuple[str, str, Callable[[Interval | None], str]], ...] = (
    ("accuracy", "{short}, %", share),
    ("agreement", "{short} with {the_left}, %", share),
    ("kl_teacher_student", "{short} ({left} || student), nats", decimals),
    ("negative_flips", "{short}, %", share),
    ("top5_order", "{short}, Kendall's tau", decimals),
    ("dark_kl", "{short}, nats", decimals),
    ("mean_neighborhood_overlap", "{short}, %", share),
    ("ece", "{short}, points", share),
)


def plain(text: str) -> str:
    """Make a text of anybody's harmless: no markup, no control characters."""
    # rich reads [..] as markup and the terminal reads control characters; names may hold both.
    clean = "".join(character if character.isprintable() else "?" for character in text)
    return escape(clean)
