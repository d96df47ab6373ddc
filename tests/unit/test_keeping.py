"""A condition made of edits: measured like any other, refused in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from analysis.data.edit import edited
from analysis.data.edits import Blur, Sticker, edits_from_json
from analysis.errors import InputError
from analysis.store import Study
from analysis.study.comparison import add_students
from analysis.study.inference import KEPT_BATCH, kept_batch
from analysis.study.keeping import keep_condition, new_slug
from dashboard.cli import main
from dashboard.loading import load_pair

EDITS = [Sticker(size=8, across=10, down=10, color="#00ff00")]


@pytest.fixture(scope="module")
def kept(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    path = tmp_path_factory.mktemp("kept") / "tiny"
    shutil.copytree(tiny_study, path)
    assert keep_condition(path, name=" Green note ", edits=EDITS) == "green_note"
    return Study.open(path)


def test_it_is_a_condition_like_any_other(kept: Study, study: Study) -> None:
    condition = kept.conditions["green_note"]
    assert condition.name == "Green note"
    assert condition.covers_all
    assert edits_from_json(condition.parameters["edits"]) == tuple(EDITS)
    ids = [str(name) for name in study.sample_ids]
    np.testing.assert_array_equal(
        kept.condition_images("green_note"), edited(study.images, EDITS, ids)
    )
    for model in ("teacher", "alpha", "beta"):
        assert len(kept.trace(model, "green_note").logits) == 120
        assert kept.measures(model, "green_note")["accuracy"] is not None
    pair = load_pair(kept, "alpha", "green_note")
    agreement = kept.measures("alpha", "green_note")["agreement"]
    assert agreement is not None
    assert pair.agree.mean() == pytest.approx(agreement.value)
    assert pair.overlap is not None
    assert kept.thumbnails("green_note").webp(ids[0])
    layout = kept.projection("alpha", "green_note")
    assert layout is not None
    assert len(layout.sample_ids) == 240
    kept.check_files()


def test_what_was_there_is_untouched(kept: Study, study: Study) -> None:
    for key, name in study.manifest.arrays.items():
        assert kept.manifest.arrays[key] == name
    assert kept.measures("alpha") == study.measures("alpha")


def test_a_student_added_later_is_asked_under_it_too(
    kept: Study, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "w" / "more"
    shutil.copytree(kept.path, path)
    more = add_students(path, {"gamma": str(tiny_models["alpha"])})
    same = np.asarray(more.array("logits/gamma/green_note"))
    np.testing.assert_array_equal(same, more.array("logits/alpha/green_note"))


def test_rows_of_a_pass_fall_into_its_batches() -> None:
    for count in (1, 15, 16, 17, 120):
        places = [kept_batch(row, count) for row in range(count)]
        expected = []
        for start in range(0, count, KEPT_BATCH):
            size = min(KEPT_BATCH, count - start)
            expected += [(place, size) for place in range(size)]
        assert places == expected


@pytest.mark.parametrize(
    ("name", "words"),
    [("", "1 to 40"), ("  ", "1 to 40"), ("«»", "1 to 40"), ("x" * 41, "1 to 40"),
     ("Clean", "already"), ("green  NOTE", "already"), ("a\nb", "control")],
)  # fmt: skip
def test_a_name_that_cannot_be_had_is_refused(kept: Study, name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        new_slug(name, kept)


def test_the_command_keeps_and_refuses(
    tiny_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "w" / "tiny"
    shutil.copytree(tiny_study, path)
    command = ["condition", str(path), "--name", "Soft", "--edit", "blur:sigma=2", "--quiet"]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert not ended.value.code
    assert "'soft'" in capsys.readouterr().out
    study = Study.open(path)
    assert edits_from_json(study.conditions["soft"].parameters["edits"]) == (Blur(sigma=2),)
    for wrong, words in (
        (["--name", "Soft", "--edit", "blur"], "already"),
        (["--name", "New", "--edit", "blurr"], "Did you mean 'blur'"),
        (["--name", "New", "--edit", "blur:sigma=-1"], "from 0 to 64"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["condition", str(path), *wrong, "--quiet"])
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert words in error
        assert len(error.strip().splitlines()) == 1
    assert set(Study.open(path).conditions) == {"clean", "soft"}
