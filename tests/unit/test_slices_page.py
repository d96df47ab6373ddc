"""Slices in a study: what compare leaves, what the Overview shows, how one filters every page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from analysis.data.statistics import STATISTICS, image_statistics
from analysis.divergence.outputs import answer_pair
from analysis.divergence.predicates import build_predicates
from analysis.divergence.slices import Slice, SliceSearch
from analysis.errors import InputError, StudyError
from analysis.records import Interval
from analysis.store import Study
from analysis.study.headline import headline
from analysis.study.slices import slices_json
from dashboard.cli import main
from dashboard.loading import STUDY_VARIABLE, load_pair
from dashboard.loading_slices import slice_list, slice_members, slice_words
from dashboard.selection import Selection, SliceSet

PAGES = ("Overview", "Map", "Inspect")
IDS = ("0" * 15 + "1", "0" * 15 + "2")


def script(page: str) -> None:
    from dashboard import app

    app.render(app.PAGES[page])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    def start(page: str, query: dict[str, str], study: Path) -> AppTest:
        monkeypatch.setenv(STUDY_VARIABLE, str(study))
        at = AppTest.from_function(script, args=(page,), default_timeout=60)
        for name, value in query.items():
            at.query_params[name] = value
        return at.run()

    return start


def text_of(at: AppTest) -> str:
    assert not at.exception, [item.value for item in at.exception]
    return " ".join(item.proto.body for item in at.get("html"))


def slices_of(study: Study) -> tuple[SliceSearch, np.ndarray]:
    """Two real groups of the tiny study, as a search reports them, and their members."""
    answers = answer_pair(study.array("logits/teacher/clean"), study.array("logits/alpha/clean"))
    measured = image_statistics(study.images)
    predicates = build_predicates(answers.teacher, study.labels, study.class_names, measured)
    dark = next(part for part in predicates if part.words == "dark")
    busiest = int(np.bincount(study.labels[~answers.agree]).argmax())
    of_class = next(part for part in predicates if part.words == study.class_names[busiest])
    made = []
    for part in (of_class, dark):
        rows = part.mask & ~answers.agree
        changed = np.bincount(answers.student.answer[rows])
        share = float(answers.agree[part.mask].mean())
        made.append(
            Slice(
                predicates=(part,), grouped=part is dark, members=part.mask,
                n_tested=int(part.mask.sum()) // 2, agreement=Interval(share, 0.0, 0.99),
                rest=0.9, p_value=0.004, precision=0.4 if part is dark else 1.0, recall=1.0,
                n_differ=int(rows.sum()), transitions=((0, int(changed.argmax()), 1),),
                destination=(int(changed.argmax()), int(changed.max())),
            )
        )  # fmt: skip
    search = SliceSearch(
        slices=tuple(made), n_searched=60, n_tested=60, candidates=7, agreement=0.8
    )
    return search, np.stack([item.members for item in made])


@pytest.fixture
def sliced(tiny_study: Path, study: Study, tmp_path: Path) -> Path:
    """A copy of the tiny study in which alpha has two slices and beta is a reference of it."""
    copy = tmp_path / "sliced"
    shutil.copytree(tiny_study, copy)
    search, members = slices_of(study)
    manifest = json.loads((copy / "study.json").read_text())
    record = slices_json(search)
    for wanted, item in zip(IDS, record["slices"], strict=True):
        item["id"] = wanted
    manifest["records"]["slices/alpha/clean"] = record
    manifest["arrays"]["slices/alpha/clean/members"] = f"arrays/{'5' * 64}.npy"
    np.save(copy / "arrays" / f"{'5' * 64}.npy", members)
    (copy / "study.json").write_text(json.dumps(manifest))
    return copy


def with_reference(sliced: Path) -> Path:
    manifest = json.loads((sliced / "study.json").read_text())
    manifest["models"]["beta"]["role"] = "reference"
    (sliced / "study.json").write_text(json.dumps(manifest))
    return sliced


# --- what a comparison leaves ----------------------------------------------------------------


def test_every_listed_student_is_searched_on_every_condition(attacked_study: Path) -> None:
    study = Study.open(attacked_study)
    searched = {key for key in study.manifest.records if key.startswith("slices/")}
    assert searched == {
        f"slices/{name}/{slug}" for name in study.students for slug in study.conditions
    }
    for slug, condition in study.conditions.items():
        values = study.array(f"statistics/{slug}")
        assert values.shape == (condition.n, len(STATISTICS))
        measured = image_statistics(study.condition_images(slug))
        assert np.allclose(values[:, 0], measured["brightness"])
    for key in searched:
        record = study.record(key)
        assert record["n_searched"] + record["n_tested"] == study.conditions[key.split("/")[2]].n
        assert study.has_array(f"{key}/members") == bool(record["slices"])


def test_slices_are_read_with_their_references(sliced: Path) -> None:
    study = Study.open(with_reference(sliced))
    found = slice_list(study, "alpha")
    assert found is not None
    assert found.candidates == 7
    agree = np.asarray(study.samples("beta")["agreement"].to_pylist(), dtype=bool)
    # The images that were not searched: the second half of a seeded order, as the student's.
    tested = np.zeros(len(agree), bool)
    tested[np.random.default_rng(0).permutation(len(agree))[len(agree) // 2 :]] = True
    for row in found.rows:
        inside = np.isin(study.sample_ids, sorted(slice_members(study, row.id)))
        assert inside.sum() == row.n
        expected = agree[inside & tested].mean()
        assert row.references == pytest.approx([expected])
        assert row.gap == pytest.approx(expected - row.agreement.value)
    assert [row.gap for row in found.rows] == sorted((row.gap for row in found.rows), reverse=True)


def test_without_references_the_gap_is_to_the_rest(sliced: Path) -> None:
    found = slice_list(Study.open(sliced), "alpha")
    assert found is not None
    assert all(row.gap == pytest.approx(0.9 - row.agreement.value) for row in found.rows)
    assert slice_list(Study.open(sliced), "alpha", "no-such-condition") is None


def test_an_unknown_slice_is_refused(sliced: Path) -> None:
    study = Study.open(sliced)
    assert slice_words(study, "f" * 16) == "a slice"
    with pytest.raises(InputError, match="is not in this study"):
        slice_members(study, "f" * 16)


def test_a_damaged_record_of_slices_is_refused(sliced: Path) -> None:
    manifest = json.loads((sliced / "study.json").read_text())
    manifest["records"]["slices/alpha/clean"]["slices"][0]["words"] = 3
    (sliced / "study.json").write_text(json.dumps(manifest))
    with pytest.raises(StudyError, match="slices/alpha/clean"):
        Study.open(sliced)


# --- the Overview ------------------------------------------------------------------------------


def test_the_overview_lists_the_slices(run: Callable[..., AppTest], sliced: Path) -> None:
    text = text_of(run("Overview", {"student": "alpha"}, sliced))
    assert "some dark" in text
    assert "by the gap to the rest" in text
    assert "7 candidates tested" in text
    assert f"within=slice_{IDS[0]}" in text
    assert ">rest<" in text
    assert "what they describe belongs to it" in text


def test_references_stand_beside_the_slices(run: Callable[..., AppTest], sliced: Path) -> None:
    text = text_of(run("Overview", {"student": "alpha"}, with_reference(sliced)))
    assert "by the gap to the references" in text
    assert ">refs<" in text


def test_classes_are_one_click_away(run: Callable[..., AppTest], sliced: Path) -> None:
    at = run("Overview", {"student": "alpha"}, sliced)
    at.session_state["parts_by"] = "classes"
    text = text_of(at.run())
    assert "By label, the lowest agreement first." in text
    assert "some dark" not in text


def test_without_slices_the_overview_says_why(
    run: Callable[..., AppTest], tiny_study: Path, study: Study
) -> None:
    record = study.record("slices/beta/clean")
    assert record is not None
    text = text_of(run("Overview", {"student": "beta"}, tiny_study))
    assert "Where it parts most" in text
    assert ("No slice: of" in text) == (not record["slices"])
    text = text_of(run("Overview", {"student": "beta", "left": "alpha"}, tiny_study))
    assert "Slices are found against the teacher only." in text


def test_a_study_of_before_says_that_nobody_looked(
    run: Callable[..., AppTest], sliced: Path
) -> None:
    manifest = json.loads((sliced / "study.json").read_text())
    for key in [key for key in manifest["records"] if key.startswith("slices/")]:
        del manifest["records"][key]
    (sliced / "study.json").write_text(json.dumps(manifest))
    text = text_of(run("Overview", {"student": "alpha"}, sliced))
    assert "Nobody looked for slices in this study." in text
    assert "By label" in text


# --- the filter --------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_a_slice_filters_every_page(
    run: Callable[..., AppTest], sliced: Path, study: Study, page: str
) -> None:
    count = int(slices_of(study)[1][1].sum())
    query = Selection(student="alpha", within=SliceSet(IDS[1])).to_query()
    at = run(page, query, sliced)
    assert f"{count} of 120 images" in text_of(at)
    assert "some dark" in at.button(key="chip_within").label.replace("\\", "")
    if page == "Overview":
        assert text_of(at).count('loading="lazy"') == 8


def test_a_slice_that_is_gone_is_a_note(run: Callable[..., AppTest], tiny_study: Path) -> None:
    text = text_of(run("Overview", {"student": "alpha", "within": f"slice_{'a' * 16}"}, tiny_study))
    assert "was left out" in text
    assert "120 images" in text
    text = text_of(run("Overview", {"student": "alpha", "within": "slice_../x"}, tiny_study))
    assert "expected slice_ and its id" in text


# --- the command line --------------------------------------------------------------------------


def test_show_prints_the_slices(sliced: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["show", str(sliced)])
    printed = capsys.readouterr().out
    assert "Where alpha parts most" in printed
    assert "some dark" in printed
    data: dict[str, Any] = headline(Study.open(sliced))["students"]
    assert [item["id"] for item in data["alpha"]["slices"]] == list(IDS)
    assert isinstance(data["beta"]["slices"], list)


def test_the_pictures_of_a_slice_are_counted_as_the_filter_leaves_them(
    run: Callable[..., AppTest], sliced: Path, study: Study
) -> None:
    pair, inside = load_pair(study, "alpha"), slices_of(study)[1][1]
    both = int((inside & ~pair.agree).sum())
    assert 0 < both < inside.sum()
    query = Selection(student="alpha", within=SliceSet(IDS[1]), differ=True).to_query()
    text = text_of(run("Overview", query, sliced))
    assert f"The {min(8, both)} of {both} that part most." in text
