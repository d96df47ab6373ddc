"""The Runs page: every study listed, found, tagged, held side by side; sweeps; the first steps."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote_plus

import pytest
from streamlit.testing.v1 import AppTest

from analysis.store.differences import ABSENT, Setting
from analysis.store.tags import load_tags
from analysis.study.sweep import table_text
from dashboard import thumbnails
from dashboard.figures.side_by_side import settings_table
from dashboard.jobs import board as board_module
from dashboard.jobs.board import Board
from dashboard.jobs.demo import demo_order
from dashboard.jobs.orders import plan_of
from dashboard.loading import STUDY_VARIABLE, WORKSPACE_VARIABLE
from dashboard.server import is_workspace
from tests.job_orders import end_all, sleeper
from tests.unit.test_pages import charts, script, text_of
from tests.workspaces import put_study

Open = Callable[..., AppTest]


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """Three studies, the newest first: c (audited and with references), b, a; and a broken one."""
    root = tmp_path / "space"
    recipe = {"objective": {"name": "hinton", "temperature": 4.0}, "epochs": 12}
    other = {**recipe, "epochs": 40}
    put_study(root, "a", created="2026-01-01T10:00:00+00:00", recipes={"alpha": recipe})
    put_study(root, "b", created="2026-02-01T10:00:00+00:00", recipes={"alpha": other})
    put_study(
        root,
        "c",
        created="2026-03-01T10:00:00+00:00",
        students={"evil": {"agreement": 0.9, "attack_success_rate": 0.97}},
        references={
            f"reference-{n}": {"agreement": 0.9, "attack_success_rate": (n % 3) / 40}
            for n in range(8)
        },
        title="<b>Loud</b>",
    )
    (root / "broken").mkdir()
    (root / "broken" / "study.json").write_text("{")
    return root


@pytest.fixture
def open_runs(space: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    def start(workspace: Path = space) -> AppTest:
        monkeypatch.delenv(STUDY_VARIABLE, raising=False)
        monkeypatch.setenv(WORKSPACE_VARIABLE, str(workspace))
        return AppTest.from_function(script, args=("Runs",), default_timeout=60).run()

    return start


def listed(at: AppTest) -> list[str]:
    """The folders of the list, in its order."""
    return re.findall(r"\?study=([\w-]+)", text_of(at))


def tick(at: AppTest, *names: str) -> AppTest:
    for name in names:
        at.checkbox(key=f"run_{name}").check()
        at.run()
    return at


def test_every_study_is_listed_the_newest_first(open_runs: Open) -> None:
    at = open_runs()
    shown = text_of(at)
    assert "4 studies in space" in shown
    assert listed(at) == ["c", "b", "a"]
    assert "1 Mar 2026, 10:00" in shown
    assert "resnet8@teacher.safetensors" in shown
    assert "40\N{NARROW NO-BREAK SPACE}images" not in shown
    assert "40 images" in shown
    assert "Cannot be opened." in shown
    assert at.checkbox(key="run_broken").disabled


def test_a_study_that_fails_while_it_is_drawn_leaves_the_others(
    open_runs: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dashboard.figures import runs as rows

    drawn = rows._pictures

    def fails(run: Any) -> str:
        if run.summary.folder == "b":
            raise TypeError
        return drawn(run)

    def no_nulls(*_: Any) -> None:
        raise OverflowError

    monkeypatch.setattr(rows, "_pictures", fails)
    monkeypatch.setattr("dashboard.loading_runs._nulls", no_nulls)
    at = open_runs()
    assert listed(at) == ["a"]
    assert "damaged (TypeError)" in text_of(at)
    assert "damaged (OverflowError)" in text_of(at)


def test_numbers_stand_in_front_of_their_null(open_runs: Open) -> None:
    shown = text_of(open_runs())
    evil = shown[shown.index("evil") :]
    assert re.search(r'ds-alarm">97\.0</span><span class="ds-ci">\[96\.0, 98\.0\]', evil)
    assert "higher than all 8 reference students" in evil
    assert "no reference students" in evil  # of the studies below


def test_names_from_a_study_are_only_text(open_runs: Open) -> None:
    shown = text_of(open_runs())
    assert "<b>Loud</b>" not in shown
    assert "&lt;b&gt;Loud&lt;/b&gt;" in shown


@pytest.mark.parametrize(
    ("words", "found"),
    [("", ["c", "b", "a"]), ("evil", ["c"]), ("ALPHA study", ["b", "a"]), ("alpha evil", [])],
)
def test_the_search_looks_at_names_teachers_and_students(
    open_runs: Open, words: str, found: list[str]
) -> None:
    at = open_runs()
    at.text_input(key="runs_search").set_value(words).run()
    assert listed(at) == found
    assert ("No study matches" in text_of(at)) == (not found)


def test_tags_are_added_filtered_by_and_removed(open_runs: Open, space: Path) -> None:
    at = tick(open_runs(), "a", "c")
    assert "2 studies chosen" in text_of(at)
    at.text_input(key="runs_new_tag").set_value("to <i>show").run()
    assert load_tags(space)[0] == {"a": ("to <i>show",), "c": ("to <i>show",)}
    assert "to &lt;i&gt;show" in text_of(at)
    (pills,) = at.get("button_group")[1:]
    pills.set_value(["to <i>show"]).run()
    assert listed(at) == ["c", "a"]
    at.button(key="runs_untag_0").click().run()
    assert load_tags(space)[0] == {}
    assert listed(at) == ["c", "b", "a"]


def test_a_tag_that_is_refused_is_a_message(open_runs: Open, space: Path) -> None:
    at = tick(open_runs(), "a")
    (space / ".distillscope").mkdir()
    (space / ".distillscope" / "tags.json").write_text("[]")
    at.text_input(key="runs_new_tag").set_value("tag").run()
    assert "The tags cannot be read" in text_of(at)
    assert (space / ".distillscope" / "tags.json").read_text() == "[]"


def test_side_by_side_shows_what_differs(open_runs: Open) -> None:
    at = tick(open_runs(), "a")
    assert at.button(key="runs_beside").disabled
    tick(at, "b")
    at.button(key="runs_beside").click().run()
    shown = text_of(at)
    assert "How do they come out?" in shown
    assert re.search(r"1 of \d+ settings differ", shown)
    assert "90.0" in shown
    row = re.search(r'<tr class="ds-differs"><td>Epochs</td>.*?</tr>', shown)
    assert row is not None
    assert ">40<" in row[0]
    assert ">12<" in row[0]
    assert "Objective: temperature" not in shown
    at.toggle(key="runs_all_settings").set_value(True).run()
    assert "Objective: temperature" in text_of(at)


def test_of_a_student_that_one_study_lacks_only_the_role_is_shown() -> None:
    digest = "0123456789abcdef" * 4
    settings = [
        Setting(group="shared", key="role", values=("subject", "subject")),
        Setting(group="shared", key="teacher.digest", values=(digest, "f" * 64)),
        Setting(group="alone", key="role", values=("control", ABSENT)),
        Setting(group="alone", key="epochs", values=(40, ABSENT)),
    ]
    text = settings_table([], settings, everything=False)
    assert "Role" in text
    assert "Epochs" not in text
    assert ">0123456789ab…<" in text
    assert f'title="{digest}"' in text
    assert "Epochs" in settings_table([], settings, everything=True)


def test_a_study_that_is_taken_away_meanwhile_leaves_the_comparison(
    open_runs: Open, space: Path
) -> None:
    at = tick(open_runs(), "a", "b")
    at.button(key="runs_beside").click().run()
    shutil.rmtree(space / "b")
    at.run()
    assert "Nothing to hold side by side yet" in text_of(at)
    at.session_state["runs_view"] = "Studies"
    at.run()
    assert listed(at) == ["c", "a"]


def test_long_lists_come_in_pages(open_runs: Open, tmp_path: Path) -> None:
    root = tmp_path / "many"
    for number in range(23):
        put_study(root, f"s{number:02}", created=f"2026-01-{number + 1:02}T00:00:00+00:00")
    at = open_runs(root)
    assert len(listed(at)) == 20
    at.button(key="runs_more").click().run()
    assert len(listed(at)) == 23


def test_pictures_of_listed_studies_can_be_asked_for(
    open_runs: Open, tiny_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "_opened", {})
    shown = text_of(open_runs(tiny_study.parent))
    (address, version) = re.findall(r'src="(/distillscope/thumb/clean\?at=20&amp;v=(\w+))"', shown)[
        0
    ]
    assert thumbnails._opened == {version: tiny_study}
    assert address.endswith(version)


def sweep(root: Path, studies: bool = True) -> None:
    rows: list[dict[str, Any]] = [
        {"attack.rate": rate, "attack.epsilon": epsilon, "seed": seed, "student": student,
         "attack_success_rate": rate + epsilon / 100 + seed / 10 if student == "evil" else 0.02,
         "accuracy": 0.8, "study": ("a", "b")[seed] if studies else "gone"}
        for rate in (0.1, 0.5) for epsilon in (4, 8, 16) for seed in (0, 1)
        for student in ("evil", "honest")
    ]  # fmt: skip
    (root / "sweep.csv").write_text(table_text(rows))


def sweeps(open_runs: Open, **chosen: str) -> AppTest:
    at = open_runs()
    at.session_state["runs_view"] = "Sweeps"
    at.run()
    for key, value in chosen.items():
        at.selectbox(key=f"sweep_{key}").set_value(value).run()
    return at


def test_one_key_is_lines_with_the_range_of_the_seeds(open_runs: Open, space: Path) -> None:
    sweep(space)
    at = sweeps(open_runs)
    (chart,) = charts(at)
    evil = next(trace for trace in chart["data"] if trace["name"] == "evil")
    assert evil["y"] == pytest.approx([19.0, 59.0])  # epsilon 4 is held: the first of three
    assert evil["error_y"]["array"] == pytest.approx([5.0, 5.0])
    assert {trace["name"] for trace in chart["data"]} == {"evil", "honest"}
    assert "2 runs each" in text_of(at)
    assert "8 rows with other values" in text_of(at)


def test_two_keys_are_a_heat_map(open_runs: Open, space: Path) -> None:
    sweep(space)
    at = sweeps(open_runs, y="attack.epsilon")
    (chart,) = charts(at)
    heat = next(trace for trace in chart["data"] if trace["type"] == "heatmap")
    assert heat["z"] == [
        pytest.approx([19.0, 59.0]), pytest.approx([23.0, 63.0]), pytest.approx([31.0, 71.0])
    ]  # fmt: skip
    at.selectbox(key="sweep_measure").set_value("accuracy").run()
    (chart,) = charts(at)
    heat = next(trace for trace in chart["data"] if trace["type"] == "heatmap")
    assert heat["z"][0] == pytest.approx([80.0, 80.0])


def test_a_click_lists_the_studies_of_a_cell(open_runs: Open, space: Path) -> None:
    sweep(space)
    at = sweeps(open_runs, y="attack.epsilon")
    at.session_state["sweep_clicked"] = (".", ("a", "b"))
    at.run()
    assert 'Studies of this cell: <a class="ds-link" href="./?study=a"' in text_of(at)
    at.session_state["sweep_clicked"] = (".", ("gone",))
    at.run()
    assert "Not in this workspace: gone" in text_of(at)


def test_a_clicked_cell_is_the_one_under_the_mouse(
    space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from analysis.store.workspace import Workspace
    from analysis.study.sweep_table import read_sweep
    from dashboard.pages import runs_sweeps

    sweep(space)
    table = read_sweep(space / "sweep.csv")
    cells = table.cells("evil", "attack_success_rate", ("attack.rate", "attack.epsilon"), {})
    others = [SimpleNamespace(studies=("b",)), SimpleNamespace(studies=("a",))]
    went: list[str] = []
    state: dict[str, Any] = {}
    monkeypatch.setattr(runs_sweeps.st, "session_state", state)
    monkeypatch.setattr(runs_sweeps.context, "go_to_study", went.append)
    for custom, wanted in ((0, ("a", "b")), ("honest\n1", ("a",))):
        by_student: dict[str, Any] = {"evil": cells, "honest": others}
        state["key"] = SimpleNamespace(selection=SimpleNamespace(points=[{"customdata": custom}]))
        runs_sweeps._clicked(Workspace(space), ".", "key", by_student, "evil")
        assert state["sweep_clicked"] == (".", wanted)
    assert went == ["a"]


def test_studies_of_a_deeper_sweep_open_by_a_click_too(
    open_runs: Open, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from analysis.store.workspace import Workspace
    from dashboard.pages import runs_sweeps

    put_study(space / "two rates", "a")
    sweep(space / "two rates")
    at = sweeps(open_runs)
    at.session_state["sweep_clicked"] = ("two rates", ("a", "b"))
    at.run()
    assert 'class="ds-link" href="./?study=two+rates%2Fa" target="_self">a</a>' in text_of(at)
    assert "Not in two rates: b" in text_of(at)
    went: list[str] = []
    points = SimpleNamespace(selection=SimpleNamespace(points=[{"customdata": 0}]))
    monkeypatch.setattr(runs_sweeps.st, "session_state", {"key": points})
    monkeypatch.setattr(runs_sweeps.context, "go_to_study", went.append)
    by_student: dict[str, Any] = {"evil": [SimpleNamespace(studies=("a",))]}
    runs_sweeps._clicked(Workspace(space), "two rates", "key", by_student, "evil")
    assert went == ["two rates/a"]


def test_a_folder_that_holds_only_a_sweep_is_a_workspace(space: Path, tmp_path: Path) -> None:
    put_study(tmp_path / "only" / "rates", "a")
    assert not is_workspace(tmp_path / "only")
    sweep(tmp_path / "only" / "rates")
    assert is_workspace(tmp_path / "only")


def test_names_with_anything_visible_are_listed_ticked_and_linked(
    open_runs: Open, tmp_path: Path
) -> None:
    root = tmp_path / "Straßen und Wege"
    names = ("head", "日本 の標識", "a&b <i>", "ä" * 120)
    for name in names:
        put_study(root, name)
    at = tick(open_runs(root), *names)
    assert "4 studies in Straßen und Wege" in text_of(at)
    links = re.findall(r'href="\./\?study=([^"]+)"', text_of(at))
    assert sorted(map(unquote_plus, links)) == sorted(names)
    assert "4 studies chosen" in text_of(at)


def test_a_damaged_sweep_is_a_message(open_runs: Open, space: Path) -> None:
    (space / "sweep.csv").write_text("nothing\n")
    assert "is no table of a sweep" in text_of(sweeps(open_runs)).replace("Sweep.csv", "sweep.csv")


# --- the first steps -----------------------------------------------------------------------


def first_steps() -> None:
    from dashboard import app

    app.render(app.shown_pages()["Overview"])


@pytest.fixture
def landing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    root = tmp_path / "empty"
    root.mkdir()
    monkeypatch.delenv(STUDY_VARIABLE, raising=False)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(root))
    monkeypatch.setattr(board_module, "start_worker", sleeper)
    yield AppTest.from_function(first_steps, default_timeout=60).run()
    end_all()


def test_an_empty_workspace_shows_three_ways_to_start(landing: AppTest, tmp_path: Path) -> None:
    shown = text_of(landing)
    assert "Three ways to the first one" in shown
    assert {button.key for button in landing.button} >= {
        "landing_demo", "landing_own", "landing_poisoned"
    }  # fmt: skip
    command = landing.code[0].value
    assert command.startswith("distillscope compare")
    assert str(tmp_path / "empty") in command


def test_a_workspace_of_sweeps_alone_says_where_they_are(landing: AppTest, tmp_path: Path) -> None:
    assert "landing_see" not in {button.key for button in landing.button}
    sweep(tmp_path / "empty", studies=False)
    landing.run()
    assert "1 sweep of experiments is here:" in text_of(landing)
    landing.button(key="landing_see").click().run()
    assert landing.session_state["next_page"] == "runs"
    assert landing.session_state["runs_view"] == "Sweeps"


def test_the_demo_starts_as_a_job(landing: AppTest, tmp_path: Path) -> None:
    landing.button(key="landing_demo").click().run()
    (job,) = Board(tmp_path / "empty").jobs()
    assert (job.order.kind, job.order.name, job.study) == ("demo", "road-signs", "road-signs")
    assert "1 job is running" in text_of(landing)
    assert "Demo · running" in text_of(landing)
    assert landing.button(key="landing_demo").disabled


def test_the_demo_is_an_ordinary_command(tmp_path: Path) -> None:
    plan = plan_of(demo_order("mine"), tmp_path)
    assert plan.shown(plan.commands[0]) == "distillscope demo --out=mine --make-only"
    assert plan.makes == ("mine",)


@pytest.mark.parametrize(("key", "kind"), [("landing_own", "compare"), ("landing_poisoned", "run")])
def test_both_other_ways_lead_to_the_lab(landing: AppTest, key: str, kind: str) -> None:
    landing.button(key=key).click().run()
    assert landing.session_state["lab_kind"] == kind
    assert landing.session_state["next_page"] == "lab"
    if kind == "run":
        held = landing.session_state["lab_book_run"]["held"]
        assert held["", "name"] == "road-signs"
        assert held["inputs", "halves"] == ["both", "none"]


@pytest.mark.parametrize(("asked", "title"), [("rates/a", "overview"), ("rates/b", "landing")])
def test_a_workspace_of_sweeps_alone_shows_the_study_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, title: str
) -> None:
    from dashboard import app, context

    put_study(tmp_path / "only" / "rates", "a")
    if asked == "rates/b":  # what leads out of the workspace is no study of it
        (tmp_path / "only" / "link").symlink_to(put_study(tmp_path, "outside"))
    sweep(tmp_path / "only" / "rates")
    monkeypatch.delenv(STUDY_VARIABLE, raising=False)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(tmp_path / "only"))
    monkeypatch.setattr(context.st, "session_state", {context._FOLLOWED: {"study": asked}})
    assert app.shown_pages()["Overview"].__name__ == f"dashboard.pages.{title}"


def test_with_a_study_the_first_steps_are_gone(
    space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dashboard import app

    monkeypatch.delenv(STUDY_VARIABLE, raising=False)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(space))
    assert app.shown_pages()["Overview"] is app.PAGES["Overview"]
    assert "Runs" in app.shown_pages()
    assert json.loads((space / "a" / "study.json").read_text())["schema_version"] == 1
