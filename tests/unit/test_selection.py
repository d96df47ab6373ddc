"""The selection: what the URL holds, what hostile URLs get, sets saved in the workspace."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import InputError, StorageError
from dashboard.selection import (
    COLORINGS,
    MAX_QUERY_BYTES,
    MAX_VERTICES,
    MAX_WHERE_BYTES,
    Lasso,
    SavedSet,
    Selection,
    SliceSet,
    find_sample,
    fits_url,
    load_set,
    sample_token,
    save_set,
)

STUDENTS, CONDITIONS, CLASSES = ["alpha", "beta"], ["clean", "trigger"], 16

coordinates = st.floats(-1e4, 1e4).map(lambda x: float(f"{x:.4g}"))
lassos = st.builds(
    Lasso,
    st.sampled_from(["teacher", "student"]),
    st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=MAX_VERTICES).map(tuple),
)
saved = st.builds(SavedSet, st.text("0123456789abcdef", min_size=64, max_size=64))
slices = st.builds(SliceSet, st.text("0123456789abcdef", min_size=16, max_size=16))
regions = st.none() | lassos | saved | slices
indices = st.integers(0, CLASSES - 1)
selections = st.builds(
    Selection,
    student=st.sampled_from(STUDENTS),
    condition=st.sampled_from(CONDITIONS),
    left=st.sampled_from(["teacher", "gamma"]),
    cell=st.none() | st.tuples(indices, indices),
    group=st.none() | indices,
    differ=st.booleans(),
    within=regions,
    where=st.none() | st.text(min_size=1, max_size=40).filter(fits_url),
    picked=regions,
    sample=st.none() | st.text(min_size=1, max_size=30).filter(lambda t: t[0] != "~"),
    color=st.sampled_from(COLORINGS),
    epoch=st.none() | st.integers(0, 999_999),
    step=st.none() | st.integers(0, 8),
)


def read(query: dict[str, str]) -> tuple[Selection, tuple[str, ...]]:
    return Selection.from_query(
        query, students=STUDENTS, conditions=CONDITIONS, classes=CLASSES, lefts=["gamma"]
    )


@given(selections)
def test_the_url_gives_the_selection_back(selection: Selection) -> None:
    text = urlencode(selection.to_query())
    assert read(dict(parse_qsl(text))) == (selection, ())


def test_the_url_stays_short_at_its_longest() -> None:
    points = tuple((-1234.0 - row, -0.0001234 * (row + 1)) for row in range(MAX_VERTICES))
    region = Lasso.around("student", points)
    selection = Selection(
        student="s" * 64, condition="c" * 64, left="l" * 64, cell=(999, 999), group=999,
        differ=True, within=region, picked=region, sample="é" * 5000, color="divergence",
        epoch=999_999, step=8, where="x" * MAX_WHERE_BYTES,
    )  # fmt: skip
    assert len(urlencode(selection.to_query())) < MAX_QUERY_BYTES


@given(st.dictionaries(
    st.sampled_from(["student", "condition", "left", "cell", "class", "differ", "within", "where",
                     "picked", "sample", "color", "epoch", "step", "other"]),
    st.text(max_size=200),
))  # fmt: skip
def test_every_url_shows_a_page(query: dict[str, str]) -> None:
    selection, messages = read(query)
    assert selection.student in STUDENTS
    assert selection.condition in CONDITIONS
    assert all("\n" not in message and len(message) < 400 for message in messages)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("student", "alpa", "Did you mean 'alpha'?"),
        ("condition", "../../etc", "names condition '../../etc'"),
        ("left", "gama", "Did you mean 'gamma'?"),
        ("left", "alpha", "compares 'alpha' with itself"),
        ("cell", "3.99", "expected two classes"),
        ("cell", "3", "expected two classes"),
        ("class", "-1", "expected 0 to 15"),
        ("class", "16", "expected 0 to 15"),
        ("differ", "maybe", "names differ 'maybe'"),
        ("within", "set_../../passwd", "expected set_ and a digest"),
        ("within", "slice_12", "expected slice_ and its id"),
        ("within", "teacher_1_2", "3 to 40 points"),
        ("picked", "student_1_2_3_4_nan_6", "3 to 40 points"),
        ("picked", "nobody_1_2_3_4_5_6", "3 to 40 points"),
        ("color", "<script>", "names color '<script>'"),
        ("where", "é" * 50, "a filter of 50 characters"),
        ("where", "", "a filter of 0 characters"),
        ("epoch", "-3", "names epoch '-3'"),
        ("step", "9", "expected 0 to 8"),
    ],
)
def test_an_unusable_value_is_named_and_left_out(name: str, value: str, says: str) -> None:
    selection, messages = read({name: value})
    assert selection == Selection(student="alpha")
    assert len(messages) == 1
    assert says in messages[0]


def test_a_usable_value_gets_no_message() -> None:
    assert read({"student": "beta", "class": "15"}) == (
        Selection(student="beta", group=15),
        (),
    )


def winding_inside(x: float, y: float, points: tuple[tuple[float, float], ...]) -> bool:
    """Even-odd rule one point and one edge at a time, with exact cross products."""
    crossings = 0
    for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True):
        if (y1 > y) == (y2 > y):
            continue
        side = (x2 - x1) * (y - y1) - (x - x1) * (y2 - y1)
        crossings += (side > 0) == (y2 > y1)
    return crossings % 2 == 1


grid = st.integers(-6, 6).map(float)


@given(
    st.lists(st.tuples(grid, grid), min_size=3, max_size=9),
    st.lists(st.tuples(grid, grid), min_size=1, max_size=20),
)
def test_contains_is_the_even_odd_rule(
    polygon: list[tuple[float, float]], points: list[tuple[float, float]]
) -> None:
    # Off the grid by an irrational step, so that no point lies on an edge.
    layout = np.asarray(points) + np.asarray([0.0141421356, 0.0173205081])
    lasso = Lasso("teacher", tuple(polygon))
    expected = [winding_inside(x, y, lasso.points) for x, y in layout.tolist()]
    assert lasso.contains(layout).tolist() == expected


def test_a_lasso_knows_inside_from_outside() -> None:
    square = Lasso("student", ((0, 0), (4, 0), (4, 4), (0, 4)))
    layout = np.asarray([[2.0, 2.0], [5.0, 2.0], [-0.1, 2.0], [2.0, 4.1]])
    assert square.contains(layout).tolist() == [True, False, False, False]


def test_a_long_lasso_is_thinned() -> None:
    angles = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    points = np.column_stack([np.cos(angles), np.sin(angles)])
    lasso = Lasso.around("teacher", points.tolist())
    assert len(lasso.points) == MAX_VERTICES
    assert lasso.contains(np.asarray([[0.0, 0.0], [0.9, 0.0], [1.2, 0.0]])).tolist() == [
        True,
        True,
        False,
    ]


def test_saved_sets_come_back(tmp_path: Path) -> None:
    kept = save_set(tmp_path, ["b", "a", "é/../c"])
    assert kept == save_set(tmp_path, ["a", "é/../c", "b"])
    assert load_set(tmp_path, kept) == {"a", "b", "é/../c"}
    assert [path.parent for path in tmp_path.rglob("*.json")] == [
        tmp_path / ".distillscope" / "selections"
    ]


@pytest.mark.parametrize("content", ["[", "{}", '["other"]', "[1]", None])
def test_a_damaged_saved_set_is_refused(tmp_path: Path, content: str | None) -> None:
    kept = save_set(tmp_path, ["a"])
    path = next(tmp_path.rglob("*.json"))
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(InputError, match=r"saved selection .* Select the images again"):
        load_set(tmp_path, kept)


def test_an_unwritable_workspace_is_named(tmp_path: Path) -> None:
    (tmp_path / ".distillscope").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot be saved"):
        save_set(tmp_path, ["a"])


def test_saved_sets_are_plain_json(tmp_path: Path) -> None:
    save_set(tmp_path, ["a", "b"])
    assert json.loads(next(tmp_path.rglob("*.json")).read_text()) == ["a", "b"]


@given(st.lists(st.text(min_size=1, max_size=400), min_size=1, max_size=5, unique=True))
def test_a_sample_token_finds_its_sample(names: list[str]) -> None:
    ids = np.asarray(names, dtype=object)
    for row, name in enumerate(names):
        assert find_sample(sample_token(name), ids) == row


@pytest.mark.parametrize("name", ["folder/" * 40 + "a.png", "~other", "~" + "0" * 32])
def test_a_long_sample_id_survives_every_reload(name: str) -> None:
    query = Selection(student="alpha", sample=name).to_query()
    for _ in range(3):
        read, messages = Selection.from_query(
            query, students=["alpha"], conditions=["clean"], classes=3
        )
        assert not messages
        assert find_sample(str(read.sample), np.asarray(["a", name], dtype=object)) == 1
        assert read.to_query() == query


def test_an_unknown_sample_is_not_found() -> None:
    ids = np.asarray(["a", "b"], dtype=object)
    assert find_sample("c", ids) is None
    assert find_sample("~" + "0" * 32, ids) is None
