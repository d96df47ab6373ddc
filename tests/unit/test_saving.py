"""The Save menu: every figure of every page as CSV, SVG and PNG, with what the screen shows."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from analysis.records import TRIGGER
from analysis.store import Study
from dashboard import app, saving
from dashboard.context import Export, View
from dashboard.figures.chart import chart
from dashboard.figures.tables import map_columns, pixel_columns, plotted_columns
from dashboard.loading import STUDY_VARIABLE, load_pair
from dashboard.pages import overview
from dashboard.selection import Selection
from dashboard.theme import LIGHT
from tests.audited import make_audited
from tests.conftest import ROOT
from tests.unit.test_drawing import two_maps
from tests.unit.test_pages import script, text_of

PAGES = ROOT / "dashboard" / "pages"
# Pages about the workspace have no Save menu; their charts keep plotly's own button.
ALONE = tuple(n.lower() for n, page in app.PAGES.items() if hasattr(page, "show_alone"))
# What each page draws that is no plotly chart.
BESIDES = {
    "Map": {"Both maps"}, "Inspect": {"Attribution maps"}, "Training": {"Maps of the epoch"},
    "Audit": {"Recovered trigger"}, "Tour": {"Images as it is", "Images with the patch"},
}  # fmt: skip


@pytest.fixture(scope="module")
def audited(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_audited(tiny_study, tmp_path_factory.mktemp("audit"))


def shown(page: str, study: Path, monkeypatch: pytest.MonkeyPatch, **query: str) -> AppTest:
    monkeypatch.setenv(STUDY_VARIABLE, str(study))
    at = AppTest.from_function(script, args=(page,), default_timeout=60)
    for name, value in query.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception, [item.value for item in at.exception]
    return at


def files(at: AppTest, monkeypatch: pytest.MonkeyPatch) -> list[Export]:
    """What the figures that a page has kept are saved as."""
    monkeypatch.setattr(saving.st, "session_state", {"kept_figures": kept(at)})
    return saving.kept_exports("x")


def kept(at: AppTest) -> dict[str, Any]:
    if "kept_figures" not in at.session_state:
        return {}
    found: dict[str, Any] = at.session_state["kept_figures"]
    return found


def check(export: Export) -> None:
    """A file of the format that its name promises, with something in it."""
    made = export.make()
    if export.kind == "png":
        assert isinstance(made, bytes)
        image = np.asarray(Image.open(io.BytesIO(made)).convert("RGB"))
        assert min(image.shape[:2]) > 60
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 2
        return
    assert isinstance(made, str)
    if export.kind == "svg":
        root = ET.fromstring(made)
        assert len(list(root.iter())) > 5
        assert "@font-face" in made
        return
    rows = list(csv.reader(io.StringIO(made)))
    assert len(rows) > 1
    assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize("page", [name for name in app.PAGES if name.lower() not in ALONE])
def test_every_figure_of_every_page_is_saved(
    page: str, layered_study: Path, tiny_study: Path, audited: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    studies = {"Audit": audited, "Inspect": tiny_study, "Overview": tiny_study}
    study = studies.get(page, layered_study)
    query = {} if study != layered_study else {"student": "backdoored", "condition": "clean"}
    at = shown(page, study, monkeypatch, **query)
    charts = at.get("plotly_chart")
    figures = kept(at)
    titles = {figure.title for figure in figures.values()}
    assert len(titles) == len(figures)
    assert len(figures) == len(charts) + len(BESIDES.get(page, set()) & titles)
    assert BESIDES.get(page, set()) <= titles
    exports = files(at, monkeypatch)
    assert len(exports) == 3 * len(figures)
    assert len({export.file_name for export in exports}) == len(exports)
    for export in exports:
        check(export)


@pytest.mark.parametrize("step", [4, 5])
def test_steps_of_the_tour_with_pictures_are_saved(
    step: int, layered_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = shown("Tour", layered_study, monkeypatch, student="backdoored", step=str(step))
    charts = len(at.get("plotly_chart"))
    titles = {figure.title for figure in kept(at).values()}
    pictures = {
        t for t in titles if t.startswith(("Attribution maps", "Maps", "Images as", "Images with"))
    }
    assert len(titles) == charts + len(pictures)
    if step == 4:
        assert any(title.startswith("Attribution maps") for title in pictures)
    if step == 5:
        assert "Maps with the trigger" in pictures
    for export in files(at, monkeypatch):
        check(export)


def test_no_page_shows_a_chart_past_the_save_menu() -> None:
    for path in sorted(PAGES.glob("*.py")):
        if path.name.startswith(ALONE or ("-",)):
            continue
        assert "st.plotly_chart(" not in path.read_text(encoding="utf-8"), path.name
        text = path.read_text(encoding="utf-8")
        assert text.count("pair_map(\n") <= text.count("keep_maps("), path.name


def test_the_menu_offers_a_row_for_each_figure(
    tiny_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = shown("Overview", tiny_study, monkeypatch, student="beta")
    labels = [re.sub(r"\\", "", button.proto.label) for button in at.get("download_button")]
    assert labels[0] == "This comparison as a report, HTML"
    at_answers = labels.index("Changed answers, CSV")
    assert labels[at_answers + 1 : at_answers + 3] == ["SVG", "PNG"]
    # The page's own table stands for the chart's.
    assert labels.count("Changed answers, CSV") == 1
    assert "Classes, CSV" in labels
    at_confidence = labels.index("Images by confidence, CSV")
    assert labels[at_confidence + 1 : at_confidence + 3] == ["SVG", "PNG"]
    assert text_of(at)


def test_a_page_forgets_what_another_one_showed(
    layered_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving.st, "session_state", {})
    saving.keep("old", saving.Kept("Old", lambda: None, dict))  # type: ignore[arg-type]
    saving.begin()
    assert saving.kept_exports("x") == []


def test_a_file_shows_what_was_shown_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving.st, "session_state", {})
    for value in (1.0, 2.0):
        columns = {"value": [value]}
        saving.keep("a", saving.Kept("A", lambda: None, lambda c=columns: c))  # type: ignore[arg-type,misc]
        if value == 1.0:
            export = saving.kept_exports("x")[0]
    assert export.make() == "value\n2.0\n"


def test_charts_become_tables() -> None:
    figure = chart(LIGHT, height=100)
    figure.update_xaxes(tickvals=[0, 1], ticktext=["one", "<b>two</b> &amp; three"])
    figure.update_yaxes(tickvals=[0, 50], ticktext=["0", "50%"])
    figure.add_scatter(x=[5], y=[5], mode="lines", hoverinfo="skip")
    figure.add_scatter(
        x=[0, 1], y=[50, 20], name="rate", mode="markers",
        error_y={"array": [1, 2], "arrayminus": [3, 4], "width": 0},
    )  # fmt: skip
    assert plotted_columns(figure) == {
        "series": ["rate", "rate"], "x": ["one", "two & three"], "y": [50, 20],
        "y_low": [47, 16], "y_high": [51, 22],
    }  # fmt: skip
    cells = chart(LIGHT, height=100)
    cells.add_heatmap(x=[0, 1], y=[0], z=[[0.25, np.nan]], hoverinfo="skip")
    assert plotted_columns(cells) == {
        "series": ["heatmap 1"], "x": [0], "y": [0], "value": [0.25],
    }  # fmt: skip


def test_maps_become_tables() -> None:
    points, _ = two_maps(labels=np.array([0, 1, -1, 0]))
    table = map_columns(points)
    assert table["sample"] == list("abcd")
    assert table["label"] == ["one", "two", "", "one"]
    assert table["teacher_x"] == [0, 1, 2, 1]
    assert table["student_x"] == [1, 2, 1, 0]
    assert table["student_answer"] == ["one", "two", "two", "one"]


def test_clean_images_beneath_are_no_rows_of_the_table() -> None:
    points, _ = two_maps(backdrop=np.array([False, True, False, True]))
    table = map_columns(points)
    assert table["sample"] == ["a", "c"]
    assert table["teacher_x"] == [0, 2]
    assert table["student_answer"] == ["one", "two"]
    assert {len(cells) for cells in table.values()} == {2}


def test_rates_of_the_attack_state_the_images_that_they_are_of() -> None:
    study = Study.open(ROOT / "tests" / "golden" / "study-v1")
    pair = load_pair(study, "alpha", TRIGGER)
    view = View(
        study=study, selection=Selection(student="alpha", condition=TRIGGER), all=pair, pair=pair,
        mask=np.ones(len(pair), bool), projection=None, colors=LIGHT,
    )  # fmt: skip
    made = str(overview.exports(view)[0].make())
    n = {row["measure"]: int(row["n"]) for row in csv.DictReader(io.StringIO(made))}
    assert study.record(f"attack_n/{TRIGGER}") == 45
    assert (n["attack_success_rate"], n["base_rate"], n["titg"]) == (45, 45, 45)
    assert (n["agreement"], n["accuracy"]) == (48, 48)


def test_pictures_become_tables() -> None:
    table = pixel_columns({"map": np.array([[1.0, 2.0]]), "rgb": np.zeros((1, 1, 3))})
    assert table["picture"] == ["map", "map", "rgb", "rgb", "rgb"]
    assert table["column"] == [0, 1, 0, 0, 0]
    assert table["channel"] == [0, 0, 0, 1, 2]
    assert table["value"] == [1.0, 2.0, 0.0, 0.0, 0.0]


def test_alike_titles_have_files_of_their_own() -> None:
    titles = ["Maps of seed_1", "Maps of seed-1", "模型", "模型 α", "Maps of seed 1 2", "Map"]
    names = saving.file_names(titles)
    assert len(set(names)) == len(titles)
    assert names[0] == "maps-of-seed-1"
    assert names[-1] == "map"
