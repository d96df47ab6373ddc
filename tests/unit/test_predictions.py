"""Predictions without a model: files, joins, what is measured, what pages say is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from analysis.data.predictions import read_predictions
from analysis.errors import ModelError, StudyError
from analysis.store import Study
from analysis.study.headline import headline
from analysis.study.predictions import compare_predictions
from analysis.study.stages import CompareConfig
from dashboard.cli import main
from dashboard.loading import STUDY_VARIABLE

FAST = CompareConfig(probe=0, epochs=20, draws=100)


def script(page: str) -> None:
    from dashboard import app

    app.render(app.PAGES[page])


def write(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def made(path: Path, study: Study, model: str, *, features: bool = True, **changes: Any) -> Path:
    """A file with what ``model`` of the tiny study answered; ids as the images have them."""
    columns: dict[str, Any] = {
        "sample_id": [str(key) for key in study.sample_ids],
        "logits": study.array(f"logits/{model}/clean").tolist(),
        "label": study.labels,
    }
    if features:
        columns["features"] = study.array(f"features/{model}/clean/penultimate").tolist()
    return write(path, **{k: v for k, v in {**columns, **changes}.items() if v is not None})


@pytest.fixture(scope="module")
def folder(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predictions")
    made(folder / "t.parquet", study, "teacher")
    made(folder / "alpha.parquet", study, "alpha")
    made(folder / "bare.parquet", study, "beta", features=False, label=None)
    return folder


@pytest.fixture(scope="module")
def predicted(folder: Path) -> Path:
    """A study of predictions: alpha with features and labels, bare with logits alone."""
    out = folder / "workspace" / "predicted"
    compare_predictions(
        teacher=folder / "t.parquet",
        students={name: folder / f"{name}.parquet" for name in ("alpha", "bare")},
        out=out,
        config=FAST,
        class_names=[f"sign {index}" for index in range(16)],
    )
    return out


# --- files -----------------------------------------------------------------------------------


def test_a_column_for_each_class_is_read_by_number_or_name(tmp_path: Path) -> None:
    ids, a, b = ["x", "y"], [1.0, 2.0], [3.0, 4.0]
    lists = read_predictions(write(tmp_path / "a.parquet", sample_id=ids, logits=[[1, 3], [2, 4]]))
    numbered = read_predictions(write(tmp_path / "b.parquet", sample_id=ids, logit_1=b, logit_0=a))
    assert np.array_equal(lists.logits, numbered.logits)
    assert lists.digest == numbered.digest
    path = tmp_path / "c.parquet"
    named = read_predictions(write(path, sample_id=ids, logit_stop=a, logit_go=b, label=["go"] * 2))
    assert named.class_names == ("stop", "go")
    assert named.labels is not None
    assert named.labels.tolist() == [1, 1]
    assert named.features is None
    for kind in (pa.large_string(), pa.dictionary(pa.int32(), pa.large_string())):
        labels = pa.array(["go"] * 2, type=pa.large_string()).cast(kind)
        path = write(tmp_path / "d.parquet", sample_id=ids, logit_stop=a, logit_go=b, label=labels)
        again = read_predictions(path)
        assert again.labels is not None
        assert again.labels.tolist() == [1, 1]


GOOD: dict[str, Any] = {"sample_id": ["a", "b"], "logits": [[1.0, 2.0], [3.0, 4.0]]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sample_id": None}, "no column 'sample_id'"),
        ({"sample_id": ["a", "a"]}, "sample_id 'a' stands twice"),
        ({"sample_id": ["a", None]}, "row 1 of .* has no sample_id"),
        ({"logits": None}, "no column 'logits'"),
        ({"logits": [[1.0, 2.0], [3.0]]}, "rows of different or no length"),
        ({"logits": [[1.0], [2.0]]}, "logits of 1 class"),
        ({"logits": [[1.0, float("nan")], [1.0, 2.0]]}, "row 0 of column 'logits'"),
        ({"logits": [1.0, 2.0]}, "holds double; expected a list"),
        ({"logits": [["a", "b"], ["c", "d"]]}, "expected numbers"),
        ({"logits": None, "logit_0": [1.0, 2.0], "logit_2": [1.0, 2.0]}, "logit_0 to logit_1"),
        ({"logits": None, "logit_0": ["a", "b"], "logit_1": [1.0, 2.0]}, "expected numbers"),
        ({"label": [0, 2]}, "label 2 in .*; expected 0 to 1"),
        ({"label": ["a", "b"]}, "expected class indices"),
        ({"features": [[1.0], []]}, "column 'features'"),
        (
            {"logits": None, "logit_go": [1, 2], "logit_no": [1, 2], "label": ["go", "g"]},
            "no class",
        ),
    ],
)
def test_a_bad_file_is_named_with_its_column(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    columns = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    with pytest.raises(ModelError, match=says) as caught:
        read_predictions(write(tmp_path / "bad.parquet", **columns))
    assert "bad.parquet" in str(caught.value)


def test_what_is_no_file_of_predictions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_predictions(tmp_path / "missing.parquet")
    (tmp_path / "text.parquet").write_text("not a table")
    with pytest.raises(ModelError, match="cannot be read"):
        read_predictions(tmp_path / "text.parquet")
    empty = write(tmp_path / "empty.parquet", sample_id=[], logits=[])
    with pytest.raises(ModelError, match="has no rows"):
        read_predictions(empty)


# --- the study -------------------------------------------------------------------------------


def test_measures_are_those_of_the_same_answers(predicted: Path, study: Study) -> None:
    found = Study.open(predicted)
    assert found.from_predictions
    assert not found.has_images
    for name, like in (("alpha", "alpha"), ("bare", "beta")):
        ours, theirs = found.measures(name), study.measures(like)
        for measure in ("agreement", "kl_teacher_student", "accuracy", "ece", "dark_kl"):
            assert ours[measure].value == pytest.approx(theirs[measure].value), measure
    overlap = study.measures("alpha")["mean_neighborhood_overlap"]
    assert found.measures("alpha")["mean_neighborhood_overlap"].value == overlap.value
    assert found.measures("bare")["mean_neighborhood_overlap"] is None
    assert found.projection("alpha") is not None
    assert found.projection("bare") is None
    assert found.models["alpha"].cost is None
    assert found.weights("alpha") is None
    assert found.class_names[3] == "sign 3"
    found.check_files()
    json.dumps(headline(found), allow_nan=False)


def test_rows_are_joined_by_sample_id(study: Study, folder: Path, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(len(study.sample_ids))[:90]
    shuffled = made(
        tmp_path / "s.parquet", study, "alpha", features=False,
        sample_id=[str(study.sample_ids[row]).removeprefix("inspection/") for row in order],
        logits=study.array("logits/alpha/clean")[order].tolist(), label=study.labels[order],
    )  # fmt: skip
    out = compare_predictions(
        teacher=folder / "t.parquet", students={"s": shuffled}, out=tmp_path / "w" / "x",
        config=CompareConfig(probe=0, draws=100, projection=False),
    )  # fmt: skip
    kept = np.sort(order)
    same = [
        study.array("logits/teacher/clean")[row].argmax()
        == study.array("logits/alpha/clean")[row].argmax()
        for row in kept
    ]
    assert out.sample_ids.tolist() == study.sample_ids[kept].tolist()
    assert out.measures("s")["agreement"].value == pytest.approx(np.mean(same))
    assert "90 samples are in all files; up to 30" in out.record("findings/s")[0]["text"]


def test_classes_are_joined_by_name(tmp_path: Path) -> None:
    ids = [str(row) for row in range(30)]
    rng = np.random.default_rng(1)
    a, b, c = rng.normal(size=(3, 30))
    teacher = write(tmp_path / "t.parquet", sample_id=ids, logit_a=a, logit_b=b, logit_c=c)
    labels = ["c"] * 30
    student = write(
        tmp_path / "s.parquet", sample_id=ids, logit_c=c, logit_a=a, logit_b=b, label=labels
    )
    out = compare_predictions(
        teacher=teacher, students={"s": student}, out=tmp_path / "w" / "x", config=FAST
    )
    assert out.class_names == ("a", "b", "c")
    assert out.measures("s")["agreement"].value == 1
    assert set(out.labels.tolist()) == {2}


def two_classes(folder: Path) -> tuple[Path, list[str]]:
    """A folder of three cats and three dogs, and its images' ids."""
    from analysis.data.sources import load_images

    for number, name in enumerate(["cat"] * 3 + ["dog"] * 3):
        place = folder / "pets" / name
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    images = load_images(folder / "pets", name="inspection")
    return folder / "pets", [str(key).partition("/")[2] for key in images.sample_ids]


@pytest.mark.parametrize("teacher_names", [("dog", "cat"), ("0", "1")], ids=["named", "numbered"])
def test_labels_of_images_are_matched_by_name(
    tmp_path: Path, teacher_names: tuple[str, str]
) -> None:
    pets, ids = two_classes(tmp_path)
    dogs = np.array([key.startswith("dog") for key in ids], dtype=float)
    given = {"dog": dogs, "cat": 1 - dogs}
    columns = dict(zip(teacher_names, given.values(), strict=True))
    teacher = write(
        tmp_path / "t.parquet", sample_id=ids, **{f"logit_{k}": v for k, v in columns.items()}
    )
    files = {
        name: write(
            tmp_path / f"{name}.parquet", sample_id=ids,
            **{f"logit_{each}": given[each] for each in order},
        )
        for name, order in (("a", ("dog", "cat")), ("b", ("cat", "dog")))
    }  # fmt: skip
    if teacher_names == ("0", "1"):
        # Columns that are numbered name nothing: the students' names do, and they agree by name.
        pass
    out = compare_predictions(
        teacher=teacher, students=files, out=tmp_path / "w" / "x", images=str(pets), config=FAST
    )
    assert out.class_names == ("dog", "cat")
    for name in files:
        assert out.measures(name)["accuracy"].value == 1
        assert out.measures(name)["agreement"].value == 1


def test_images_of_other_names_are_compared_by_position_and_that_is_said(tmp_path: Path) -> None:
    pets, ids = two_classes(tmp_path)
    dogs = np.array([key.startswith("dog") for key in ids], dtype=float)
    teacher = write(tmp_path / "t.parquet", sample_id=ids, logit_x=1 - dogs, logit_y=dogs)
    out = compare_predictions(
        teacher=teacher, students={"s": teacher}, out=tmp_path / "w" / "x", images=str(pets),
        config=FAST,
    )  # fmt: skip
    assert out.measures("s")["accuracy"].value == 1
    assert out.record("findings/s")[0]["kind"] == "image_classes"


def test_images_add_pictures_and_statistics(study: Study, folder: Path, tmp_path: Path) -> None:
    out = compare_predictions(
        teacher=folder / "t.parquet", students={"bare": folder / "bare.parquet"},
        out=tmp_path / "w" / "x", images="signs:test,n=120,seed=5", config=FAST,
    )  # fmt: skip
    assert out.has_images
    assert np.array_equal(out.images, study.images)
    assert out.class_names == study.class_names
    assert out.array("statistics/clean").shape == (120, 3)
    assert str(study.sample_ids[0]) in out.thumbnails()


def test_the_same_files_again_cost_nothing(folder: Path, predicted: Path) -> None:
    before = (predicted / "study.json").read_bytes()
    students = {name: folder / f"{name}.parquet" for name in ("alpha", "bare")}
    names = [f"sign {index}" for index in range(16)]
    compare_predictions(
        teacher=folder / "t.parquet", students=students, out=predicted, config=FAST,
        class_names=names,
    )  # fmt: skip
    assert (predicted / "study.json").read_bytes() == before
    with pytest.raises(StudyError, match="other predictions, images, classes or settings"):
        compare_predictions(
            teacher=folder / "t.parquet", students={"other": folder / "bare.parquet"},
            out=predicted, config=FAST,
        )  # fmt: skip
    with pytest.raises(StudyError, match="other predictions, images, classes or settings"):
        compare_predictions(
            teacher=folder / "t.parquet", students=students, out=predicted, config=FAST,
            class_names=[f"other {index}" for index in range(16)],
        )  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"sample_id": ["elsewhere/1"], "logits": [[0.0] * 16]}, "no sample_id in common"),
        ({"sample_id": ["00001"], "logits": [[0.0] * 3]}, "answers 3 classes, the teacher 16"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    folder: Path, tmp_path: Path, columns: dict[str, Any], says: str
) -> None:
    other = write(tmp_path / "o.parquet", **columns)
    with pytest.raises(ModelError, match=says):
        compare_predictions(
            teacher=folder / "t.parquet", students={"o": other}, out=tmp_path / "w" / "x"
        )
    assert not (tmp_path / "w" / "x").exists()


def test_labels_that_contradict_are_refused(study: Study, folder: Path, tmp_path: Path) -> None:
    wrong = made(tmp_path / "s.parquet", study, "alpha", label=(study.labels + 1) % 16)
    with pytest.raises(ModelError, match="has another label than"):
        compare_predictions(
            teacher=folder / "t.parquet", students={"s": wrong}, out=tmp_path / "w" / "x"
        )


# --- pages -----------------------------------------------------------------------------------


@pytest.fixture
def run(predicted: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    def start(page: str, **query: str) -> AppTest:
        monkeypatch.setenv(STUDY_VARIABLE, str(predicted))
        at = AppTest.from_function(script, args=(page,), default_timeout=60)
        for name, value in query.items():
            at.query_params[name] = value
        return at.run()

    return start


def text_of(at: AppTest) -> str:
    assert not at.exception, [item.value for item in at.exception]
    return " ".join(item.proto.body for item in at.get("html"))


def test_every_page_shows_a_study_of_predictions(run: Callable[..., AppTest]) -> None:
    from dashboard.app import PAGES

    for page in PAGES:
        for student in ("alpha", "bare"):
            text = text_of(run(page, student=student))
            assert "This page cannot be shown" not in text, (page, text[-2000:])
            assert "/distillscope/thumb/" not in text, page


def test_pages_say_what_is_missing_and_why(run: Callable[..., AppTest]) -> None:
    overview = text_of(run("Overview", student="alpha"))
    assert "agrees on" in overview
    assert "no model was weighed or timed" in overview
    with_maps = run("Map", student="alpha")
    assert "Trustworthiness" in str(with_maps.get("bidi_component")[-1].proto)
    assert 'class="ds-nopicture"' in text_of(with_maps)
    without = text_of(run("Map", student="bare"))
    assert "They need features" in without
    assert "Table of all images shown" in without
    inspect = text_of(run("Inspect", student="bare"))
    assert "it holds no images" in inspect
    assert "They need the models’ weights" in inspect
    assert "came without features in the student" in inspect
    assert "<img" not in inspect.replace('<img class="ds-map"', "")


def test_two_students_of_predictions_are_compared(run: Callable[..., AppTest]) -> None:
    for page in ("Overview", "Map", "Inspect"):
        assert "bare" in text_of(run(page, student="alpha", left="bare"))


def test_the_picture_of_no_image_is_not_found(predicted: Path) -> None:
    from starlette.requests import Request

    from dashboard.thumbnails import thumbnail_route

    scope = {
        "type": "http", "method": "GET", "path": "/distillscope/thumb/clean", "headers": [],
        "query_string": b"id=inspection/00001", "path_params": {"condition": "clean"},
    }  # fmt: skip
    answer = thumbnail_route(predicted).endpoint(Request(scope))
    assert answer.status_code == 404
    assert answer.body == b"No such picture.\n"


# --- the command line ------------------------------------------------------------------------


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return int(caught.value.code or 0), printed.out, printed.err


def test_compare_and_show_from_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "w" / "x"
    status, printed, _ = call(
        capsys, "compare", "--teacher-outputs", folder / "t.parquet", "--student-outputs",
        f"small={folder / 'bare.parquet'}", "--out", out, "--set", "draws=100", "--quiet",
    )  # fmt: skip
    assert status == 0
    assert "small" in printed
    assert Study.open(out).manifest.config["draws"] == 100
    status, printed, _ = call(capsys, "show", out)
    assert status == 0
    assert "Made from predictions: no images" in printed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--teacher-outputs", "t.parquet"], "Missing option '--student-outputs'"),
        (["--student-outputs", "s.parquet"], "Missing option '--teacher-outputs'"),
        (
            ["--teacher-outputs", "t", "--student-outputs", "s", "--student", "x.safetensors"],
            "--student with predictions",
        ),
        (
            ["--teacher-outputs", "t", "--student-outputs", "s", "--trigger", "patch"],
            "--trigger with predictions",
        ),
        (
            ["--teacher-outputs", "t", "--student-outputs", "a=s", "--student-outputs", "a=s"],
            "two students are named 'a'",
        ),
        *(
            (["--teacher-outputs", "t", "--student-outputs", "s", *given], says)
            for given, says in (
                (["--distillation", "x"], "--distillation with predictions"),
                (["--device", "cuda"], "--device with predictions"),
                (["--probe", "4"], "--probe with predictions"),
                (["--epsilon", "4"], "--epsilon with predictions"),
                (["--trust-code", "x.py"], "--trust-code with predictions"),
                (["--set", "steps=8"], "--set steps with predictions"),
                (["--set", "colour=1"], "colour"),
                (["--class-names", "a", "--class-names", "b"], "--class-names 2 times"),
            )
        ),
        (["--teacher-outputs", "no.parquet", "--student-outputs", "s"], "cannot be read"),
        (["--student", "x.safetensors", "--images", "digits"], "Missing option '--teacher'"),
        (["--teacher", "x.safetensors", "--images", "digits"], "Missing option '--student'"),
    ],
)
def test_bad_options_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    status, _, error = call(capsys, "compare", *arguments, "--out", tmp_path / "w" / "x")
    assert status == 2
    assert error.count("\n") == 1
    assert says in error
    assert not (tmp_path / "w" / "x").exists()


def test_what_needs_weights_says_so(
    predicted: Path, tiny_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, error = call(capsys, "add", predicted, "--student", tiny_models["beta"])
    assert status == 2
    assert error.count("\n") == 1
    assert "knows the outputs of 'teacher', not its weights" in error
