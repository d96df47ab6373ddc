"""The table of samples: its columns, the cross-filter by an expression, saved filters."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from analysis.errors import InputError, StorageError
from analysis.records import CLEAN, TRIGGER
from analysis.store import Study
from dashboard.loading import Pair, filter_mask, load_pair, table_of
from dashboard.selection import Selection
from dashboard.table import COLUMNS, sample_table
from dashboard.table_rows import kinds_of, rows_where
from dashboard.table_saved import (
    MAX_FILTERS,
    MAX_NAME,
    SavedFilter,
    drop_filter,
    keep_filter,
    load_filters,
)

ROOT = Path(__file__).parents[2]
GOLDEN = Study.open(ROOT / "tests" / "golden" / "study-v1")
ALPHA = Selection(student="alpha")


def test_every_column_says_what_it_holds_and_has_its_kind(study: Study) -> None:
    triggered = dataclasses.replace(ALPHA, condition=TRIGGER)
    tables = [
        table_of(GOLDEN, triggered, load_pair(GOLDEN, "alpha", TRIGGER)),
        table_of(study, ALPHA, load_pair(study, "alpha")),
    ]
    assert {name for table in tables for name in table.column_names} == set(COLUMNS)
    for table in tables:
        assert [name for name in COLUMNS if name in table.column_names] == table.column_names
        for name, kind in kinds_of(table).items():
            held = table.schema.field(name).type
            is_kind = {
                "text": pa.types.is_string(held) or pa.types.is_dictionary(held),
                "number": pa.types.is_float64(held),
                "truth": pa.types.is_boolean(held),
            }
            assert is_kind[kind], name
            assert COLUMNS[name].holds


def test_columns_hold_what_the_pair_holds(study: Study) -> None:
    pair = load_pair(study, "alpha")
    rows = table_of(study, ALPHA, pair).to_pylist()
    stored = {row["sample_id"]: row for row in study.samples("alpha").to_pylist()}
    for number, row in enumerate(rows):
        mine = stored[row["sample_id"]]
        assert row["sample_id"] == pair.sample_ids[number]
        assert row["teacher"] == study.class_names[mine["teacher_answer"]]
        assert row["student"] == study.class_names[mine["answer"]]
        assert row["label"] == study.class_names[mine["label"]]
        assert row["student_correct"] == mine["correct"]
        assert row["negative_flip"] == mine["negative_flips"]
        assert row["kl"] == mine["kl_teacher_student"]
        assert row["neighborhood_overlap"] == mine["neighborhood_overlap"]
        for name in ("attributed", "map_rank_correlation", "map_top_overlap"):
            assert row[name] == mine[name]
    assert sum(row["attributed"] for row in rows) == 8


def test_answers_to_the_clean_image_stand_beside_those_of_a_condition() -> None:
    pair, clean = load_pair(GOLDEN, "alpha", TRIGGER), load_pair(GOLDEN, "alpha")
    some = clean.rows(np.arange(len(clean)) % 2 == 0)
    table = sample_table(GOLDEN, pair, student="alpha", condition=TRIGGER, clean=some)
    answers = dict(zip(some.sample_ids, some.student_answer, strict=True))
    for row, now in zip(table.to_pylist(), pair.student_answer, strict=True):
        before = answers.get(row["sample_id"])
        if before is None:
            assert row["student_clean"] is row["student_changed"] is row["teacher_clean"] is None
        else:
            assert row["student_clean"] == GOLDEN.class_names[before]
            assert row["student_changed"] == (before != now)


def test_two_students_have_no_columns_of_maps_against_the_teacher(study: Study) -> None:
    pair = load_pair(study, "alpha", left="beta")
    table = table_of(study, Selection(student="alpha", left="beta"), pair)
    assert not {"attributed", "map_rank_correlation"} & set(table.column_names)
    assert table["teacher"].to_pylist() == [study.class_names[i] for i in pair.teacher_answer]


def test_without_labels_there_is_no_column_that_needs_them(study: Study) -> None:
    pair = dataclasses.replace(load_pair(study, "alpha"), labels=None, overlap=None)
    names = sample_table(study, pair, student="alpha").column_names
    gone = {"label", "teacher_correct", "student_correct", "negative_flip", "neighborhood_overlap"}
    assert not gone & set(names)


# --- the cross-filter ----------------------------------------------------------------------


def masked(selection: Selection, pair: Pair, study: Study) -> tuple[np.ndarray, tuple[str, ...]]:
    return filter_mask(selection, study, pair, study.projection("alpha"))


def test_an_expression_filters_with_the_other_parts(study: Study) -> None:
    pair = load_pair(study, "alpha")
    middle, unsure = float(np.median(pair.kl)), float(np.median(pair.student_confidence))
    where = f"kl > {middle!r} and student_confidence < {unsure!r}"
    selection = dataclasses.replace(ALPHA, where=where)
    expected = (pair.kl > middle) & (pair.student_confidence < unsure)
    mask, said = masked(selection, pair, study)
    assert said == ()
    assert np.array_equal(mask, expected)
    assert 0 < mask.sum() < len(pair)
    both, _ = masked(dataclasses.replace(selection, differ=True), pair, study)
    assert np.array_equal(both, expected & ~pair.agree)
    assert selection.filtered
    assert not selection.unfiltered().filtered
    assert selection.filter_key != ALPHA.filter_key


@pytest.mark.parametrize("text", ["klx > 1", "read_csv('/etc/passwd')", "kl", "'"])
def test_an_expression_that_is_none_is_left_out_and_said(study: Study, text: str) -> None:
    pair = load_pair(study, "alpha")
    mask, said = masked(dataclasses.replace(ALPHA, where=text), pair, study)
    assert mask.all()
    assert len(said) == 1
    assert said[0].startswith("The filter by an expression was left out: the filter")


def test_a_held_table_is_used(study: Study) -> None:
    pair = load_pair(study, "alpha")
    other = pa.table({"kl": pa.array(np.where(np.arange(len(pair)) < 3, 1.0, 0.0))})
    selection = dataclasses.replace(ALPHA, where="kl = 1")
    mask, _ = filter_mask(selection, study, pair, None, lambda: other)
    assert np.flatnonzero(mask).tolist() == [0, 1, 2]


def test_the_server_loads_duckdb_only_for_a_filter(tiny_study: Path) -> None:
    script = (
        "import sys, dashboard.app, dashboard.server\n"
        "from analysis.store import Study\n"
        "from dashboard.loading import filter_mask, load_pair\n"
        "from dashboard.selection import Selection\n"
        f"study = Study.open({str(tiny_study)!r}); pair = load_pair(study, 'alpha')\n"
        "filter_mask(Selection(student='alpha', differ=True), study, pair, None)\n"
        "print('duckdb' in sys.modules)\n"
        "filter_mask(Selection(student='alpha', where='kl > 1'), study, pair, None)\n"
        "print('duckdb' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stdout.split() == ["False", "True", "False"], done.stderr


def test_many_samples_are_filtered_whole() -> None:
    n = 200_000
    kl = np.random.default_rng(0).random(n)
    ids = pa.array([f"set/{number:06d}" for number in range(n)])
    table = pa.table({"sample_id": ids, "kl": pa.array(kl)})
    mask = rows_where(table, "kl > 0.5 and sample_id like '%7'")
    assert np.array_equal(mask, (kl > 0.5) & (np.arange(n) % 10 == 7))


# --- saved filters -------------------------------------------------------------------------


def test_filters_are_saved_by_name(tmp_path: Path) -> None:
    assert load_filters(tmp_path) == ((), None)
    keep_filter(tmp_path, " unsure ", "student_confidence\n < 0.5")
    keep_filter(tmp_path, "Flips", "negative_flip")
    keep_filter(tmp_path, "unsure", "student_confidence < 0.6")
    unsure = SavedFilter("unsure", "student_confidence < 0.6")
    assert load_filters(tmp_path) == ((SavedFilter("Flips", "negative_flip"), unsure), None)
    drop_filter(tmp_path, "Flips")
    drop_filter(tmp_path, "never there")
    assert load_filters(tmp_path) == ((unsure,), None)
    names = {path.name for path in (tmp_path / ".distillscope").iterdir()}
    assert "filters.json" in names
    assert not [name for name in names if name.endswith(".tmp")]


@pytest.mark.parametrize("name", ["", "  ", "x" * (MAX_NAME + 1), "two\nlines", "\u202ename"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        keep_filter(tmp_path, name, "agree")
    assert load_filters(tmp_path) == ((), None)


def test_there_is_a_limit(tmp_path: Path) -> None:
    entries = [{"name": f"n{i}", "expression": "agree"} for i in range(MAX_FILTERS)]
    put(tmp_path, json.dumps({"filters": entries}))
    with pytest.raises(InputError, match="saved already"):
        keep_filter(tmp_path, "one more", "agree")
    keep_filter(tmp_path, "n1", "not agree")


def put(workspace: Path, text: str) -> Path:
    path = workspace / ".distillscope" / "filters.json"
    path.parent.mkdir()
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"filters": {}}', "[" * 100_000, '"' + "x" * (1 << 21) + '"', "\x00"],
    ids=range(8),
)
def test_a_hostile_file_is_said_and_never_written_over(tmp_path: Path, text: str) -> None:
    path = put(tmp_path, text)
    found, said = load_filters(tmp_path)
    assert found == ()
    assert said == "The saved filters cannot be read: filters.json is damaged. Move it away."
    with pytest.raises(StorageError, match="damaged"):
        keep_filter(tmp_path, "mine", "agree")
    assert path.read_text() == text


def test_entries_that_are_no_filters_are_left_out(tmp_path: Path) -> None:
    good = {"name": "good", "expression": "agree"}
    bad = [
        1, None, [], {}, {"name": "x"}, {"name": 1, "expression": "agree"},
        {"name": "x", "expression": "a" * 1001}, {"name": "", "expression": "agree"},
        {"name": "\u202ex", "expression": "agree"}, {"name": "x", "expression": "a\x00"},
    ]  # fmt: skip
    put(tmp_path, json.dumps({"filters": [*bad, good], "more": 1}))
    found, said = load_filters(tmp_path)
    assert found == (SavedFilter("good", "agree"),)
    assert said == f"{len(bad)} entries of filters.json are no filters and were left out."


def test_what_is_no_file_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / ".distillscope").mkdir()
    os.mkfifo(tmp_path / ".distillscope" / "filters.json")
    assert load_filters(tmp_path)[1] is not None


def test_a_workspace_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / ".distillscope").write_text("a file where the folder would be")
    with pytest.raises(StorageError):
        keep_filter(tmp_path, "mine", "agree")
    assert load_filters(tmp_path) == ((), None)


def test_conditions_are_named_in_the_table() -> None:
    table = table_of(GOLDEN, ALPHA, load_pair(GOLDEN, "alpha"))
    assert set(table["condition"].to_pylist()) == {CLEAN}
