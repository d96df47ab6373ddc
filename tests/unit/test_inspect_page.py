"""Inspect: what if the image were another one, maps on demand, a whole selection."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from analysis.attribution.catalog import METHOD_CARDS
from analysis.attribution.region import changed_pixels, mass_of_shifted
from analysis.data.edit import edited
from analysis.data.edits import Sticker
from analysis.data.imageset import to_pixels
from analysis.errors import BusyError
from analysis.records import TRIGGER
from analysis.store import Study
from analysis.study.models import load_stored
from dashboard import live
from dashboard.figures.numbers import THIN, percent, probability
from dashboard.loading import STUDY_VARIABLE
from dashboard.pages.inspect_maps import LABEL, OWN, PARTS, Choice
from dashboard.pages.inspect_state import WhatIf
from tests.studies import lasso_of_half, unlabel, without_labels
from tests.unit.test_pages import altered, charts, script, text_of

Run = Callable[..., AppTest]


@pytest.fixture
def run(attacked_study: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def start(
        query: dict[str, str] | None = None,
        study: Path = attacked_study,
        **state: Any,
    ) -> AppTest:
        monkeypatch.setenv(STUDY_VARIABLE, str(study))
        at = AppTest.from_function(script, args=("Inspect",), default_timeout=60)
        for name, value in {"student": "backdoored", **(query or {})}.items():
            at.query_params[name] = value
        if state:
            at.session_state["what_if"] = what_if(study, **state)
        return at.run()

    return start


def what_if(study: Path, **changes: Any) -> WhatIf:
    standing = {"study": str(study), "side": 32, "across": 16.0, "down": 16.0, "size": 6.0}
    return WhatIf(**{**standing, "on": True, **changes})


def settled(at: AppTest, *words: str) -> AppTest:
    """Run until all ``words`` are on the page and nothing is waited for any more."""
    limit = time.monotonic() + 120
    while not all(word in text_of(at) for word in words) or "st-key-stale" in text_of(at):
        assert time.monotonic() < limit, text_of(at)[-3000:]
        time.sleep(0.2)
        at.run()
    return at


def numbers(values: Any) -> np.ndarray:
    """What a figure's JSON holds: a list, or an array in base64."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"])
    return np.asarray(values)


def sample_of(at: AppTest) -> str:
    value = at.session_state["inspect_now"]["sample"]
    assert isinstance(value, str)
    return value


def test_both_models_answer_the_changed_image(run: Run, attacked_study: Path) -> None:
    study = Study.open(attacked_study)
    at = settled(run(size=9.0, across=20.0, down=12.0), "Both have answered this image.")
    row = int(np.flatnonzero(study.sample_ids == sample_of(at))[0])
    edit = Sticker(size=9.0, across=20.0, down=12.0)
    image = edited(study.images[row : row + 1], [edit], [sample_of(at)])
    texts = [note["text"] for note in charts(at)[0]["layout"]["annotations"]]
    for name in ("teacher", "backdoored"):
        with torch.inference_mode():
            logits = load_stored(study, name)(torch.from_numpy(to_pixels(image)))
        best = logits.double().softmax(dim=1)[0]
        assert probability(float(best.max())) in texts
        assert f"<b>{study.class_names[int(best.argmax())]}</b>" in texts
    assert "Tick: the same image without the change." in text_of(at)


def test_the_change_is_swept_and_seen_in_maps_neighbors_and_epochs(run: Run) -> None:
    at = settled(
        run(size=8.0), "Both have answered", "of the mass", "How much sticker does it take?",
        "When did it learn this?", "Check by hiding", "Is the map true?",
    )  # fmt: skip
    settled_charts = charts(at)
    assert len(settled_charts) == 3
    sweep = next(c for c in settled_charts if "sticker size" in json.dumps(c["layout"]))
    assert {len(numbers(trace["y"])) for trace in sweep["data"]} == {25}
    text = text_of(at)
    assert text.count('class="ds-region"') == 3
    assert "on the sticker" in text
    assert text.count("against random orders") == 2 * 2 * len(PARTS)
    assert "Being measured" not in text


def test_mass_on_the_sticker_stands_beside_the_same_region_elsewhere(
    run: Run, attacked_study: Path
) -> None:
    study = Study.open(attacked_study)
    at = settled(run(size=8.0), "Both have answered", "of the mass", "Is the map true?")
    row = int(np.flatnonzero(study.sample_ids == sample_of(at))[0])
    image = study.images[row : row + 1]
    region = changed_pixels(image, edited(image, [Sticker(size=8.0)], [sample_of(at)]))[0]
    kept = at.session_state["kept_figures"]["attributions"].columns()
    maps = np.array(kept["value"], dtype=np.float32).reshape(3, 1, *region.shape)
    expected = [
        f"elsewhere up to {percent(float(np.quantile(draws, 0.95)), 0)}"
        for draws in (mass_of_shifted(values, region) for values in maps)
    ]
    text = re.sub(r"<[^>]+>", "", text_of(at))
    assert re.findall(r"elsewhere up to \d+", text) == expected
    assert text.count(f"{percent(float(region.mean()), 0)}{THIN}% of the area; ") == 3


def test_a_change_of_everything_is_no_place(run: Run) -> None:
    at = settled(run(kind="blur", sigma=1.5), "Both have answered", "How much blur does it take?")
    assert "of the mass" not in text_of(at)


def test_turning_it_off_shows_what_the_study_holds(run: Run) -> None:
    plain = run()
    at = settled(run(size=9.0), "Both have answered")
    at.toggle(key="what_if_on").set_value(False).run()
    assert charts(at)[0]["layout"]["annotations"] == charts(plain)[0]["layout"]["annotations"]
    assert "Tick" not in text_of(at)


def test_sliders_are_remembered_and_reset(run: Run) -> None:
    at = run(size=9.0)
    at.slider(key="what_if_size_0").set_value(3.5).run()
    at.button(key="next_image").click().run()
    assert at.session_state["what_if"].size == 3.5
    at.button(key="what_if_reset").click().run()
    assert at.session_state["what_if"].size != 3.5
    assert at.session_state["what_if"].on


def test_the_sticker_starts_where_the_studys_trigger_lies(run: Run, attacked_study: Path) -> None:
    study = Study.open(attacked_study)
    at = run()
    state = at.session_state["what_if"]
    where = np.argwhere((study.condition_images(TRIGGER)[0] != study.images[0]).any(axis=-1))
    (top, left), (bottom, right) = where.min(axis=0), where.max(axis=0) + 1
    assert left <= state.across <= right
    assert top <= state.down <= bottom


def test_another_method_is_computed_on_demand(run: Run) -> None:
    at = settled(run(), 'class="ds-map"')
    at.selectbox(key="pick_method").set_value("input_x_gradient").run()
    settled(at, "none promised", "earth mover")
    assert text_of(at).count("none promised") == 3
    at.selectbox(key="pick_scalar").set_value("kl_teacher_student").run()
    settled(at, "what makes their answers part at all", "earth mover")


def test_the_scale_of_maps_without_sign_starts_at_zero(run: Run) -> None:
    unsigned = next(name for name, card in METHOD_CARDS.items() if not card.signed)
    at = settled(run(), 'class="ds-map"', "One scale for all three, ±")
    at.selectbox(key="pick_method").set_value(unsigned).run()
    assert "±" not in text_of(settled(at, "One scale for all three, 0 to "))


def test_a_temperature_flattens_both(run: Run) -> None:
    at = run()
    at.select_slider(key="inspect_temperature").set_value(16.0).run()
    bars = [trace for trace in charts(at)[0]["data"] if trace["type"] == "bar"]
    widest = [np.abs(numbers(bars[index]["x"])).max() for index in (1, 3)]
    assert max(widest) < 0.5


def test_a_full_queue_is_a_message_in_place(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise BusyError("16 live requests are waiting already", remedy="try again in a moment")

    monkeypatch.setattr(live.service(), "ask", refuse)
    at = run(size=9.0)
    assert "16 live requests are waiting already" in text_of(at)
    assert charts(at)


def test_user_code_needs_the_command_line(run: Run, attacked_study: Path, tmp_path: Path) -> None:
    def foreign(manifest: dict[str, Any]) -> None:
        manifest["models"]["backdoored"]["user_code"] = "0" * 64
        manifest["models"]["backdoored"]["architecture"] = "net.py:make"

    at = run(study=altered(attacked_study, tmp_path, foreign))
    assert "--trust-code net.py" in text_of(at)
    assert at.toggle(key="what_if_on").disabled
    assert 'class="ds-map"' in text_of(at)


def test_only_clean_images_are_kept(run: Run) -> None:
    at = run({"condition": TRIGGER}, size=5.0)
    assert "choose Clean first" in text_of(at)


def test_a_selection_states_its_n_and_opens_an_image(run: Run, attacked_study: Path) -> None:
    maps = Study.open(attacked_study).attributions("backdoored")["pair"]
    at = run()
    at.session_state["inspect_mode"] = "This selection"
    at.run()
    text = text_of(at)
    assert f"n = {len(maps.sample_ids)} of 64 images with stored maps" in text
    assert text.count('class="ds-map"') == 3
    table = at.dataframe[0].value
    assert list(table["rank correlation"]) == sorted(table["rank correlation"])
    histogram = charts(at)[0]["data"]
    counted = sum(int(numbers(trace["y"]).sum()) for trace in histogram)
    assert counted == len(maps.sample_ids)


def test_a_late_message_of_a_slider_does_not_move_the_sticker_back() -> None:
    def page() -> None:
        import streamlit as st

        from dashboard.pages.inspect_state import WhatIf, put_at, slid

        st.session_state["what_if"] = WhatIf(study="s", side=32, across=28.0, down=28.0, size=6.0)
        put_at(8.0, 24.0)
        slid("across", 28.0, 0)  # sent before the browser had heard of the new place
        slid("down", 20.0, 1)

    state = AppTest.from_function(page).run().session_state["what_if"]
    assert (state.across, state.down) == (8.0, 20.0)


def other_class(manifest: dict[str, Any]) -> None:
    manifest["class_names"][0] = "another"
    without_labels(manifest)


@pytest.mark.parametrize("explained", [3, 99, LABEL])
def test_a_class_is_explained_in_its_own_study_alone(
    run: Run,
    attacked_study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    explained: int | str,
) -> None:
    at = run()
    at.session_state["inspect_attribution"] = Choice(explained=explained, method="saliency")
    other = altered(attacked_study, tmp_path, other_class)
    unlabel(other)
    monkeypatch.setenv(STUDY_VARIABLE, str(other))
    at.run()
    assert at.selectbox(key="pick_explained").value == OWN
    assert at.session_state["inspect_attribution"] == Choice(explained=OWN, method="saliency")


def test_a_chosen_class_stays_among_the_same_classes(run: Run) -> None:
    at = run()
    at.selectbox(key="pick_explained").set_value(3).run()
    at.button(key="next_image").click().run()
    assert at.selectbox(key="pick_explained").value == 3


def test_a_sweep_of_another_image_is_not_drawn(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = live.Asking.ask

    def never(self: live.Asking, request: Any, **limits: float) -> live.Asked:
        return live.Asked() if request.kind == "sweep" else ask(self, request, **limits)

    at = settled(run(size=8.0), "How much sticker does it take?", "Is the map true?")
    key, curves = at.session_state["inspect_sweep"]
    few = {name: rows[:, :1] for name, rows in curves.items()}
    at.session_state["inspect_sweep"] = (("another study", *key[1:]), few)
    monkeypatch.setattr(live.Asking, "ask", never)
    text = text_of(at.run())
    assert "strengths of the change" in text
    assert "ds-refused" not in text


def test_a_clean_neighbor_keeps_the_images_inside_a_lasso(
    run: Run, attacked_study: Path, tmp_path: Path
) -> None:
    copy = altered(attacked_study, tmp_path, lambda _: None)
    lasso = lasso_of_half(Study.open(copy), "backdoored", TRIGGER)
    at = run({"condition": TRIGGER, "within": lasso.to_text()}, study=copy)
    links = re.findall(r'href="(inspect[^"]*)"', text_of(at))
    assert links
    for address in links:
        assert "condition=" not in address
        assert "within=set_" in address
