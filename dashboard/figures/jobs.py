"""Jobs as HTML, and the curves of the training that one is at."""

from __future__ import annotations

import time
from collections.abc import Sequence

import plotly.graph_objects as go

from analysis.distillation.history import EpochRecord
from dashboard.figures.chart import chart
from dashboard.figures.numbers import THIN, escaped, percent, sentence_case, thousands
from dashboard.jobs.progress import Progress, Stage
from dashboard.jobs.record import Job
from dashboard.theme import Palette

_SOON = 1.5


def problem_html(what: str, expected: str | None, remedy: str | None) -> str:
    """What is wrong with a field, below it: only the value is magenta."""
    after = f" Expected {escaped(expected, 200)}." if expected else ""
    if remedy:
        stop = "" if remedy.endswith(("?", "!")) else "."
        after += f" {escaped(sentence_case(remedy).rstrip('.'), 300)}{stop}"
    return (
        f'<div class="ds-problem"><span class="ds-alarm">{escaped(sentence_case(what), 200)}.'
        f"</span>{after}</div>"
    )


def finding(jobs: Sequence[Job]) -> str:
    """What goes on in the workspace, as the page's title."""
    running = sum(job.state == "running" for job in jobs)
    waiting = sum(job.state == "queued" for job in jobs)
    if not running and not waiting:
        return "Nothing is running"
    parts = [f"{running} {'job is' if running == 1 else 'jobs are'} running"] if running else []
    if waiting:
        parts.append(f"{waiting} {'waits' if waiting == 1 else 'wait'}")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """A time span in words: ``8 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}{THIN}h {minutes}{THIN}min"
    return f"{minutes}{THIN}min {left}{THIN}s" if minutes else f"{left}{THIN}s"


def job_head(job: Job, title: str, *, now: float) -> str:
    """Mark and name of a job, its kind and state below."""
    return (
        f'<div class="ds-job"><span class="ds-job-mark ds-job-{job.state}"></span>'
        f'<div class="ds-title ds-cut">{escaped(job.order.name)}</div>'
        f'<div class="ds-sub">{escaped(title)} · {state_words(job, now=now)}</div></div>'
    )


def state_words(job: Job, *, now: float) -> str:
    """The state of a job with its time."""
    if job.state == "running":
        spent = duration(now - (job.started or now))
        return f"stopping, {spent}" if job.stop_asked is not None else f"running, {spent}"
    if job.state == "queued":
        return "queued"
    when = _clock(job.ended, now)
    if job.state == "done" and job.started is not None and job.ended is not None:
        return f"done in {duration(job.ended - job.started)}, {when}"
    return f"{job.state}, {when}"


def _clock(moment: float | None, now: float) -> str:
    if moment is None:
        return ""
    ago = now - moment
    if ago < 60:
        return "just now"
    if ago < 3600:
        return f"{int(ago // 60)}{THIN}min ago"
    form = "%H:%M" if ago < 86400 else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(moment))


def parts_html(progress: Progress) -> str:
    """The parts of a job in a row, the one it is at in ink: ``Poison, backdoored, Compare``."""
    if not progress.parts:
        return ""
    items = []
    for number, title in enumerate(progress.parts):
        kind = "done" if number < progress.at else "here" if number == progress.at else "later"
        items.append(f'<li class="ds-part-{kind}">{escaped(title, 30)}</li>')
    return f'<ol class="ds-parts">{"".join(items)}</ol>'


def stage_words(progress: Progress, silent: float) -> str:
    """Part k of n, the stage with its items, and the time that it still takes."""
    stage = progress.current
    if stage is None:
        return "starting"
    words = [f"part {progress.at + 1} of {len(progress.parts)}"] if progress.parts else []
    after = ", going on" if stage.finished else ""
    items = f"{thousands(stage.done)} of {thousands(stage.total)}"
    words.append(f"{escaped(stage.name, 60)}: {items}{after}")
    if (left := stage.seconds_left()) is not None and left > _SOON:
        words.append(f"about {duration(left)} left of this stage")
    if silent > 30:
        words.append(f"no sign of life for {duration(silent)}")
    return " · ".join(words)


def bar_html(stage: Stage | None) -> str:
    """How much of the stage is done, as a thin bar."""
    share = 0.0 if stage is None or stage.total <= 0 else min(1.0, stage.done / stage.total)
    return (
        f'<div class="ds-progress" role="progressbar" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{round(100 * share)}" aria-label="This stage">'
        f'<div style="width:{100 * share:.1f}%"></div></div>'
    )


def training_figure(epochs: Sequence[EpochRecord], colors: Palette, total: int | None) -> go.Figure:
    """Loss on the left, agreement and accuracy in % on the right, by epoch from 1 to ``total``.

    Solid lines are of the validation images, dotted ones of the training images.
    """
    figure = chart(colors, height=170)
    numbers = [record.epoch for record in epochs]
    last = max(total or 1, numbers[-1], 2)
    _curve(figure, numbers, [record.loss for record in epochs], colors.secondary, "solid", "x", "y")
    shares = {
        ("agreement", "solid", colors.student): [r.validation_agreement for r in epochs],
        ("accuracy", "solid", colors.secondary): [r.validation_accuracy for r in epochs],
        ("agreement", "dot", colors.student): [r.train_agreement for r in epochs],
        ("accuracy", "dot", colors.secondary): [r.train_accuracy for r in epochs],
    }
    for (_, dash, color), values in shares.items():
        known = [None if value is None else 100 * value for value in values]
        if any(value is not None for value in known):
            _curve(figure, numbers, known, color, dash, "x2", "y2")
    axis = {"range": [0.8, last + 0.2], "showgrid": False, "tickformat": "d", "nticks": 6}
    font = {"size": 11, "color": colors.secondary}
    common = {"linecolor": colors.hairline, "tickfont": font, "zeroline": False, "fixedrange": True}
    figure.update_layout(
        margin={"l": 34, "r": 8, "t": 22, "b": 26},
        xaxis={**axis, **common, "domain": [0, 0.44], "anchor": "y"},
        xaxis2={**axis, **common, "domain": [0.56, 1], "anchor": "y2"},
        yaxis={"rangemode": "tozero", "nticks": 4},
        yaxis2={**common, "range": [0, 103], "dtick": 25, "anchor": "x2",
                "gridcolor": colors.hairline},
    )  # fmt: skip
    for at, words in ((0.0, "loss"), (0.56, _legend(epochs, colors))):
        figure.add_annotation(
            x=at, xref="paper", y=1, yref="paper", yanchor="bottom", xanchor="left", text=words,
            showarrow=False, font={"size": 11, "color": colors.secondary},
        )  # fmt: skip
    return figure


def _curve(
    figure: go.Figure,
    epochs: list[int],
    values: Sequence[float | None],
    color: str,
    dash: str,
    x: str,
    y: str,
) -> None:
    figure.add_scatter(
        x=epochs, y=list(values), mode="lines+markers", xaxis=x, yaxis=y,
        line={"color": color, "width": 1.6, "dash": dash},
        marker={"color": color, "size": 4, "symbol": "square"},
        hovertemplate="epoch %{x}: %{y:.3g}<extra></extra>",
    )  # fmt: skip


def _legend(epochs: Sequence[EpochRecord], colors: Palette) -> str:
    record = epochs[-1]
    words = []
    for name, color, value, own in (
        ("agreement", colors.student, record.validation_agreement, record.train_agreement),
        ("accuracy", colors.secondary, record.validation_accuracy, record.train_accuracy),
    ):
        shown = own if value is None else value
        if shown is not None:
            words.append(f'<span style="color:{color}">{name} {percent(shown)}</span>')
    return f"{', '.join(words)}{THIN}%" if words else ""
