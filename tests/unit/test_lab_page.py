"""The Lab page: its forms on the records, problems in place, jobs with what can be done."""

from __future__ import annotations

import dataclasses
import re
import shutil
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from analysis.config import SettingCard
from analysis.distillation.history import EpochRecord
from analysis.live.requests import Examine, Look
from analysis.study.examination import EXAMINERS
from analysis.study.setting_cards import setting_cards
from dashboard.figures import jobs as shown
from dashboard.jobs import board as board_module
from dashboard.jobs.board import Board
from dashboard.jobs.curves import latest_training
from dashboard.jobs.forms import FORMS
from dashboard.jobs.orders import plan_of
from dashboard.jobs.presets import PRESETS
from dashboard.jobs.progress import Part, Progress, Stage, Tracker
from dashboard.jobs.record import LOG, Job, Order, write_job
from dashboard.loading import STUDY_VARIABLE, WORKSPACE_VARIABLE
from dashboard.pages.lab_fields import Field, help_of, is_default, section_fields, value_of
from dashboard.pages.lab_filled import free_name
from dashboard.pages.lab_form import command_lines
from dashboard.theme import DARK, LIGHT
from tests.job_orders import end_all, sleeper
from tests.unit.test_pages import charts, script, text_of

CARDS = setting_cards()


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The page on an empty workspace, whose workers only sleep."""
    monkeypatch.delenv(STUDY_VARIABLE, raising=False)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(board_module, "start_worker", sleeper)
    return AppTest.from_function(script, args=("Lab",), default_timeout=60)


def ready(at: AppTest) -> AppTest:
    """Run until the forms are there and nothing is waited for."""
    at.run()
    limit = time.monotonic() + 120
    while "Reading what can be set" in text_of(at) or "Looking at the models" in text_of(at):
        assert time.monotonic() < limit, text_of(at)[-2000:]
        time.sleep(0.2)
        at.run()
    return at


def chosen(at: AppTest, kind: str) -> AppTest:
    at.session_state["lab_kind"] = kind
    return ready(at)


def preset(at: AppTest, kind: str) -> AppTest:
    chosen(at, kind)
    next(one for one in at.button if one.key.startswith(f"preset_{kind}_")).click()
    return ready(at)


def field(at: AppTest, section: str, name: str) -> Any:
    """The widget of a field, by the end of its key."""
    kinds = (
        at.text_input,
        at.number_input,
        at.selectbox,
        at.checkbox,
        at.multiselect,
        at.text_area,
    )
    found = [one for kind in kinds for one in kind if one.key.endswith(f"/{section}/{name}")]
    assert len(found) == 1, (section, name, found)
    return found[0]


def button(at: AppTest, key: str) -> Any:
    return next(one for one in at.button if one.key.startswith(key))


def jobs(tmp_path: Path) -> list[Job]:
    return Board(tmp_path).jobs()


# --- the form ------------------------------------------------------------------------------


def test_an_empty_workspace_offers_every_form_and_says_what_is_needed(page: AppTest) -> None:
    at = ready(page)
    assert "Nothing is running" in text_of(at)
    assert "No jobs yet" in text_of(at)
    for kind, form in FORMS.items():
        chosen(at, kind)
        text = text_of(at)
        assert form.about in text
        assert "Needed: " in text
        assert button(at, "lab_start").disabled
        for one in form.fields:
            if one.required:
                assert one.title in text


@pytest.mark.parametrize("kind", sorted({one.kind for one in PRESETS}))
def test_a_preset_can_be_started_and_its_job_is_what_the_command_says(
    page: AppTest, tmp_path: Path, kind: str
) -> None:
    at = preset(page, kind)
    assert not button(at, "lab_start").disabled, text_of(at)
    assert "ds-problem" not in text_of(at)
    codes = [one.value for one in at.code]
    button(at, "lab_start").click()
    ready(at)
    (job,) = jobs(tmp_path)
    assert job.state == "running"
    plan = plan_of(job.order, tmp_path)
    assert command_lines(tmp_path, plan) == codes[-1]
    assert [text.rstrip() for text in plan.files.values()] == codes[:-1]
    assert job.study == plan.study
    text = text_of(at)
    assert "1 job is running" in text
    assert job.order.name in text
    # The next one has another name, so that it can be started at once.
    assert field(at, "", "name").value == f"{job.order.name}-2"
    assert not button(at, "lab_start").disabled


def test_the_file_of_an_experiment_holds_what_was_typed(page: AppTest) -> None:
    at = preset(page, "run")
    field(at, "attack", "rate").set_value(0.3)
    field(at, "distillation", "momentum").set_value(0.5)
    field(at, "distillation", "checkpoint_epochs").set_value("1, 3")
    field(at, "inputs", "audit").set_value("fast")
    ready(at)
    written = tomllib.loads(at.code[0].value)
    assert written["attack"]["rate"] == 0.3
    assert written["distillation"]["momentum"] == 0.5
    assert written["distillation"]["checkpoint_epochs"] == [1, 3]
    assert written["audit"] == {"budget": "fast"}
    assert "weight_decay" not in written["distillation"], "what is left alone is not written"


def test_what_an_objective_needs_appears_with_it(page: AppTest) -> None:
    at = preset(page, "distill")
    assert not [one for one in at.number_input if one.key.endswith("/recipe/alpha")]
    field(at, "recipe", "objective").set_value("dkd")
    ready(at)
    field(at, "recipe", "alpha").set_value(2.0)
    ready(at)
    assert "--set=alpha=2.0" in at.code[0].value
    assert "--objective=dkd" in at.code[0].value


def test_a_wrong_value_is_said_below_its_field_with_the_remedy(page: AppTest) -> None:
    at = preset(page, "attack")
    field(at, "attack", "trigger").set_value("stickr:size=7")
    ready(at)
    text = text_of(at)
    assert "Unknown trigger &#x27;stickr&#x27;" in text
    assert "Did you mean &#x27;sticker&#x27;" in text
    assert "Something is wrong below" in text
    assert button(at, "lab_start").disabled
    field(at, "attack", "trigger").set_value("sticker:size=7")
    field(at, "attack", "epsilon").set_value("0.03")
    ready(at)
    assert "at least 1, in 1/255" in text_of(at)
    field(at, "attack", "epsilon").set_value("8/255")
    ready(at)
    assert not button(at, "lab_start").disabled, text_of(at)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [("name", "../out", "a letter or digit first"), ("name", "there", "is there already"),
     ("teacher", "net.py:make@w.pt", "names Python code")],
)  # fmt: skip
def test_hostile_input_is_refused_in_place(
    page: AppTest, tmp_path: Path, name: str, value: str, says: str
) -> None:
    (tmp_path / "there").mkdir()
    at = preset(page, "compare")
    field(at, "" if name == "name" else "inputs", name).set_value(value)
    ready(at)
    assert says in text_of(at)
    assert button(at, "lab_start").disabled


def test_what_only_the_files_tell_is_found_at_the_start(page: AppTest, tmp_path: Path) -> None:
    at = preset(page, "compare")
    field(at, "inputs", "images").set_value("nowhere/images")
    ready(at)
    assert not button(at, "lab_start").disabled
    button(at, "lab_start").click()
    ready(at)
    assert "nowhere/images" in text_of(at)
    assert "ds-refused" in text_of(at)
    assert jobs(tmp_path) == []


def test_a_form_about_a_study_begins_with_the_one_that_is_looked_at(
    page: AppTest, tmp_path: Path, tiny_study: Path
) -> None:
    for name in ("first", "second"):
        shutil.copytree(tiny_study, tmp_path / name)
    page.query_params["study"] = "first"
    at = chosen(page, "audit")
    assert field(at, "inputs", "study").value == "first"
    assert field(at, "inputs", "student").options == ["alpha", "beta"]
    assert at.code[0].value.endswith("distillscope audit first --budget=standard")
    field(at, "inputs", "student").set_value("beta")
    ready(at)
    assert "audit first --student=beta" in at.code[0].value
    button(at, "lab_start").click()
    ready(at)
    (job,) = jobs(tmp_path)
    assert (job.study, job.order.name) == ("first", "first")


def test_names_from_the_workspace_are_shown_as_text(page: AppTest, tmp_path: Path) -> None:
    board = Board(tmp_path)
    order = Order(kind="<b>kind</b>", name="<img src=x>", values={})
    write_job(board.folder("one"), Job(id="one", order=order, state="failed", message="<script>"))
    text = text_of(ready(page))
    assert "<img src=x>" not in text
    assert "<script>" not in text
    assert "&lt;img src=x&gt;" in text


# --- the jobs ------------------------------------------------------------------------------

ORDER = Order(kind="distill", name="small", values={"recipe": {"epochs": 3}, "inputs": {
    "teacher": "t.safetensors", "images": "signs:train", "inspection": "signs:test"}})  # fmt: skip


def test_a_running_job_shows_parts_stage_curves_log_and_is_cancelled(
    page: AppTest, tmp_path: Path
) -> None:
    from analysis.distillation.history import History

    job = Board(tmp_path, start=sleeper).submit(ORDER, study="small")
    folder = Board(tmp_path).folder(job.id)
    with Tracker(folder, (Part(title="Distill"), Part(title="Compare", command=1))) as tracker:
        tracker.report("training", 40, 120)
    epochs = tuple(
        EpochRecord(epoch=n, loss=3 - n, learning_rate=0.1, validation_agreement=0.3 * n)
        for n in (1, 2)
    )
    (tmp_path / "small.run").mkdir()
    History(epochs=epochs).write(tmp_path / "small.run" / "history.json")
    (folder / LOG).write_text("$ distillscope distill\nhello\n")
    at = ready(page)
    text = text_of(at)
    assert "1 job is running" in text
    assert "part 1 of 2 · training: 40 of 120" in text
    assert 'aria-valuenow="33"' in text
    assert "Training, epoch 2 of 3" in text
    (chart,) = charts(at)
    assert "agreement 60.0" in str(chart["layout"]["annotations"])
    button(at, f"log_{job.id}").click()
    ready(at)
    assert any("hello" in one.value for one in at.code)
    button(at, f"cancel_{job.id}").click()
    ready(at)
    limit = time.monotonic() + 20
    while jobs(tmp_path)[0].state != "cancelled":
        assert time.monotonic() < limit
        at.run()
    at.run()
    assert "cancelled, " in text_of(at)
    button(at, f"resume_{job.id}").click()
    ready(at)
    assert jobs(tmp_path)[0].attempts == 2
    button(at, f"cancel_{job.id}").click()
    at.run()


def test_a_dead_worker_is_shown_as_failed_and_offers_to_go_on(
    page: AppTest, tmp_path: Path
) -> None:
    job = Board(tmp_path, start=sleeper).submit(ORDER)
    end_all()
    at = ready(page)
    assert "The worker ended without a word: it was killed" in text_of(at)
    assert not button(at, f"resume_{job.id}").disabled


def test_a_job_that_is_done_leads_to_its_study_and_can_be_removed(
    page: AppTest, tmp_path: Path
) -> None:
    board = Board(tmp_path)
    done = Job(id="one", order=ORDER, state="done", study="small", started=1.0, ended=9.0)
    write_job(board.folder("one"), done)
    assert "its study is gone" in text_of(ready(page))
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "study.json").write_text("{}")
    at = ready(page)
    assert 'href="./?study=small"' in text_of(at)
    button(at, "remove_one").click()
    ready(at)
    assert jobs(tmp_path) == []
    assert (tmp_path / "small").is_dir(), "what it made stays"


def test_many_jobs_are_listed_in_full_on_wish_and_more_run_at_once(
    page: AppTest, tmp_path: Path
) -> None:
    board = Board(tmp_path)
    for number in range(9):
        order = dataclasses.replace(ORDER, name=f"job-number-{number}")
        write_job(
            board.folder(f"j{number}"),
            Job(id=f"j{number}", order=order, state="done", created=number, ended=time.time()),
        )
    at = ready(page)
    assert "job-number-8" in text_of(at)
    assert "job-number-0" not in text_of(at)
    next(one for one in at.toggle if one.label == "All 9 jobs").set_value(True)
    assert "job-number-0" in text_of(ready(at))
    next(one for one in at.number_input if one.label == "Jobs at a time").set_value(3)
    ready(at)
    assert Board(tmp_path).at_once == 3


# --- pieces --------------------------------------------------------------------------------


def test_every_form_has_an_examiner_and_known_cards() -> None:
    assert set(EXAMINERS) == set(FORMS)
    for form in FORMS.values():
        for section in form.sections:
            fields = section_fields(section, CARDS, {})
            assert fields, (form.kind, section.name)
            known = {one.card.name for one in fields}
            assert set(section.main) <= known, (form.kind, section.name)
            for name in section.hidden:
                assert name not in known
            for one in fields:
                assert one.title
                assert help_of(one.card)


def test_looking_does_not_replace_examining() -> None:
    assert Look.kind != Examine.kind
    assert not Look.lasting


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [("ints", "1, 3,", [1, 3]), ("ints", "", None), ("texts", "a, b", ["a", "b"]),
     ("texts", ("a",), ["a"]), ("text", "  ", None), ("text", " x ", "x"), ("float", 3, 3.0),
     ("int", None, None), ("bool", False, False)],
)  # fmt: skip
def test_what_a_widget_holds_becomes_a_value(kind: Any, raw: Any, value: Any) -> None:
    card = SettingCard(name="a", kind=kind, default=None, help="of a")
    assert value_of(Field(section="s", card=card, title="A"), raw) == value


def test_what_is_left_alone_is_known_as_such() -> None:
    for cards in CARDS.values():
        for card in cards:
            one = Field(section="s", card=card, title="A")
            assert is_default(one, value_of(one, card.default)), card


def test_a_free_name_is_one_that_nothing_has(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert free_name(board, "signs") == "signs"
    (tmp_path / "Signs.run").mkdir()
    assert free_name(board, "signs") == "signs-2"
    (tmp_path / "signs-2").mkdir()
    assert free_name(board, "signs-2") == "signs-3"
    write_job(board.folder("a"), Job(id="a", order=dataclasses.replace(ORDER, name="signs-3")))
    assert free_name(board, "signs") == "signs-4"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0\u202fs"), (59.6, "1\u202fmin 0\u202fs"), (200, "3\u202fmin 20\u202fs"),
     (7505, "2\u202fh 5\u202fmin")],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert shown.duration(seconds) == words


def test_states_in_words() -> None:
    now = 1_000_000.0
    job = Job(id="a", order=ORDER, state="running", started=now - 61)
    assert shown.state_words(job, now=now) == "running, 1\u202fmin 1\u202fs"
    assert shown.state_words(dataclasses.replace(job, stop_asked=now), now=now).startswith("stop")
    assert shown.state_words(dataclasses.replace(job, state="queued"), now=now) == "queued"
    done = dataclasses.replace(job, state="done", ended=now - 30)
    assert shown.state_words(done, now=now) == "done in 31\u202fs, just now"
    assert shown.state_words(done, now=now + 100).endswith("2\u202fmin ago")
    old = dataclasses.replace(done, state="failed", ended=now - 90_000)
    assert re.fullmatch(r"failed, \d{4}-\d\d-\d\d \d\d:\d\d", shown.state_words(old, now=now))


def test_the_finding_counts_what_runs_and_waits() -> None:
    job = Job(id="a", order=ORDER)
    running = dataclasses.replace(job, state="running")
    assert shown.finding([]) == "Nothing is running"
    assert shown.finding([running, job, job]) == "1 job is running, 2 wait"
    assert shown.finding([running, running]) == "2 jobs are running"


def test_a_stage_in_words() -> None:
    stage = Stage(name="<i>", part=1, done=10, total=110, first=0, began=100.0, reported=110.0)
    progress = Progress(parts=("A", "B"), at=1, stages=(stage,))
    assert shown.stage_words(progress, 1.0) == (
        "part 2 of 2 · &lt;i&gt;: 10 of 110 · about 1\u202fmin 40\u202fs left of this stage"
    )
    assert "no sign of life for 45" in shown.stage_words(progress, 45.0)
    assert shown.stage_words(Progress(), 0) == "starting"
    assert shown.bar_html(None).count('aria-valuenow="0"') == 1
    assert '<li class="ds-part-here">B</li>' in shown.parts_html(progress)


@pytest.mark.parametrize("colors", [LIGHT, DARK])
def test_curves_stand_on_fixed_axes_and_leave_out_what_was_not_measured(colors: Any) -> None:
    epochs = [EpochRecord(epoch=n, loss=2.0 / n, learning_rate=0.1, train_agreement=0.2 * n)
              for n in (1, 2, 3)]  # fmt: skip
    figure = shown.training_figure(epochs, colors, 8)
    assert [list(trace.y) for trace in figure.data] == [
        pytest.approx([2.0, 1.0, 2 / 3]), pytest.approx([20.0, 40.0, 60.0]),
    ]  # fmt: skip
    assert tuple(figure.layout.xaxis2.range) == (0.8, 8.2)
    assert tuple(figure.layout.yaxis2.range) == (0, 103)
    assert "agreement 60.0" in figure.layout.annotations[1].text
    assert "accuracy" not in figure.layout.annotations[1].text


def test_the_latest_training_is_the_one_that_went_on_last(tmp_path: Path) -> None:
    from analysis.distillation.history import History

    def write(name: str, count: int) -> None:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        made = [EpochRecord(epoch=n + 1, loss=1.0, learning_rate=0.1) for n in range(count)]
        History(epochs=tuple(made)).write(folder / "history.json")

    find: Callable[..., Any] = latest_training
    assert find(tmp_path, ["x", "x.run", "x.toml"], since=0) is None
    write("x.run/a.run", 2)
    time.sleep(0.02)
    write("x.run/b.run", 3)
    found = find(tmp_path, ["x", "x.run", "x.toml"], since=0)
    assert (found.of, len(found.epochs)) == ("b.run", 3)
    assert find(tmp_path, ["x.run"], since=time.time() + 60) is None
    (tmp_path / "x.run" / "b.run" / "history.json").write_text("{")
    assert find(tmp_path, ["x.run"], since=0) is None
