"""What each model answers: both sets of probabilities on mirrored axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.figures.chart import chart
from dashboard.figures.numbers import THIN, charted, probability
from dashboard.figures.sides import TEACHING, Sides
from dashboard.theme import Palette

TOP = 6
_ROW, _GAP = 28, 0.34


def top_classes(teacher: np.ndarray, student: np.ndarray) -> np.ndarray:
    """The :data:`TOP` classes that either model finds likeliest.

    The teacher's answer comes first, then the student's, then by the larger probability.
    """
    order = np.argsort(-np.maximum(teacher, student), kind="stable")
    first = list(dict.fromkeys([int(teacher.argmax()), int(student.argmax())]))
    rest = [int(index) for index in order if int(index) not in first]
    return np.asarray([*first, *rest][:TOP])


def answers_figure(
    teacher: np.ndarray,
    student: np.ndarray,
    class_names: Sequence[str],
    colors: Palette,
    *,
    sides: Sides = TEACHING,
    before: tuple[np.ndarray, np.ndarray] | None = None,
) -> go.Figure:
    """Butterfly of the likeliest classes: ``teacher`` and ``student`` (K,) probabilities.

    The teacher's bars run to the left, the student's to the right, class names between them.
    ``before`` are both models' probabilities of the same image without the change: a tick each,
    and their answers are among the classes shown.
    """
    shown = top_classes(teacher, student)
    if before is not None:
        answered = [int(values.argmax()) for values in (teacher, student, *before)]
        kept = [*answered, *shown]
        shown = np.asarray(list(dict.fromkeys(int(index) for index in kept))[:TOP])
    at = np.arange(len(shown))
    figure = chart(colors, height=14 + _ROW * len(shown), barmode="overlay", bargap=0.42)
    answers = (int(teacher.argmax()), int(student.argmax()))
    # All texts in one call: each further one would cost a check of the whole layout.
    texts: list[dict[str, object]] = []
    halves = ((teacher, -1, colors.teacher, sides.left), (student, 1, colors.student, sides.right))
    for values, sign, color, name in halves:
        base = sign * _GAP
        figure.add_bar(
            x=np.full(len(shown), float(sign)), y=at, base=base, orientation="h",
            marker={"color": colors.panel}, hoverinfo="skip",
        )  # fmt: skip
        figure.add_bar(
            x=sign * values[shown], y=at, base=base, orientation="h", marker={"color": color},
            hovertext=[
                f"{charted(name)}: {charted(class_names[index])} "
                f"{probability(values[index])}{THIN}%"
                for index in shown
            ],
            hoverinfo="text",
        )  # fmt: skip
        for row, index in enumerate(shown):
            at_end = sign * (1 + _GAP + 0.03)
            side = "left" if sign > 0 else "right"
            texts.append(_text(at_end, row, probability(values[index]), side))
    for values, sign in zip(before or (), (-1, 1), strict=False):
        figure.add_scatter(
            x=sign * (values[shown] + _GAP), y=at, mode="markers", hoverinfo="text",
            hovertext=[f"before: {probability(values[index])}{THIN}%" for index in shown],
            marker={
                "symbol": "line-ns", "size": 17, "line": {"width": 1.5, "color": colors.text},
            },
        )  # fmt: skip
    for row, index in enumerate(shown):
        name = charted(class_names[index], 18)
        texts.append(_text(0, row, f"<b>{name}</b>" if index in answers else name, "center"))
    reach = 1 + _GAP + 0.2
    figure.update_xaxes(range=[-reach, reach], visible=False)
    figure.update_yaxes(range=[len(shown) - 0.5, -0.5], visible=False)
    figure.update_layout(margin={"l": 0, "r": 0, "t": 4, "b": 4}, annotations=texts)
    return figure


def _text(x: float, y: int, text: str, side: str) -> dict[str, object]:
    return {"x": x, "y": y, "text": text, "xanchor": side, "showarrow": False, "font": {"size": 12}}
