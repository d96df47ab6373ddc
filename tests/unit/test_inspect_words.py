"""Inspect: what the models are called, and what is saved of the page."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from analysis.store import Study
from dashboard import live
from dashboard.context import Export, View
from dashboard.figures.sides import Sides
from dashboard.loading import STUDY_VARIABLE
from dashboard.pages import inspect, inspect_answers, inspect_selection
from dashboard.pages.inspect_look import probabilities
from dashboard.pages.inspect_maps import OWN, Choice

STUDY = Path(__file__).parents[1] / "golden" / "study-v1"


def script() -> None:
    from dashboard import app

    app.render(app.PAGES["Inspect"])


def start(monkeypatch: pytest.MonkeyPatch, study: Path = STUDY, **query: str) -> AppTest:
    monkeypatch.setenv(STUDY_VARIABLE, str(study))
    at = AppTest.from_function(script, default_timeout=60)
    for name, value in query.items():
        at.query_params[name] = value
    return at


def text_of(at: AppTest) -> str:
    assert not at.exception, [item.value for item in at.exception]
    return " ".join(item.proto.body for item in at.get("html"))


def numbers_of(text: str) -> dict[str, np.ndarray]:
    head, *rows = csv.reader(io.StringIO(text))
    return {name: np.asarray([float(row[at]) for row in rows])
            for at, name in enumerate(head) if name != "class"}  # fmt: skip


def test_the_file_of_probabilities_says_what_the_chart_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Export] = []
    original = inspect.exports

    def noted(view: View) -> list[Export]:
        made[:] = original(view)
        return made

    monkeypatch.setattr(inspect, "exports", noted)
    study = Study.open(STUDY)
    at = start(monkeypatch, student="alpha").run()
    row = int(np.flatnonzero(study.sample_ids == at.session_state["inspect_now"]["sample"])[0])
    logits = {m: np.asarray(study.array(f"logits/{m}/clean")[row]) for m in ("teacher", "alpha")}
    for temperature in (1.0, 4.0):
        at.select_slider(key="inspect_temperature").set_value(temperature).run()
        written = numbers_of(str(made[0].make()))
        assert set(written) == {"teacher", "student", "temperature"}
        assert set(written["temperature"]) == {temperature}
        for column, model in (("teacher", "teacher"), ("student", "alpha")):
            np.testing.assert_allclose(
                written[column], probabilities(logits[model], temperature), rtol=1e-9
            )


def test_the_file_of_probabilities_has_those_without_the_change_beside() -> None:
    now, then = np.asarray([0.25, 0.75]), np.asarray([0.5, 0.5])
    table = inspect_answers.answer_columns(now, then, ["a", "b"], Sides(), before=(then, now))
    assert table == {
        "class": ["a", "b"], "teacher": [0.25, 0.75], "student": [0.5, 0.5],
        "teacher, without the change": [0.5, 0.5], "student, without the change": [0.25, 0.75],
        "temperature": [1.0, 1.0],
    }  # fmt: skip


def test_two_students_are_called_by_their_names_in_a_selection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: dict[str, Any] = {}

    def keep(key: str, title: str, pictures: Any, colors: Any, values: Any) -> None:
        kept[key] = ([name for name, _ in pictures], list(values))

    monkeypatch.setattr(
        inspect_selection, "stored_maps", lambda view: view.study.attributions("alpha")
    )
    monkeypatch.setattr(inspect_selection, "keep_pictures", keep)
    at = start(monkeypatch, student="alpha", left="beta")
    at.session_state["inspect_mode"] = "This selection"
    at.session_state["odds_kind"] = "All with maps"
    text = text_of(at.run())
    assert '<span class="ds-circle"></span> beta' in text
    assert '<span class="ds-square"></span> alpha' in text
    assert "why alpha says its answer more" in text
    assert "</span> Teacher" not in text
    assert kept["mean_maps"] == (["beta", "alpha", "The pair"], ["beta", "alpha", "pair"])
    columns = list(at.dataframe[0].value)
    assert {"beta says", "alpha says"} <= set(columns)
    assert not {"teacher", "student"} & set(columns)


def test_the_stage_of_keeping_is_text() -> None:
    def page() -> None:
        from typing import Any, cast

        import streamlit as st

        from analysis.live.requests import Keep
        from analysis.live.ticket import Ticket
        from dashboard.pages import inspect_keep

        asked = Keep(study="s", version="v", name="n", edits=())
        ticket = Ticket(number=1, request=asked, digest="d", limit=1.0)
        ticket.progress = ("answers of a&b_*c*", 1, 2)
        st.session_state["keep_ticket"] = ticket
        inspect_keep._progress(view=cast(Any, None))

    at = AppTest.from_function(page, default_timeout=60).run()
    assert not at.exception, [item.value for item in at.exception]
    (bar,) = at.get("progress")
    assert bar.proto.text == r"Keeping: answers of a\&b\_\*c\*"


def test_stored_maps_are_shown_where_nothing_can_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "refusal", lambda *_: "its code is not trusted")
    mapped = Study.open(STUDY).attributions("alpha")["pair"]
    at = start(monkeypatch, student="alpha", sample=str(mapped.sample_ids[0]))
    chosen = Choice(method="saliency", scalar="kl_teacher_student", explained=2)
    at.session_state["inspect_attribution"] = chosen
    text = text_of(at.run())
    assert text.count('class="ds-map"') == 3
    assert "what makes their answers part at all" not in text
    method = at.selectbox(key="pick_method")
    assert method.disabled
    assert method.value == mapped.method == "integrated_gradients"
    assert at.selectbox(key="pick_baseline").value == mapped.baseline
    assert at.selectbox(key="pick_explained").value == OWN
    assert at.session_state["inspect_attribution"] == chosen


def test_the_mean_of_an_overlap_is_over_those_that_are_known() -> None:
    known = np.asarray([0.25, np.nan, 0.75])
    assert inspect_selection._mean_share(known) == "50\u202f%, n = 2"
    assert inspect_selection._mean_share(known[1:2]) == "none"
