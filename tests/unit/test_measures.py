"""Help texts: every measure that is shown has one, and the document knows every measure."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from analysis.attribution.agreement import AGREEMENTS
from analysis.divergence.layers import SIMILARITIES
from analysis.store import Study
from analysis.study.null import JUDGED
from dashboard.figures import headline, tour_tables
from dashboard.figures.measures import MEASURES, term, terms
from dashboard.loading import STUDY_VARIABLE
from dashboard.table import COLUMNS

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "study-v1"


def document_names() -> Iterator[str]:
    """The measures that the document's tables define, by the name in their first column."""
    text = (ROOT / "docs" / "measures.md").read_text(encoding="utf-8")
    for table in re.findall(r"\| name \| is \|.*?(?=\n\n)", text, re.DOTALL):
        for row in table.splitlines()[2:]:
            yield row.split("|")[1].strip().strip("`")


def test_every_measure_of_every_registry_is_explained(study: Study) -> None:
    shown = {
        "headline": {column.measure for column in headline.COLUMNS},
        "tour": {measure for measure, *_ in tour_tables._CLEAN_COLUMNS},
        "judged": set(JUDGED),
        "stored": set(study.measures("alpha")),
        "layers": set(SIMILARITIES),
        "maps": set(AGREEMENTS),
        "table": {column.measure for column in COLUMNS.values() if column.measure},
    }
    for where, measures in shown.items():
        assert measures - set(MEASURES) == set(), where


def test_the_document_and_the_help_texts_know_the_same_measures() -> None:
    words = {name.replace(" ", "_").removesuffix("_area") for name in document_names()}
    elsewhere = {  # not on a screen by itself, or explained with what it belongs to
        "mass_inside_a_region", "brittleness_under_f", "score", "labels",
        "spectral", "clusters",
    }  # fmt: skip
    assert words - elsewhere - set(MEASURES) == set()
    text = (ROOT / "docs" / "measures.md").read_text(encoding="utf-8").casefold().replace("\n", " ")
    for key, measure in MEASURES.items():
        title = re.sub(r" \(.*", "", measure.title).casefold()
        assert key.replace("_", " ") in text or f"`{key}`" in text or title in text, key


@pytest.mark.parametrize("key", MEASURES)
def test_a_help_text_is_one_sentence_with_unit_range_and_source(key: str) -> None:
    measure = MEASURES[key]
    assert measure.says[0].isupper()
    assert not re.search(r"[.!?]( |$)", measure.says.replace("et al. ", ""))
    assert len(measure.says) < 160
    assert measure.range
    assert measure.help.startswith(f"{measure.says}. ")
    assert measure.range.casefold() in measure.help.casefold()
    assert measure.source in measure.help
    shown = html.unescape(term(key))
    assert measure.help in shown
    assert 'tabindex="0"' in shown
    assert 'role="tooltip"' in shown


def test_terms_explain_several_and_escape_nothing_twice() -> None:
    shown = terms("Color", ["js", "cka"])
    assert MEASURES["js"].help in html.unescape(shown)
    assert MEASURES["cka"].help in html.unescape(shown)
    assert "&amp;" not in shown
    assert 'class="ds-term ds-end"' in term("js", "JS", end=True)


def script(page: str) -> None:
    from dashboard import app

    app.render(app.PAGES[page])


@pytest.mark.parametrize(
    ("page", "measures"),
    [
        ("Overview", ["accuracy", "agreement", "kl_teacher_student", "confidence_gap",
                      "negative_flips", "ece", "confidence", "attack_success_rate"]),
        ("Map", ["kl_teacher_student", "mean_neighborhood_overlap", "trustworthiness"]),
        ("Audit", ["attack_success_rate"]),
    ],
)  # fmt: skip
def test_a_page_explains_what_it_shows(
    page: str, measures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STUDY_VARIABLE, str(GOLDEN))
    at = AppTest.from_function(script, args=(page,), default_timeout=60).run()
    assert not at.exception
    shown = html.unescape(" ".join(item.proto.body for item in at.get("html")))
    for key in measures:
        assert MEASURES[key].help in shown, key


def test_headline_measures_have_a_short_title() -> None:
    for measure in ("accuracy", "top5_order", "dark_kl", *JUDGED):
        assert MEASURES[measure].short
