"""Inspect: what each model answers, at any temperature; over the epochs; as a change grows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st

from analysis.data.edit import Edit, edited
from analysis.live.requests import Epochs, Sweep
from analysis.records import TRIGGER, Student
from analysis.store.study import Study
from dashboard import live, messages
from dashboard.figures import answers, what_if
from dashboard.figures.numbers import escaped, visible
from dashboard.figures.sides import Sides
from dashboard.guard import fragment
from dashboard.pages.inspect_look import NOW, Look, probabilities, stored_logits
from dashboard.pages.inspect_state import edits_of
from dashboard.saving import show_chart

TEMPERATURES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_TEMPERATURE = "inspect_temperature"
_PATIENT = 0.05
_SWEEP = "inspect_sweep"


def answers_section(look: Look) -> None:
    """Both models' likeliest classes; a slider softens or sharpens both distributions."""
    with st.container(key="stale_answers" if look.waiting else "answers"):
        fragment(_answers)(look)


def _answers(look: Look) -> None:
    temperature = float(st.session_state.get(_TEMPERATURE, 1.0))
    with st.container(horizontal=True, vertical_alignment="center", key="answers_head"):
        below = "Probability, %."
        if look.edits:
            below += " Tick: the same image without the change."
        with st.container(width="stretch"):
            messages.section("What each answers", below)
        st.html('<span class="ds-label">Temperature</span>', width="content")
        st.select_slider(
            "Temperature", TEMPERATURES, value=1.0, key=_TEMPERATURE, width=190,
            label_visibility="collapsed", format_func=lambda value: f"{value:g}",
        )  # fmt: skip
    left, student = (probabilities(look.logits[name], temperature) for name in look.models)
    before = None
    if look.edits:
        first, second = (probabilities(look.before[name], temperature) for name in look.models)
        before = (first, second)
    names = look.names
    st.session_state.setdefault(NOW, {})["answers"] = answer_columns(
        left, student, names, look.sides, temperature=temperature, before=before
    )
    st.html(
        f'<div class="ds-row"><span class="ds-teacher">{messages.CIRCLE} '
        f"{escaped(look.sides.left)}: {escaped(names[int(left.argmax())], 30)}</span>"
        f'<span class="ds-student">{escaped(look.sides.right)}: '
        f"{escaped(names[int(student.argmax())], 30)} "
        f"{messages.SQUARE}</span></div>"
    )
    show_chart(
        answers.answers_figure(
            left, student, names, look.view.colors, before=before, sides=look.sides
        ),
        look.view.colors, key="answers_chart", title="Both models’ probabilities",
        alt="Probabilities of the likeliest classes by both models",
    )  # fmt: skip


def answer_columns(
    left: np.ndarray,
    student: np.ndarray,
    names: Sequence[str],
    sides: Sides,
    *,
    temperature: float = 1.0,
    before: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, list[Any]]:
    """Both models' probabilities (K,) as columns; ``before`` are those without the change."""
    first, second = sides.columns
    table: dict[str, list[Any]] = {
        "class": list(names), first: left.tolist(), second: student.tolist(),
    }  # fmt: skip
    if before is not None:
        for name, values in zip((first, second), before, strict=True):
            table[f"{name}, without the change"] = values.tolist()
    return table | {"temperature": [temperature] * len(names)}


def sweep_section(look: Look) -> None:
    """The probability of one class as the change grows, asked of both models and a control."""
    if not look.edits or look.stored is None:
        return
    found = _strengths(look)
    of_class = target_class(look.view.study)
    explained = look.answer(look.student) if of_class is None else of_class
    title = {"jpeg": "How much compression does it take?"}.get(
        look.what_if.kind, f"How much {found.noun} does it take?"
    )
    messages.section(
        title, f"Probability of “{escaped(look.names[explained], 24)}” as it grows, %."
    )
    others = _control(look)
    models = tuple(dict.fromkeys((*look.models, *others)))
    images = np.concatenate(
        [edited(look.stored[None], edits, [look.sample]) for edits in found.edits]
    )
    request = Sweep(**look.identity, models=models, images=images)
    asked = look.asking.ask(request, moment=_PATIENT)
    key = (*look.key, look.what_if.kind)
    if asked.answer is not None:
        st.session_state[_SWEEP] = (key, asked.answer)
    known, curves = st.session_state.get(_SWEEP, ((), {}))
    curves = curves if known == key else {}
    if asked.error is not None:
        messages.refused(asked.error.what, asked.error.expected, asked.error.remedy)
        return
    usable = set(models) <= set(curves) and len(curves[models[0]]) == len(found.values)
    if not usable:
        messages.empty("Being measured", f"{len(found.values)} strengths of the change.")
        return
    rows = {
        name: np.asarray([probabilities(row)[explained] for row in curves[name]]) for name in models
    }
    roles: dict[str, what_if.Role] = dict.fromkeys(others, "other")
    roles |= {look.student: "student", look.left: "left"}
    drawn = [
        what_if.Curve(name=visible(name, 22), values=rows[name], role=roles[name])
        for name in models
    ]
    with st.container(key="stale_sweep" if asked.waiting else "sweep"):
        show_chart(
            what_if.sweep_figure(
                found.values, drawn, now=found.now, axis=found.axis, colors=look.view.colors
            ),
            look.view.colors, key="sweep_chart", title="Probability as the change grows",
            alt=f"Probability of {visible(look.names[explained], 24)} as the change grows",
        )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Strengths:
    """A change at many strengths: their ``values``, the ``edits`` of each, where it is ``now``."""

    values: Sequence[float]
    edits: Sequence[tuple[Edit, ...]]
    now: float
    axis: str
    noun: str


def _strengths(look: Look) -> _Strengths:
    state, side = look.what_if, look.what_if.side
    field, values, axis = {
        "sticker": ("size", np.linspace(0, 0.375 * side, 25), "sticker size, px"),
        "picture": ("size", np.linspace(1, 0.75 * side, 25), "picture size, px"),
        "blur": ("sigma", np.linspace(0, side / 8, 17), "blur, px"),
        "noise": ("amount", np.linspace(0, 0.5, 17), "noise, share of full scale"),
        "jpeg": ("quality", np.arange(95, 0, -6), "JPEG quality"),
    }[state.kind]
    if state.kind in ("sticker", "picture") and state.size > values[-1]:
        values = np.linspace(values[0], state.size, 25)
    cast: Any = int if field == "quality" else float
    numbers = [cast(value) for value in values]
    states = [dataclasses.replace(state, **{field: number}) for number in numbers]
    return _Strengths(
        values=numbers,
        edits=[edits_of(changed) for changed in states],
        now=float(getattr(state, field)),
        axis=axis,
        noun=state.kind,
    )


def _control(look: Look) -> tuple[str, ...]:
    """One more student to compare with: a reference or a control, if there is one."""
    study = look.view.study
    order = ("reference", "control")
    known = [model for model in study.models.values() if model.role in order]
    known.sort(key=lambda model: order.index(model.role))
    names = [model.name for model in known if model.name not in look.models]
    usable = [name for name in names if live.refusal(study, [name]) is None]
    return tuple(usable[:1])


def target_class(study: Study) -> int | None:
    """The class that the study's trigger is tested for, or None."""
    condition = study.conditions.get(TRIGGER)
    name = None if condition is None else condition.parameters.get("target")
    return study.class_names.index(name) if name in study.class_names else None


def epochs_section(look: Look) -> None:
    """The probability of the student's answer at every epoch that the study holds."""
    study = look.view.study
    rows = study.timeline(look.student)
    if len(rows) < 2:
        return
    answer = look.answer(look.student)
    found = _by_epoch(look, rows)
    name, whose = escaped(look.names[answer], 24), escaped(look.sides.the_right)
    messages.section(
        "When did it learn this?", f"Probability of “{name}” by epoch of {whose},&nbsp;%."
    )
    if found is None:
        messages.empty("Being measured", f"{len(rows)} epochs answer this image.")
        return
    logits, waiting = found
    values = np.asarray([probabilities(row)[answer] for row in logits])
    epochs = [row.epoch or 0 for row in rows]
    level = float(probabilities(look.logits[look.left])[answer])
    with st.container(key="stale_epochs" if waiting else "epochs"):
        show_chart(
            what_if.epochs_figure(
                epochs, values, level, left_name=look.sides.left, colors=look.view.colors
            ),
            look.view.colors, key="epochs_chart", title="Probability by epoch",
            alt="Probability of the answer by epoch",
        )  # fmt: skip


def _by_epoch(look: Look, rows: Sequence[Student]) -> tuple[np.ndarray, bool] | None:
    """Logits (E, K) of the epochs for the shown image and whether they are old; None: not yet."""
    study, names = look.view.study, [row.name for row in rows]
    condition = look.view.selection.condition
    if any(not study.has_array(f"logits/{name}/{condition}") for name in names):
        return None
    stored = np.stack([stored_logits(look.view, name, look.sample) for name in names])
    if not look.edits or look.pixels is None or live.refusal(study, names):
        return stored, False
    request = Epochs(**look.identity, models=tuple(names), images=look.pixels[None])
    asked = look.asking.ask(request, moment=_PATIENT)
    if asked.answer is not None:
        return np.concatenate([asked.answer[name] for name in names]), False
    return stored, True
