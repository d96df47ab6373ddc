"""The Python half of the pair map: what is sent, what is believed, who wins."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from streamlit.testing.v1 import AppTest

from analysis.errors import InputError
from dashboard.components.pair_map import PairPoints, PointColors, component, routes, serving
from dashboard.components.pair_map.columns import NO_CLASS, encode_columns, text_columns
from dashboard.components.pair_map.exchange import Chosen, Exchange, Report
from dashboard.components.pair_map.serving import BlobStore, publish, script_url
from dashboard.selection import Lasso

FOLDER = Path(serving.__file__).parent


def decode(data: bytes) -> dict[str, np.ndarray]:
    """An independent reader, written from the description of the format."""
    length = int.from_bytes(data[:4], "little")
    start = -(-(4 + length) // 8) * 8
    columns = {}
    for name, code, offset, size in json.loads(data[4 : 4 + length]):
        assert (start + offset) % 8 == 0
        dtype = {"u1": "u1", "u2": "<u2", "u4": "<u4", "f4": "<f4"}[code]
        columns[name] = np.frombuffer(data, dtype, size, start + offset)
    return columns


def make_points(count: int = 12, **changes: Any) -> PairPoints:
    rng = np.random.default_rng(count)
    fields: dict[str, Any] = {
        "teacher_xy": rng.normal(size=(count, 2)),
        "student_xy": rng.normal(size=(count, 2)),
        "sample_ids": [f"inspection/é{row}" for row in range(count)],
        "class_names": ("a", "b", "c"),
        "teacher_answers": rng.integers(0, 3, count),
        "student_answers": rng.integers(0, 3, count),
        "teacher_probabilities": rng.random(count),
        "student_probabilities": rng.random(count),
        "kl": rng.random(count),
    }
    return PairPoints(**fields | changes)


def test_what_lies_beneath_is_in_no_lasso_and_far_is_a_bit_for_each_map() -> None:
    beneath = np.arange(12) >= 9
    far = np.array([[False, False], [True, False], [False, True], [True, True]] * 3)
    points = make_points(backdrop=beneath, far=far)
    around = Lasso("student", ((-9.0, -9.0), (9.0, -9.0), (9.0, 9.0), (-9.0, 9.0)))
    assert points.within(around).tolist() == (~beneath).tolist()
    assert make_points().within(around).all()
    columns = decode(points.encoded)
    assert columns["far"].tolist() == [0, 1, 2, 3] * 3
    assert columns["backdrop"].tolist() == beneath.astype(int).tolist()
    assert not {"far", "backdrop"} & set(decode(make_points().encoded))
    with pytest.raises(InputError, match="far of shape"):
        make_points(far=far[:, 0])


def mask_of(count: int, *rows: int) -> np.ndarray:
    mask = np.zeros(count, bool)
    mask[list(rows)] = True
    return mask


def state(points: PairPoints, mask: np.ndarray, given: int = 0, **changes: Any) -> dict[str, Any]:
    bits = np.packbits(mask, bitorder="little").tobytes()
    value: dict[str, Any] = {
        "points": points.digest,
        "count": int(mask.sum()),
        "bits": base64.b64encode(bits).decode() if mask.any() else None,
        "lasso": None,
        "clicked": None,
        "given": given,
    }
    return value | changes


class TestColumns:
    @given(
        st.lists(
            st.tuples(st.sampled_from(["u1", "u2", "u4", "f4"]), st.integers(0, 19)), max_size=6
        )
    )
    def test_reading_gives_back_what_was_written(self, shapes: list[tuple[str, int]]) -> None:
        columns = {
            f"column{i}": (np.arange(size) * 7 % 251).astype(code)
            for i, (code, size) in enumerate(shapes)
        }
        found = decode(encode_columns(columns))
        assert list(found) == list(columns)
        for name, array in columns.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)

    @given(st.lists(st.text(max_size=9)))
    def test_strings_come_back(self, values: list[str]) -> None:
        columns = text_columns("id", values)
        data, offsets = columns["id_bytes"].tobytes(), columns["id_offsets"]
        pairs = itertools.pairwise(offsets)
        assert [data[start:end].decode() for start, end in pairs] == values


class TestPoints:
    def test_columns_hold_the_points(self) -> None:
        points = make_points(5, labels=np.array([0, -1, 2, 1, 0]), thumbnail_index=np.arange(5) * 3)
        columns = decode(points.encoded)
        np.testing.assert_array_equal(
            columns["student"].reshape(5, 2), points.student_xy.astype("f4")
        )
        assert columns["label"].tolist() == [0, NO_CLASS, 2, 1, 0]
        assert columns["thumbnail"].tolist() == [0, 3, 6, 9, 12]
        assert columns["shape"].tolist() == [0] * 5

    def test_digest_follows_the_content(self) -> None:
        assert make_points(5).digest == make_points(5).digest
        assert make_points(5).digest != make_points(5, kl=np.zeros(5)).digest

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"teacher_xy": np.zeros((4, 2))}, r"teacher_xy of shape \(4, 2\); expected \(5, 2\)"),
            ({"student_xy": np.full((5, 2), np.nan)}, "student_xy has NaN"),
            ({"kl": np.zeros(6)}, r"kl of shape \(6,\); expected \(5,\)"),
            ({"has_trigger": np.zeros(1, bool)}, "has_trigger of shape"),
            ({"class_names": range(NO_CLASS)}, "65535 classes"),
        ],
    )
    def test_wrong_arrays_are_named(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            make_points(5, **changes)

    def test_no_points_is_an_error(self) -> None:
        with pytest.raises(InputError, match=r"no points for the maps\. Widen the filter"):
            make_points(0)


class TestColors:
    def test_missing_category_has_the_code_after_the_last(self) -> None:
        color = PointColors.categories(np.array([1, -1, 0]), ["a", "b"], slots=["alarm", 7])
        assert color.codes.tolist() == [1, 2, 0]
        assert color.codes.dtype == np.uint8
        assert color.legend["slots"] == ["alarm", 7]

    def test_many_categories_take_two_bytes(self) -> None:
        color = PointColors.categories(np.array([0, 299]), [str(i) for i in range(300)])
        assert color.codes.dtype == np.uint16
        assert decode(color.encode())["code"].tolist() == [0, 299]

    @given(st.lists(st.floats(-1, 2) | st.just(float("nan")), min_size=1))
    def test_ramp_is_linear_clipped_and_keeps_missing(self, values: list[float]) -> None:
        codes = PointColors.ramp(np.array(values), title="KL").codes
        for value, code in zip(values, codes, strict=True):
            if np.isnan(value):
                assert code == 255
            else:
                assert abs(code / 254 - min(1.0, max(0.0, value))) <= 0.5 / 254 + 1e-12

    def test_highlight_travels_with_the_colors(self) -> None:
        color = PointColors.ramp(np.array([0.0, 1.0]), title="KL")
        columns = decode(color.encode(np.array([True, False])))
        assert columns["highlight"].tolist() == [1, 0]
        assert "highlight" not in decode(color.encode())

    def test_wrong_categories_are_named(self) -> None:
        with pytest.raises(InputError, match="category 2; expected below 2"):
            PointColors.categories(np.array([2]), ["a", "b"])
        with pytest.raises(InputError, match="1 color slots; expected 2, one per name"):
            PointColors.categories(np.array([0]), ["a", "b"], slots=[0])
        with pytest.raises(InputError, match="65535 categories"):
            PointColors.categories(np.array([0]), [""] * NO_CLASS)


class TestServing:
    def test_least_recently_used_goes_first(self) -> None:
        store = BlobStore(limit=25)
        first, second = store.put(b"a" * 10), store.put(b"b" * 10)
        assert store.get(first) == b"a" * 10
        third = store.put(b"c" * 10)
        assert store.get(second) is None
        assert store.get(first)
        assert store.get(third)

    def test_one_blob_beyond_the_limit_is_kept(self) -> None:
        store = BlobStore(limit=5)
        assert store.get(store.put(b"a" * 10)) == b"a" * 10

    def test_same_bytes_are_counted_once(self) -> None:
        store = BlobStore(limit=25)
        other = store.put(b"b" * 10)
        for _ in range(5):
            store.put(b"a" * 10)
        assert store.get(other)

    def fetch(self, path: str) -> Any:
        (route,) = routes()
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "headers": [],
            "path_params": {"name": path.rpartition("/")[2]},
        }
        return asyncio.run(route.endpoint(Request(scope)))

    def test_published_bytes_can_be_fetched_and_cached(self) -> None:
        answer = self.fetch(publish(b"columns"))
        assert answer.body == b"columns"
        assert answer.media_type == "application/octet-stream"
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"

    def test_script_is_served_as_a_module(self) -> None:
        answer = self.fetch(script_url())
        assert answer.media_type == "text/javascript"
        assert answer.body == (FOLDER / "pair_map.js").read_bytes()

    @pytest.mark.parametrize("name", ["0" * 64, "..%2f..%2fetc", "__init__.py", ""])
    def test_anything_else_is_not_found(self, name: str) -> None:
        answer = self.fetch(f"/distillscope/map/{name}")
        assert answer.status_code == 404
        assert answer.headers["cache-control"] == "no-store"


class TestReport:
    def test_reads_what_the_browser_sends(self) -> None:
        points = make_points(11)
        mask = mask_of(11, 0, 8, 10)
        lasso = {"side": "student", "points": [[0, 0], [1, 0.5], [0, 2]]}
        report = Report.read(state(points, mask, 3, lasso=lasso, clicked=8), points)
        assert report is not None
        np.testing.assert_array_equal(report.chosen.mask, mask)
        assert report.chosen.lasso == Lasso("student", ((0.0, 0.0), (1.0, 0.5), (0.0, 2.0)))
        assert (report.chosen.clicked, report.given) == (8, 3)

    def test_other_points_are_not_believed(self) -> None:
        points = make_points(11)
        assert Report.read(state(make_points(12), mask_of(12, 1)), points) is None

    @pytest.mark.parametrize(
        "damage",
        [
            {"bits": "AA"},
            {"bits": "AAAAAAAAAAAA"},
            {"bits": 7},
            {"bits": "§"},
            {"clicked": 11},
            {"clicked": -1},
            {"clicked": "x"},
            {"lasso": {"side": "left", "points": []}},
            {"lasso": {"side": "teacher", "points": [[1]]}},
            {"lasso": 3},
            {"given": None},
        ],
    )
    def test_damaged_states_are_ignored(self, damage: dict[str, Any]) -> None:
        points = make_points(11)
        value = state(points, mask_of(11, 1))
        assert Report.read(value, points) is not None
        assert Report.read(value | damage, points) is None

    @pytest.mark.parametrize("value", [None, {}, [], "x", 3])
    def test_no_state_is_no_report(self, value: Any) -> None:
        assert Report.read(value, make_points()) is None


class TestChosen:
    def test_polygon_selects_in_its_own_map(self) -> None:
        points = make_points(40)
        square = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
        for side in ("teacher", "student"):
            chosen = Chosen.of(Lasso(side, square), points)
            inside = (np.abs(points.layout(side)) < 0.5).all(1)
            np.testing.assert_array_equal(chosen.mask, inside)
            assert 0 < inside.sum() < 40

    def test_mask_of_another_length_is_named(self) -> None:
        with pytest.raises(InputError, match=r"selection of shape \(3,\); expected \(12,\)"):
            Chosen.of(np.zeros(3, bool), make_points())


class Browser:
    """What the script does: follows a wish once, and reports what is selected."""

    def __init__(self, points: PairPoints):
        self.points, self.given = points, 0
        self.mask = np.zeros(len(points), bool)
        self.said: dict[str, Any] | None = None

    def hear(self, message: dict[str, Any] | None) -> None:
        if message and message["serial"] != self.given:
            self.given = message["serial"]
            bits = np.frombuffer(base64.b64decode(message["bits"]), np.uint8)
            self.mask = np.unpackbits(bits, count=len(self.mask), bitorder="little").astype(bool)

    def select(self, *rows: int) -> None:
        self.mask = mask_of(len(self.points), *rows)
        self.said = state(self.points, self.mask, self.given)


def rows(chosen: Chosen | None) -> list[int]:
    return [] if chosen is None else np.flatnonzero(chosen.mask).tolist()


class TestExchange:
    points = make_points(9)

    def wish(self, *selected: int) -> Chosen:
        return Chosen(mask_of(9, *selected))

    def run(self, exchange: Exchange, browser: Browser, argument: Chosen | None) -> list[int]:
        chosen = exchange.settle(Report.read(browser.said, self.points), argument)
        browser.hear(exchange.message())
        return rows(chosen)

    def start(self) -> tuple[Exchange, Browser]:
        return Exchange(self.points.digest), Browser(self.points)

    def test_user_decides_while_the_page_has_no_opinion(self) -> None:
        exchange, browser = self.start()
        assert self.run(exchange, browser, None) == []
        browser.select(2, 3)
        assert self.run(exchange, browser, None) == [2, 3]
        assert exchange.message() is None

    def test_deep_link_is_in_force_before_the_browser_answers(self) -> None:
        exchange, browser = self.start()
        assert self.run(exchange, browser, self.wish(1)) == [1]
        assert rows(Chosen(browser.mask)) == [1]
        message = exchange.message()
        assert self.run(exchange, browser, self.wish(1)) == [1]
        assert exchange.message() == message

    def test_user_overrules_a_deep_link_that_stays_in_the_url(self) -> None:
        exchange, browser = self.start()
        self.run(exchange, browser, self.wish(1))
        browser.select(5)
        assert self.run(exchange, browser, self.wish(1)) == [5]

    def test_late_echo_does_not_undo_a_newer_selection(self) -> None:
        exchange, browser = self.start()
        browser.select(1)
        self.run(exchange, browser, None)
        browser.select(2)
        assert self.run(exchange, browser, self.wish(1)) == [2]
        assert self.run(exchange, browser, self.wish(2)) == [2]
        assert exchange.message() is None
        assert rows(Chosen(browser.mask)) == [2]

    def test_going_back_wins(self) -> None:
        exchange, browser = self.start()
        for row in (1, 2):
            browser.select(row)
            self.run(exchange, browser, None)
            self.run(exchange, browser, self.wish(row))
        assert self.run(exchange, browser, self.wish(1)) == [1]
        assert rows(Chosen(browser.mask)) == [1]
        assert self.run(exchange, browser, self.wish(1)) == [1]

    def test_empty_mask_clears(self) -> None:
        exchange, browser = self.start()
        browser.select(1)
        self.run(exchange, browser, None)
        assert self.run(exchange, browser, self.wish()) == []
        assert not browser.mask.any()

    def test_page_that_comes_back_restores_its_selection(self) -> None:
        exchange, browser = self.start()
        browser.select(4)
        self.run(exchange, browser, None)
        self.run(exchange, browser, self.wish(4))
        fresh = Browser(self.points)
        assert self.run(exchange, fresh, self.wish(4)) == [4]
        assert rows(Chosen(fresh.mask)) == [4]

    def test_page_that_comes_back_without_opinion_starts_empty(self) -> None:
        exchange, browser = self.start()
        self.run(exchange, browser, self.wish(7))
        browser.select(4)
        self.run(exchange, browser, None)
        fresh = Browser(self.points)
        assert self.run(exchange, fresh, None) == []
        assert not fresh.mask.any()
        fresh.select(3)
        assert self.run(exchange, fresh, None) == [3]

    def test_points_that_come_back_hear_the_wish_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        others = make_points(9, kl=np.arange(9.0))
        monkeypatch.setattr(component.st, "session_state", {})
        browsers = [Browser(points) for points in (self.points, others)]
        told: list[dict[str, Any] | None] = []

        def run(at: int) -> list[int]:
            points, browser = (self.points, others)[at], browsers[at]
            exchange, goes_on = component._exchange("film", points)
            report = Report.read(browser.said, points) if goes_on else None
            chosen = exchange.settle(report, self.wish(4))
            told.append(exchange.message())
            browser.hear(told[-1])
            return rows(chosen)

        run(0)
        browsers[0].select(4)
        assert run(0) == [4]
        assert run(1) == [4]
        browsers[0].mask[:] = False  # what the script does once it has shown other points
        browsers[0].given = 0
        assert run(0) == [4]
        assert rows(Chosen(browsers[0].mask)) == [4]
        assert run(0) == [4]
        serials = [message["serial"] for message in told if message]
        assert serials == sorted(serials)

    @given(st.lists(st.tuples(st.integers(-1, 8) | st.none(), st.booleans()), max_size=20))
    def test_page_that_echoes_late_never_loses_the_users_last_word(
        self, steps: list[tuple[int | None, bool]]
    ) -> None:
        exchange, browser = self.start()
        url: list[int] | None = None
        last: list[int] = []
        for row, delivered in steps:
            if row is not None:
                last = [row] if row >= 0 else []
                browser.select(*last)
            argument = self.wish(*url) if url else None
            assert self.run(exchange, browser, argument) == last
            if delivered:
                url = last
        assert rows(Chosen(browser.mask)) == last


def script() -> None:
    import numpy as np
    import streamlit as st

    from dashboard.components.pair_map import PointColors, pair_map
    from tests.unit.test_pair_map import make_points

    points = make_points(9)
    wanted = np.arange(9) < st.session_state.get("wanted", 0)
    state = pair_map(
        key="maps",
        points=points,
        color=PointColors.categories(points.student_answers, points.class_names),
        selection=wanted if wanted.any() else None,
        highlight=np.arange(9) > st.session_state.get("above", -1),
    )
    st.text(str(None if state.selected is None else int(state.selected.sum())))


class TestPage:
    def message(self, app: AppTest) -> dict[str, Any]:
        return json.loads(app.get("bidi_component")[0].proto.json)

    def test_message_names_the_data_and_holds_none_of_it(self) -> None:
        app = AppTest.from_function(script).run()
        assert not app.exception
        message = self.message(app)
        points = make_points(9)
        assert message["points"].endswith(points.digest)
        assert message["count"] == 9
        assert message["selection"] is None
        assert app.text[0].value == "None"
        assert len(app.get("bidi_component")[0].proto.js_content) < 300

    def test_message_of_an_unchanged_page_is_unchanged(self) -> None:
        app = AppTest.from_function(script).run()
        before = self.message(app)
        assert self.message(app.run()) == before

    def test_highlight_changes_the_colors_alone(self) -> None:
        app = AppTest.from_function(script).run()
        before = self.message(app)
        app.session_state["above"] = 4
        after = self.message(app.run())
        assert {name for name in before if before[name] != after[name]} == {"colors"}

    def test_page_sets_the_selection(self) -> None:
        app = AppTest.from_function(script)
        app.session_state["wanted"] = 4
        app.run()
        wish = self.message(app)["selection"]
        assert app.text[0].value == "4"
        assert base64.b64decode(wish["bits"]) == bytes([0b1111, 0])
        assert wish["serial"] == 1


class TestScript:
    text = (FOLDER / "pair_map.js").read_text()

    def test_script_evaluates_nothing_and_loads_nothing_from_elsewhere(self) -> None:
        assert not re.search(r"\beval\(|new Function|innerHTML|insertAdjacentHTML", self.text)
        assert set(re.findall(r"https?://[^\"'`\s]+", self.text)) <= {"http://www.w3.org/2000/svg"}

    def test_lock_file_names_no_host(self) -> None:
        assert "resolved" not in (FOLDER / "package-lock.json").read_text()

    def test_script_is_built_from_its_source(self, tmp_path: Path) -> None:
        esbuild = FOLDER / "node_modules/.bin/esbuild"
        if not esbuild.exists():
            pytest.skip("needs `npm ci` in the component's folder")
        build = json.loads((FOLDER / "package.json").read_text())["scripts"]["build"]
        command = build.replace("--outfile=pair_map.js", f"--outfile={tmp_path}/built.js").split()
        subprocess.run([esbuild, *command[1:]], cwd=FOLDER, check=True, capture_output=True)
        assert (tmp_path / "built.js").read_text() == self.text

    def test_a_class_is_isolated_by_the_answers_of_the_map_on_which_it_was_chosen(
        self, tmp_path: Path
    ) -> None:
        esbuild, built = FOLDER / "node_modules/.bin/esbuild", tmp_path / "isolation.mjs"
        if not esbuild.exists():
            pytest.skip("needs `npm ci` in the component's folder")
        source = FOLDER / "src" / "isolation.ts"
        command = [esbuild, source, "--bundle", "--format=esm", f"--outfile={built}"]
        subprocess.run(command, check=True, capture_output=True)
        (tmp_path / "asked.mjs").write_text(ASKED)
        done = subprocess.run(
            ["node", tmp_path / "asked.mjs"], check=True, capture_output=True, text=True
        )
        assert json.loads(done.stdout) == {
            "teacher": [True, True, False], "student": [False, True, True],
            "again": None, "other": {"side": "teacher", "group": 1},
            "labels": [True, False, False], "same": None, "none": None,
        }  # fmt: skip


ASKED = f"""
import {{ belongs, isolate }} from "./isolation.mjs";
const columns = {{ teacher_answer: [1, 1, 0], student_answer: [0, 1, 1], label: [1, 0, 0] }};
const of = (names) => ({{ has: (name) => names.includes(name), u2: (name) => columns[name] }});
const plain = of(["teacher_answer", "student_answer"]), labeled = of(Object.keys(columns));
const rows = (points, chosen) => [0, 1, 2].map((row) => belongs(points, chosen, row));
const student = isolate(plain, null, "student", 1);
console.log(JSON.stringify({{
  teacher: rows(plain, isolate(plain, null, "teacher", 1)),
  student: rows(plain, student),
  again: isolate(plain, student, "student", 1),
  other: isolate(plain, student, "teacher", 1),
  labels: rows(labeled, isolate(labeled, null, "student", 1)),
  same: isolate(labeled, isolate(labeled, null, "student", 1), "teacher", 1),
  none: isolate(plain, null, "teacher", {NO_CLASS}),
}}));
"""
