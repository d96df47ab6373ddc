"""Confidence and calibration on the Overview, and what lies below the two models' answers."""

from __future__ import annotations

import streamlit as st

from dashboard import messages
from dashboard.context import View
from dashboard.figures import calibration, knowledge
from dashboard.figures.measures import term
from dashboard.figures.numbers import escaped, thousands
from dashboard.saving import show_chart


def confidence(view: View) -> None:
    """How often each model is right when it says so, and how sure both are."""
    sides = view.sides
    figure = calibration.reliability_figure(view.pair, view.colors, sides=sides)
    messages.section(
        "Confidence and calibration",
        "How often each is right when it says so. "
        f'<span style="white-space:nowrap">{messages.CIRCLE}'
        f'<span class="ds-teacher">{escaped(sides.left)}</span> &nbsp;{messages.SQUARE}'
        f'<span class="ds-student">{escaped(sides.right)}</span></span>',
    )
    if figure is None:
        messages.empty("Needs labels", "Whether an answer is right is not known for these images.")
    else:
        show_chart(
            figure, view.colors, key="reliability", title="Confidence and calibration",
            alt="Reliability of both models",
        )  # fmt: skip
    messages.section("", f"Images by {term('confidence', 'confidence', end=True)}, %")
    show_chart(
        calibration.confidence_figure(view.pair, view.colors, sides=sides), view.colors,
        key="confidence", title="Images by confidence", alt="Histogram of both models’ confidence",
    )  # fmt: skip


def temperatures(view: View) -> None:
    """What one number per model repairs of its calibration."""
    condition = view.selection.condition
    models = (view.left, view.selection.student)
    scaled = [view.study.record(f"temperature/{name}/{condition}") for name in models]
    table = knowledge.temperature_table(*scaled)
    if table:
        n = next(item["n_tested"] for item in scaled if item is not None)
        messages.section(
            "", f"Temperature fitted on half of the images, errors on the other {thousands(n)}."
        )
        st.html(table)


def below_the_answer(view: View) -> None:
    """How alike the two are on the classes that they do not answer, on all images."""
    references: dict[str, list[float]] = {}
    for name, model in view.study.models.items():
        if model.role == "reference" and view.sides.against_teacher:
            for measure, value in view.study.measures(name, view.selection.condition).items():
                if value is not None:
                    references.setdefault(measure, []).append(value.value)
    left = escaped(view.sides.the_left)
    below = knowledge.below_table(view.measures(), references, view.colors, left)
    if below:
        messages.section(
            "Do they rank the rest alike?",
            "What the two say of the classes below the answer; all images, whatever the filter.",
        )
        st.html(below)
