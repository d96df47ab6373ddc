"""Inspect: what the models are called, and what is saved of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.loading import STUDY_VARIABLE
from dashboard.pages import inspect_selection

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
