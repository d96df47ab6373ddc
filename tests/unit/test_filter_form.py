"""The filter by an expression on the pages: typed, refused, in the URL, saved, cleared."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from analysis.store import Study
from dashboard.loading import STUDY_VARIABLE, Pair, load_pair
from dashboard.table_saved import load_filters

GOLDEN = Path(__file__).parents[1] / "golden" / "study-v1"
Run = Callable[..., AppTest]


def script(page: str) -> None:
    from dashboard import app

    app.render(app.PAGES[page])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The study in a workspace of its own, because filters are saved there."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "space" / "study"))


@pytest.fixture
def pair(folder: Path) -> Pair:
    return load_pair(Study.open(folder), "alpha")


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv(STUDY_VARIABLE, str(folder))

    def start(page: str = "Overview", **query: str) -> AppTest:
        at = AppTest.from_function(script, args=(page,), default_timeout=60)
        for name, value in query.items():
            at.query_params[name] = value
        return at.run()

    return start


def text_of(at: AppTest) -> str:
    assert not at.exception, [item.value for item in at.exception]
    return " ".join(item.proto.body for item in at.get("html"))


def param(at: AppTest, name: str) -> Any:
    value = at.query_params.get(name)
    return value[0] if isinstance(value, list) else value


def chips(at: AppTest) -> list[str]:
    return [button.label for button in at.button if str(button.key).startswith("chip_")]


def unsure(pair: Pair) -> tuple[str, int]:
    """A filter that leaves some images, and how many."""
    middle = float(np.median(pair.kl))
    return f"kl > {middle:.6f}", int((pair.kl > float(f"{middle:.6f}")).sum())


@pytest.mark.parametrize(
    "page", ["Tour", "Overview", "Map", "Inspect", "Layers", "Training", "Audit"]
)
def test_every_page_obeys_the_expression_in_the_url(run: Run, pair: Pair, page: str) -> None:
    text, left = unsure(pair)
    at = run(page, where=text)
    assert f"{left} of {len(pair)} images" in text_of(at)
    assert [label.replace("\\", "") for label in chips(at)] == [f"{text} ✕"]
    assert param(at, "where") == text


def test_a_typed_expression_filters_and_its_chip_takes_it_off(run: Run, pair: Pair) -> None:
    text, left = unsure(pair)
    at = run()
    at.text_input(key="filter_where").set_value(f"  {text} ").run()
    assert f"{left} of {len(pair)} images" in text_of(at)
    assert param(at, "where") == text
    assert at.text_input(key="filter_where").value == text
    at.button(key="chip_where").click().run()
    assert f"{len(pair)} images" in text_of(at)
    assert param(at, "where") is None
    assert at.text_input(key="filter_where").value == ""


def test_an_emptied_field_takes_the_filter_off(run: Run, pair: Pair) -> None:
    at = run(where=unsure(pair)[0])
    at.text_input(key="filter_where").set_value(" ").run()
    assert param(at, "where") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("klx > 1", "Did you mean &#x27;kl&#x27;?"),
        ("read_csv('/etc/passwd')", "which it may not"),
        ("<script>alert(1)</script>", "cannot be read"),
        ("1; drop table samples", "cannot be read"),
    ],
)
def test_what_is_refused_stays_in_the_field_with_the_reason(
    run: Run, pair: Pair, text: str, says: str
) -> None:
    before, left = unsure(pair)
    at = run(where=before)
    at.text_input(key="filter_where").set_value(text).run()
    shown = text_of(at)
    assert says in shown
    assert "<script" not in shown
    assert at.text_input(key="filter_where").value == text
    assert f"{left} of {len(pair)} images" in shown  # what held before holds
    at.text_input(key="filter_where").set_value("agree").run()
    assert says not in text_of(at)
    assert param(at, "where") == "agree"


def test_an_address_with_no_filter_shows_the_page_and_says_so(run: Run, pair: Pair) -> None:
    at = run(where="getenv('HOME') = 'x'")
    shown = text_of(at)
    assert "The filter by an expression was left out: the filter calls" in shown
    assert f"{len(pair)} of {len(pair)} images" in shown


def test_a_filter_too_long_for_the_address_becomes_a_saved_set(run: Run, pair: Pair) -> None:
    text, left = unsure(pair)
    long = " and ".join([text, *["kl >= 0"] * 60])
    at = run(differ="1")
    at.text_input(key="filter_where").set_value(long).run()
    both = int((~pair.agree & (pair.kl > float(text[5:]))).sum())
    assert f"{both} of {len(pair)} images" in text_of(at)
    assert param(at, "where") is None
    assert param(at, "within").startswith("set_")
    assert 0 < both < left


def test_a_filter_that_leaves_nothing_names_itself(run: Run) -> None:
    at = run(where="kl < 0")
    shown = text_of(at)
    assert "No images match" in shown
    assert "Filter: kl &lt; 0." in shown
    at.button(key="clear_filter").click().run()
    assert "No images match" not in text_of(at)


def test_a_filter_is_saved_chosen_and_deleted(run: Run, folder: Path, pair: Pair) -> None:
    text, left = unsure(pair)
    at = run(where=text)
    at.text_input(key="filter_name").set_value("part <b>").run()
    (kept,), _ = load_filters(folder.parent)
    assert (kept.name, kept.expression) == ("part <b>", text)
    other = run()
    other.selectbox(key="filter_saved").select("part <b>").run()
    assert f"{left} of {len(pair)} images" in text_of(other)
    assert param(other, "where") == text
    other.button(key="filter_delete").click().run()
    assert load_filters(folder.parent) == ((), None)
    assert param(other, "where") == text


def test_a_name_that_is_none_is_refused_in_place(run: Run, pair: Pair) -> None:
    at = run(where=unsure(pair)[0])
    at.text_input(key="filter_name").set_value("a\u202eb").run()
    assert "cannot be used" in text_of(at)


def test_a_saved_filter_of_another_study_is_refused_in_place(run: Run, folder: Path) -> None:
    path = folder.parent / ".distillscope" / "filters.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"filters": [{"name": "maps", "expression": "map_top_overlap > 0.5"}, 7]}')
    at = run()
    at.selectbox(key="filter_saved").select("maps").run()
    shown = text_of(at)
    assert "names the column &#x27;map_top_overlap&#x27;" in shown
    assert "1 entries of filters.json are no filters" in shown
    path.write_text("{")
    assert "filters.json is damaged" in text_of(run())


def test_the_help_names_every_column_and_function(run: Run) -> None:
    shown = text_of(run())
    for name in ("student_confidence", "negative_flip", "regexp_matches", "coalesce"):
        assert name in shown
