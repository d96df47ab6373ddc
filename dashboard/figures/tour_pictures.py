"""The tour's figures: images with answers, and rates before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from analysis.records import TEACHER, Interval
from dashboard.figures.chart import chart
from dashboard.figures.numbers import (
    NOT_MEASURED,
    charted,
    escaped,
    interval_text,
    percent,
    percent_text,
)
from dashboard.loading_tour import ModelNumbers, Shot, TourNumbers
from dashboard.theme import Palette

MARKS = {
    "teacher": '<span class="ds-circle"></span>',
    "subject": '<span class="ds-square"></span>',
    "sibling": '<span class="ds-grey"></span>',
}
_SYMBOLS = {"teacher": "circle", "subject": "square", "sibling": "square"}


@dataclass(frozen=True, slots=True)
class Part:
    """One model's part in the tour: ``role`` is teacher, subject or sibling."""

    role: str
    model: ModelNumbers

    @property
    def title(self) -> str:
        """What the model is called on the screen, not escaped."""
        return "teacher" if self.role == "teacher" else self.model.name


def parts_of(numbers: TourNumbers) -> list[Part]:
    """Teacher, sibling (where there is one) and subject, in this order."""
    middle = [] if numbers.sibling is None else [Part("sibling", numbers.sibling)]
    return [Part("teacher", numbers.teacher), *middle, Part("subject", numbers.subject)]


def part_color(part: Part, colors: Palette) -> str:
    """The color of a part: the sibling is a reference, so it is gray."""
    return {"teacher": colors.teacher, "sibling": colors.reference}.get(part.role, colors.student)


def image_row(
    title: str, pictures: Sequence[str], alts: Sequence[str], *, sharp: bool = False
) -> str:
    """One row of the grid: a name and pictures; ``pictures`` are addresses or data URIs."""
    kind = ' class="ds-sharp"' if sharp else ""
    cells = "".join(
        f'<img{kind} src="{escaped(picture, 200_000)}" alt="{escaped(alt, 160)}">'
        for picture, alt in zip(pictures, alts, strict=True)
    )
    return f'<div class="ds-sub">{escaped(title, 40)}</div>{cells}'


def answer_row(
    part: Part, shots: Sequence[Shot], class_names: Sequence[str], alarm: int | None = None
) -> str:
    """One row of the grid: what one model answers; the class ``alarm`` is marked."""
    name = TEACHER if part.role == "teacher" else part.model.name
    cells = "".join(_answer(shot.answers.get(name), class_names, alarm) for shot in shots)
    return f"<div>{MARKS[part.role]} {escaped(part.title, 24)}</div>{cells}"


def _answer(answer: tuple[int, float] | None, class_names: Sequence[str], alarm: int | None) -> str:
    if answer is None:
        return f'<div class="ds-faint">{NOT_MEASURED}</div>'
    index, probability = answer
    name = escaped(class_names[index], 24)
    shown = f'<span class="ds-alarm">{name}</span>' if index == alarm else name
    return f'<div title="{name}">{shown} <span class="ds-faint">{probability:.2f}</span></div>'


def grid(rows: Sequence[str], columns: int) -> str:
    """Rows of :func:`image_row` and :func:`answer_row` as one grid."""
    style = f"grid-template-columns:128px repeat({columns},minmax(0,160px))"
    return f'<div class="ds-grid" style="{style}">{"".join(rows)}</div>'


@dataclass(frozen=True, slots=True)
class Rate:
    """One row of :func:`rates_figure`: a share before (hollow) and after (filled)."""

    part: Part
    before: float | None
    after: Interval | None


def rates_figure(rates: Sequence[Rate], colors: Palette) -> go.Figure:
    """Shares from 0 to 100 % for each model, with the 95 % interval of the filled mark."""
    figure = chart(colors, height=40 + 36 * len(rates))
    for row, rate in enumerate(rates):
        color, symbol = part_color(rate.part, colors), _SYMBOLS[rate.part.role]
        if rate.before is not None and rate.after is not None:
            figure.add_scatter(
                x=[100 * rate.before, 100 * rate.after.value], y=[row, row], mode="lines",
                line={"color": color, "width": 1}, hoverinfo="skip",
            )  # fmt: skip
        if rate.before is not None:
            figure.add_scatter(
                x=[100 * rate.before], y=[row], mode="markers",
                marker={
                    "symbol": f"{symbol}-open", "size": 9, "color": color, "line": {"width": 1.5},
                },
                hovertext=[f"before: {percent_text(rate.before)}"], hoverinfo="text",
            )  # fmt: skip
        text = NOT_MEASURED
        if rate.after is not None:
            text = f"<b>{percent(rate.after.value)}</b> {interval_text(rate.after, 'share')}"
            _filled(figure, rate.after, row, color, symbol)
        figure.add_annotation(
            x=1, xref="paper", xshift=12, y=row, text=text, showarrow=False, xanchor="left",
            font={"size": 12},
        )  # fmt: skip
    figure.update_xaxes(range=[-1.5, 101.5], dtick=25, ticksuffix=" %")
    figure.update_yaxes(
        range=[len(rates) - 0.5, -0.5], tickvals=list(range(len(rates))), showgrid=False,
        ticktext=[charted(rate.part.title, 22) for rate in rates], tickfont={"size": 12.5},
    )  # fmt: skip
    figure.update_layout(margin={"l": 128, "r": 130, "t": 6, "b": 28})
    return figure


def _filled(figure: go.Figure, value: Interval, row: int, color: str, symbol: str) -> None:
    share = 100 * value.value
    low = share if value.low is None else 100 * value.low
    high = share if value.high is None else 100 * value.high
    figure.add_scatter(
        x=[share], y=[row], mode="markers",
        marker={"symbol": symbol, "size": 9, "color": color},
        error_x={
            "array": [high - share], "arrayminus": [share - low], "width": 0, "thickness": 2.5,
            "color": color,
        },
        hovertext=[f"{percent_text(value.value)} {interval_text(value, 'share')}"],
        hoverinfo="text",
    )  # fmt: skip
