"""Every page on studies in which something is missing, damaged or strange: a good state, always."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard.loading import STUDY_VARIABLE
from tests.studies import (
    GOLDEN,
    HOSTILE,
    dropping,
    golden,
    predicted,
    unlabel,
    with_hostile_names,
    with_one_student,
    without_labels,
)

PAGES = ("Tour", "Overview", "Map", "Inspect", "Layers", "Training", "Audit")
Run = Callable[..., dict[str, str]]


def script(page: str) -> None:
    from dashboard import app

    app.render(app.PAGES[page])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """The HTML of every page of a study, by page; what no page may show is checked here."""
    monkeypatch.setattr("dashboard.live.refusal", lambda study, models: "No live answers here.")

    def start(study: Path, pages: tuple[str, ...] = PAGES, **query: str) -> dict[str, str]:
        monkeypatch.setenv(STUDY_VARIABLE, str(study))
        st.cache_resource.clear()  # copies of one study have its digest
        st.cache_data.clear()
        return {page: _shown(page, query) for page in pages}

    return start


def _shown(page: str, query: dict[str, str]) -> str:
    at = AppTest.from_function(script, args=(page,), default_timeout=60)
    for name, value in query.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception, (page, [item.value for item in at.exception])
    html = " ".join(item.proto.body for item in at.get("html"))
    assert "<img src=x" not in html
    assert "\u202e" not in html
    assert "Traceback" not in html
    for item in at.get("plotly_chart"):
        _drawn(page, json.loads(item.proto.spec))
    return html


def _drawn(page: str, figure: dict[str, Any]) -> None:
    """No empty axis: a chart is drawn only where it has something to show."""
    assert any(
        len(trace.get(name) or ()) for trace in figure["data"] for name in ("x", "y", "z")
    ), page
    assert "<img" not in json.dumps(figure)


def state(html: str) -> dict[str, str]:
    """The framed states of a page: title and the line below."""
    found = re.findall(
        r'class="ds-(?:empty|refused)"><div class="ds-(?:strong|alarm)">(.*?)</div>'
        r'<div class="ds-sub">(.*?)</div>',
        html,
    )
    assert all(title and below for title, below in found)
    return dict(found)


def test_without_labels_no_number_needs_them(run: Run, tmp_path: Path) -> None:
    study = golden(tmp_path, without_labels)
    unlabel(study)
    shown = run(study, ("Overview", "Map", "Inspect", "Audit"))
    assert "Needs labels" in state(shown["Overview"])
    assert all("48 images" in html for html in shown.values())


def test_one_student_needs_no_picker_and_no_sibling(run: Run, tmp_path: Path) -> None:
    shown = run(golden(tmp_path, with_one_student), ("Tour", "Overview"))
    assert all("alpha" in html for html in shown.values())
    assert not any("beta" in html for html in shown.values())


def test_one_image_of_predictions_is_a_study(run: Run, tmp_path: Path) -> None:
    shown = run(predicted(tmp_path, 1, ["a", "b"], labeled=False))
    assert all('1 images<span class="ds-classes"> · 2 classes<' in html for html in shown.values())
    assert "Needs labels" in state(shown["Overview"])
    assert state(shown["Tour"])["This study shows no images with a trigger"]
    assert state(shown["Map"])["No maps for this condition"].startswith("They need features")
    for page, title in (
        ("Layers", "The layers were not compared"),
        ("Training", "No checkpoints of alpha"),
        ("Audit", "No audit of this student"),
    ):
        assert "made from predictions" in state(shown[page])[title]
    assert "distillscope repair" not in shown["Audit"]


def test_without_maps_the_table_stays(run: Run, tmp_path: Path) -> None:
    shown = run(golden(tmp_path, dropping("layout/", "placed/")), ("Map",))
    assert state(shown["Map"])["No maps for this condition"] == "This study holds no layouts."
    assert "Table of all images shown" in shown["Map"]
    assert "Where the two part most" in shown["Map"]


def test_without_attributions_inspect_says_so(run: Run, tmp_path: Path) -> None:
    shown = run(golden(tmp_path, dropping("attribution", "neighbors/")), ("Inspect",))
    assert "No attribution maps" in state(shown["Inspect"])
    assert "Not measured" in state(shown["Inspect"])


def test_without_an_audit_the_page_says_how_to_make_one(run: Run) -> None:
    shown = run(GOLDEN, ("Audit",))
    assert "distillscope audit" in state(shown["Audit"])["No audit of this student"]


def test_a_filter_that_leaves_nothing_names_itself_on_every_page(run: Run) -> None:
    shown = run(GOLDEN, where="kl < 0")
    assert all("0 of 48 images" in html for html in shown.values())
    for page in ("Overview", "Map", "Inspect"):
        assert state(shown[page]) == {"No images match": "Filter: kl &lt; 0."}
    assert "the filter is left out here" in shown["Tour"]


def damage_arrays(study: Path) -> None:
    for path in (study / "arrays").iterdir():
        path.write_bytes(path.read_bytes()[:40])


def damage_samples(study: Path) -> None:
    shutil.rmtree(study / "samples")


def damage_manifest(study: Path) -> None:
    (study / "study.json").write_text('{"schema_version": 1')


def damage_maps(study: Path) -> None:
    manifest = json.loads((study / "study.json").read_text())
    for key, name in manifest["arrays"].items():
        if key.startswith("attribution"):
            file = name if isinstance(name, str) else name["file"]
            (study / file).write_bytes(b"\x93NUMPY\x01\x00v\x00nothing")


def take_away(study: Path) -> None:
    shutil.rmtree(study)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damage_arrays, "cannot be read"),
        (damage_samples, "is missing"),
        (damage_manifest, "study.json"),
        (take_away, "is gone"),
    ],
)
def test_a_damaged_study_is_a_message_with_a_remedy(
    run: Run, tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    study = golden(tmp_path)
    damage(study)
    for html in run(study, ("Overview",)).values():
        (title,) = state(html)
        assert says in title


def test_damage_in_one_part_leaves_the_rest_of_the_page(run: Run, tmp_path: Path) -> None:
    study = golden(tmp_path)
    damage_maps(study)
    shown = run(study, ("Inspect",))["Inspect"]
    assert any("cannot be read" in title for title in state(shown))
    assert "48 images" in shown


def test_hostile_names_are_text_on_every_page(run: Run, tmp_path: Path) -> None:
    study = golden(tmp_path, with_hostile_names)
    shown = run(study, condition="trigger")
    assert all("&lt;img src=x" in html for html in shown.values())


def test_a_thousand_classes_with_long_names(run: Run, tmp_path: Path) -> None:
    names = [f"{HOSTILE} {index} {'x' * 90}" for index in range(1000)]
    shown = run(predicted(tmp_path, 60, names), ("Overview", "Map", "Inspect"))
    assert "1\u202f000 classes" in shown["Overview"]
    assert all(len(html) < 400_000 for html in shown.values())
    assert (
        "The 32 classes" in shown["Overview"]
        or "classes with the most changes" in (shown["Overview"])
    )
