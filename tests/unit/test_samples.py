"""The table of samples on the page: order, pages of rows, words, what is written out."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from analysis.store import Study
from dashboard.figures.samples import column_help, column_title, sample_rows, shown_columns
from dashboard.figures.sides import Sides
from dashboard.loading import STUDY_VARIABLE, Pair, load_pair, table_of
from dashboard.pages import samples
from dashboard.selection import Selection
from dashboard.table import COLUMNS

GOLDEN = Path(__file__).parents[1] / "golden" / "study-v1"
Run = Callable[..., AppTest]


def script() -> None:
    from dashboard import app

    app.render(app.PAGES["Map"])


@pytest.fixture
def pair() -> Pair:
    return load_pair(Study.open(GOLDEN), "alpha")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv(STUDY_VARIABLE, str(GOLDEN))

    def start(study: Path = GOLDEN, **query: str) -> AppTest:
        monkeypatch.setenv(STUDY_VARIABLE, str(study))
        at = AppTest.from_function(script, default_timeout=60)
        for name, value in query.items():
            at.query_params[name] = value
        return at.run()

    return start


def rows_of(at: AppTest) -> dict[str, list[Any]]:
    assert not at.exception, [item.value for item in at.exception]
    frame = at.dataframe[0].value
    return {name: frame[name].tolist() for name in frame.columns}


def test_the_table_begins_with_what_parts_most(run: Run, pair: Pair) -> None:
    shown = rows_of(run())
    order = np.lexsort((-pair.kl, pair.agree))
    assert shown["sample_id"] == pair.sample_ids[order].tolist()
    names = Study.open(GOLDEN).class_names
    assert shown["student"] == [names[i] for i in pair.student_answer[order]]
    assert shown["agree"] == ["yes" if same else "no" for same in pair.agree[order]]
    assert "condition" not in shown


def test_a_column_sorts_up_and_down(run: Run, pair: Pair) -> None:
    at = run()
    at.selectbox(key="samples_sort_by").select("kl").run()
    assert rows_of(at)["kl"] == sorted(pair.kl.tolist(), reverse=True)
    at.toggle(key="samples_descending").set_value(False).run()
    assert rows_of(at)["kl"] == sorted(pair.kl.tolist())
    at.selectbox(key="samples_sort_by").select("how far the two part").run()
    assert rows_of(at)["sample_id"][0] == pair.sample_ids[np.lexsort((-pair.kl, pair.agree))[0]]


def test_rows_come_in_pages(run: Run, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "PAGE", 20)
    at = run()
    at.selectbox(key="samples_sort_by").select("sample_id").run()
    at.toggle(key="samples_descending").set_value(False).run()
    pages = [rows_of(at)["sample_id"]]
    assert at.button(key="samples_before").disabled
    for _ in range(2):
        at.button(key="samples_after").click().run()
        pages.append(rows_of(at)["sample_id"])
    assert at.button(key="samples_after").disabled
    assert [len(page) for page in pages] == [20, 20, 8]
    assert [name for page in pages for name in page] == sorted(pair.sample_ids.tolist())
    at.button(key="samples_before").click().run()
    assert rows_of(at)["sample_id"] == pages[1]
    at.selectbox(key="samples_sort_by").select("kl").run()  # another order begins at its start
    assert rows_of(at)["kl"][0] == pair.kl.max()


def test_the_table_obeys_the_filter(run: Run, pair: Pair) -> None:
    shown = rows_of(run(where="not agree"))
    assert sorted(shown["sample_id"]) == sorted(pair.sample_ids[~pair.agree].tolist())
    assert set(shown["agree"]) == {"no"}


def test_hostile_names_are_text_in_the_table(run: Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(GOLDEN, tmp_path / "study"))
    manifest = json.loads((copy / "study.json").read_text())
    manifest["class_names"] = [
        f"\u202e<b>{index}</b>" + "x" * 300 for index in range(len(manifest["class_names"]))
    ]
    (copy / "study.json").write_text(json.dumps(manifest))
    for name in rows_of(run(copy))["student"]:
        assert "\u202e" not in name
        assert len(name) <= 60


def test_columns_have_names_and_help(study: Study) -> None:
    for sides in (Sides(), Sides("beta", "alpha")):
        titles = [column_title(name, sides) for name in COLUMNS]
        assert all(title and "_" not in title for title in titles)
    assert column_title("teacher_correct", Sides("beta", "alpha")) == "beta right"
    assert column_title("student_clean", Sides()) == "student on clean"
    for name in COLUMNS:
        assert name in column_help(name)
    assert "Nats" in column_help("kl")
    table = table_of(study, Selection(student="alpha"), load_pair(study, "alpha"))
    shown = sample_rows(table, np.array([3, 1]))
    assert list(shown) == shown_columns(table.column_names)
    assert shown["sample_id"] == [table["sample_id"][3].as_py(), table["sample_id"][1].as_py()]


def test_the_rows_are_written_out_as_csv_and_parquet(study: Study) -> None:
    pair = load_pair(study, "alpha")
    table = table_of(study, Selection(student="alpha"), pair)
    view = type("View", (), {"table": table, "selection": Selection(student="alpha")})()
    mask = pair.kl > np.median(pair.kl)
    as_csv, as_parquet = samples.sample_exports(view, mask)
    assert (as_csv.file_name, as_parquet.file_name) == (
        "alpha-samples.csv", "alpha-samples.parquet",
    )  # fmt: skip
    text, whole = as_csv.make(), as_parquet.make()
    assert isinstance(text, str)
    assert isinstance(whole, bytes)
    rows = list(csv.DictReader(io.StringIO(text)))
    read = pq.read_table(io.BytesIO(whole))
    assert list(rows[0]) == read.column_names == table.column_names
    assert [row["sample_id"] for row in rows] == pair.sample_ids[mask].tolist()
    assert read["kl"].to_pylist() == pair.kl[mask].tolist()
    assert read["label"].to_pylist() == [study.class_names[i] for i in pair.labels[mask]]
