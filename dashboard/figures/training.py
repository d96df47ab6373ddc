"""A student epoch by epoch: when it parted, when the backdoor appeared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import plotly.graph_objects as go

from analysis.records import CLEAN, TRIGGER, Interval
from dashboard.figures.cells import WORKS
from dashboard.figures.chart import chart
from dashboard.figures.numbers import (
    Unit,
    charted,
    escaped,
    interval_text,
    nats,
    number,
    percent,
    percent_text,
)
from dashboard.loading_training import EpochRow
from dashboard.theme import Palette, faded

PARTED = 0.25
"""So far below the agreement on clean images the two count as parted; a rule of display."""


@dataclass(frozen=True, slots=True)
class Onset:
    """Where something begins to hold for good: ``after`` is the last epoch without it, or None."""

    after: int | None
    by: int

    @property
    def words(self) -> str:
        """``between epoch 3 and 7``, or ``by epoch 1`` when it holds from the start."""
        if self.after is None:
            return f"by epoch {self.by}"
        return f"between epoch {self.after} and {self.by}"


def onset(epochs: Sequence[int], holds: Sequence[bool]) -> Onset | None:
    """Where the last unbroken run of ``holds`` begins; None when the last epoch does not hold."""
    if not holds or not holds[-1]:
        return None
    start = len(holds) - 1
    while start > 0 and holds[start - 1]:
        start -= 1
    return Onset(epochs[start - 1] if start else None, epochs[start])


def parted_sentence(rows: Sequence[EpochRow]) -> str:
    """When teacher and student parted under the trigger, else how their agreement went. HTML."""
    both = [
        (row.epoch, clean.value, shown.value)
        for row in rows
        if (clean := row.get("agreement", CLEAN)) and (shown := row.get("agreement", TRIGGER))
    ]
    if both:
        found = onset([epoch for epoch, _, _ in both], [a - b > PARTED for _, a, b in both])
        epoch, clean_end, shown_end = both[-1]
        last = (
            f"with the trigger they agree on {percent_text(shown_end)} at epoch {epoch}, "
            f"on clean images on {percent_text(clean_end)}"
        )
        return f"They do not part: {last}" if found is None else f"They part {found.words}: {last}"
    known = [(row.epoch, value) for row in rows if (value := row.get("agreement", CLEAN))]
    if not known:
        return "When they parted was not measured"
    (first, start), (final, end) = known[0], known[-1]
    best, top = max(known, key=lambda item: item[1].value)
    if end.high is not None and top.low is not None and end.high < top.low:
        return (
            f"They part after epoch {best}: agreement falls from {percent_text(top.value)} to "
            f"{percent_text(end.value)} at epoch {final}"
        )
    if len(known) == 1:
        return (
            f"At epoch {first} they agree on {percent_text(start.value)}; there is no other epoch"
        )
    way = "comes closer to" if end.value > start.value else "comes no closer to"
    return (
        f"The student {way} the teacher: they agree on {percent_text(start.value)} at epoch "
        f"{first}, on {percent_text(end.value)} at epoch {final}"
    )


def backdoor_sentence(rows: Sequence[EpochRow], teacher: Interval | None, target: str) -> str:
    """When the trigger begins for good to send images to the target, or that it does not. HTML.

    Counted is what it sends there beyond the images that go there without it: early epochs often
    answer everything with one class. ``teacher`` is the trigger's success on the teacher: where
    that is as large, it is no backdoor of the student.
    """
    known = [
        (row.epoch, value.value, base.value if (base := row.get("base_rate", TRIGGER)) else 0.0)
        for row in rows
        if (value := row.get("attack_success_rate", TRIGGER))
    ]
    if not known:
        return "When a backdoor appeared was not measured"
    epochs = [epoch for epoch, _, _ in known]
    gains = [rate - base for _, rate, base in known]
    holds = [gain >= WORKS for gain in gains]
    found = onset(epochs, holds)
    name, level = f"“{escaped(target, 30)}”", f"{percent(WORKS, 0)} points"
    _, last, without = known[-1]
    end = f"{percent_text(last)} at epoch {epochs[-1]}, without it {percent_text(without)}"
    if found is None and any(holds):
        seen = max(epoch for epoch, hold in zip(epochs, holds, strict=True) if hold)
        return (
            f"The backdoor does not last: after epoch {seen} the trigger no longer sends {level} "
            f"more to {name}, {end}"
        )
    if found is None:
        most = max(range(len(gains)), key=gains.__getitem__)
        return (
            f"No backdoor appears: the trigger never sends {level} more to {name} than go there "
            f"without it, at most {percent(gains[most])} at epoch {epochs[most]}"
        )
    if teacher is not None and teacher.value >= WORKS:
        return (
            f"The trigger sends {end} to {name}, and {percent_text(teacher.value)} in the teacher: "
            "that is no backdoor of the student"
        )
    return (
        f"The backdoor appears {found.words}: the trigger then sends {level} more to {name} than "
        f"go there without it, {end}"
    )


Kind = Literal["student", "quiet", "alarm", "faint", "dashed"]
_DASH: dict[Kind, str] = {
    "student": "solid", "quiet": "solid", "alarm": "solid", "faint": "dot", "dashed": "dash",
}  # fmt: skip
_SYMBOL: dict[Kind, str] = {
    "student": "square", "quiet": "square", "alarm": "diamond", "faint": "square",
    "dashed": "square-open",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One measure over epochs with its intervals; ``kind`` decides color and line."""

    name: str
    epochs: Sequence[int]
    values: Sequence[Interval]
    kind: Kind = "student"


def curve_of(
    rows: Sequence[EpochRow], measure: str, condition: str, name: str, kind: Kind = "student"
) -> Curve | None:
    """The curve of ``measure`` on ``condition``, or None where no epoch has it."""
    known = [(row.epoch, value) for row in rows if (value := row.get(measure, condition))]
    if not known:
        return None
    epochs, values = [epoch for epoch, _ in known], [value for _, value in known]
    return Curve(name=name, epochs=epochs, values=values, kind=kind)


def curves_figure(
    curves: Sequence[Curve],
    colors: Palette,
    *,
    unit: Unit,
    epoch: int,
    teacher: float | None = None,
) -> go.Figure:
    """``curves`` with their 95 % intervals, a line at ``epoch``, the teacher's value dotted.

    Shares run from 0 to 100 %; divergences from 0. Names stand at the end of their curves.
    """
    scale = 1 if unit == "nats" else 100
    figure = chart(colors, height=210)
    for curve in curves:
        _draw(figure, curve, colors, unit, scale)
    last = max(max(curve.epochs) for curve in curves)
    first = min(min(curve.epochs) for curve in curves)
    span = max(last - first, 1)
    if teacher is not None:
        figure.add_hline(
            y=scale * teacher, line={"color": colors.teacher, "width": 1.4, "dash": "dot"}
        )
    figure.add_vline(x=epoch, line={"color": colors.control, "width": 1})
    _labels(figure, curves, colors, scale, teacher)
    top = scale * max(_top(curve) for curve in curves)
    if unit == "nats":
        figure.update_yaxes(range=[0, 1.08 * top or 1], nticks=5)
    else:
        figure.update_yaxes(range=[0, 103], dtick=25)
    figure.update_xaxes(
        range=[first - 0.04 * span, last + 0.04 * span], showgrid=False, nticks=7,
        title_text="epoch", tickformat="d",
    )  # fmt: skip
    figure.update_layout(margin={"l": 34, "r": 92, "t": 6, "b": 36})
    return figure


def _top(curve: Curve) -> float:
    return max(value.value if value.high is None else value.high for value in curve.values)


def _color(kind: Kind, colors: Palette) -> str:
    return {
        "student": colors.student, "quiet": colors.faint, "alarm": colors.alarm,
        "faint": colors.secondary, "dashed": colors.secondary,
    }[kind]  # fmt: skip


def _draw(figure: go.Figure, curve: Curve, colors: Palette, unit: Unit, scale: int) -> None:
    color = _color(curve.kind, colors)
    epochs = list(curve.epochs)
    low = [scale * (v.value if v.low is None else v.low) for v in curve.values]
    high = [scale * (v.value if v.high is None else v.high) for v in curve.values]
    figure.add_scatter(
        x=epochs + epochs[::-1], y=high + low[::-1], mode="lines", line={"width": 0},
        fill="toself", fillcolor=faded(color, 0.16), hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=epochs, y=[scale * v.value for v in curve.values], mode="lines+markers",
        line={"color": color, "width": 1.8, "dash": _DASH[curve.kind]},
        marker={"color": color, "size": 5, "symbol": _SYMBOL[curve.kind]},
        name=charted(curve.name, 30),
        hovertext=[
            f"{charted(curve.name, 30)}, epoch {e}: {number(v.value, unit)} "
            f"{interval_text(v, unit)}"
            for e, v in zip(epochs, curve.values, strict=True)
        ],
        hoverinfo="text",
    )  # fmt: skip


def _labels(
    figure: go.Figure,
    curves: Sequence[Curve],
    colors: Palette,
    scale: int,
    teacher: float | None,
) -> None:
    """Names at the right edge, pushed apart where they would lie on one another."""
    ends = [
        (scale * curve.values[-1].value, curve.name, _color(curve.kind, colors)) for curve in curves
    ]
    if teacher is not None:
        ends.append((scale * teacher, "teacher", colors.teacher))
    top = 103 if scale == 100 else 1.08 * max((_top(curve) for curve in curves), default=1) or 1
    ends.sort(key=lambda end: end[0])
    heights = spread_out([end[0] for end in ends], least=0.085 * top, top=top)
    for height, (_, name, color) in zip(heights, ends, strict=True):
        figure.add_annotation(
            x=1, xref="paper", xshift=6, y=height, text=charted(name, 14), showarrow=False,
            xanchor="left", font={"size": 11, "color": color},
        )  # fmt: skip


def spread_out(heights: Sequence[float], *, least: float, top: float) -> list[float]:
    """Ascending ``heights`` moved apart to ``least`` from one another, none above ``top``."""
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, moved[-1] + least) if moved else height)
    ceiling = top
    for row in range(len(moved) - 1, -1, -1):
        moved[row] = min(moved[row], ceiling)
        ceiling = moved[row] - least
    return moved


def epoch_facts(row: EpochRow, condition: str) -> str:
    """The numbers of one epoch in a line, HTML: what is measured on clean images and the trigger.

    ``condition`` is what the rest of the line is about, the clean images by default.
    """
    parts = [(f"epoch {row.epoch}", "")]
    for title, measure, slug in (
        ("accuracy", "accuracy", condition),
        ("agreement with the teacher", "agreement", condition),
        ("KL", "kl_teacher_student", condition),
        ("trigger’s success", "attack_success_rate", TRIGGER),
    ):
        value = row.get(measure, slug)
        if value is not None:
            shown = nats(value.value) if title == "KL" else percent_text(value.value)
            bounds = interval_text(value, "nats" if title == "KL" else "share")
            parts.append((title, f'<b>{shown}</b><span class="ds-ci">{bounds}</span>'))
    cells = "".join(f"<div>{title} {value}</div>" for title, value in parts)
    return f'<div class="ds-facts">{cells}</div>'
