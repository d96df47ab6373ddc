"""From one study to another: what of a selection is kept, and what a deleted study looks like."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from analysis.records import CLEAN, TEACHER
from analysis.store import Study
from dashboard.loading import STUDY_VARIABLE, WORKSPACE_VARIABLE
from dashboard.selection import Lasso, SavedSet, Selection, SliceSet
from dashboard.switching import carried

LASSO = Lasso.around("teacher", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
CHOSEN = Selection(
    study="old", student="beta", condition=CLEAN, left="alpha", cell=(1, 2), group=3, differ=True,
    within=SavedSet("0" * 64), where="kl > 1", picked=LASSO, sample="inspection/00001",
    color="divergence", epoch=4, step=2, layer="layer1.0:layer1.0",
)  # fmt: skip


def changed(tiny_study: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Study:
    """A copy of the study with ``change`` made to its manifest."""
    shutil.copytree(tiny_study, folder)
    manifest = json.loads((folder / "study.json").read_text())
    change(manifest)
    (folder / "study.json").write_text(json.dumps(manifest))
    return Study.open(folder)


# --- what is kept --------------------------------------------------------------------------


def test_the_same_images_keep_all_but_maps_layers_and_steps(study: Study) -> None:
    moved = carried(CHOSEN, study, study, "new")
    gone: dict[str, Any] = {"study": "new", "picked": None, "epoch": None, "step": None}
    assert moved == dataclasses.replace(CHOSEN, **gone, layer=None)


@pytest.mark.parametrize("within", [LASSO, SliceSet("0" * 16)])
def test_polygons_and_slices_belong_to_one_study(study: Study, within: Any) -> None:
    selection = dataclasses.replace(CHOSEN, within=within)
    assert carried(selection, study, study, "new").within is None


def test_other_images_take_samples_with_them(
    study: Study, tiny_study: Path, tmp_path: Path
) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["image_sets"]["inspection"]["digest"] = "9" * 64

    moved = carried(CHOSEN, study, changed(tiny_study, tmp_path / "new", change), "new")
    assert (moved.within, moved.sample) == (None, None)
    assert (moved.cell, moved.group, moved.where) == (CHOSEN.cell, CHOSEN.group, CHOSEN.where)


def test_other_classes_take_what_names_them(study: Study, tiny_study: Path, tmp_path: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["class_names"][0] = "another"

    moved = carried(CHOSEN, study, changed(tiny_study, tmp_path / "new", change), "new")
    assert (moved.cell, moved.group, moved.where) == (None, None, None)
    assert (moved.sample, moved.differ) == (CHOSEN.sample, True)


def test_models_and_conditions_that_are_not_there_are_reset(
    study: Study, attacked_study: Path
) -> None:
    moved = carried(CHOSEN, study, Study.open(attacked_study), None)
    assert (moved.study, moved.student, moved.left) == (None, "backdoored", TEACHER)
    back = carried(
        Selection(student="honest", condition="trigger"), Study.open(attacked_study), study, "x"
    )
    assert (back.student, back.condition) == ("alpha", CLEAN)


def test_nobody_is_compared_with_itself(study: Study, attacked_study: Path) -> None:
    selection = Selection(student="backdoored", left="alpha")
    assert carried(selection, Study.open(attacked_study), study, "x").left == TEACHER


# --- in a session --------------------------------------------------------------------------


def script(page: str) -> None:
    from dashboard import app

    app.render(app.PAGES[page])


@pytest.fixture
def space(tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace of two studies, served without one of them."""
    root = tmp_path / "space"
    for name in ("a", "b"):
        shutil.copytree(tiny_study, root / name)
    monkeypatch.delenv(STUDY_VARIABLE, raising=False)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(root))
    return root


def params(at: AppTest) -> dict[str, str]:
    return {key: v if isinstance(v, str) else v[0] for key, v in at.query_params.items()}


def text_of(at: AppTest) -> str:
    assert not at.exception, [item.value for item in at.exception]
    return " ".join(item.proto.body for item in at.get("html"))


def started(page: str, **query: str) -> AppTest:
    at = AppTest.from_function(script, args=(page,), default_timeout=60)
    for name, value in query.items():
        at.query_params[name] = value
    return at.run()


def test_a_newer_study_does_not_take_the_place_of_the_one_looked_at(space: Path) -> None:
    (space / "a" / "study.json").touch()
    at = started("Overview")
    assert params(at) == {"student": "alpha", "study": "a"}
    (space / "b" / "study.json").touch()
    at.run()
    assert at.selectbox(key="study_picker").value == "a"


def test_the_picker_keeps_student_and_filter(space: Path) -> None:
    at = started("Overview", study="a", student="beta", differ="1")
    at.selectbox(key="study_picker").set_value("b").run()
    assert params(at) == {"student": "beta", "study": "b", "differ": "1"}
    assert "differ" in " ".join(button.label for button in at.button)


@pytest.mark.parametrize("page", ["Overview", "Map", "Inspect"])
def test_a_study_deleted_while_open_says_so_and_leads_to_the_others(space: Path, page: str) -> None:
    at = started(page, study="b")
    shutil.rmtree(space / "b")
    at.run()
    text = text_of(at)
    assert "There is no study &#x27;b&#x27; in space" in text
    assert "deleted, moved or renamed while it was open" in text
    assert 'href="./?study=a"' in text
    shutil.copytree(space / "a", space / "b")
    at.run()
    assert "no study" not in text_of(at)


def test_an_address_of_a_study_that_never_was_does_not_say_it_was_deleted(space: Path) -> None:
    text = text_of(started("Overview", study="c"))
    assert "There is no study &#x27;c&#x27;" in text
    assert "deleted" not in text


def test_what_is_done_to_a_deleted_study_is_a_message_too(space: Path) -> None:
    at = started("Overview", study="b")
    shutil.rmtree(space / "b")
    at.selectbox(key="student_picker").set_value("beta").run()
    assert 'href="./?study=a"' in text_of(at)


def fragment_script(folder: str) -> None:
    import shutil

    import streamlit as st

    from dashboard import context
    from dashboard.guard import fragment, shown_in_place

    def part(view: context.View) -> None:
        if st.button("Look", key="look"):
            shutil.rmtree(folder)
            st.write(view.study.array("labels/inspection").sum())

    with shown_in_place():
        fragment(part)(context.open_view())


def test_a_fragment_names_the_study_that_is_gone_not_its_file(space: Path) -> None:
    at = AppTest.from_function(fragment_script, args=(str(space / "b"),), default_timeout=60)
    at.query_params["study"] = "b"
    at.run()
    at.button(key="look").click().run()
    text = text_of(at)
    assert "no study" in text
    assert "labels" not in text
    assert 'href="./?study=a"' in text


def alone_script() -> None:
    from analysis.errors import BusyError
    from dashboard.guard import fragment, shown_in_place

    def part() -> None:
        raise BusyError("the queue is full", remedy="wait")

    with shown_in_place(of_study=False):
        fragment(part, of_study=False)()
        part()


def test_a_page_of_the_workspace_needs_no_study_for_its_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(STUDY_VARIABLE, raising=False)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(tmp_path))
    text = text_of(AppTest.from_function(alone_script, default_timeout=60).run())
    assert text.count("The queue is full") == 2
    assert "no study" not in text


def defect_script() -> None:
    from dashboard.guard import shown_in_place

    with shown_in_place():
        raise ZeroDivisionError


def test_a_defect_is_a_message_unless_a_traceback_is_asked_for(
    space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert AppTest.from_function(defect_script, default_timeout=60).run().exception
    monkeypatch.delenv("DISTILLSCOPE_TRACEBACK")
    at = AppTest.from_function(defect_script, default_timeout=60).run()
    assert "cannot be shown (ZeroDivisionError)" in text_of(at)


def to_a_study() -> None:
    import streamlit as st

    from dashboard import context

    st.button("go", key="go", on_click=context.go_to_study, args=("b",))
    st.text(str(st.session_state.get("followed")))


def test_a_session_that_showed_no_study_yet_goes_to_one() -> None:
    at = AppTest.from_function(to_a_study, default_timeout=60).run()
    at.button(key="go").click().run()
    assert not at.exception
    assert at.text[0].value == "{'study': 'b'}"
