"""Every page on the tiny study: what it shows, what the filter does to it, what bad input gets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from analysis.store import Study
from dashboard.loading import STUDY_VARIABLE, load_pair
from dashboard.selection import Lasso, Selection, save_set

ROOT = Path(__file__).parents[2]
PAGES = ("Overview", "Map", "Inspect")
Run = Callable[..., AppTest]


def script(page: str) -> None:
    from dashboard import app

    app.render(app.PAGES[page])


@pytest.fixture
def run(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a page with a query; ``study`` is another folder than the tiny study."""

    def start(page: str, query: dict[str, str] | None = None, study: Path = tiny_study) -> AppTest:
        monkeypatch.setenv(STUDY_VARIABLE, str(study))
        at = AppTest.from_function(script, args=(page,), default_timeout=60)
        for name, value in (query or {}).items():
            at.query_params[name] = value
        return at.run()

    return start


@pytest.fixture
def pair(study: Study) -> Any:
    return load_pair(study, "alpha")


def param(at: AppTest, name: str) -> str:
    """A URL parameter; AppTest keeps what the test set as a list, what the page set as text."""
    value = at.query_params[name]
    return value if isinstance(value, str) else value[0]


def text_of(at: AppTest) -> str:
    assert not at.exception, [item.value for item in at.exception]
    return " ".join(item.proto.body for item in at.get("html"))


def charts(at: AppTest) -> list[dict[str, Any]]:
    return [json.loads(item.proto.spec) for item in at.get("plotly_chart")]


def altered(tiny_study: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the study with ``change`` made to its manifest."""
    copy = folder / "altered"
    shutil.copytree(tiny_study, copy)
    manifest = json.loads((copy / "study.json").read_text())
    change(manifest)
    (copy / "study.json").write_text(json.dumps(manifest))
    return copy


def without_labels(manifest: dict[str, Any]) -> None:
    del manifest["arrays"]["labels/inspection"]
    manifest["image_sets"]["inspection"]["labeled"] = False


# --- what pages show -----------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_the_first_student_and_says_so_in_the_url(run: Run, page: str) -> None:
    at = run(page)
    assert '120 images<span class="ds-classes"> · 16 classes<' in text_of(at)
    assert param(at, "student") == "alpha"
    assert at.selectbox(key="student_picker").options == ["alpha", "beta"]


def test_overview_states_the_agreement(run: Run, study: Study) -> None:
    at = run("Overview")
    agreement = study.measures("alpha")["agreement"]
    assert agreement is not None
    text = text_of(at)
    assert f"agrees on {100 * agreement.value:.1f}" in text
    assert "no reference students" in text
    assert "Not tested for a planted trigger" in text
    assert "What the compression bought" in text
    assert "safe" not in text.replace("safely", "")
    assert len(charts(at)) == 3


def with_references(shifts: tuple[float, ...]) -> Callable[[dict[str, Any]], None]:
    """Honest students of made-up numbers: alpha's agreement and KL, shifted."""

    def change(manifest: dict[str, Any]) -> None:
        for number, shift in enumerate(shifts):
            name = f"reference-{number}"
            model = {**manifest["models"]["alpha"], "name": name, "role": "reference"}
            manifest["models"][name] = {**model, "digest": name}
            measures = manifest["records"]["measures/alpha/clean"]
            manifest["records"][f"measures/{name}/clean"] = {
                key: {**measures[key], "value": measures[key]["value"] + shift}
                for key in ("agreement", "kl_teacher_student")
            }

    return change


@pytest.mark.parametrize(
    ("shifts", "words", "alarms"),
    [
        ((-0.01, 0.0, 0.01, 0.02), "; inside the honest range.", 0),
        ((0.21, 0.22, 0.2201, 0.215), "; outside the honest range in 2 of 2 numbers.", 2),
        ((0.3, 0.3001), "too few references to call anything outside", 0),
        ((0.3,), "1 reference student (tick): too few for a range", 0),
    ],
)
def test_overview_holds_its_numbers_against_the_references(
    run: Run, tiny_study: Path, tmp_path: Path, shifts: tuple[float, ...], words: str, alarms: int
) -> None:
    at = run(
        "Overview", {"student": "alpha"}, altered(tiny_study, tmp_path, with_references(shifts))
    )
    text = text_of(at)
    assert words in text
    assert "no reference students." not in text
    assert text.count("color:var(--ds-alarm)") == alarms
    assert "the recipe of alpha / reference-0" in text
    assert at.selectbox(key="student_picker").options == ["alpha", "beta"]
    filtered = text_of(run("Overview", {"student": "alpha", "differ": "1"}, tmp_path / "altered"))
    assert "the honest range." not in filtered


def test_overview_shows_the_audit_s_verdict(run: Run, tiny_study: Path, tmp_path: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["records"]["audit/alpha"] = {
            "verdict": "suspicious", "target_class": 3, "not_tested": ["warps"],
            "sentence": "One blind test stands out.",
        }  # fmt: skip

    folder = altered(tiny_study, tmp_path, change)
    text = text_of(run("Overview", {"student": "alpha"}, folder))
    assert "Suspicious, not conclusive" in text
    assert "One blind test stands out. Not covered: warps." in text
    assert "Not tested" in text_of(run("Overview", {"student": "beta"}, folder))


def test_map_prints_both_qualities(run: Run, study: Study) -> None:
    at = run("Map")
    projection = study.projection("alpha")
    assert projection is not None
    data = str(at.get("bidi_component")[-1].proto)
    for quality in (projection.teacher_quality, projection.student_quality):
        assert f"{quality.trustworthiness:.3f}" in data
        assert f"{quality.continuity:.3f}" in data
    assert "Where the two part most" in text_of(at)


def test_inspect_shows_three_maps_of_an_image_in_the_probe(run: Run, study: Study) -> None:
    maps = study.attributions("alpha")["pair"]
    at = run("Inspect", {"student": "alpha", "sample": str(maps.sample_ids[0])})
    text = text_of(at)
    assert text.count('class="ds-map"') == 3
    assert text.count("completeness error") == 3
    assert "more than the teacher does" in text
    assert "rank correlation" in text
    assert "of 6 “" in text


def test_inspect_outside_the_probe_leads_to_an_image_with_maps(
    run: Run, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.live.refusal", lambda study, models: "No live answers here.")
    maps = study.attributions("alpha")["pair"]
    outside = next(name for name in study.sample_ids if name not in maps.sample_ids)
    at = run("Inspect", {"student": "alpha", "sample": str(outside)})
    assert "No maps for this image" in text_of(at)
    assert 'class="ds-map"' not in text_of(at)
    at.button(key="nearest_mapped").click().run()
    assert text_of(at).count('class="ds-map"') == 3
    assert param(at, "sample") in maps.sample_ids.tolist()


def test_next_and_previous_step_through_the_filter(run: Run, pair: Any) -> None:
    group = int(np.bincount(pair.labels).argmax())
    filtered = set(pair.sample_ids[pair.labels == group].tolist())
    query = {"student": "alpha", "class": str(group), "sample": sorted(filtered)[0]}
    at = run("Inspect", query)
    for _ in filtered:
        if not at.button(key="previous_image").disabled:
            at.button(key="previous_image").click().run()
    seen = [param(at, "sample")]
    while not at.button(key="next_image").disabled and len(seen) <= len(filtered):
        at.button(key="next_image").click().run()
        seen.append(param(at, "sample"))
    assert len(seen) == len(filtered)
    assert set(seen) == filtered


# --- the filter ----------------------------------------------------------------------------


def shown(at: AppTest) -> str:
    text = text_of(at)
    return text[: text.index(" images")].split(">")[-1].replace("\u202f", "")


@pytest.mark.parametrize("page", PAGES)
def test_every_page_obeys_the_filter(run: Run, pair: Any, page: str) -> None:
    differ = int((~pair.agree).sum())
    assert 0 < differ < 120
    at = run(page, {"student": "alpha", "differ": "1"})
    assert f"{differ} of 120 images" in text_of(at)
    assert at.button(key="chip_differ").label.startswith("answers differ")
    at.button(key="chip_differ").click().run()
    assert "120 images" in text_of(at)
    assert " of 120 images<" not in text_of(at)
    assert "differ" not in at.query_params


def test_a_lasso_filters_by_its_polygon(run: Run, study: Study, pair: Any) -> None:
    projection = study.projection("alpha")
    assert projection is not None
    x0, x1 = np.quantile(projection.teacher[:, 0], (0.2, 0.7))
    y0, y1 = projection.teacher[:, 1].min() - 1, projection.teacher[:, 1].max() + 1
    lasso = Lasso.around("teacher", ((x0, y0), (x1, y0), (x1, y1), (x0, y1)))
    inside = int(lasso.contains(projection.teacher).sum())
    assert 0 < inside < 120
    for page in PAGES:
        at = run(page, {"student": "alpha", "within": lasso.to_text()})
        assert f"{inside} of 120 images" in text_of(at)
        assert "lasso on the teacher" in at.button(key="chip_within").label


def test_filters_add_up(run: Run, pair: Any) -> None:
    labels = pair.labels
    busiest = int(np.bincount(labels[~pair.agree]).argmax())
    both = int(((labels == busiest) & ~pair.agree).sum())
    at = run("Overview", {"student": "alpha", "differ": "1", "class": str(busiest)})
    assert f"{both} of 120 images" in text_of(at)
    assert "on none of these" in text_of(at)


@pytest.mark.parametrize("page", PAGES)
def test_a_filter_that_leaves_nothing_says_what_did_it(run: Run, pair: Any, page: str) -> None:
    counts = np.zeros((16, 16), int)
    np.add.at(counts, (pair.teacher_answer, pair.student_answer), 1)
    row, column = np.argwhere(counts == 0)[0]
    at = run(page, {"student": "alpha", "cell": f"{row}.{column}"})
    assert "No images match" in text_of(at)
    assert not charts(at)
    at.button(key="clear_filter").click().run()
    assert "No images match" not in text_of(at)
    assert "cell" not in at.query_params


def test_the_drift_matrix_is_not_filtered_by_its_own_cell(run: Run, pair: Any) -> None:
    changed = np.flatnonzero(~pair.agree)[0]
    cell = f"{pair.teacher_answer[changed]}.{pair.student_answer[changed]}"
    whole, filtered = run("Overview"), run("Overview", {"student": "alpha", "cell": cell})
    texts = [charts(at)[0]["data"][2]["hovertext"] for at in (whole, filtered)]
    assert texts[0] == texts[1]
    assert len(charts(filtered)[0]["layout"]["shapes"]) == 1


def test_the_selection_survives_another_student(run: Run, study: Study, pair: Any) -> None:
    at = run("Overview", {"student": "alpha", "differ": "1"})
    at.selectbox(key="student_picker").set_value("beta").run()
    assert param(at, "student") == "beta"
    assert param(at, "differ") == "1"
    beta = load_pair(study, "beta")
    assert f"{int((~beta.agree).sum())} of 120 images" in text_of(at)


def test_a_lasso_on_the_students_map_keeps_its_images_with_another_student(
    run: Run, tiny_study: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_study, copy)
    projection = Study.open(copy).projection("alpha")
    assert projection is not None
    x, y = np.median(projection.student, axis=0)
    top = projection.student[:, 1].max() + 1
    lasso = Lasso.around("student", ((x, y), (x + 100, y), (x + 100, top), (x, top)))
    inside = int(lasso.contains(projection.student).sum())
    assert inside > 0
    at = run("Overview", {"student": "alpha", "within": lasso.to_text()}, copy)
    at.selectbox(key="student_picker").set_value("beta").run()
    assert param(at, "within").startswith("set_")
    assert f"{inside} of 120 images" in text_of(at)


def test_a_saved_set_filters(run: Run, tiny_study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_study, copy)
    ids = Study.open(copy).sample_ids[:3].tolist()
    region = save_set(tmp_path, ids)
    query = Selection(student="alpha", within=region).to_query()
    assert "3 of 120 images" in text_of(run("Map", query, copy))


# --- conditions ----------------------------------------------------------------------------


def with_condition(tiny_study: Path, folder: Path) -> Path:
    """A copy whose condition ``again`` shows the first 100 images as they are."""

    def add(manifest: dict[str, Any]) -> None:
        arrays, records, copy = manifest["arrays"], manifest["records"], folder / "altered"
        for key in list(arrays):
            if "/clean" in key:
                arrays[key.replace("/clean", "/again")] = arrays[key]
        for key in list(records):
            if "/clean" in key:
                records[key.replace("/clean", "/again")] = records[key]
        new = {
            "ids/condition/again": np.load(copy / arrays["ids/inspection"])[:100],
            "images/condition/again": np.load(copy / arrays["images/inspection"])[:100],
        }
        for model in manifest["models"]:
            layout = np.load(copy / arrays[f"layout/{model}"])[:100]
            new[f"placed/{model}/again/layout"] = layout
            new[f"placed/{model}/again/far"] = np.zeros(100, dtype=bool)
        for at, (key, array) in enumerate(new.items()):
            arrays[key] = f"arrays/{at:064x}.npy"
            np.save(copy / arrays[key], array)
        for key, name in list(manifest["samples"].items()):
            other = name.replace("/clean", "/again")
            pq.write_table(pq.read_table(copy / name).slice(0, 100), copy / other)
            manifest["samples"][key.replace("/clean", "/again")] = other
        pictures = pq.read_table(copy / manifest["thumbnails"]["clean"])
        manifest["thumbnails"]["again"] = f"thumbnails/{0:064x}.parquet"
        pq.write_table(pictures.slice(0, 100), copy / manifest["thumbnails"]["again"])
        clean = manifest["conditions"]["clean"]
        changes = {"name": "Again <b>", "slug": "again", "n": 100, "covers_all": False}
        manifest["conditions"]["again"] = {**clean, **changes}

    return altered(tiny_study, folder, add)


@pytest.mark.parametrize("page", PAGES)
def test_a_condition_shows_its_own_images(
    run: Run, tiny_study: Path, tmp_path: Path, page: str
) -> None:
    copy = with_condition(tiny_study, tmp_path)
    clean = run(page, {"student": "alpha"}, copy)
    assert "120 images<" in text_of(clean)
    again = run(page, {"student": "alpha", "condition": "again"}, copy)
    text = text_of(again)
    assert "100 images<" in text
    assert "Again <b>" not in text
    if page == "Overview":
        # Both conditions at once, the one that is looked at first.
        assert text.index("Again &lt;b&gt;") < text.index(">Clean<")
        assert "n = 120" in text
    if page == "Map":
        assert "No maps for this condition" not in text
    if page == "Inspect":
        assert text.count('class="ds-map"') in (0, 3)
        assert "of 6 “" in text


def test_another_condition_keeps_the_images_of_a_lasso(
    run: Run, tiny_study: Path, tmp_path: Path
) -> None:
    copy = with_condition(tiny_study, tmp_path)
    projection = Study.open(copy).projection("alpha")
    assert projection is not None
    x = float(np.median(projection.teacher[:, 0]))
    lasso = Lasso.around("teacher", ((x, -1e3), (x + 1e3, -1e3), (x + 1e3, 1e3), (x, 1e3)))
    inside = lasso.contains(projection.teacher)
    at = run("Overview", {"student": "alpha", "within": lasso.to_text()}, copy)
    assert f"{int(inside.sum())} of 120 images" in text_of(at)
    at.get("button_group")[0].set_value("again").run()
    assert param(at, "condition") == "again"
    assert param(at, "within").startswith("set_")
    assert f"{int(inside[:100].sum())} of 100 images" in text_of(at)


# --- bad input -----------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_a_hostile_url_shows_a_page_and_a_message(run: Run, page: str) -> None:
    query = {
        "student": "<script>alert(1)</script>", "cell": "9999.1", "within": "set_" + "0" * 64,
        "picked": "teacher_nan_1_2", "sample": "../../etc/passwd", "color": "x" * 500,
    }  # fmt: skip
    text = text_of(run(page, query))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "The address names student" in text
    assert "is not in this workspace" in text
    assert "120 images" in text


@pytest.mark.parametrize("page", PAGES)
def test_a_good_url_gets_no_message(run: Run, page: str) -> None:
    assert "ds-note" not in text_of(run(page, {"student": "beta", "differ": "1"}))


@pytest.mark.parametrize("page", PAGES)
def test_a_study_deleted_under_its_feet_is_a_message(
    run: Run, tiny_study: Path, tmp_path: Path, page: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_study, copy)
    at = run(page, {}, copy)
    assert "is gone" not in text_of(at)
    shutil.rmtree(copy)
    at.run()
    assert "is gone" in text_of(at)


@pytest.mark.parametrize("page", PAGES)
def test_files_missing_from_a_study_are_a_message(
    run: Run, tiny_study: Path, tmp_path: Path, page: str
) -> None:
    # Another name is another digest: what is cached belongs to the whole study.
    copy = altered(tiny_study, tmp_path, lambda manifest: manifest.update(name="damaged"))
    shutil.rmtree(copy / "samples")
    text = text_of(run(page, {}, copy))
    assert "is missing" in text
    assert "ds-refused" in text


@pytest.mark.parametrize("page", PAGES)
def test_without_labels_everything_else_works(
    run: Run, tiny_study: Path, tmp_path: Path, page: str
) -> None:
    copy = altered(tiny_study, tmp_path, without_labels)
    strip_labels(copy)
    at = run(page, {"student": "alpha", "differ": "1"}, copy)
    text = text_of(at)
    assert "of 120 images" in text
    if page == "Overview":
        assert text.count("needs labels") == 3
        assert "Needs labels" in text
        assert "agrees on" in text or "on none of these" in text
    if page == "Map":
        options = at.get("button_group")[0].proto.options
        assert "label" not in [option.content for option in options]


def strip_labels(copy: Path) -> None:
    for path in (copy / "samples").rglob("*.parquet"):
        table = pq.read_table(path)
        for name in ("label", "p_label", "correct", "negative_flips"):
            at = table.column_names.index(name)
            field = table.schema.field(name)
            table = table.set_column(at, field, pa.nulls(len(table), field.type))
        pq.write_table(table, path)


HOSTILE_NAME = "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize("page", PAGES)
def test_hostile_class_names_stay_text(
    run: Run, tiny_study: Path, tmp_path: Path, page: str
) -> None:
    def rename(manifest: dict[str, Any]) -> None:
        manifest["class_names"] = [f"{HOSTILE_NAME}{i}[x](javascript:y)" for i in range(16)]
        manifest["name"] = f"{HOSTILE_NAME} **bold**"

    copy = altered(tiny_study, tmp_path, rename)
    at = run(page, {"student": "alpha", "class": "3"}, copy)
    text = text_of(at)
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    for chart in charts(at):
        assert "<img" not in json.dumps(chart)
    label = at.button(key="chip_group").label
    assert "\\<img src\\=x" in label


def test_a_finding_stands_in_place(run: Run, tiny_study: Path, tmp_path: Path) -> None:
    def permute(manifest: dict[str, Any]) -> None:
        manifest["records"]["findings/alpha"] = [
            {"kind": "permutation", "text": "The classes look permuted <b>", "remedy": "Name them"}
        ]

    text = text_of(run("Overview", {}, altered(tiny_study, tmp_path, permute)))
    assert "The classes look permuted &lt;b&gt;" in text
    assert "Name them" in text
    assert "look permuted" not in text_of(run("Overview"))


def test_a_study_without_maps_and_costs_says_so(
    run: Run, tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.live.refusal", lambda study, models: "No live answers here.")

    def strip(manifest: dict[str, Any]) -> None:
        for key in list(manifest["arrays"]):
            if key.startswith(("layout/", "attribution/", "neighbors/")):
                del manifest["arrays"][key]
        for key in list(manifest["records"]):
            if key.startswith("attribution/"):
                del manifest["records"][key]
        for model in manifest["models"].values():
            model["cost"] = None

    copy = altered(tiny_study, tmp_path, strip)
    assert "No maps for this condition" in text_of(run("Map", {}, copy))
    text = text_of(run("Inspect", {}, copy))
    assert "No attribution maps" in text
    assert text.count("No neighbors were computed") == 2
    assert "What the compression bought" not in text_of(run("Overview", {}, copy))


def test_no_study_named_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STUDY_VARIABLE, raising=False)
    at = AppTest.from_function(script, args=("Overview",), default_timeout=60).run()
    assert "No study was named" in text_of(at)
    assert "distillscope open DIR" in text_of(at)


RENDER_ALL = """
import sys
from streamlit.testing.v1 import AppTest
import dashboard.server

for page in ("Overview", "Map", "Inspect"):
    script = f"from dashboard import app; app.render(app.PAGES[{page!r}])"
    at = AppTest.from_string(script, default_timeout=60).run()
    assert not at.exception and len(at.get("html")) > 5
heavy = ("torch", "captum", "umap", "numba", "faiss", "sklearn")
print("HEAVY", *[name for name in heavy if name in sys.modules])
"""


def test_no_page_loads_anything_heavy(tiny_study: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RENDER_ALL],
        env={**os.environ, STUDY_VARIABLE: str(tiny_study), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].split() == ["HEAVY"]


# --- saving --------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_what_the_save_menu_offers_is_csv(run: Run, study: Study, page: str) -> None:
    from dashboard import app
    from dashboard.context import View
    from dashboard.theme import LIGHT

    pair = load_pair(study, "alpha")
    view = View(
        study=study, selection=Selection(student="alpha"), all=pair, pair=pair,
        mask=np.ones(len(pair), bool), projection=study.projection("alpha"), colors=LIGHT,
    )  # fmt: skip
    exports = app.PAGES[page].exports(view)
    assert exports
    for export in (export for export in exports if export.file_name.endswith(".csv")):
        lines = str(export.make()).splitlines()
        assert len(lines) > 3
        assert "," in lines[0]
        assert export.file_name.endswith(".csv")
